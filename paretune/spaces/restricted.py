"""A search space cut down to listed architectures, for example to those that a table of results has.

Legend: N candidates, R listed architectures, D decisions, F features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes, row_keys
from paretune.core.protocols import Graphs, GraphSpace, SearchSpace
from paretune.core.workload import WorkloadBatch
from paretune.spaces.one_hot import one_hot
from paretune.spaces.rows import clipped, in_range

if TYPE_CHECKING:
    from torch import nn

SPARSE = 0.01
"""Share of the space below which random genotypes hardly ever meet a listed architecture."""
ROWS_AT_ONCE = 1024


class RestrictedSpace:
    """A space in which only listed architectures exist.

    Where the list holds a good part of the space, the others are invalid. Where it holds less than 1 %, a searcher would never meet a
    listed one by chance; there every genotype stands for the listed architecture that differs from it in the fewest decisions (the
    first of several), so that any searcher works, and neighbours in the space stay neighbours.

    Args:
        space: the whole space.
        members_RD: the architectures, canonical, each once.

    Raises:
        BadInput: the list is empty or holds what is no architecture of the space.
    """

    def __init__(self, space: SearchSpace, members_RD: Genotypes) -> None:
        if not len(members_RD):
            raise BadInput(f"no architecture of {space.name} is left")
        if not space.valid(members_RD).all() or not np.array_equal(space.canonical(members_RD), members_RD):
            raise BadInput(f"only canonical genotypes of {space.name} can be listed")
        self._space = space
        self._members_RD = members_RD.astype(GENE)
        self._row_of = {key: row for row, key in enumerate(row_keys(self._members_RD))}
        if len(self._row_of) < len(members_RD):
            raise BadInput("an architecture is listed twice")
        self.is_sparse = len(members_RD) < SPARSE * space.size
        """Whether a genotype that is not listed stands for the nearest one that is."""
        self._members_RF = one_hot(self._members_RD, space.decisions).astype(np.float32)

    @property
    def name(self) -> str:
        """Name of the whole space."""
        return self._space.name

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Those of the whole space."""
        return self._space.decisions

    @property
    def size(self) -> int:
        """Number of listed architectures."""
        return len(self._members_RD)

    def members(self) -> Genotypes:
        """`(R, D)` the architectures that exist."""
        return self._members_RD.copy()

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` canonical in the whole space; in a sparse one the listed architecture that each genotype stands for."""
        canonical_ND = self._space.canonical(genotypes_ND)
        if not self.is_sparse:
            return canonical_ND
        strange = np.flatnonzero(in_range(self.decisions, genotypes_ND) & ~self._is_listed(canonical_ND))
        for start in range(0, len(strange), ROWS_AT_ONCE):
            some = strange[start : start + ROWS_AT_ONCE]
            alike_NR = one_hot(canonical_ND[some], self.decisions).astype(np.float32) @ self._members_RF.T
            canonical_ND[some] = self._members_RD[alike_NR.argmax(axis=1)]
        return canonical_ND

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the genotypes that are, or in a sparse space stand for, a listed architecture."""
        if self.is_sparse:
            return in_range(self.decisions, genotypes_ND)
        valid_N = self._space.valid(genotypes_ND)
        inside_ND = clipped(self.decisions, genotypes_ND).astype(GENE)
        return np.asarray(valid_N & self._is_listed(self._space.canonical(inside_ND)))

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, F)` as the whole space has it."""
        return self._space.encode(self.canonical(genotypes_ND))

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks."""
        return self._space.workloads(self.canonical(genotypes_ND))

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype."""
        canonical_ND = self.canonical(np.array([genotype], dtype=GENE))
        return self._space.build(tuple(canonical_ND[0].tolist()))

    def _is_listed(self, canonical_ND: Genotypes) -> NDArray[np.bool_]:
        return np.array([key in self._row_of for key in row_keys(canonical_ND)], dtype=np.bool_)


class RestrictedGraphSpace(RestrictedSpace):
    """A `RestrictedSpace` of architectures that are graphs."""

    def graphs(self, genotypes_ND: Genotypes, *, pruned: bool) -> Graphs:
        """The graphs of N architectures."""
        assert isinstance(self._space, GraphSpace)
        return self._space.graphs(self.canonical(genotypes_ND), pruned=pruned)


def restricted(space: SearchSpace, members_RD: Genotypes) -> SearchSpace:
    """The space with only the listed architectures in it; the space itself where that is all of them."""
    if len(members_RD) == space.size:
        return space
    return RestrictedGraphSpace(space, members_RD) if isinstance(space, GraphSpace) else RestrictedSpace(space, members_RD)
