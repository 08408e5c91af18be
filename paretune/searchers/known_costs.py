"""Metrics of a problem that need no prediction: they are computed for every candidate before anything runs, and their limits held exactly.

Legend: N candidates, D decisions.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.by_array import ByArray
from paretune.core.genotype import Genotypes, num_choices
from paretune.core.objectives import Problem
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream
from paretune.searchers.operators import FloatArray, random_genotypes

Costs: TypeAlias = Callable[[Genotypes], Mapping[str, NDArray[Any]]]
"""`(N, D)` canonical valid genotypes -> metric -> `(N,)`; equal genotypes have equal values."""

CHUNK = 2048
"""Candidates costed at once: the layers of more do not fit the caches, and those of a hundred thousand hardly the memory."""
LOOKED_AT = 256
"""Random or bred candidates among which those are sought that meet the limits, where the first few do not."""
EXCLUDED = -1e9
"""Logarithm of the probability to meet the limits, of candidates that certainly do not."""


class KnownCosts:
    """What costs nothing to know of candidates. The values of a read-only array are remembered until another read-only array comes.

    Args:
        space: what may be chosen.
        problem: says which metrics and limits matter.
        costs: what is known before anything runs; None for nothing.
    """

    def __init__(self, space: GenotypeSpace, problem: Problem, costs: Costs | None) -> None:
        self._space, self._costs = space, costs
        given = known_names(space, costs)
        self.names = tuple(metric for metric in problem.metrics if metric in given)
        """Metrics of the problem that are known."""
        self._limits = [constraint for constraint in problem.constraints if constraint.metric in self.names]
        self._known: ByArray[dict[str, FloatArray]] = ByArray()

    def of(self, genotypes_ND: Genotypes) -> dict[str, FloatArray]:
        """`(N,)` of each known metric, of canonical valid genotypes."""
        return self._known(genotypes_ND, lambda: self._worked_out(genotypes_ND))

    def _worked_out(self, genotypes_ND: Genotypes) -> dict[str, FloatArray]:
        chunks = [self._of_chunk(genotypes_ND[start : start + CHUNK]) for start in range(0, len(genotypes_ND), CHUNK)]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) if chunks else np.zeros(0) for name in self.names}

    def _of_chunk(self, genotypes_ND: Genotypes) -> dict[str, FloatArray]:
        found = self._costs(genotypes_ND) if self._costs is not None and self.names else {}
        return {name: np.asarray(found[name], dtype=np.float64) for name in self.names}

    def violations(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N,)` by how much each misses the limits that are known; 0 meets them."""
        values = self.of(genotypes_ND) if self._limits else {}
        return np.asarray(sum((limit.violations(values[limit.metric]) for limit in self._limits), start=np.zeros(len(genotypes_ND))))

    def log_feasibility(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N,)` 0 for those that meet the known limits; far below every logarithm of a probability, and falling, for the others."""
        violations_N = self.violations(genotypes_ND)
        return np.where(violations_N > 0, EXCLUDED * (1 + np.log1p(violations_N)), 0.0)

    def drawn(self, draw: Callable[[int], Genotypes], count: int) -> Genotypes:
        """Up to `count` proposals that meet the known limits; if none of many does, those that miss them least, best first.

        Args:
            draw: makes so many proposals, canonical or not, valid or not.
            count: how many are wanted.
        """
        if not self._limits:
            return draw(count)
        for num_drawn in (count, max(count, LOOKED_AT)):
            proposals_ND = self._space.canonical(draw(num_drawn))
            proposals_ND = proposals_ND[self._space.valid(proposals_ND)]
            violations_N = self.violations(proposals_ND)
            if (violations_N <= 0).any():
                return np.asarray(proposals_ND[violations_N <= 0][:count])
        return np.asarray(proposals_ND[np.argsort(violations_N, kind="stable")[:count]])


def known_names(space: GenotypeSpace, costs: Costs | None) -> tuple[str, ...]:
    """Metrics that `costs` computes; none where it is None, or where no valid genotype is found to ask it with."""
    if costs is None:
        return ()
    choices_D = num_choices(space.decisions)
    drawn_ND = random_genotypes(choices_D, stream(0, index=0, purpose="known_costs.names"), LOOKED_AT)
    some_ND = space.canonical(np.concatenate([np.zeros_like(drawn_ND[:1]), drawn_ND]))
    valid_ND = some_ND[space.valid(some_ND)][:1]
    return tuple(costs(valid_ND)) if len(valid_ND) else ()
