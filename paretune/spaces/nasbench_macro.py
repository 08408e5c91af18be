"""NAS-Bench-Macro: eight layers, each an identity or one of two inverted residual blocks, 6,561 architectures.

Legend: N candidates, D = 8 decisions.

Source: Su et al., Prioritized Architecture Sampling with Monto-Carlo Tree Search, CVPR 2021.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.option_checks import whole
from paretune.core.workload import WorkloadBatch
from paretune.spaces.layer_runs import identities_last, num_networks
from paretune.spaces.layer_slots import LayerSlots
from paretune.spaces.mobile_layers import MBConvPlan, add_classifier, add_convolution, add_mbconv
from paretune.spaces.one_hot import one_hot
from paretune.spaces.option_checks import checked_image
from paretune.spaces.rows import checked_genotype, in_range

if TYPE_CHECKING:
    from torch import nn

BLOCKS = ("Identity", "MB3_K3", "MB6_K5")
IDENTITY = 0
EXPANSIONS = np.array([1, 3, 6])
KERNELS = np.array([1, 3, 5])
STEM_WIDTH = 32
WIDTHS = (64, 64, 128, 128, 128, 256, 256, 256)
STRIDES = (2, 1, 2, 1, 1, 2, 1, 1)
HEAD_WIDTH = 1280
NUM_LAYERS = len(WIDTHS)
RUNS = (range(1, 2), range(3, 5), range(6, 8))
"""Layers that keep the shape of the map, stage by stage."""


class NasBenchMacro:
    """NAS-Bench-Macro: eight layers, each an identity or an inverted residual block of expansion 3 (kernel 3) or 6 (kernel 5).

    Args:
        input_shape: channels, height and width of an image.
        num_classes: number of outputs.
        isomorphic: whether genotypes that are one network, because an identity stands elsewhere among layers of equal shape, count as
            one architecture. There are 3,969 of those. Else every genotype counts, as in the benchmark's table.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "nasbench_macro"

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int, isomorphic: bool = False) -> None:
        self._in_channels, self._image_size = checked_image(input_shape)
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        self._isomorphic = isomorphic
        self._decisions = tuple(Decision(name=f"op{layer}", choices=BLOCKS, ordinal=False) for layer in range(NUM_LAYERS))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The block of each layer."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures."""
        return num_networks(NUM_LAYERS, RUNS if self._isomorphic else (), num_choices=len(BLOCKS))

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)`: equal rows <=> same architecture; where isomorphic ones are one, a stage's identities come last."""
        return identities_last(genotypes_ND, RUNS, identity=IDENTITY) if self._isomorphic else genotypes_ND.astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names a block."""
        return in_range(self._decisions, genotypes_ND)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, 24)`: the block of each layer, one-hot."""
        return one_hot(self.canonical(genotypes_ND), self._decisions)

    def index_of(self, genotypes_ND: Genotypes) -> NDArray[np.int64]:
        """`(N,)` the official strings read as numbers of base 3."""
        return np.asarray(genotypes_ND.astype(np.int64) @ _PLACE_VALUES)

    def string_of(self, genotypes_ND: Genotypes) -> list[str]:
        """Official strings of eight digits, such as `22212202`."""
        return ["".join(map(str, row)) for row in genotypes_ND.tolist()]

    def from_index(self, indices_N: NDArray[np.int64]) -> Genotypes:
        """Genotypes `(N, D)` of numbers from `index_of`, not canonical.

        Raises:
            BadInput: a number is not in 0 to 6,560.
        """
        indices_N = np.asarray(indices_N, dtype=np.int64)
        wrong = (indices_N < 0) | (indices_N >= len(BLOCKS) ** NUM_LAYERS)
        if wrong.any():
            raise BadInput(f"{indices_N[wrong][0]} is no number of NAS-Bench-Macro, whose architectures are 0 to 6,560")
        return np.asarray(indices_N[:, None] // _PLACE_VALUES % len(BLOCKS)).astype(GENE)

    def from_string(self, strings: Sequence[str]) -> Genotypes:
        """Genotypes `(N, D)` of official strings, not canonical.

        Raises:
            BadInput: a string is none of an architecture.
        """
        for string in strings:
            if len(string) != NUM_LAYERS or set(string) - set("012"):
                raise BadInput(f"'{string}' is no NAS-Bench-Macro architecture; expected eight digits of 0, 1, 2, such as 22212202")
        return np.array([[int(digit) for digit in string] for string in strings], dtype=GENE).reshape(-1, NUM_LAYERS)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks; batch norm is counted with its convolution, ReLU costs nothing of its own."""
        genes_ND = self.canonical(genotypes_ND)
        slots = LayerSlots(num_networks=len(genes_ND))
        size_N = np.full(len(genes_ND), self._image_size, dtype=np.int64)
        add_convolution(slots, "stem", channels=(self._in_channels, STEM_WIDTH), size=size_N, kernel=3)
        before = STEM_WIDTH
        for layer, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True)):
            gene_N = genes_ND[:, layer]
            is_block_N = gene_N != IDENTITY
            if before != width:
                add_convolution(slots, f"op{layer}", channels=(before, width), size=size_N, stride=stride, present=~is_block_N)
            size_N = add_mbconv(
                slots,
                f"op{layer}",
                channels=(before, width),
                hidden=before * EXPANSIONS[gene_N],
                size=size_N,
                kernel=KERNELS[gene_N],
                stride=stride,
                expands=is_block_N,
                shortcut=np.full(len(genes_ND), before == width),
                present=is_block_N,
            )
            before = width
        add_convolution(slots, "head", channels=(before, HEAD_WIDTH), size=size_N)
        add_classifier(slots, channels=HEAD_WIDTH, num_classes=self._num_classes, size=size_N)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length or an index that names no block.
        """
        from torch import nn  # torch takes a second to import; listing and screening do without

        from paretune.spaces.mobile_blocks import MBConv, conv_norm, mobile_network

        row_D = self.canonical(checked_genotype(self.name, self._decisions, genotype))[0]
        stem = conv_norm(self._in_channels, STEM_WIDTH, kernel=3, activation="relu")
        blocks: list[nn.Module] = []
        before = STEM_WIDTH
        for gene, width, stride in zip(row_D.tolist(), WIDTHS, STRIDES, strict=True):
            if gene != IDENTITY:
                blocks.append(MBConv(_plan(gene, in_channels=before, out_channels=width, stride=stride)))
            elif before != width:
                blocks.append(conv_norm(before, width, stride=stride, activation=None))
            before = width
        head = [conv_norm(before, HEAD_WIDTH, activation="relu")]
        return mobile_network(stem=stem, blocks=blocks, head=head, channels=HEAD_WIDTH, num_classes=self._num_classes)


_PLACE_VALUES = len(BLOCKS) ** np.arange(NUM_LAYERS, dtype=np.int64)[::-1]


def _plan(gene: int, *, in_channels: int, out_channels: int, stride: int) -> MBConvPlan:
    return MBConvPlan(
        in_channels=in_channels,
        hidden_channels=in_channels * int(EXPANSIONS[gene]),
        out_channels=out_channels,
        kernel=int(KERNELS[gene]),
        stride=stride,
        expands=True,
        shortcut=in_channels == out_channels,
    )
