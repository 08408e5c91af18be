"""Drift of a measuring device: each measurement stands between two of a fixed reference network, and is repeated where they disagree.

A measurement that was handed out cannot be taken back (the ledger only grows), so a candidate is bracketed before it is: reference,
candidate, reference. Where a reference differs from its baseline, the device heats, throttles or is shared, and the candidate is
measured again.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from paretune.core.errors import UnstableMeasurement

logger = logging.getLogger(__name__)

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLimits:
    """When a reference agrees with its baseline, and what to do where it does not."""

    quiet_drift: float = 0.05
    """The candidate is measured again where a reference beside it is slower or faster than the baseline by more than this share."""
    max_drift: float = 0.05
    """After the last repetition the one with the least drift counts, unless it is more than this."""
    max_repeats: int = 3
    """Repetitions at most."""
    pause_s: float = 0.5
    """Wait before the first repetition, twice as long before each further one: heat goes slowly."""
    fresh_s: float = 2.0
    """A reference younger than this also serves as the one before the next candidate."""
    baseline_s: float | None = None
    """Latency of the reference on a device in order; None measures it at the start."""
    adopts_faster: bool = False
    """Whether a reference that stays faster than a measured baseline becomes the baseline, until the device is as slow again: where only
    neighbours slow it down, the baseline was taken beside one. A device whose clocks rise while it is cold must not do so."""
    lasting_s: float = 20.0
    """How long it must stay faster: a search that thinks lets the device alone for a few seconds, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceCheck:
    """How the reference did around a measurement that counts."""

    baseline_s: float
    """What the reference takes on the device in order."""
    before: float
    """Latency of the reference before the measurement over its baseline."""
    after: float
    """The same after it."""
    repeats: int
    """How often the measurement was made again."""

    @property
    def drift(self) -> float:
        """By which share the reference was slower or faster than its baseline, the worse of the two."""
        return max(drift_of(self.before), drift_of(self.after))

    def as_json(self) -> Mapping[str, Any]:
        """For the details of a measurement."""
        return {"baseline_s": self.baseline_s, "before": self.before, "after": self.after, "repeats": self.repeats}


def drift_of(ratio: float) -> float:
    """By which share something is slower or faster than it should be: 0.5 for 1.5 and for 1 / 1.5."""
    return math.inf if ratio <= 0 else max(ratio, 1 / ratio) - 1


