"""Measuring campaigns: many things measured one after another on one device, kept as they come.

Drift is the device's own business: `host` and `remote` bracket each measurement with a reference (see `hardware.measured.drift`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from paretune.core.errors import BadInput, DeviceError
from paretune.core.metrics import unit_of
from paretune.core.protocols import Device, Measurement

Item = TypeVar("Item")
ADDITIVE_UNITS = ("s", "j")
"""Units of metrics that add up over the parts of an inference: times and energies, unlike powers and peaks of memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was measured of one thing."""

    values: Mapping[str, float]
    """Metric -> median, SI."""
    spreads: Mapping[str, float] = field(default_factory=dict)
    """Metric -> interquartile range; only where the device tells it."""
    repeats: int = 1
    """Runs behind a value, as far as the device tells."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the device told of the last measurement."""


def reading_of(measurement: Measurement) -> Reading:
    """What a device measured. Details `iqr_s` and `num_blocks`, which `host` gives, become spread and repeats of `latency_s`."""
    spread, repeats = measurement.details.get("iqr_s"), measurement.details.get("num_blocks", 1)
    is_told = isinstance(spread, float) and math.isfinite(spread) and "latency_s" in measurement.values
    return Reading(
        values=dict(measurement.values),
        spreads={"latency_s": spread} if is_told and spread is not None else {},
        repeats=repeats if isinstance(repeats, int) else 1,
        details=measurement.details,
    )


def lowest(readings: Sequence[Reading]) -> Reading:
    """The reading with the lowest first metric: neighbours can only slow a run down."""
    return min(readings, key=lambda reading: next(iter(reading.values.values())))


def additive_metrics(device: Device) -> tuple[str, ...]:
    """Metrics of a device that add up over layers.

    Raises:
        BadInput: it has none.
    """
    names = tuple(metric.name for metric in device.metrics if unit_of(metric.name) in ADDITIVE_UNITS)
    if not names:
        raise BadInput("the device measures no time and no energy, so there is nothing that adds up over layers")
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[Item]):
    """How a campaign ended."""

    failures: Sequence[tuple[Item, str]]
    """What could not be measured, and why."""


def run_campaign(
    items: Sequence[Item], measure: Callable[[Item], Reading], keep: Callable[[Item, Reading], None], *, on_step: Callable[[Item], None]
) -> Outcome[Item]:
    """Measure each item and keep what came of it at once, so that an end at any moment loses one measurement.

    Args:
        items: what to measure, the most wanted first.
        measure: measures one; a `DeviceError` of one item does not end the campaign.
        keep: stores a reading durably.
        on_step: called after every measurement.
    """
    failures: list[tuple[Item, str]] = []
    for item in items:
        try:
            keep(item, measure(item))
        except DeviceError as error:
            failures.append((item, str(error)))
        on_step(item)
    return Outcome(failures=failures)
