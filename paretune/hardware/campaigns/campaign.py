"""Measuring campaigns: many things measured one after another on one device, kept as they come, measured again where the device drifted."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

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


class Monitor(Protocol):
    """Watches whether a device stays as fast as it was, for example by measuring one network now and then."""

    def steady(self) -> bool:
        """Called before the first measurement and after every few: whether the device is as it was at the last call."""
        ...


class NoMonitor:
    """Believes in the device."""

    def steady(self) -> bool:
        """It does not look."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a campaign watches over itself."""

    check_every: int = 20
    """Measurements between two looks at the monitor."""
    max_rounds: int = 3
    """How often measurements are made at most while the device drifts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[Item]):
    """How a campaign ended."""

    failures: Sequence[tuple[Item, str]]
    """What could not be measured, and why."""
    unsteady: Sequence[Item]
    """What was kept although the device drifted in every round."""


def run_campaign(
    items: Sequence[Item],
    measure: Callable[[Item], Reading],
    keep: Callable[[Item, Reading], None],
    *,
    monitor: Monitor,
    rules: Rules,
    on_step: Callable[[Item], None],
) -> Outcome[Item]:
    """Measure each item and keep what came of it at once, so that an end at any moment loses one measurement.

    Args:
        items: what to measure, the most wanted first.
        measure: measures one; a `DeviceError` of one item does not end the campaign.
        keep: stores a reading durably; called again for an item that is measured again.
        monitor: tells when the device drifted; then what was measured since the last look is measured again.
        rules: how often to look, how often to try.
        on_step: called after every measurement.
    """
    failures: dict[Item, str] = {}
    unsteady: list[Item] = []
    monitor.steady()
    for start in range(0, len(items), rules.check_every):
        chunk = items[start : start + rules.check_every]
        for round_number in range(1, rules.max_rounds + 1):
            for item in chunk:
                try:
                    keep(item, measure(item))
                    failures.pop(item, None)
                except DeviceError as error:
                    failures[item] = str(error)
                if round_number == 1:
                    on_step(item)
            if monitor.steady():
                break
        else:
            unsteady.extend(chunk)
    return Outcome(failures=list(failures.items()), unsteady=unsteady)
