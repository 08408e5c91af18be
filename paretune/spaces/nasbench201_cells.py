"""Cells of NAS-Bench-201: official strings and numbers, classes of equal function, graphs. Without torch and without layers.

A cell has four nodes; each of its six edges, always from a lower node to a higher one, carries one of five operations. A genotype holds
them in the order of the official string: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3.

Legend: N cells, E = 6 edges, V = 8 nodes of the graph with operations on nodes.

Source: Dong & Yang, NAS-Bench-201, ICLR 2020.
"""

import itertools
import random
import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import GENE, Genotypes
from paretune.core.protocols import Graphs

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP, CONV_1X1, CONV_3X3, AVERAGE = range(5)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
LAST_NODE = 3
NUM_CELLS = len(OPERATIONS) ** len(EDGES)
OFFICIAL_SEED = 88
"""Seed of the shuffle that numbers the cells in the benchmark's generator."""
_PLACE_VALUES = len(OPERATIONS) ** np.arange(len(EDGES))[::-1]


def code_of(cells_NE: Genotypes) -> NDArray[np.int64]:
    """`(N,)` place of each cell when all are enumerated with the last edge changing fastest."""
    return np.asarray(cells_NE.astype(np.int64) @ _PLACE_VALUES)


def every_cell() -> Genotypes:
    """`(15625, 6)`, row number i has code i."""
    return np.array(list(itertools.product(range(len(OPERATIONS)), repeat=len(EDGES))), dtype=GENE)


@cache
def official_order() -> NDArray[np.int64]:
    """`(15625,)` code of each official number: the enumeration, shuffled as the benchmark's generator does."""
    codes = list(range(NUM_CELLS))
    random.Random(OFFICIAL_SEED).shuffle(codes)  # noqa: S311 - it must be this generator: it makes the published numbers
    return np.array(codes, dtype=np.int64)


@cache
def official_index() -> NDArray[np.int64]:
    """`(15625,)` official number of each code, the inverse of `official_order`."""
    return np.argsort(official_order())


def index_of(cells_NE: Genotypes) -> NDArray[np.int64]:
    """`(N,)` official numbers."""
    return np.asarray(official_index()[code_of(cells_NE)])


