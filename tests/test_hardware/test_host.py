"""Latency on this machine with the real runtimes."""

import json
import math
import shutil
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from paretune.core.errors import BadInput, BadOptions, DeviceError, UnstableMeasurement
from paretune.core.metrics import checked_metrics
from paretune.core.protocols import Device
from paretune.hardware.measured.host import Host
from paretune.hardware.measured.onnx_sessions import available_processors
from paretune.hardware.measured.plausibility import GENEROUS, Roofline, Work, work_of
from paretune.hardware.measured.torch_runs import EventClock


def quick_host(runtime: str = "onnxruntime", **options: Any) -> Host:
    """Generous limits: the machine that runs the tests is shared."""
    return Host(
        runtime=runtime,  # type: ignore[arg-type]
        warm_up_s=0.005,
        max_s=0.05,
        max_relative_iqr=50.0,
        max_attempts=2,
        reference=False,
        **options,
    )


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
        GENEROUS["cpu"].check_latency(latency_s, Work(macs=0, moved_bytes=0))


def test_a_latency_that_no_processor_reaches_never_leaves() -> None:
    GENEROUS["cpu"].check_latency(1e-3, Work(macs=10**9, moved_bytes=10**6))
    with pytest.raises(DeviceError, match=r"1e\+15 MACs a second; the device's peak is 1e\+13"):
        GENEROUS["cpu"].check_latency(1e-6, Work(macs=10**9, moved_bytes=10**6))


def test_the_bound_is_the_larger_of_computing_and_reading() -> None:
    # 1 GMAC/s and 100 MB/s: 2 ms of computing or 5 ms of reading.
    roofline = Roofline(peak_macs_per_s=1e9, peak_bytes_per_s=1e8, peak_power_w=5.0)
    work = Work(macs=2_000_000, moved_bytes=500_000)
    roofline.check_latency(5.1e-3, work)
    with pytest.raises(DeviceError, match="500,000 bytes of weights and input"):
        roofline.check_latency(4.9e-3, work)
    roofline.check_energy(0.0049, 1e-3)
    for energy_j in (0.0051, 0.0, -1.0, math.nan):
        with pytest.raises(DeviceError, match="measured energy"):
            roofline.check_energy(energy_j, 1e-3)


def test_work_is_macs_and_the_bytes_that_must_be_read() -> None:
    # 4 * 36 * 9 products; (9 * 4 + 4) weights and 64 inputs of 4 bytes.
    assert work_of(nn.Conv2d(1, 4, 3), (1, 1, 8, 8)) == Work(macs=4 * 36 * 9, moved_bytes=4 * (40 + 64))


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_bound_of_the_user_refuses_what_is_beyond_it(runtime: str) -> None:
    with pytest.raises(DeviceError, match="peak_macs_per_s"):
        quick_host(runtime, peak_macs_per_s=1.0).measure(convolutions(channels=4, layers=0), (1, 1, 8, 8))


def test_the_reference_network_stands_beside_each_measurement() -> None:
    host = Host(warm_up_s=0.005, max_s=0.05, max_relative_iqr=50.0, max_attempts=2, quiet_drift=90.0, max_drift=90.0)
    reference = host.measure(convolutions(channels=4, layers=0), (1, 1, 8, 8)).details["reference"]
    assert reference["baseline_s"] > 0
    assert (reference["before"] > 0, reference["after"] > 0, reference["repeats"]) == (True, True, 0)


def test_a_reference_far_from_its_known_latency_refuses_the_measurement() -> None:
    host = Host(warm_up_s=0.005, max_s=0.05, max_relative_iqr=50.0, max_attempts=1, max_repeats=0, baseline_s=100.0)
    with pytest.raises(UnstableMeasurement, match="times its baseline of 100 s"):
        host.measure(convolutions(channels=4, layers=0), (1, 1, 8, 8))


def test_a_machine_that_was_busy_at_the_start_gets_another_baseline(caplog: pytest.LogCaptureFixture) -> None:
    host = Host(warm_up_s=0.005, max_s=0.05, max_relative_iqr=50.0, max_attempts=2, quiet_drift=2.0, max_drift=5.0)
    network = convolutions(channels=4, layers=0)
    start = host.measure(network, (1, 1, 8, 8)).details["reference"]["baseline_s"]
    assert host._watch is not None
    host._watch._limits = replace(host._watch._limits, lasting_s=0.5)
    host._watch._baseline_s = 100 * start
    later = host.measure(network, (1, 1, 8, 8)).details["reference"]
    assert later["baseline_s"] < 6 * start
    assert "the device was busy before" in caplog.text


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_profile_names_each_layer_with_its_time(runtime: str) -> None:
    details = quick_host(runtime, profile=True).measure(convolutions(channels=16, layers=1), (1, 1, 8, 8)).details
    kinds = [layer["kind"] for layer in details["layers"]]
    assert sum(kind.startswith("Conv") for kind in kinds) == 2
    assert kinds[-1] in ("Gemm", "FusedGemm", "Linear")
    assert all(layer["latency_s"] >= 0 for layer in details["layers"])
    assert sum(layer["latency_s"] for layer in details["layers"]) > 0
    json.dumps(details, allow_nan=False)


