"""How a trained network is measured: on a device by its speed, or by its accuracy on hardware that changes what it computes."""

from typing import TYPE_CHECKING, Protocol

from paretune.core.accuracy_devices import AccuracyDevice, Split, TaskExamples
from paretune.core.protocols import Device, Measurement

if TYPE_CHECKING:
    from torch import nn


class Measure(Protocol):
    """Measures on a target, wherever it is."""

    def __call__(self, target: str, network: "nn.Module", example_shape: tuple[int, ...], *, split: Split = "validation") -> Measurement:
        """Measure a network.

        Args:
            target: name of the hardware.
            network: trained.
            example_shape: of an input, batch first.
            split: of the task's examples, for hardware on which accuracy is judged.
        """
        ...


def measure_here(
    device: Device | AccuracyDevice, examples: TaskExamples | None, network: "nn.Module", example_shape: tuple[int, ...], split: Split
) -> Measurement:
    """Measure in this process; `examples` are there where accuracy is judged."""
    if isinstance(device, AccuracyDevice):
        assert examples is not None
        return device.judge(network, examples.split(split), calibration=examples.calibration)
    return device.measure(network, example_shape)
