"""Objectives and constraints: the one place where signs are flipped and violations are added up."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, did_you_mean
from paretune.core.metrics import Direction
from paretune.core.trial import Outcome, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A metric to make as large or as small as possible."""

    metric: str
    """Inner (SI) name of the metric."""
    direction: Direction
    """Which way is better."""
    reference: float
    """This objective's part of the reference point: the worst value that still counts for the hypervolume, SI."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", Direction(self.direction))
        if not math.isfinite(self.reference):
            raise BadInput(f"{self.metric}: the reference must be finite (got {self.reference})")

    @property
    def sign(self) -> float:
        """Factor that turns the metric into something to minimise."""
        return -1.0 if self.direction is Direction.MAX else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A limit on a metric."""

    metric: str
    """Inner (SI) name of the metric."""
    upper: float = math.inf
    """Largest value allowed."""
    lower: float = -math.inf
    """Smallest value allowed."""

    def __post_init__(self) -> None:
        if math.isnan(self.upper) or math.isnan(self.lower) or self.lower > self.upper:
            raise BadInput(f"{self.metric}: no value is at least {self.lower} and at most {self.upper}")

    def violation(self, value: float) -> float:
        """How far a value lies outside, relative to the limit; 0.0 where it holds, infinite for NaN."""
        if math.isnan(value):
            return math.inf
        excess = 0.0
        for limit, beyond in ((self.upper, value - self.upper), (self.lower, self.lower - value)):
            if math.isfinite(limit) and beyond > 0:
                excess += beyond / abs(limit) if limit else beyond
        return excess

    def violations(self, values_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(N,)` `violation` of each value."""
        excess_N = np.zeros(len(values_N))
        for limit, beyond_N in ((self.upper, values_N - self.upper), (self.lower, self.lower - values_N)):
            if math.isfinite(limit):
                excess_N += np.maximum(beyond_N, 0) / (abs(limit) or 1.0)
        return np.where(np.isnan(values_N), math.inf, excess_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What makes a candidate good: objectives, all minimised inside, and constraints."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    def __post_init__(self) -> None:
        if not self.objectives:
            raise BadInput("objectives: at least one is needed")
        names = [objective.metric for objective in self.objectives]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise BadInput(f"objectives[{index}]: '{name}' is already objectives[{names.index(name)}]")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of every metric that an objective or constraint reads, each once."""
        return tuple(dict.fromkeys([*(item.metric for item in self.objectives), *(item.metric for item in self.constraints)]))

    @property
    def reference(self) -> NDArray[np.float64]:
        """`(num_objectives,)` reference point, minimised."""
        return np.array([objective.sign * objective.reference for objective in self.objectives])

    def minimised(self, metrics: Mapping[str, float]) -> NDArray[np.float64]:
        """`(num_objectives,)` of a candidate, smaller is better; infinite where a metric is missing or not finite."""
        values = [objective.sign * metrics.get(objective.metric, math.nan) for objective in self.objectives]
        return np.array([value if math.isfinite(value) else math.inf for value in values])

    def natural(self, minimised_M: NDArray[np.float64]) -> dict[str, float]:
        """Minimised objectives back as metric values."""
        return {objective.metric: float(objective.sign * value) for objective, value in zip(self.objectives, minimised_M, strict=True)}

    def violation(self, metrics: Mapping[str, float]) -> float:
        """Sum of the relative violations; 0.0 is feasible, a missing metric makes it infinite."""
        return sum(constraint.violation(metrics.get(constraint.metric, math.nan)) for constraint in self.constraints)

    def known_violation(self, metrics: Mapping[str, float]) -> float:
        """As `violation`, over the metrics that are there: what the free costs alone already break."""
        return sum(constraint.violation(metrics[constraint.metric]) for constraint in self.constraints if constraint.metric in metrics)

    def score(self, trial: Trial) -> tuple[NDArray[np.float64], float]:
        """Minimised objectives and violation of a trial, as constrained dominance compares them.

        A candidate stopped by the gate keeps the violation that its free costs show, so searchers learn from it;
        any other outcome that is not `ok` is worse than every candidate with metrics.
        """
        if trial.outcome is Outcome.OK:
            return self.minimised(trial.metrics), self.violation(trial.metrics)
        worst = np.full(len(self.objectives), math.inf)
        if trial.outcome is Outcome.INFEASIBLE:
            return worst, max(self.known_violation(trial.metrics), np.finfo(float).tiny)
        return worst, math.inf

    def check_produced(self, produced: Sequence[str]) -> None:
        """Refuse objectives or constraints on metrics that nothing measures.

        Raises:
            BadInput: naming each such metric and the nearest one there is.
        """
        missing = [name for name in self.metrics if name not in produced]
        if missing:
            raise BadInput(
                "; ".join(f"nothing measures '{name}'.{did_you_mean(name, produced)} Measured: {', '.join(produced)}" for name in missing)
            )