def test_peak_memory_grows_by_what_a_network_holds() -> None:
    host = quick_host(peak_memory=True)
    assert [metric.name for metric in host.metrics] == ["latency_s", "measured_memory_bytes"]
    # Linear layers of 4 x 4 and 2,048 x 2,048 weights: 64 bytes and 16 MiB.
    small, large = (
        host.measure(nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, width)), (1, 1, 8, 8)).values[
            "measured_memory_bytes"
        ]
        for width in (4, 2048)
    )
    assert 16 * 2**20 <= large - small <= 4 * 16 * 2**20


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for the CPU with g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler uses what torch deprecates
def test_compiled_networks_are_measured_and_left_alone() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).train()
    names, state = list(network.state_dict()), torch.get_rng_state()
    measurement = quick_host("torch_compiled").measure(network, (1, 1, 8, 8))
    assert measurement.values["latency_s"] > 0
    assert measurement.details["runtime"] == "torch_compiled"
    assert list(network.state_dict()) == names
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)


class Mark:
    """An event of a simulated GPU whose clock is a list of times in milliseconds."""

    times_ms: ClassVar[list[float]] = []

    def record(self) -> None:
        self.at_ms = self.times_ms.pop(0)

    def synchronize(self) -> None:
        self.waited = True

    def elapsed_time(self, end: "Mark") -> float:
        assert end.waited
        return float(np.float32(end.at_ms - self.at_ms))


def test_a_clock_of_events_adds_up_their_steps_without_losing_digits() -> None:
    # After an hour float32 milliseconds would step by 0.25 ms; steps of 10 us must still show.
    Mark.times_ms = [0.0, 3.6e6, 3.6e6 + 0.01, 3.6e6 + 0.02]
    clock = EventClock(Mark)
    hour, one, two = clock(), clock(), clock()
    assert hour == 3_600_000_000_000
    assert (one - hour, two - one) == (pytest.approx(10_000, abs=1), pytest.approx(10_000, abs=1))


def test_cuda_is_refused_where_it_is_not_there() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match=r"processor: torch finds no CUDA GPU here; take processor: cpu"):
            Host(runtime="torch", processor="cuda")
    if "cuda" not in available_processors():
        with pytest.raises(BadInput, match=r"processor: the installed ONNX Runtime has no CUDA provider"):
            Host(processor="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("runtime", ["torch", "torch_compiled"])
def test_a_gpu_is_measured_with_its_memory(runtime: str) -> None:
    network = convolutions(channels=64, layers=2)
    measurement = quick_host(runtime, processor="cuda", peak_memory=True).measure(network, (1, 1, 8, 8))
    weights_bytes = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert measurement.values["measured_memory_bytes"] >= weights_bytes
    assert next(network.parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "tensorflow"}, "runtime: must be one of onnxruntime, torch, torch_compiled"),
        ({"threads": 0}, "threads: must be a whole number of at least 1"),
        ({"threads": True}, "threads"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_s": math.inf}, "max_s: must be above 0"),
        ({"quiet_relative_iqr": 0.6}, "quiet_relative_iqr: must be at most"),
        ({"processor": "tpu"}, "processor: must be one of cpu, cuda"),
        ({"quiet_drift": 0.6}, "quiet_drift: must be at most max_drift"),
        ({"max_repeats": -1}, "max_repeats: must be a whole number of at least 0"),
        ({"peak_macs_per_s": 0.0}, "peak_macs_per_s: must be above 0"),
        ({"baseline_s": -1.0}, "baseline_s: must be above 0"),
        ({"runtime": "torch", "peak_memory": True}, "peak_memory: is measured with onnxruntime on the cpu or torch on cuda"),
        ({"runtime": "torch_compiled", "profile": True}, "profile: the compiler makes one piece of all layers"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Host(**options)  # type: ignore[arg-type]


def test_all_unusable_options_are_told_at_once() -> None:
    with pytest.raises(BadOptions) as caught:
        Host(threads=0, warm_up_s=-1.0, max_drift=0.0)
    assert {way[0] for way, _ in caught.value.problems} == {"threads", "warm_up_s", "max_drift", "quiet_drift"}