def from_index(indices_N: NDArray[np.int64]) -> Genotypes:
    """Cells `(N, 6)` of official numbers.

    Raises:
        BadInput: a number is not in 0 to 15,624.
    """
    indices_N = np.asarray(indices_N)
    wrong = (indices_N < 0) | (indices_N >= NUM_CELLS)
    if wrong.any():
        raise BadInput(f"{indices_N[wrong][0]} is no number of NAS-Bench-201, whose architectures are 0 to {NUM_CELLS - 1:,}")
    codes_N = official_order()[indices_N.astype(np.int64)]
    return np.asarray(codes_N[:, None] // _PLACE_VALUES % len(OPERATIONS)).astype(GENE)


def string_of(cells_NE: Genotypes) -> list[str]:
    """Official strings, such as `|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|`."""
    strings = []
    for cell in cells_NE.tolist():
        names = [f"{OPERATIONS[gene]}~{source}" for gene, (source, _) in zip(cell, EDGES, strict=True)]
        strings.append(f"|{names[0]}|+|{names[1]}|{names[2]}|+|{names[3]}|{names[4]}|{names[5]}|")
    return strings


def from_string(strings: Sequence[str]) -> Genotypes:
    """Cells `(N, 6)` of official strings.

    Raises:
        BadInput: a string is none of a cell.
    """
    return np.array([_parsed(string) for string in strings], dtype=GENE).reshape(-1, len(EDGES))


def _parsed(string: str) -> list[int]:
    nodes = [re.findall(r"([^|~+]+)~(\d)", node) for node in string.split("+")]
    found = [(operation, int(source)) for node in nodes for operation, source in node]
    shape = "|OP~0|+|OP~0|OP~1|+|OP~0|OP~1|OP~2|"
    if [source for _, source in found] != [source for source, _ in EDGES] or [len(node) for node in nodes] != [1, 2, 3]:
        raise BadInput(f"'{string}' is no NAS-Bench-201 architecture; expected {shape}")
    for operation, _ in found:
        if operation not in OPERATIONS:
            raise BadInput(f"'{string}': unknown operation '{operation}'.{did_you_mean(operation, OPERATIONS)} ({', '.join(OPERATIONS)})")
    return [OPERATIONS.index(operation) for operation, _ in found]


def function_of(cell: Sequence[int]) -> str:
    """What a cell computes, as text: equal for cells that the benchmark counts as isomorphic.

    `skip_connect` passes on what it reads, `none` and whatever reads a node of nothing but zeros is `#`, and sums do not depend on
    their order. As in the benchmark, a sum keeps the zeros it is made of, and sums within sums are not sorted anew: so it tells 6,466
    functions apart, a few of them needlessly, and operations must go by their official names, since those decide the order.
    """
    nodes = ["0"]
    for node in range(1, LAST_NODE + 1):
        terms = []
        for gene, (source, target) in zip(cell, EDGES, strict=True):
            if target != node:
                continue
            if gene == NONE or nodes[source] == "#":
                terms.append("#")
            else:
                terms.append(nodes[source] if gene == SKIP else f"({nodes[source]})@{OPERATIONS[gene]}")
        nodes.append("+".join(sorted(terms)))
    return nodes[LAST_NODE]


@cache
def representatives() -> Genotypes:
    """`(15625, 6)` for each code the cell that stands for all of its function: the one with the lowest official number."""
    cells_NE = every_cell()
    chosen: dict[str, int] = {}
    functions = [function_of(cell) for cell in cells_NE.tolist()]
    for code in official_order().tolist():
        chosen.setdefault(functions[code], code)
    return np.asarray(cells_NE[[chosen[function] for function in functions]])


@cache
def num_functions() -> int:
    """How many cells compute different things: 6,466."""
    return len(np.unique(code_of(representatives())))


# The graph has the operations on its nodes: 0 the input, 1 to 6 the edges of the cell, 7 the output.
NUM_NODES = len(EDGES) + 2
_FIRST_OPERATION = 3
"""Codes below are no node, input and output."""


def _wiring() -> NDArray[np.bool_]:
    """`(V, V)`: an operation reads the input or those that end where it starts; those that end in the last node are the output."""
    wiring_VV = np.zeros((NUM_NODES, NUM_NODES), dtype=np.bool_)
    for place, (source, target) in enumerate(EDGES, start=1):
        wiring_VV[0, place] = source == 0
        wiring_VV[place, NUM_NODES - 1] = target == LAST_NODE
        for other, (start, _) in enumerate(EDGES, start=1):
            wiring_VV[place, other] = start == target
    return wiring_VV


def graphs_of(cells_NE: Genotypes, *, pruned: bool) -> Graphs:
    """Graphs with the cell's operations on nodes; pruned ones hold only what lies on a way from input to output, without `none`."""
    adjacency_NVV = np.repeat(_wiring()[None], len(cells_NE), axis=0)
    operations_NV = np.empty((len(cells_NE), NUM_NODES), dtype=np.int8)
    operations_NV[:, 0], operations_NV[:, -1] = 1, 2
    operations_NV[:, 1:-1] = cells_NE + _FIRST_OPERATION
    if pruned:
        carries_NV = np.concatenate([np.ones_like(cells_NE[:, :1]), cells_NE != NONE, np.ones_like(cells_NE[:, :1])], axis=1).astype(
            np.bool_
        )
        adjacency_NVV &= carries_NV[:, :, None] & carries_NV[:, None, :]
        alive_NV = _reached(adjacency_NVV, start=0) & _reached(adjacency_NVV.transpose(0, 2, 1), start=NUM_NODES - 1)
        adjacency_NVV &= alive_NV[:, :, None] & alive_NV[:, None, :]
        operations_NV[:, 1:-1] *= alive_NV[:, 1:-1]
    return Graphs(adjacency=adjacency_NVV, operations=operations_NV, num_operations=_FIRST_OPERATION + len(OPERATIONS))


def _reached(adjacency_NVV: NDArray[np.bool_], *, start: int) -> NDArray[np.bool_]:
    """`(N, V)` which nodes a walk from `start` reaches."""
    reached_NV = np.zeros(adjacency_NVV.shape[:2], dtype=np.bool_)
    reached_NV[:, start] = True
    for _ in range(LAST_NODE + 1):  # no way is longer: it has at most three operations
        reached_NV |= np.any(reached_NV[:, :, None] & adjacency_NVV, axis=1)
    return reached_NV
