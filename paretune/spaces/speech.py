"""Speech space: NAS-Bench-ASR's cell over features and time, 6 ** 3 * 2 ** 6 = 13,824 cells, in a network for spoken words.

A block is a convolution that may shorten time and one or more cells; all cells of a network are alike. The mean over time goes to a linear
layer. The cell is described in `speech_cells`, the network in `speech_blocks`.

Source: Mehrotra et al., NAS-Bench-ASR: Reproducible Neural Architecture Search for Speech Recognition, ICLR 2021. Departs: the benchmark's
networks have 600 to 1,200 features, 18 cells and an LSTM that writes phonemes; operations have a bias there and look four steps ahead at
most; here they have none and look as far ahead as back.

Legend: N candidates, D = 9 decisions, F = 24 features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.option_checks import whole
from paretune.core.protocols import Graphs
from paretune.core.workload import Kind, WorkloadBatch
from paretune.spaces.layer_slots import LayerSlots
from paretune.spaces.option_checks import checked_odd
from paretune.spaces.rows import checked_genotype, in_range
from paretune.spaces.speech_cells import (
    NUM_CELLS,
    NUM_NODES,
    OP_COLUMNS,
    OPERATIONS,
    SKIPS,
    ZERO,
    Cell,
    from_official,
    graphs_of,
    num_functions,
    representatives,
    skip_columns,
    to_official,
)

if TYPE_CHECKING:
    from torch import nn

Integers = NDArray[np.int64]

KERNELS = np.array([1, 5, 5, 7, 7, 1])
DILATIONS = np.array([1, 1, 2, 1, 2, 1])
"""Of each operation."""


class Speech:
    """NAS-Bench-ASR cell over features and time: three nodes with six operations each, and six skip edges.

    Args:
        input_shape: features and time steps of a recording.
        num_classes: number of outputs.
        isomorphic: whether cells that compute the same count as one architecture, the one with the fewest operations and skip edges.
            Else every cell counts, as in the benchmark's tables, and operations whose output nobody uses are built too.
        widths: features of each block, multiples of `groups`.
        strides: by how much each block shortens time; as many as widths.
        cells: of each block.
        kernel: time steps that the convolution before the cells sees, odd.
        groups: of the cells' convolutions.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "speech"

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        isomorphic: bool = False,
        widths: tuple[int, ...] = (16, 24, 32),
        strides: tuple[int, ...] = (1, 2, 2),
        cells: int = 1,
        kernel: int = 7,
        groups: int = 4,
    ) -> None:
        if len(input_shape) != 2:
            raise BadInput(f"input_shape: must be (features, time steps); got {tuple(input_shape)}")
        self._features, self._time_steps = (whole("input_shape", size, minimum=1) for size in input_shape)
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        self._isomorphic = isomorphic
        self._widths = tuple(whole("widths", width, minimum=1) for width in widths)
        self._strides = tuple(whole("strides", stride, minimum=1) for stride in strides)
        self._num_cells = whole("cells", cells, minimum=1)
        self._kernel = checked_odd("kernel", kernel)
        self._groups = whole("groups", groups, minimum=1)
        self._check_blocks()
        self._decisions = _decisions()

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What is to be chosen, in the order of the official encoding."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures."""
        return num_functions() if self._isomorphic else NUM_CELLS

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)`: equal rows <=> same architecture; where isomorphic cells are one, their smallest."""
        return representatives(genotypes_ND) if self._isomorphic else genotypes_ND.astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names a choice; all of those describe a network."""
        return in_range(self._decisions, genotypes_ND)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, F)`: one feature for each operation of each node, then one for each skip edge."""
        genes_ND = self.canonical(genotypes_ND)
        operations = genes_ND[:, OP_COLUMNS][:, :, None] == np.arange(len(OPERATIONS))
        skips = np.delete(genes_ND, OP_COLUMNS, axis=1)
        return np.concatenate([operations.reshape(len(genes_ND), -1), skips], axis=1).astype(np.float64)

    def graphs(self, genotypes_ND: Genotypes, *, pruned: bool) -> Graphs:
        """The cells as graphs of operations and sums, see `speech_cells.graphs_of`."""
        return graphs_of(self.canonical(genotypes_ND), pruned=pruned)

    def to_official(self, genotype: Sequence[int]) -> Cell:
        """The benchmark's encoding of a genotype: `((op, s0), (op, s0, s1), (op, s0, s1, s2))`."""
        return to_official(checked_genotype(self.name, self._decisions, genotype)[0])

    def from_official(self, cell: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """The genotype of the benchmark's encoding, the inverse of `to_official`."""
        return from_official(cell)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks; layer norm is counted with the block's convolution, and as an activation after a cell."""
        genes_ND = self.canonical(genotypes_ND).astype(np.int64)
        slots = LayerSlots(num_networks=len(genes_ND), sequences=True)
        features, time = self._features, self._time_steps
        for block, (width, stride) in enumerate(zip(self._widths, self._strides, strict=True), start=1):
            shorter = -(-time // stride)
            slots.add(
                f"block{block}.reduce",
                Kind.CONV,
                channels=(features, width),
                size=(time, shorter),
                kernel=self._kernel,
                stride=stride,
                padding=self._kernel // 2,
                taps=self._kernel,
                per_channel=2,
            )
            features, time = width, shorter
            for cell in range(1, self._num_cells + 1):
                self._add_cell(slots, f"block{block}.cell{cell}", genes_ND, width=width, time=time)
        slots.add("pool", Kind.POOL, channels=(features, features), size=(time, 1), kernel=time, taps=time)
        slots.add("classifier", Kind.LINEAR, channels=(features, self._num_classes), size=(1, 1), per_channel=1)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length or an index that names no choice.
        """
        from paretune.spaces.speech_blocks import BlockPlan, speech_network  # torch takes a second to import; screening does without

        row = self.canonical(checked_genotype(self.name, self._decisions, genotype))[0]
        blocks = [
            BlockPlan(width=width, stride=stride, cells=self._num_cells) for width, stride in zip(self._widths, self._strides, strict=True)
        ]
        return speech_network(
            features=self._features,
            blocks=blocks,
            kernel=self._kernel,
            groups=self._groups,
            cell=to_official(row),
            num_classes=self._num_classes,
        )

    def _add_cell(self, slots: LayerSlots, name: str, genes_ND: Integers, *, width: int, time: int) -> None:
        """Add the three nodes and the layer norm of one cell."""
        for node in range(NUM_NODES):
            self._add_operation(slots, f"{name}.node{node + 1}", genes_ND, node=node, width=width, time=time)
            filled_N = genes_ND[:, OP_COLUMNS[node]] != ZERO
            for source, column in enumerate(skip_columns(node)):
                skip_N = genes_ND[:, column] == 1
                held_N = width * time * (1 + _still_needed(genes_ND, after=column, without=source, nodes=node + 1))
                slots.add(
                    f"{name}.node{node + 1}.add{source}",
                    Kind.ADD,
                    channels=(width, width),
                    size=(time, time),
                    held_elements=held_N,
                    present=skip_N & filled_N,  # the first part of a sum is not added to anything
                )
                filled_N = filled_N | skip_N
        slots.add(f"{name}.norm", Kind.ACTIVATION, channels=(width, width), size=(time, time), per_channel=2)

    def _add_operation(self, slots: LayerSlots, name: str, genes_ND: Integers, *, node: int, width: int, time: int) -> None:
        """Add the operation of one node, whichever it is."""
        gene_N = genes_ND[:, OP_COLUMNS[node]]
        linear_N = gene_N == OPERATIONS.index("linear")
        held_N = width * time * _still_needed(genes_ND, after=OP_COLUMNS[node], without=node, nodes=node + 1)
        whole, channels = (time, time), (width, width)
        slots.add(f"{name}.linear", Kind.LINEAR, channels=channels, size=whole, held_elements=held_N, present=linear_N)
        kernel_N = KERNELS[gene_N]
        slots.add(
            f"{name}.convolution",
            Kind.CONV,
            channels=channels,
            size=whole,
            kernel=kernel_N,
            padding=DILATIONS[gene_N] * (kernel_N // 2),
            taps=kernel_N,
            groups=self._groups,
            held_elements=held_N,
            present=~linear_N & (gene_N != ZERO),
        )

    def _check_blocks(self) -> None:
        if not self._widths or len(self._widths) != len(self._strides):
            raise BadInput(f"strides: must be as many as widths, at least one; got {len(self._strides)} and {len(self._widths)}")
        for width in self._widths:
            if width % self._groups:
                raise BadInput(f"widths: {width} cannot be divided into {self._groups} groups; use multiples, or other groups")


def _still_needed(genes_ND: Integers, *, after: int, without: int, nodes: int) -> Integers:
    """`(N,)` how many of the first `nodes` values of a cell, but not value `without`, a skip edge behind column `after` will read."""
    needed = np.zeros(len(genes_ND), dtype=np.int64)
    for value in range(nodes):
        readers = [column for node in range(NUM_NODES) for column in skip_columns(node)[value : value + 1] if column > after]
        if value != without:
            needed += (genes_ND[:, readers] == 1).any(axis=1)
    return needed


def _decisions() -> tuple[Decision, ...]:
    decisions = []
    for node in range(1, NUM_NODES + 1):
        decisions.append(Decision(name=f"node{node}.operation", choices=OPERATIONS, ordinal=False))
        decisions += [Decision(name=f"node{node}.skip{source}", choices=SKIPS, ordinal=False) for source in range(node)]
    return tuple(decisions)
