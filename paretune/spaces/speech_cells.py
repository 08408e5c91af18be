"""Cells of NAS-Bench-ASR: the official encoding, which cells compute the same, and their graphs.

A cell has an input x0 and three nodes. Node k is x_k = op_k(x_(k-1)) plus those of x_0 .. x_(k-1) that its skip edges pass on; x_3 goes
out. An operation without bias makes nothing of nothing, so a cell is a formula of its operations, and two cells are isomorphic where the
formulas are equal up to which operation is called first, second or third: with the same weights they give the same outputs.

Legend: N candidates, D = 9 decisions, V nodes of a graph.

Source: Mehrotra et al., NAS-Bench-ASR: Reproducible Neural Architecture Search for Speech Recognition, ICLR 2021. Departs: its own hash
compares graphs of operations, in which a skip edge from a node that is a sum starts at the node's operation; here the sums count.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import permutations, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes
from paretune.core.protocols import Graphs

OPERATIONS = ("linear", "conv5", "conv5d2", "conv7", "conv7d2", "zero")
SKIPS = ("zero", "id")
ZERO = OPERATIONS.index("zero")
NUM_NODES = 3
OP_COLUMNS = (0, 2, 5)
"""Where each node's operation is in a genotype; its skip edges, from x0 on, follow."""
CHOICES = (6, 2, 6, 2, 2, 6, 2, 2, 2)
NUM_CELLS = 13_824
FIRST_OPERATION_CODE, ADD_CODE = 3, 8
"""In graphs 0 is no node, 1 the input, 2 the output, 3 to 7 the operations but `zero`, 8 a sum."""

Cell: TypeAlias = tuple[tuple[int, ...], ...]
"""The official encoding: for each node its operation and its skip edges, `((op, s0), (op, s0, s1), (op, s0, s1, s2))`."""
Formula: TypeAlias = str


def to_official(genotype: Sequence[int]) -> Cell:
    """A genotype's official encoding."""
    genes = [int(gene) for gene in genotype]
    return tuple(tuple(genes[column : column + node + 2]) for node, column in enumerate(OP_COLUMNS))


