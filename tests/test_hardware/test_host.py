"""Latency on this machine with the real runtimes."""

import json
import math

import pytest
import torch
from torch import nn

from paretune.core.errors import BadInput, DeviceError
from paretune.core.metrics import checked_metrics
from paretune.core.protocols import Device
from paretune.hardware.host import Host, check_plausible


def quick_host(runtime: str = "onnxruntime") -> Host:
    """Generous limits: the machine that runs the tests is shared."""
    return Host(runtime=runtime, warm_up_s=0.005, max_s=0.05, max_relative_iqr=50.0, max_attempts=2)  # type: ignore[arg-type]


def convolutions(*, channels: int, layers: int) -> nn.Module:
    first = [nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    more = [nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()) for _ in range(layers)]
    return nn.Sequential(*first, *more, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_network_with_a_thousand_times_the_work_is_slower(runtime: str) -> None:
    host = quick_host(runtime)
    assert isinstance(host, Device)
    # 64 * 9 * 4 products against 64 * 9 * 128 * 128 * 8: 0.01 and 75 million.
    small = host.measure(convolutions(channels=4, layers=0), (1, 1, 8, 8))
    large = host.measure(convolutions(channels=128, layers=8), (1, 1, 8, 8))
    assert large.values["latency_s"] > 3 * small.values["latency_s"]


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_measurement_says_how_it_was_made(runtime: str) -> None:
    host = quick_host(runtime)
    measurement = host.measure(convolutions(channels=4, layers=1), (2, 1, 8, 8))
    assert checked_metrics(measurement.values, {metric.name: metric for metric in host.metrics}, producer="host") == measurement.values
    details = json.loads(json.dumps(measurement.details, allow_nan=False))
    assert details["median_s"] == measurement.values["latency_s"]
    assert details["num_blocks"] + details["num_outliers"] >= 30
    assert 0 < details["min_s"] <= details["median_s"] <= details["p90_s"]
    assert details["iqr_s"] >= 0
    assert (details["source"], details["runtime"], details["threads"], details["example_shape"]) == ("measured", runtime, 1, [2, 1, 8, 8])
    # 2 images * 64 positions * 9 * (1*4 + 4*4) and 2 * 4 * 10.
    assert details["macs"] == 2 * (64 * 9 * 20 + 40)
    assert details["environment"]["cores"] >= 1
    assert set(details["environment"]["versions"]) == {"torch", "onnxruntime", "numpy"}


def test_measuring_changes_neither_the_network_nor_torch() -> None:
    network = convolutions(channels=4, layers=1).train()
    network[0].eval()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    state = torch.get_rng_state(), torch.get_num_threads()
    for runtime in ("onnxruntime", "torch"):
        quick_host(runtime).measure(network, (1, 1, 8, 8))
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state[0])
    assert torch.get_num_threads() == state[1]


class Quarrelsome(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no, I will not")


class Unconvertible(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(inputs)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_network_that_fails_is_a_device_error_with_its_own_message(runtime: str) -> None:
    with pytest.raises(DeviceError, match=r"cannot run the network on an input of shape \(1, 1, 8, 8\): no, I will not"):
        quick_host(runtime).measure(Quarrelsome(), (1, 1, 8, 8))


def test_a_network_that_onnx_cannot_hold_is_a_device_error() -> None:
    with pytest.raises(DeviceError, match="cannot be converted to ONNX"):
        quick_host().measure(Unconvertible(), (1, 4))


@pytest.mark.parametrize("latency_s", [0.0, -1e-6, math.nan, math.inf])
def test_a_latency_that_is_no_positive_number_never_leaves(latency_s: float) -> None:
    with pytest.raises(DeviceError, match="expected a positive number"):
        check_plausible(latency_s, macs=0)


def test_a_latency_that_no_processor_reaches_never_leaves() -> None:
    check_plausible(1e-3, macs=10**9)
    with pytest.raises(DeviceError, match="no host computes 1e\\+15 MACs a second"):
        check_plausible(1e-6, macs=10**9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorflow"}, "runtime: must be one of onnxruntime, torch"),
        ({"threads": 0}, "threads: must be a whole number of at least 1"),
        ({"threads": True}, "threads"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_s": math.inf}, "max_s: must be above 0"),
        ({"quiet_relative_iqr": 0.6}, "quiet_relative_iqr: must be at most"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Host(**options)  # type: ignore[arg-type]
