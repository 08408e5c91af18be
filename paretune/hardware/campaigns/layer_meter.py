"""What one layer costs inside a network on a device that can only run whole networks.

The layer is measured once and several times side by side (`networks.layer_probes`); the slope between the two is the layer, the rest is
what an inference costs anyway.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from paretune.core.errors import UnstableMeasurement
from paretune.core.protocols import Device
from paretune.core.workload import Kind, Layer
from paretune.hardware.campaigns.campaign import Reading, additive_metrics, lowest, reading_of
from paretune.hardware.tables.layer_signature import in_words, layer_of

if TYPE_CHECKING:
    from torch import nn

COPIES = 6
"""Copies of a layer in the larger probe: five layers' worth of difference, so that noise of the two probes counts a fifth."""
MAX_TRIES = 3
REFERENCE = Layer(kind=Kind.CONV, in_channels=16, out_channels=16, in_height=8, in_width=8, out_height=8, out_width=8, kernel=3, padding=1)
"""Layer in whose probes the overhead of an inference is found: small, and in the arrangement of maps that convolutions have."""


class LayerMeter:
    """Measures layers.

    Args:
        device: measures networks.
        batch: images of an inference.
        rounds: measurements of each probe, of which the lowest counts.
    """

    def __init__(self, device: Device, *, batch: int = 1, rounds: int = 1) -> None:
        self._device, self._batch, self._rounds = device, batch, rounds
        self.metrics = additive_metrics(device)
        self._carriers: dict[tuple[int, ...], Reading] = {}

    def overhead(self) -> Reading:
        """What every inference costs beside its layers: calling the runtime, rearranging the first and the last map."""
        from paretune.networks.layer_probes import input_shape, probe

        layer = replace(REFERENCE, batch=self._batch)
        single = self._probe(lambda: probe(layer, 1), input_shape(layer))
        slope = self._slope(lambda copies: probe(layer, copies), input_shape(layer), single=single)
        # Never negative: a slope that noise made too large says nothing of the overhead.
        return replace(single, values={name: max(single.values[name] - slope.values[name], 0.0) for name in self.metrics})

    def layer(self, signature: Sequence[int]) -> Reading:
        """What one layer costs.

        Raises:
            BadInput: no probe can be made of this layer.
            UnstableMeasurement: the probes disagree more than they differ, several times.
            DeviceError: the device cannot run a probe.
        """
        from paretune.networks.layer_probes import CARRIED, input_shape, probe

        layer = replace(layer_of(signature), batch=self._batch)
        shape = input_shape(layer)
        for _ in range(MAX_TRIES):
            found = self._slope(lambda copies: probe(layer, copies), shape)
            if layer.kind in CARRIED:
                found = _less(found, self._carrier(layer))
            settled = {name: _settled(found.values[name], found.spreads.get(name, 0.0)) for name in self.metrics}
            if all(value is not None for value in settled.values()):
                return replace(found, values={name: value for name, value in settled.items() if value is not None})
            self._carriers.clear()  # perhaps it was they that were measured badly
        raise UnstableMeasurement(
            f"{in_words(signature)}: more copies of it take less time, {MAX_TRIES} times; measure on a quieter device"
        )

    def _carrier(self, layer: Layer) -> Reading:
        from paretune.networks.layer_probes import baseline, input_shape

        key = (int(layer.kind), layer.in_channels, layer.in_height, layer.in_width)
        if key not in self._carriers:
            self._carriers[key] = self._slope(lambda copies: baseline(layer, copies), input_shape(layer))
        return self._carriers[key]

    def _slope(self, build: "Callable[[int], nn.Module]", shape: tuple[int, ...], *, single: Reading | None = None) -> Reading:
        first = single or self._probe(lambda: build(1), shape)
        last = self._probe(lambda: build(COPIES), shape)
        steps = COPIES - 1
        both = [name for name in self.metrics if name in first.spreads and name in last.spreads]
        return Reading(
            values={name: (last.values[name] - first.values[name]) / steps for name in self.metrics},
            spreads={name: math.hypot(first.spreads[name], last.spreads[name]) / steps for name in both},
            repeats=min(first.repeats, last.repeats),
            details=last.details,
        )

    def _probe(self, build: "Callable[[], nn.Module]", shape: tuple[int, ...]) -> Reading:
        network = build()
        return lowest([reading_of(self._device.measure(network, shape)) for _ in range(self._rounds)])


def _less(whole: Reading, part: Reading) -> Reading:
    """A reading without a part of it."""
    spreads: Mapping[str, float] = {
        name: math.hypot(whole.spreads[name], part.spreads[name]) for name in whole.spreads if name in part.spreads
    }
    return replace(whole, values={name: value - part.values[name] for name, value in whole.values.items()}, spreads=spreads)


def _settled(value: float, spread: float) -> float | None:
    """A cost of at least 0; None where it is negative by more than the noise."""
    return value if value >= 0 else 0.0 if -value <= spread else None
