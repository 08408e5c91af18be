"""How a measuring device does: who it is, how fast and steady the reference network runs, whether its clock agrees with ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paretune.hardware.measured.remote.client import greet
from paretune.hardware.measured.remote.device import Remote
from paretune.hardware.measured.timing import Patience, fastest_that_counts

ROUND_TRIPS = 5
SLOW_ROUND_TRIP_S = 1.0
BUSY_LOAD_SHARE = 0.5
"""More waiting processes than half of the cores: the device does something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a look at a device found."""

    address: str
    device: Mapping[str, Any]
    """Versions, processor, clock and load, as the device tells them."""
    round_trip_s: float
    """Fastest of some requests that measure nothing."""
    reference_s: float
    """Latency of the reference network."""
    relative_iqr: float
    """Interquartile range of its runs over the median."""
    disagreement: float
    """Two measurements of it one after the other differ by this share."""
    clock_ratio: float
    """Time of a measurement by the device's clock over the time by ours, which holds the transfer too: a little below 1."""
    warnings: tuple[str, ...]
    """What makes measurements worse; empty for a device in order."""


def check_health(address: str, *, device: Remote) -> Health:
    """Greet a device and measure the reference network on it twice.

    Args:
        address: of the device.
        device: how to measure.

    Raises:
        DeviceError: it gives no sound answer.
    """
    greetings = [greet(address, timeout_s=10.0) for _ in range(ROUND_TRIPS)]
    answers = [device.reference_answer(address) for _ in range(2)]
    one, other = (fastest_that_counts(answer.attempts, Patience(max_relative_iqr=1e3)) for answer in answers)
    facts = answers[-1].device
    round_trip_s = min(greeting.round_trip_s for greeting in greetings)
    disagreement = abs(one.median_s - other.median_s) / min(one.median_s, other.median_s)
    relative_iqr = min(one.relative_iqr, other.relative_iqr)
    return Health(
        address=address,
        device={**facts, "limits": greetings[-1].device.get("limits", {})},
        round_trip_s=round_trip_s,
        reference_s=min(one.median_s, other.median_s),
        relative_iqr=relative_iqr,
        disagreement=disagreement,
        clock_ratio=max(answer.device_elapsed_s / answer.elapsed_s for answer in answers),
        warnings=tuple(_warnings(facts, relative_iqr=relative_iqr, disagreement=disagreement, round_trip_s=round_trip_s)),
    )


def _warnings(facts: Mapping[str, Any], *, relative_iqr: float, disagreement: float, round_trip_s: float) -> list[str]:
    found = []
    if disagreement > 0.05:
        found.append(
            f"two measurements of the reference differ by {disagreement:.0%}: something else runs there, or its clock frequency moves"
        )
    if relative_iqr > 0.1:
        found.append(f"runs scatter by {relative_iqr:.0%} (interquartile range over median)")
    if round_trip_s > SLOW_ROUND_TRIP_S:
        found.append(f"a request takes {round_trip_s:.1f} s: models will travel slowly")
    governor, load, cores = facts.get("governor"), facts.get("load_1min"), facts.get("cores")
    if isinstance(governor, str) and governor not in ("performance", "userspace"):
        found.append(f"the frequency governor is '{governor}'; 'performance' measures more steadily")
    if isinstance(load, int | float) and isinstance(cores, int) and load > BUSY_LOAD_SHARE * cores:
        found.append(f"the load is {load:g} on {cores} cores: something else runs there")
    return found
