"""The host keeps the device contract, and the contract check finds devices that break it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from paretune.core.protocols import Measurement
from paretune.hardware.measured.host import Host
from paretune.testing.device import check_device

SHAPE = (1, 1, 8, 8)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_the_host_keeps_the_device_contract(runtime: Any) -> None:
    check_device(
        lambda: Host(runtime=runtime, warm_up_s=0.005, max_s=0.05, max_relative_iqr=50.0, max_attempts=2, max_drift=50.0, max_repeats=0)
    )


class Counter:
    """A sound device: counts the outputs of a network that it really runs."""

    metrics = (replace(Host.metrics[0], name="energy_j", unit="j"),)
    details: Mapping[str, Any] = {"source": "measured"}

    def measure(self, network: nn.Module, example_shape: tuple[int, ...]) -> Measurement:
        return Measurement(values={"energy_j": self.count(network, example_shape)}, details=self.details)

    def count(self, network: nn.Module, example_shape: tuple[int, ...]) -> float:
        from paretune.core.errors import DeviceError
        from paretune.networks.evaluation import evaluating

        try:
            with evaluating(network):
                return float(network(torch.zeros(example_shape)).numel())
        except RuntimeError as error:
            raise DeviceError(str(error)) from error


class TrainsWhileMeasuring(Counter):
    def count(self, network: nn.Module, example_shape: tuple[int, ...]) -> float:
        found = super().count(network, example_shape)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            network(torch.ones((2, *example_shape[1:])))
        return found


class LeavesEvaluationMode(Counter):
    def count(self, network: nn.Module, example_shape: tuple[int, ...]) -> float:
        return super().count(network.eval(), example_shape)


class DrawsItsInput(Counter):
    def count(self, network: nn.Module, example_shape: tuple[int, ...]) -> float:
        torch.rand(1)
        return super().count(network, example_shape)


class LetsErrorsOut(Counter):
    def count(self, network: nn.Module, example_shape: tuple[int, ...]) -> float:
        with torch.no_grad():
            return float(network(torch.zeros((2, *example_shape[1:]))).numel())


class MeasuresAnything(Counter):
    def count(self, network: nn.Module, example_shape: tuple[int, ...]) -> float:
        return 1.0


class WrongUnit(Counter):
    metrics = (replace(Host.metrics[0], name="energy_j", unit="s"),)


class Prefixed(Counter):
    metrics = (replace(Host.metrics[0], name="meter.energy_j", unit="j"),)


class ForgetsAMetric(Counter):
    metrics = (*Counter.metrics, *Host.metrics)


class Zero(Counter):
    metrics = (replace(Counter.metrics[0], lower=0.0),)

    def count(self, network: nn.Module, example_shape: tuple[int, ...]) -> float:
        return 0.0 * super().count(network, example_shape)


class NotANumberInside(Counter):
    details: Mapping[str, Any] = {"repeats": [1.0, math.nan]}


def test_a_sound_device_passes() -> None:
    check_device(Counter, example_shape=SHAPE)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (TrainsWhileMeasuring, "changes weights or buffers"),
        (LeavesEvaluationMode, "leaves modules in another mode"),
        (DrawsItsInput, "random state changed"),
        (LetsErrorsOut, "gives RuntimeError; expected DeviceError"),
        (MeasuresAnything, "was measured all the same"),
        (WrongUnit, "says unit 's', its name says 'j'"),
        (Prefixed, "carries a target's prefix"),
        (ForgetsAMetric, r"measure gives \['energy_j'\]; metrics has \['energy_j', 'latency_s'\]"),
        (Zero, "a physical quantity is not positive"),
        (NotANumberInside, "details are no JSON"),
    ],
)
def test_contract_check_finds_the_fault(device: type[Counter], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_device(device, example_shape=SHAPE)
