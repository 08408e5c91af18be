"""FBNet's space: 22 layers, each one of eight blocks or a skip; the CIFAR variant of HW-NAS-Bench and HELP, and the ImageNet one.

Legend: N candidates, D = 22 decisions.

Sources: Wu et al., FBNet, CVPR 2019; Li et al., HW-NAS-Bench, ICLR 2021 (the variant for images of 32x32).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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

BLOCKS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
KERNELS = np.array([3, 3, 3, 3, 5, 5, 5, 5, 1])
EXPANSIONS = np.array([1, 1, 3, 6, 1, 1, 3, 6, 1])
GROUPS = np.array([1, 2, 1, 1, 1, 2, 1, 1, 1])
SKIP = len(BLOCKS) - 1
STEM_WIDTH = 16
STAGE_WIDTHS = (16, 24, 32, 64, 112, 184, 352)
STAGE_DEPTHS = (1, 4, 4, 4, 4, 4, 1)
NUM_LAYERS = sum(STAGE_DEPTHS)
LARGE_IMAGE = 128
"""Images of at least this size get the ImageNet variant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """What is fixed for a size of images."""

    stem_stride: int
    stage_strides: tuple[int, ...]
    head_width: int


SMALL = Skeleton(stem_stride=1, stage_strides=(1, 1, 2, 2, 1, 2, 1), head_width=1504)
LARGE = Skeleton(stem_stride=2, stage_strides=(1, 2, 2, 2, 1, 2, 1), head_width=1984)


class FBNet:
    """FBNet: 22 layers, each a mobile block (kernel 3 or 5, expansion 1, 3 or 6, perhaps in two groups) or a skip.

    Images of at least 128x128 get FBNet's own strides, smaller ones those of HW-NAS-Bench for CIFAR.

    Args:
        input_shape: channels, height and width of an image.
        num_classes: number of outputs.
        isomorphic: whether genotypes that are one network, because a skip stands elsewhere among layers of equal shape, count as one
            architecture. Else every genotype counts, as in the latency tables.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "fbnet"

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int, isomorphic: bool = False) -> None:
        self._in_channels, self._image_size = checked_image(input_shape)
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        self._isomorphic = isomorphic
        self._skeleton = LARGE if self._image_size >= LARGE_IMAGE else SMALL
        self._widths, self._strides = _layers(self._skeleton)
        self._runs = _runs(self._strides, self._widths)
        self._decisions = tuple(Decision(name=f"op_{layer}", choices=BLOCKS, ordinal=False) for layer in range(NUM_LAYERS))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The block of each layer."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures."""
        return num_networks(NUM_LAYERS, self._runs if self._isomorphic else (), num_choices=len(BLOCKS))

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)`: equal rows <=> same architecture; where isomorphic ones are one, skips come last among layers of equal shape."""
        return identities_last(genotypes_ND, self._runs, identity=SKIP) if self._isomorphic else genotypes_ND.astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names a block."""
        return in_range(self._decisions, genotypes_ND)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, 198)`: the block of each layer, one-hot. Latency tables of this space are linear in it on several devices."""
        return one_hot(self.canonical(genotypes_ND), self._decisions)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks; batch norm is counted with its convolution, ReLU and the channel shuffle cost nothing of their own."""
        genes_ND = self.canonical(genotypes_ND)
        slots = LayerSlots(num_networks=len(genes_ND))
        size_N = np.full(len(genes_ND), self._image_size, dtype=np.int64)
        stem = (self._in_channels, STEM_WIDTH)
        size_N = add_convolution(slots, "stem", channels=stem, size=size_N, kernel=3, stride=self._skeleton.stem_stride)
        before = STEM_WIDTH
        for layer, (width, stride) in enumerate(zip(self._widths, self._strides, strict=True)):
            gene_N = genes_ND[:, layer]
            is_block_N, keeps = gene_N != SKIP, stride == 1 and before == width
            if not keeps:
                add_convolution(slots, f"op_{layer}.skip", channels=(before, width), size=size_N, stride=stride, present=~is_block_N)
            size_N = add_mbconv(
                slots,
                f"op_{layer}",
                channels=(before, width),
                hidden=before * EXPANSIONS[gene_N],
                size=size_N,
                kernel=KERNELS[gene_N],
                stride=stride,
                expands=is_block_N,
                shortcut=np.full(len(genes_ND), keeps),
                present=is_block_N,
                groups=GROUPS[gene_N],
            )
            before = width
        add_convolution(slots, "head", channels=(before, self._skeleton.head_width), size=size_N)
        add_classifier(slots, channels=self._skeleton.head_width, num_classes=self._num_classes, size=size_N)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length or an index that names no block.
        """
        from torch import nn  # torch takes a second to import; listing and screening do without

        from paretune.spaces.mobile_blocks import MBConv, conv_norm, mobile_network

        row_D = self.canonical(checked_genotype(self.name, self._decisions, genotype))[0]
        stem = conv_norm(self._in_channels, STEM_WIDTH, kernel=3, stride=self._skeleton.stem_stride, activation="relu")
        blocks: list[nn.Module] = []
        before = STEM_WIDTH
        for gene, width, stride in zip(row_D.tolist(), self._widths, self._strides, strict=True):
            if gene != SKIP:
                blocks.append(MBConv(_plan(gene, in_channels=before, out_channels=width, stride=stride)))
            elif stride != 1 or before != width:
                blocks.append(conv_norm(before, width, stride=stride, activation="relu"))
            before = width
        head_width = self._skeleton.head_width
        head = [conv_norm(before, head_width, activation="relu")]
        return mobile_network(stem=stem, blocks=blocks, head=head, channels=head_width, num_classes=self._num_classes)


def _layers(skeleton: Skeleton) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Width and stride of each layer."""
    widths, strides = [], []
    for width, depth, stride in zip(STAGE_WIDTHS, STAGE_DEPTHS, skeleton.stage_strides, strict=True):
        widths += [width] * depth
        strides += [stride] + [1] * (depth - 1)
    return tuple(widths), tuple(strides)


def _runs(strides: Sequence[int], widths: Sequence[int]) -> tuple[range, ...]:
    """Stretches of layers that keep the shape of the map, so that a skip in them is the identity."""
    keeps = [stride == 1 and before == width for stride, before, width in zip(strides, (STEM_WIDTH, *widths), widths, strict=False)]
    starts = [layer for layer, kept in enumerate(keeps) if kept and (layer == 0 or not keeps[layer - 1])]
    ends = [next((layer for layer in range(start, len(keeps)) if not keeps[layer]), len(keeps)) for start in starts]
    return tuple(range(start, end) for start, end in zip(starts, ends, strict=True))


def _plan(gene: int, *, in_channels: int, out_channels: int, stride: int) -> MBConvPlan:
    return MBConvPlan(
        in_channels=in_channels,
        hidden_channels=in_channels * int(EXPANSIONS[gene]),
        out_channels=out_channels,
        kernel=int(KERNELS[gene]),
        stride=stride,
        expands=True,
        shortcut=stride == 1 and in_channels == out_channels,
        groups=int(GROUPS[gene]),
    )
