"""Zero-cost proxies on networks small enough to work them out by hand."""

import math

import pytest
import torch
from torch import nn

from paretune.core.errors import BadInput
from paretune.core.protocols import Fidelity
from paretune.spaces.digits_conv import DigitsConv
from paretune.tasks.digits import Digits
from paretune.tasks.proxies import PROXIES, jacob_cov, naswot, proxy_scores, synflow
from paretune.testing.task import check_task, same_bits, state_of


def linear(weights: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weights[0]), len(weights), bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


IMAGES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


def test_synflow_of_a_chain_is_its_depth_times_the_sum_over_its_paths() -> None:
    # |5| (|1| + |-2|) + |-6| (|3| + |4|) = 15 + 42 = 57, counted once for each of two layers.
    chain = nn.Sequential(linear([[1.0, -2.0], [3.0, 4.0]]), linear([[5.0, -6.0]]))
    assert synflow(chain, IMAGES) == pytest.approx(math.log(2 * 57), abs=1e-12)


def test_synflow_passes_over_batch_norm_and_rectifiers_and_reads_no_image() -> None:
    chain = nn.Sequential(linear([[1.0, -2.0], [3.0, 4.0]]), nn.BatchNorm1d(2), nn.ReLU(), linear([[5.0, -6.0]]))
    assert synflow(chain, IMAGES) == pytest.approx(math.log(2 * 57), abs=1e-12)
    assert synflow(chain, 100 * IMAGES) == synflow(chain, IMAGES)


def test_synflow_without_any_path_is_finite() -> None:
    assert synflow(nn.Sequential(linear([[0.0, 0.0]])), IMAGES) == pytest.approx(math.log(torch.finfo(torch.float64).tiny))


def test_naswot_counts_units_that_agree() -> None:
    # Units x, y and x - y on (1,0), (0,1), (1,1): on-patterns 101, 010, 110. Agreements: 1-2 none, 1-3 one (x), 2-3 two (y, x - y).
    network = nn.Sequential(linear([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]), nn.ReLU())
    kernel = [[3.0, 0.0, 1.0], [0.0, 3.0, 2.0], [1.0, 2.0, 3.0]]  # determinant 3 (9 - 4) + 1 (0 - 3) = 12
    assert torch.linalg.det(torch.tensor(kernel)).item() == pytest.approx(12.0)
    assert naswot(network, IMAGES) == pytest.approx(math.log(12.0), abs=1e-9)


def test_naswot_of_two_equal_images_is_defined() -> None:
    network = nn.Sequential(linear([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]), nn.ReLU())
    # Kernel [[3, 3], [3, 3]] has the eigenvalues 6 and 0, which counts as 1e-5.
    assert naswot(network, IMAGES[[0, 0]]) == pytest.approx(math.log(6.0) + math.log(1e-5), abs=1e-9)
    assert naswot(linear([[1.0, 0.0]]), IMAGES) == pytest.approx(3 * math.log(1e-5))  # no rectifier


class Square(nn.Module):
    """Its gradient to an image is the image, weighted."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs**2).sum(dim=1) / 2


def test_jacob_cov_is_highest_for_gradients_that_are_orthogonal() -> None:
    # Centred and pairwise orthogonal, so the correlations are the identity: -(log(1 + k) + 1 / (1 + k)) for each of two images.
    orthogonal = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
    best = -2 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5))
    assert jacob_cov(Square(), orthogonal) == pytest.approx(best, abs=1e-9)
    # Equal gradients have the eigenvalues 2 and 0.
    worst = -(math.log(2 + 1e-5) + 1 / (2 + 1e-5)) - (math.log(1e-5) + 1e5)
    assert jacob_cov(Square(), orthogonal[[0, 0]]) == pytest.approx(worst, rel=1e-6)
    assert jacob_cov(Square(), torch.tensor([[1.0, -1.0, 0.2, 0.1], [0.3, -0.2, 1.0, -1.0]])) < best
    assert math.isfinite(jacob_cov(linear([[1.0, 1.0]]), IMAGES))  # constant gradients correlate with nothing


def test_scores_leave_the_network_and_torch_as_they_were() -> None:
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    torch.manual_seed(3)
    network = space.build([0] * len(space.decisions)).eval()
    batch = torch.randn(8, 1, 8, 8)
    before, generator = state_of(network), torch.get_rng_state()
    first = proxy_scores(network, batch, tuple(PROXIES))
    assert same_bits(before, state_of(network))
    assert torch.equal(generator, torch.get_rng_state())
    assert not network.training
    assert all(parameter.grad is None and parameter.dtype is torch.float32 for parameter in network.parameters())
    assert proxy_scores(network, batch, tuple(PROXIES)) == first
    assert all(math.isfinite(value) for value in first.values())


def test_one_image_is_refused() -> None:
    with pytest.raises(BadInput, match="compare the images of a batch; got 1"):
        proxy_scores(nn.ReLU(), IMAGES[:1], ("naswot",))


def test_digits_give_proxies_as_metrics_and_train_as_without() -> None:
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1)

    def build() -> nn.Module:
        return space.build([0] * len(space.decisions))

    task = Digits(proxies=("synflow", "naswot"))
    assert [metric.name for metric in task.metrics] == ["accuracy", "proxy.synflow", "proxy.naswot"]
    network, result = task.train(build, seed=1, fidelity=Fidelity(epochs=1))
    plain, expected = Digits().train(build, seed=1, fidelity=Fidelity(epochs=1))
    assert same_bits(state_of(network), state_of(plain))
    assert dict(expected.metrics).keys() == {"accuracy"}
    assert result.metrics["accuracy"] == expected.metrics["accuracy"]
    assert result.metrics.keys() == {"accuracy", "proxy.synflow", "proxy.naswot"}
    before = task.untrained_scores(build, seed=1)
    assert before == {name: value for name, value in result.metrics.items() if name != "accuracy"}
    assert Digits().untrained_scores(build, seed=1) == {}


def test_digits_with_proxies_keep_the_contract(tmp_path: object) -> None:
    check_task(lambda: Digits(proxies=("jacob_cov", "naswot", "synflow")), tmp_path, epochs=2)  # type: ignore[arg-type]
