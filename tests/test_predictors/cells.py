"""A made-up space of cells with known graphs, for the tests of encodings and predictors."""

import numpy as np

from paretune.core.genotype import GENE, Decision
from paretune.core.protocols import Graphs
from paretune.testing.problems import TabulatedSpace

OPERATIONS = ("none", "skip", "conv", "pool")
EDGES = ((0, 1), (0, 2), (1, 2))


class Cells(TabulatedSpace):
    """Three edges 0->1, 0->2, 1->2, four operations each: 64 cells. Nodes of a graph: input, the three edges, output."""

    def __init__(self):
        super().__init__([Decision(name=f"edge{a}{b}", choices=OPERATIONS, ordinal=False) for a, b in EDGES], name="cells")

    def graphs(self, genotypes_ND, *, pruned):
        num_rows = len(genotypes_ND)
        adjacency = np.zeros((num_rows, 5, 5), dtype=np.bool_)
        operations = np.zeros((num_rows, 5), dtype=np.int8)
        for row, (first, direct, second) in enumerate(genotypes_ND):
            alive = [not pruned or (first and second), not pruned or direct, not pruned or (first and second)]
            operations[row, [0, 4]] = 1, 2
            for node, (gene, lives) in enumerate(zip((first, direct, second), alive, strict=True), start=1):
                operations[row, node] = 3 + gene if lives else 0
            if alive[0]:
                adjacency[row, 0, 1] = adjacency[row, 1, 3] = adjacency[row, 3, 4] = True
            if alive[1]:
                adjacency[row, 0, 2] = adjacency[row, 2, 4] = True
        return Graphs(adjacency=adjacency, operations=operations, num_operations=3 + len(OPERATIONS))


def chains(num_decisions=8, num_values=4):
    """A space of ordinal decisions, and all or some of its members with a smooth cost that is not additive."""
    decisions = [Decision(name=f"d{index}", choices=tuple(range(num_values)), ordinal=True) for index in range(num_decisions)]
    return TabulatedSpace(decisions, name="chains")


def members(space, count, seed=0):
    """Distinct random members."""
    rng = np.random.default_rng(seed)
    sizes = [len(decision.choices) for decision in space.decisions]
    rows = np.unique(space.canonical((rng.random((2 * count, len(sizes))) * sizes).astype(GENE)), axis=0)
    return rows[rng.permutation(len(rows))[:count]]


def smooth_cost(genotypes_ND):
    """A cost to minimise: additive, with one product, in the order of 0 to 40."""
    genes = genotypes_ND.astype(float)
    weights = np.arange(1, genes.shape[1] + 1)
    return ((genes - 2) ** 2) @ weights / 4 + genes[:, 0] * genes[:, 1]