def from_official(cell: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The genotype of an official encoding, the inverse of `to_official`.

    Raises:
        BadInput: another shape, or a number that names no operation or skip edge.
    """
    genes = tuple(int(gene) for node in cell for gene in node)
    fits = [len(node) for node in cell] == [2, 3, 4] and all(0 <= gene < count for gene, count in zip(genes, CHOICES, strict=True))
    if not fits:
        raise BadInput(f"{cell} is no NAS-Bench-ASR cell; expected ((op, s0), (op, s0, s1), (op, s0, s1, s2)), op 0 to 5 and s 0 or 1")
    return genes


def skip_columns(node: int) -> range:
    """Where the skip edges of a node, from 0, are in a genotype: from x0, x1, ..."""
    return range(OP_COLUMNS[node] + 1, OP_COLUMNS[node] + node + 2)


def representatives(genotypes_ND: Genotypes) -> Genotypes:
    """`(N, D)` the isomorphic cell with the fewest operations and skip edges, of those the one that comes first."""
    return _cells()[_representative_codes()[_codes(genotypes_ND)]]


@cache
def num_functions() -> int:
    """Number of cells that compute different things."""
    return len(np.unique(_representative_codes()))


@cache
def _cells() -> Genotypes:
    """`(13,824, D)` every cell, in rising order of its code."""
    return np.array(list(product(*(range(count) for count in CHOICES))), dtype=GENE)


def _codes(genotypes_ND: Genotypes) -> NDArray[np.int64]:
    """`(N,)` number of each cell, from 0 to 13,823."""
    places = np.cumprod((1, *CHOICES[:0:-1]))[::-1]
    return np.asarray(genotypes_ND.astype(np.int64) @ places)


@cache
def _representative_codes() -> NDArray[np.int64]:
    """`(13,824,)` code of the representative of each cell."""
    cells_ND = _cells().astype(np.int64)
    operations = cells_ND[:, OP_COLUMNS]
    patterns, pattern_N = np.unique(np.where(np.isin(np.arange(9), OP_COLUMNS), cells_ND == ZERO, cells_ND), axis=0, return_inverse=True)
    numbers: dict[Formula, int] = {}
    keys_N = np.full(len(cells_ND), np.iinfo(np.int64).max)
    for names in permutations(range(NUM_NODES)):
        formulas, live = zip(*(_formula([bool(gene) for gene in pattern], names) for pattern in patterns), strict=True)
        number_N = np.array([numbers.setdefault(formula, len(numbers)) for formula in formulas])[pattern_N]
        # Which operation each name stands for; operations that the formula does not have must not tell cells apart.
        named = np.where(np.array(live)[pattern_N], operations, ZERO)[:, np.argsort(names)]
        keys_N = np.minimum(keys_N, number_N * 216 + named @ np.array([36, 6, 1]))
    parts_N = (operations != ZERO).sum(axis=1) + np.delete(cells_ND, OP_COLUMNS, axis=1).sum(axis=1)
    order = np.lexsort((np.arange(len(cells_ND)), parts_N, keys_N))
    _, first, class_N = np.unique(keys_N[order], return_index=True, return_inverse=True)
    codes_N = np.empty(len(cells_ND), dtype=np.int64)
    codes_N[order] = order[first][class_N]
    return codes_N


def _formula(pattern: Sequence[bool], names: Sequence[int]) -> tuple[Formula, tuple[bool, ...]]:
    """What a cell computes, as text, and which operations take part.

    Args:
        pattern: `(D,)` whether an operation is zero, whether a skip edge is there.
        names: what each node's operation is called.
    """
    values: list[Counter[Formula]] = [Counter({"x": 1})]
    for node, column in enumerate(OP_COLUMNS):
        value: Counter[Formula] = Counter()
        if not pattern[column] and values[node]:
            value[f"{names[node]}({_text(values[node])})"] += 1
        for source, skip in enumerate(skip_columns(node)):
            if pattern[skip]:
                value.update(values[source])
        values.append(value)
    text = _text(values[-1])
    return text, tuple(f"{name}(" in text for name in names)


def _text(value: Counter[Formula]) -> Formula:
    return "+".join(f"{count}*{term}" for term, count in sorted(value.items()))


def graphs_of(genotypes_ND: Genotypes, *, pruned: bool) -> Graphs:
    """Graphs of V = 7 nodes: input, op1, sum1, op2, sum2, op3, output (which is the last sum); a zero operation is no node."""
    count = len(genotypes_ND)
    adjacency = np.zeros((count, 7, 7), dtype=np.bool_)
    operations = np.zeros((count, 7), dtype=np.int8)
    operations[:, 0], operations[:, 2], operations[:, 4], operations[:, 6] = 1, ADD_CODE, ADD_CODE, 2
    for node, column in enumerate(OP_COLUMNS):
        gene_N = genotypes_ND[:, column]
        operations[:, 2 * node + 1] = np.where(gene_N == ZERO, 0, gene_N + FIRST_OPERATION_CODE)
        adjacency[:, 2 * node, 2 * node + 1] = adjacency[:, 2 * node + 1, 2 * node + 2] = gene_N != ZERO
        for source, skip in enumerate(skip_columns(node)):
            adjacency[:, 2 * source, 2 * node + 2] = genotypes_ND[:, skip] == 1
    if pruned:
        on_way = _reached(adjacency, 0) & _reached(adjacency.transpose(0, 2, 1), 6)
        adjacency &= on_way[:, :, None] & on_way[:, None, :]
        operations[:, 1:6] *= on_way[:, 1:6]
    return Graphs(adjacency=adjacency, operations=operations, num_operations=ADD_CODE + 1)


def _reached(adjacency: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """`(N, V)` nodes that a way along the edges leads to from `start`, itself included."""
    reached = np.zeros(adjacency.shape[:2], dtype=np.bool_)
    reached[:, start] = True
    for _ in range(adjacency.shape[1]):
        reached |= (reached[:, :, None] & adjacency).any(axis=1)
    return reached
