"""What predictors read of a candidate where results came after different epochs: the epochs are one more decision.

A result of few epochs then teaches what few epochs give, and predictions are made for a full training. The epochs stand on a logarithmic
scale, since each rung has eta times those of the one below.

Sources: Kandasamy et al., Multi-fidelity Bayesian optimisation with continuous approximations, ICML 2017 (a kernel over fidelities times
one over candidates; here one kernel with a length scale for the epochs).

Legend: N candidates, D decisions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretune.core.by_array import ByArray
from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.metrics import EPOCHS_METRIC
from paretune.core.protocols import GenotypeSpace, Graphs, GraphSpace
from paretune.predictors.encoding import encodings_of
from paretune.searchers.told import Told

BLIND_ENCODINGS = ("graph", "pruned_graph", "space")
"""Encodings that show no decisions, so not the epochs either."""
BLIND_PREDICTORS = ("graph",)
"""Predictors that read graphs only."""


class RungSpace:
    """A space with the epochs of a training as its last decision.

    Args:
        space: what may be chosen.
        fidelities: epochs that there are results of, ascending.
    """

    def __init__(self, space: GenotypeSpace, fidelities: tuple[int, ...]) -> None:
        self._space = space
        self.decisions = (*space.decisions, Decision(name=EPOCHS_METRIC, choices=fidelities, ordinal=True))
        self.size = space.size * len(fidelities)

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D + 1)` canonical genotypes, each with its epochs."""
        return np.concatenate([self._space.canonical(genotypes_ND[:, :-1]), genotypes_ND[:, -1:]], axis=1)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the genotypes that describe a network."""
        return self._space.valid(genotypes_ND[:, :-1])


class RungGraphSpace(RungSpace):
    """The same for a space whose architectures are graphs; a graph does not show the epochs."""

    def graphs(self, genotypes_ND: Genotypes, *, pruned: bool) -> Graphs:
        """The graphs of N architectures."""
        assert isinstance(self._space, GraphSpace)
        return self._space.graphs(np.ascontiguousarray(genotypes_ND[:, :-1]), pruned=pruned)


class Inputs:
    """Turns genotypes into what predictors read.

    Args:
        space: what may be chosen.
        fidelities: epochs that there are results of, ascending; empty where all trainings are alike.
    """

    def __init__(self, space: GenotypeSpace, fidelities: tuple[int, ...] = ()) -> None:
        self.fidelities, self._plain = fidelities, space
        self._space: GenotypeSpace = space
        if fidelities:
            self._space = RungGraphSpace(space, fidelities) if isinstance(space, GraphSpace) else RungSpace(space, fidelities)
        self._lifted: ByArray[Genotypes] = ByArray()

    def usable(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of some predictors that see the epochs, or all of them where none does."""
        return tuple(name for name in names if not self.is_blind(name)) or tuple(names)

    def is_blind(self, name: str) -> bool:
        """Whether a predictor (`kind` or `kind:encoding`) does not see the epochs, so that it may learn from full trainings only."""
        kind, _, encoding = name.partition(":")
        too_wide = (encoding == "pairwise" or name == "ridge") and "pairwise" not in encodings_of(self._space)
        return bool(self.fidelities) and (kind in BLIND_PREDICTORS or encoding in BLIND_ENCODINGS or too_wide)

    def space(self, name: str) -> GenotypeSpace:
        """The space that a predictor is made for."""
        return self._plain if self.is_blind(name) else self._space

    def of(self, told: Told, name: str) -> Genotypes:
        """`(N, D)` or `(N, D + 1)`: what a predictor reads of everything told; what was not trained counts as if it had been fully."""
        if not self.fidelities or self.is_blind(name):
            return told.genotypes
        return np.concatenate([told.genotypes, self.rungs(told)[:, np.newaxis]], axis=1)

    def rungs(self, told: Told) -> Genotypes:
        """`(N,)` place of the epochs of each among the fidelities."""
        if not self.fidelities:
            return np.zeros(len(told), dtype=GENE)
        return np.searchsorted(self.fidelities, np.where(told.epochs > 0, told.epochs, self.fidelities[-1])).astype(GENE)

    def full(self, genotypes_ND: Genotypes, name: str) -> Genotypes:
        """`(N, D)` or `(N, D + 1)`: what a predictor reads of candidates that would be trained fully."""
        if not self.fidelities or self.is_blind(name):
            return genotypes_ND
        return self._lifted(genotypes_ND, lambda: self._with_top_rung(genotypes_ND))

    def _with_top_rung(self, genotypes_ND: Genotypes) -> Genotypes:
        top_N1 = np.full((len(genotypes_ND), 1), len(self.fidelities) - 1, dtype=GENE)
        lifted_ND = np.concatenate([genotypes_ND, top_N1], axis=1)
        lifted_ND.flags.writeable = genotypes_ND.flags.writeable  # a pool that comes again: its features are remembered by the array
        return lifted_ND
