"""What decides the fate of a candidate that is judged in repeats: limits, and rivals that may dominate it. Used to stop repeats early.

After each round of repeats metrics lie within intervals. A candidate has lost when even the best corner of them misses a limit, or
when a rival is better in every objective: a member of the front that was known when the candidate was proposed. A front only ever gets
better, so what lost once has lost for good.

Source: Zhang, Georgiopoulos & Anagnostopoulos, S-Race: a multi-objective racing algorithm, GECCO 2013 (drop what is dominated with
confidence). Departs: intervals in place of sign tests, and rivals that were evaluated before in place of a race side by side, since
the candidates of a search come one after another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective

Intervals = Mapping[str, tuple[float, float]]
"""Metric -> smallest and largest value that it may still come to."""


class Fate(StrEnum):
    """What is certain of a candidate before all repeats ran."""

    OPEN = "open"
    """It may be on the front: all repeats run."""
    MISSES_LIMIT = "misses a limit"
    DOMINATED = "dominated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """What one candidate must not fall behind, in the metrics that repeats on one target give.

    Legend: K rivals, M objectives.
    """

    objectives: tuple[Objective, ...] = ()
    """On metrics of the target, without its name."""
    rivals: NDArray[np.float64]
    """`(K, M)` of `objectives`, minimised. Only rivals that are no worse in all that is known of the candidate without the target."""
    constraints: tuple[Constraint, ...] = ()
    """On metrics of the target, without its name."""
    lost: bool = False
    """Whether what is known without the target misses a limit already."""

    def __post_init__(self) -> None:
        assert self.rivals.shape[1:] == (len(self.objectives),)
        assert self.objectives or not len(self.rivals)  # nothing to compare would be worse in everything

    @property
    def ends(self) -> frozenset[tuple[str, Direction]]:
        """Ends of intervals that decide: (metric, which way is better). Where all hold, so does the fate, however many rivals."""
        ends = {(item.metric, item.direction) for item in self.objectives if len(self.rivals)}
        ends |= {(item.metric, Direction.MIN) for item in self.constraints if np.isfinite(item.upper)}
        ends |= {(item.metric, Direction.MAX) for item in self.constraints if np.isfinite(item.lower)}
        return frozenset(ends)

    def fate(self, intervals: Intervals) -> Fate:
        """What is certain where metrics lie within intervals; a metric without one may be anything."""
        if self.lost or any(not _can_meet(item, intervals) for item in self.constraints):
            return Fate.MISSES_LIMIT
        best_M = np.array([_best(item, intervals) for item in self.objectives])
        return Fate.DOMINATED if np.any(np.all(self.rivals < best_M, axis=1)) else Fate.OPEN


def _interval(metric: str, intervals: Intervals) -> tuple[float, float]:
    return intervals.get(metric, (-np.inf, np.inf))


def _can_meet(constraint: Constraint, intervals: Intervals) -> bool:
    low, high = _interval(constraint.metric, intervals)
    return low <= constraint.upper and high >= constraint.lower


def _best(objective: Objective, intervals: Intervals) -> float:
    """The best value that an objective may still come to, minimised."""
    low, high = _interval(objective.metric, intervals)
    return -high if objective.direction is Direction.MAX else low
