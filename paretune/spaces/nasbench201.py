"""NAS-Bench-201: cells of six edges with five operations each, 15,625 architectures.

Legend: N candidates, D = 6 decisions, V nodes of a graph.

Source: Dong & Yang, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR 2020.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.option_checks import whole
from paretune.core.protocols import Graphs
from paretune.core.workload import Kind, WorkloadBatch
from paretune.spaces.layer_slots import Column, LayerSlots
from paretune.spaces.nasbench201_cells import (
    AVERAGE,
    CONV_1X1,
    CONV_3X3,
    EDGES,
    LAST_NODE,
    NONE,
    NUM_CELLS,
    OPERATIONS,
    code_of,
    from_index,
    from_string,
    graphs_of,
    index_of,
    num_functions,
    representatives,
    string_of,
)
from paretune.spaces.one_hot import one_hot
from paretune.spaces.option_checks import checked_image
from paretune.spaces.rows import checked_genotype, in_range

if TYPE_CHECKING:
    from torch import nn

Integers = NDArray[np.int64]

CHANNELS = 16
CELLS_PER_STAGE = 5
NUM_STAGES = 3


class NasBench201:
    """NAS-Bench-201: three stages of equal cells, each cell six edges with five operations.

    Args:
        input_shape: channels, height and width of an image.
        num_classes: number of outputs.
        isomorphic: whether cells that compute the same count as one architecture, the one with the lowest official number. There are
            6,466 of those. Else every cell counts, as in the benchmark's tables.
        channels: of the first stage; each later one has twice as many.
        cells: in each stage.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "nasbench201"

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        isomorphic: bool = False,
        channels: int = CHANNELS,
        cells: int = CELLS_PER_STAGE,
    ) -> None:
        self._in_channels, self._image_size = checked_image(input_shape)
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        self._isomorphic = isomorphic
        self._channels = whole("channels", channels, minimum=1)
        self._num_cells = whole("cells", cells, minimum=1)
        self._decisions = tuple(Decision(name=f"edge{source}_{target}", choices=OPERATIONS, ordinal=False) for source, target in EDGES)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What is to be chosen, in the order of the official string."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures."""
        return num_functions() if self._isomorphic else NUM_CELLS

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)`: equal rows <=> same architecture; where isomorphic cells are one, their member with the lowest official number."""
        if not self._isomorphic:
            return genotypes_ND.astype(GENE)
        inside_N = self.valid(genotypes_ND)
        canonical_ND = genotypes_ND.astype(GENE)
        canonical_ND[inside_N] = representatives()[code_of(genotypes_ND[inside_N])]
        return canonical_ND

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names an operation; all of those are cells of the benchmark."""
        return in_range(self._decisions, genotypes_ND)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, 30)`: the operation of each edge, one-hot."""
        return one_hot(self.canonical(genotypes_ND), self._decisions)

    def graphs(self, genotypes_ND: Genotypes, *, pruned: bool) -> Graphs:
        """Graphs of eight nodes (input, one for each edge's operation, output); pruned ones without `none` and dead ends."""
        return graphs_of(self.canonical(genotypes_ND), pruned=pruned)

    def index_of(self, genotypes_ND: Genotypes) -> NDArray[np.int64]:
        """`(N,)` official numbers, 0 to 15,624."""
        return index_of(genotypes_ND)

    def string_of(self, genotypes_ND: Genotypes) -> list[str]:
        """Official strings, such as `|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|`."""
        return string_of(genotypes_ND)

    def from_index(self, indices_N: NDArray[np.int64]) -> Genotypes:
        """Genotypes `(N, D)` of official numbers, as the benchmark has them: not canonical."""
        return from_index(indices_N)

    def from_string(self, strings: Sequence[str]) -> Genotypes:
        """Genotypes `(N, D)` of official strings, as they are written: not canonical."""
        return from_string(strings)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks. Every edge but `none` is there, read or not, as in the benchmark's counts."""
        genes_ND = self.canonical(genotypes_ND)
        slots = LayerSlots(num_networks=len(genes_ND))
        channels, size = self._channels, self._image_size
        both = (self._in_channels, channels)
        output_N: Column = slots.add("stem", Kind.CONV, channels=both, size=(size, size), kernel=3, padding=1, per_channel=2)
        for stage in range(1, NUM_STAGES + 1):
            if stage > 1:
                output_N = _add_reduction(slots, f"reduction{stage - 1}", output_N, channels=channels, size=size)
                channels, size = 2 * channels, -(-size // 2)
            for cell in range(1, self._num_cells + 1):
                output_N = _add_cell(slots, f"stage{stage}.cell{cell}", output_N, genes_ND, channels=channels, size=size)
        # A batch norm without a convolution: its scale and shift are the parameters of an activation.
        slots.add("norm", Kind.ACTIVATION, channels=(channels, channels), size=(size, size), per_channel=2, reads=(output_N,))
        slots.add("pool", Kind.POOL, channels=(channels, channels), size=(size, 1), kernel=size)
        slots.add("classifier", Kind.LINEAR, channels=(channels, self._num_classes), size=(1, 1), per_channel=1)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length or an index that names no operation.
        """
        from paretune.spaces.nasbench201_blocks import cell_network  # torch takes a second to import; screening does without

        genes = self.canonical(checked_genotype(self.name, self._decisions, genotype))[0].tolist()
        return cell_network(
            genes,
            in_channels=self._in_channels,
            num_classes=self._num_classes,
            channels=self._channels,
            cells_per_stage=self._num_cells,
            num_stages=NUM_STAGES,
        )


def _add_reduction(slots: LayerSlots, name: str, input_N: Column, *, channels: int, size: int) -> int:
    """Add a residual block that halves the map, rounded up, and doubles the channels; the slot of its output."""
    out, before = -(-size // 2), channels * size**2
    after = 2 * channels * out**2
    wide = (channels, 2 * channels)
    slots.add(f"{name}.first", Kind.CONV, channels=wide, size=(size, out), kernel=3, stride=2, padding=1, per_channel=2, reads=(input_N,))
    same, narrow = (2 * channels, 2 * channels), (channels, channels)
    main = slots.add(f"{name}.second", Kind.CONV, channels=same, size=(out, out), kernel=3, padding=1, per_channel=2, held_elements=before)
    slots.add(f"{name}.mean", Kind.POOL, channels=narrow, size=(size, out), kernel=2, stride=2, held_elements=after, reads=(input_N,))
    shortcut = slots.add(f"{name}.shortcut", Kind.CONV, channels=wide, size=(out, out), held_elements=after)
    return slots.add(f"{name}.add", Kind.ADD, channels=same, size=(out, out), held_elements=after, reads=(main, shortcut))


def _add_cell(slots: LayerSlots, name: str, input_N: Column, genes_ND: Genotypes, *, channels: int, size: int) -> Integers:
    """Add the layers of one cell: the operation of each edge, and an addition for each edge that is not a node's first.

    Returns:
        `(N,)` slots of the cell's output. What reads a node without any edge reads the cell's input.
    """
    both, sizes, elements = (channels, channels), (size, size), channels * size**2
    some_ND = genes_ND != NONE
    holders: list[Column] = [input_N] * (LAST_NODE + 1)
    for edge, (source, target) in enumerate(EDGES):
        held_N = elements * _nodes_waiting(some_ND, edge)
        gene_N = genes_ND[:, edge]
        is_conv_N = (gene_N == CONV_1X1) | (gene_N == CONV_3X3)
        kernel_N = np.where(gene_N == CONV_3X3, 3, 1)
        label = f"{name}.{source}-{target}"
        conv = slots.add(
            f"{label}.conv",
            Kind.CONV,
            channels=both,
            size=sizes,
            kernel=kernel_N,
            padding=kernel_N // 2,
            per_channel=2,
            held_elements=held_N,
            present=is_conv_N,
            reads=(holders[source],),
        )
        is_pool_N, reads = gene_N == AVERAGE, (holders[source],)
        mean = slots.add(
            f"{label}.mean", Kind.POOL, channels=both, size=sizes, kernel=3, padding=1, held_elements=held_N, present=is_pool_N, reads=reads
        )
        result_N = np.where(is_conv_N, conv, np.where(is_pool_N, mean, holders[source]))
        earlier = [other for other in range(edge) if EDGES[other][1] == target]
        is_sum_N = some_ND[:, edge] & some_ND[:, earlier].any(axis=1)
        terms = (holders[target], result_N)
        total = slots.add(f"{label}.add", Kind.ADD, channels=both, size=sizes, held_elements=held_N, present=is_sum_N, reads=terms)
        holders[target] = np.where(is_sum_N, total, np.where(some_ND[:, edge], result_N, holders[target]))
    return np.broadcast_to(holders[LAST_NODE], len(genes_ND))


def _nodes_waiting(some_ND: NDArray[np.bool_], edge: int) -> Integers:
    """`(N,)` maps in memory while an edge runs, beside the one it reads: nodes that later edges read, and the sum it is added to."""
    source, target = EDGES[edge]
    waiting_N = np.zeros(len(some_ND), dtype=np.int64)
    for node in range(target):
        readers = [other for other in range(edge + 1, len(EDGES)) if EDGES[other][0] == node]
        if node != source:
            waiting_N += some_ND[:, readers].any(axis=1)
    earlier = [other for other in range(edge) if EDGES[other][1] == target]
    return np.asarray(waiting_N + some_ND[:, earlier].any(axis=1))
