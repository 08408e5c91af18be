"""Scored genotypes as arrays: what a population-based searcher remembers of the trials it was told.

Legend: N members, D decisions, M objectives.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes, as_genotypes
from paretune.core.objectives import Problem
from paretune.core.trial import Trial
from paretune.searchers.operators import FloatArray, IntArray, best_first


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Genotypes with their scores, in an order that the searcher gives a meaning."""

    genotypes: Genotypes
    """`(N, D)`, canonical."""
    points: FloatArray
    """`(N, M)` minimised objectives; infinite for failed candidates."""
    violations: FloatArray
    """`(N,)`; 0.0 is feasible, infinite for failed candidates."""

    @classmethod
    def of(cls, trials: Sequence[Trial], *, problem: Problem, num_decisions: int) -> "Population":
        """The trials that teach, in their order."""
        lessons = [trial for trial in trials if trial.outcome.teaches]
        scores = [problem.score(trial) for trial in lessons]
        return cls(
            genotypes=as_genotypes([trial.genotype for trial in lessons], num_decisions),
            points=np.array([point for point, _ in scores], dtype=np.float64).reshape(-1, len(problem.objectives)),
            violations=np.array([violation for _, violation in scores], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.violations)

    def joined(self, others: "Population") -> "Population":
        """These members, then the others."""
        return Population(
            genotypes=np.concatenate([self.genotypes, others.genotypes]),
            points=np.concatenate([self.points, others.points]),
            violations=np.concatenate([self.violations, others.violations]),
        )

    def take(self, members: IntArray | slice) -> "Population":
        """Some of the members, in the order given."""
        return Population(genotypes=self.genotypes[members], points=self.points[members], violations=self.violations[members])

    def best_first(self) -> IntArray:
        """Indices from best to worst under constrained dominance and crowding."""
        return best_first(self.points, self.violations)

    def state(self) -> dict[str, Any]:
        """As JSON values; infinite scores become null."""
        return {
            "genotypes": self.genotypes.tolist(),
            "points": [[_or_null(value) for value in point] for point in self.points.tolist()],
            "violations": [_or_null(value) for value in self.violations.tolist()],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *, problem: Problem, num_decisions: int) -> "Population":
        """The population of a state.

        Raises:
            BadInput: it belongs to another space or problem.
        """
        try:
            genotypes_ND = as_genotypes(state["genotypes"], num_decisions)
            points_NM = _or_infinite(state["points"]).reshape(len(genotypes_ND), len(problem.objectives))
            violations_N = _or_infinite(state["violations"]).reshape(len(genotypes_ND))
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"searcher state: not a population of this space and problem ({error})") from error
        return cls(genotypes=genotypes_ND, points=points_NM, violations=violations_N)


def _or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _or_infinite(values: object) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    return np.where(np.isnan(array), math.inf, array)
