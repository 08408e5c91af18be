"""The contract of `core.protocols.Device`, sentence by sentence, as a check that takes a factory.

Use it for a device of your own::

    def test_my_device_keeps_the_contract():
        check_device(lambda: MyDevice())
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from paretune.core.errors import DeviceError
from paretune.core.metrics import checked_metrics, unit_of
from paretune.core.protocols import Device, Measurement

if TYPE_CHECKING:
    from torch import nn

Factory = Callable[[], Device]
Build = Callable[[], "nn.Module"]


def check_device(factory: Factory, *, build: Build | None = None, example_shape: tuple[int, ...] = (1, 1, 8, 8)) -> None:
    """Check every sentence of the device protocol by really measuring.

    Args:
        factory: makes the device, as tolerant of noise as the machine that runs the check needs; called twice.
        build: makes a network that the device can run; None for a small convolutional one.
        example_shape: of its inputs, batch first.

    Raises:
        AssertionError: saying which sentence is broken.
        UnstableMeasurement: the repeats disagree more than the device from `factory` allows.
    """
    device = factory()
    assert isinstance(device, Device), f"{type(device).__name__} lacks a member of the Device protocol"
    _check_metrics(device, factory())
    network = (build or (lambda: small_network(example_shape)))()
    _check_refusal(device, example_shape)
    _check_measurement(device, network, example_shape)  # also: a refused network does not break the device


def small_network(example_shape: tuple[int, ...]) -> "nn.Module":
    """A convolution behind batch norm, dropout and a linear layer, for images of `example_shape`."""
    from torch import nn

    channels = example_shape[1]
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8, 10),
    )


def _check_metrics(device: Device, twin: Device) -> None:
    names = [metric.name for metric in device.metrics]
    assert names, "the device has no metrics"
    assert len(set(names)) == len(names), f"metrics share a name: {names}"
    assert device.metrics == twin.metrics, "two devices with the same options have different metrics"
    for metric in device.metrics:
        assert "." not in metric.name, f"'{metric.name}' carries a target's prefix, which only the study may add"
        assert metric.unit == unit_of(metric.name), f"'{metric.name}' says unit '{metric.unit}', its name says '{unit_of(metric.name)}'"
        assert not metric.free, f"'{metric.name}' is marked free, but it is measured"


def _check_measurement(device: Device, network: "nn.Module", example_shape: tuple[int, ...]) -> None:
    """Measure a network that was left in training mode, and see that nothing but the measurement came of it."""
    network.train()
    next(network.modules()).training = False  # a mixture, so that putting everything into one mode shows
    before = weight_bytes(network), [module.training for module in network.modules()], torch_state()
    measurement = device.measure(network, example_shape)
    assert weight_bytes(network) == before[0], "measuring changes weights or buffers: was the network run in training mode?"
    assert [module.training for module in network.modules()] == before[1], "measuring leaves modules in another mode"
    assert torch_state() == before[2], "measuring leaves torch's threads, deterministic mode, gradients or random state changed"
    _check_values(device, measurement)


def _check_values(device: Device, measurement: Measurement) -> None:
    expected = {metric.name: metric for metric in device.metrics}
    assert set(measurement.values) == set(expected), f"measure gives {sorted(measurement.values)}; metrics has {sorted(expected)}"
    values = checked_metrics(measurement.values, expected, producer="the device")
    assert all(value > 0 for name, value in values.items() if unit_of(name)), f"a physical quantity is not positive: {values}"
    assert measurement.details, "details are empty: say how the numbers were made (repeats, spread, host, versions)"
    try:
        again = json.loads(json.dumps(dict(measurement.details), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"details are no JSON: {error}") from error
    assert again == listed(measurement.details), "details do not survive JSON; use text keys, numbers, texts and lists"


def _check_refusal(device: Device, example_shape: tuple[int, ...]) -> None:
    from torch import Tensor, nn

    class Failing(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:  # noqa: ARG002 - torch's signature
            raise RuntimeError("this network cannot run")

    try:
        device.measure(Failing(), example_shape)
    except DeviceError:
        return
    except Exception as error:
        raise AssertionError(f"a network that cannot run gives {type(error).__name__}; expected DeviceError") from error
    raise AssertionError(f"a network that cannot run on {example_shape} was measured all the same")


def weight_bytes(network: "nn.Module") -> dict[str, bytes]:
    """Weights and buffers, to be compared."""
    return {name: tensor.detach().cpu().numpy().tobytes() for name, tensor in network.state_dict().items()}


def torch_state() -> tuple[object, ...]:
    """Torch's global settings and random state."""
    import torch

    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
        torch.get_rng_state().numpy().tobytes(),
    )


def listed(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them."""
    if isinstance(value, Mapping):
        return {name: listed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [listed(item) for item in value]
    assert not isinstance(value, float) or math.isfinite(value), f"details hold {value}"
    return value