class DriftWatch:
    """Brackets measurements between references.

    Args:
        reference: measures the reference network; seconds.
        limits: what to tolerate.
        clock: monotonic seconds.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        reference: Callable[[], float],
        limits: DriftLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._reference, self._limits, self._clock, self._sleep = reference, limits, clock, sleep
        self._baseline_s = limits.baseline_s
        self._last: tuple[float, float] | None = None
        """When the last reference ended, and its ratio."""
        self._ratios: list[float] = []
        """Those of the references that were measured for the present bracket."""
        self._fast: list[tuple[float, float]] = []
        """When they ended and their ratios, since the last one that was not too fast for the baseline."""
        self._earlier_s: list[float] = []
        """Baselines that were given up for faster ones."""

    def baseline_s(self) -> float:
        """Latency of the reference on the device in order, measured at the first call: until the two fastest of up to five agree.

        Where they never do, the fastest counts that another one confirms: a single run in a burst of speed says nothing of what follows.

        Raises:
            UnstableMeasurement: no two agree.
        """
        if self._baseline_s is None:
            found_s: list[float] = []
            while len(found_s) < 5 and (not found_s or _confirmed(found_s, self._limits.quiet_drift) != min(found_s)):
                found_s.append(self._reference())
            baseline_s = _confirmed(found_s, self._limits.max_drift)
            if baseline_s is None:
                raise UnstableMeasurement(
                    f"the reference network takes {', '.join(f'{value:.3g}' for value in found_s)} s in turn; no two within "
                    f"{self._limits.max_drift:.0%}. Run less beside it, let the device cool, or raise max_drift"
                )
            self._baseline_s = baseline_s
            self._last = self._clock(), found_s[-1] / self._baseline_s
        return self._baseline_s

    def bracketed(self, measure: Callable[[], Found]) -> tuple[Found, ReferenceCheck]:
        """Measure between two references, again while they drift; `measure` may be one network or a small group.

        Raises:
            UnstableMeasurement: the drift lasts.
        """
        while True:  # ends: each turn has a result, raises, or has waited for another baseline
            best = self._best_of_repetitions(measure)
            if best is not None and best[1].drift <= self._limits.quiet_drift:
                return best
            tolerated = best is not None and best[1].drift <= self._limits.max_drift
            if self._another_baseline(wait=not tolerated):
                continue
            if best is not None and tolerated:
                return best
            raise UnstableMeasurement(self._complaint())

    def _best_of_repetitions(self, measure: Callable[[], Found]) -> tuple[Found, ReferenceCheck] | None:
        """The measurement with the least drift of as many as it takes; None where no reference before one was in order."""
        baseline_s = self.baseline_s()
        best: tuple[Found, ReferenceCheck] | None = None
        self._ratios = []
        for repeat in range(self._limits.max_repeats + 1):
            if repeat:
                self._sleep(self._limits.pause_s * 2 ** (repeat - 1))
            before = self._fresh_ratio() if repeat == 0 else self._ratio()
            if drift_of(before) > self._limits.max_drift:
                continue  # it could not count
            found = measure()
            check = ReferenceCheck(baseline_s=baseline_s, before=before, after=self._ratio(), repeats=repeat)
            if best is None or check.drift < best[1].drift:
                best = found, check
            if check.drift <= self._limits.quiet_drift:
                break
            logger.info("the reference takes %.2f of its baseline after a measurement; measured again", check.after)
        return best

    def _complaint(self) -> str:
        """What is wrong with the references of the last repetitions."""
        assert self._last is not None
        worst = max(self._ratios or [self._last[1]], key=drift_of)
        after = f"also after {self._limits.max_repeats} repetitions"
        if math.isinf(worst):
            return f"the reference network is too noisy to tell whether the device is in order, {after}. Run less beside it"
        return (
            f"the reference network takes {worst:.2f} times its baseline of {self.baseline_s():.3g} s, {after}; allowed is a drift of "
            f"{self._limits.max_drift:.0%} (max_drift). The device is slower or faster than it was: let it cool, run less beside it, or "
            "start anew for another baseline"
        )

    def _another_baseline(self, *, wait: bool) -> bool:
        """Take another baseline where there is reason to.

        Args:
            wait: watch references that have all been fast for as long as it takes to believe them.
        """
        if not self._limits.adopts_faster or self._limits.baseline_s is not None:
            return False
        return self._returns() or self._adopts(wait=wait)

    def _returns(self) -> bool:
        """Go back to an earlier baseline where the device is as slow again as it was then, or nearly."""
        now_s = self.baseline_s()
        for earlier_s in self._earlier_s:
            drifts = [(drift_of(ratio * now_s / earlier_s), drift_of(ratio)) for ratio in self._ratios]
            if drifts and all(then <= min(self._limits.max_drift, now) for then, now in drifts):
                self._earlier_s.remove(earlier_s)
                self._rebase(earlier_s, "the device is busy again")
                return True
        return False

    def _adopts(self, *, wait: bool) -> bool:
        """Make a faster reference the baseline that was always faster for so long, and confirmed by another."""
        while wait and self._fast and not self._has_lasted():
            self._sleep(self._limits.lasting_s / 20)
            self._ratio()
        if not self._has_lasted():
            return False
        ratio = _confirmed([ratio for _, ratio in self._fast], self._limits.quiet_drift)
        if ratio is None:
            return False
        slow_s = self.baseline_s()
        self._earlier_s.append(slow_s)
        self._rebase(ratio * slow_s, "the device was busy before")
        return True

    def _has_lasted(self) -> bool:
        return bool(self._fast) and self._clock() - self._fast[0][0] >= self._limits.lasting_s

    def _rebase(self, baseline_s: float, reason: str) -> None:
        logger.warning(
            "another baseline of the reference network, as %s: %.3g s after %.3g s. Compare what was measured against each with care",
            reason,
            baseline_s,
            self._baseline_s,
        )
        self._baseline_s, self._last = baseline_s, None
        self._fast.clear()

    def _fresh_ratio(self) -> float:
        """The last reference where it is young, or else another."""
        if self._last is not None and self._clock() - self._last[0] <= self._limits.fresh_s:
            return self._last[1]
        return self._ratio()

    def _ratio(self) -> float:
        """Measure the reference; its latency over the baseline."""
        try:
            ratio = self._reference() / self.baseline_s()
        except UnstableMeasurement:
            ratio = math.inf  # too noisy to tell is as bad as too slow
        self._last = self._clock(), ratio
        self._ratios.append(ratio)
        if (1 + self._limits.quiet_drift) * ratio >= 1:
            self._fast.clear()
        else:
            self._fast.append(self._last)
        return ratio


def _confirmed(values: list[float], share: float) -> float | None:
    """The smallest value that another one exceeds by no more than a share."""
    return next((low for low, high in pairwise(sorted(values)) if high <= (1 + share) * low), None)
