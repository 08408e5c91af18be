"""Counting by hooks: every kind of layer counts, modules that say how often they multiply too."""

import pytest
import torch
from torch import Tensor, nn

from paretune.networks.counting import count_macs, count_parameters


class Squares(nn.Module):
    """Says how often it multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs) ** 2

    def multiply_accumulates(self, inputs: Tensor) -> int:
        return inputs.numel()


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        # 8*8 positions, 2*9 products for each of 3 outputs
        (nn.Conv2d(2, 3, 3, padding=1), (1, 2, 8, 8), 64 * 18 * 3),
        # grouped and dilated, over 10 - 8 = 2 time steps
        (nn.Conv1d(4, 4, 5, dilation=2, groups=2), (1, 4, 10), 2 * 5 * 2 * 4),
        (nn.Linear(6, 5), (1, 7, 6), 7 * 30),
        (nn.Sequential(nn.Linear(4, 4), Squares()), (1, 3, 4), 48 + 48 + 12),
        (nn.ReLU(), (1, 4), 0),
    ],
)
def test_each_kind_of_layer_counts(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert count_macs(module, shape) == macs


def test_what_does_not_run_costs_no_macs_and_shared_weights_count_once() -> None:
    shared = nn.Linear(4, 4)
    network = nn.Sequential(shared, shared)
    network.unused = nn.Linear(4, 4)
    network.forward = lambda inputs: shared(shared(inputs))  # type: ignore[method-assign]
    assert count_macs(network, (1, 4)) == 32
    assert count_parameters(network) == 20 + 20


def test_counting_leaves_no_hooks_and_the_mode_as_it_was() -> None:
    network = nn.Sequential(Squares(), nn.Dropout())
    count_macs(network, (1, 4))
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert network(torch.zeros(1, 4)).requires_grad
