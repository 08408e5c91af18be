"""Networks between torch and the formats that tasks and devices share."""

import numpy as np
import pytest
import torch
from onnx import load_from_string
from onnxruntime import InferenceSession
from torch import Tensor, nn

from paretune.core.errors import BadInput
from paretune.networks.counting import count_macs, count_parameters
from paretune.networks.evaluation import evaluating
from paretune.networks.folding import fold_batch_norm
from paretune.networks.onnx_conversion import INPUT_NAME, to_onnx


def normalised() -> nn.Module:
    """Two convolutions with batch norms whose statistics and scales are not the trivial ones."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(4 * 16, 3),
    )
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        nn.init.uniform_(norm.bias)
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2.0)
    return network


def test_folding_keeps_the_function_and_the_original() -> None:
    network = normalised()
    folded = fold_batch_norm(network)
    images = torch.randn(3, 2, 6, 6)
    with evaluating(network), evaluating(folded):
        torch.testing.assert_close(folded(images), network(images))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 2
    assert network.training


def test_onnx_gives_what_torch_gives_for_any_batch_without_batch_norm_nodes() -> None:
    network = normalised()
    model = to_onnx(network, (1, 2, 6, 6))
    assert "BatchNormalization" not in {node.op_type for node in load_from_string(model).graph.node}
    session = InferenceSession(model, providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        images = torch.randn(batch, 2, 6, 6)
        with evaluating(network):
            expected = network(images).numpy()
        np.testing.assert_allclose(session.run(None, {INPUT_NAME: images.numpy()})[0], expected, rtol=1e-4, atol=1e-5)


def test_counts_follow_what_really_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.used(self.used(inputs))

    # 2 * 16 products for each of 3 inputs; both layers have 20 parameters.
    assert count_macs(Twice(), (3, 4)) == 96
    assert count_parameters(Twice()) == 40
    # 2->4 under 3x3 at 6x6, 4 channels of 9 at 4x4, 64 * 3.
    assert count_macs(normalised(), (1, 2, 6, 6)) == 36 * 9 * 2 * 4 + 16 * 9 * 4 + 64 * 3


def test_evaluation_mode_ends_with_each_module_as_it_was_also_after_an_error() -> None:
    network = normalised().train()
    network[0].eval()
    modes = [module.training for module in network.modules()]
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == modes
    with pytest.raises(RuntimeError), evaluating(network):
        network(torch.zeros(1, 5, 6, 6))  # five channels where two are expected
    assert [module.training for module in network.modules()] == modes


def test_what_onnx_cannot_hold_is_refused_with_the_shape() -> None:
    class Bessel(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.special.bessel_j0(inputs)

    with pytest.raises(BadInput, match=r"Bessel cannot be converted to ONNX for an input of shape \(1, 4\)"):
        to_onnx(Bessel(), (1, 4))
