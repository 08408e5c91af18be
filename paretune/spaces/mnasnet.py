"""MnasNet's space in the encoding of Accel-NASBench: seven blocks, each with its expansion, kernel, depth and squeeze-and-excite.

Legend: N candidates, D = 28 decisions.

Sources: Tan et al., MnasNet, CVPR 2019; Ahmad et al., Accel-NASBench, DAC 2024 (strides and widths of EfficientNet-B0, SE ratio 1/4).
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.option_checks import whole
from paretune.core.workload import WorkloadBatch
from paretune.spaces.layer_slots import LayerSlots
from paretune.spaces.mobile_layers import MBConvPlan, add_classifier, add_convolution, add_mbconv
from paretune.spaces.one_hot import one_hot
from paretune.spaces.option_checks import checked_image
from paretune.spaces.rows import checked_genotype, in_range

if TYPE_CHECKING:
    from torch import nn

EXPANSIONS = np.array([1, 4, 6])
KERNELS = np.array([3, 5])
MAX_DEPTHS = (3, 3, 3, 3, 3, 4, 3)
"""Layers that a block may have at most."""
WIDTHS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM_WIDTH = 32
HEAD_WIDTH = 1280
SQUEEZE_RATIO = 4
"""Channels that come into a block for each channel inside squeeze-and-excite."""
NUM_FIELDS = 4
"""Decisions of a block: expansion, kernel, layers, squeeze-and-excite."""


class MnasNet:
    """MnasNet as in Accel-NASBench: seven blocks of mobile layers, each with expansion, kernel, depth and squeeze-and-excite.

    Args:
        input_shape: channels, height and width of an image.
        num_classes: number of outputs.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "mnasnet"

    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int) -> None:
        self._in_channels, self._image_size = checked_image(input_shape)
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        self._decisions = tuple(decision for block, depth in enumerate(MAX_DEPTHS) for decision in _block_decisions(block, depth))

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Of each block its expansion `e`, kernel `k`, layers `l` and squeeze-and-excite `se`."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures: 36 ** 6 * 48."""
        return prod(len(decision.choices) for decision in self._decisions)

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` as they are: every decision matters."""
        return genotypes_ND.astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names a choice."""
        return in_range(self._decisions, genotypes_ND)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, 71)`: every choice, one-hot."""
        return one_hot(genotypes_ND, self._decisions)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks; batch norm is counted with its convolution, activations cost nothing of their own."""
        genes_ND = genotypes_ND.astype(np.int64)
        slots = LayerSlots(num_networks=len(genes_ND))
        size_N = np.full(len(genes_ND), self._image_size, dtype=np.int64)
        size_N = add_convolution(slots, "stem", channels=(self._in_channels, STEM_WIDTH), size=size_N, kernel=3, stride=2)
        before = STEM_WIDTH
        for block, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True)):
            first = NUM_FIELDS * block
            expansion_N, kernel_N = EXPANSIONS[genes_ND[:, first]], KERNELS[genes_ND[:, first + 1]]
            for layer in range(MAX_DEPTHS[block]):
                present_N = layer <= genes_ND[:, first + 2]
                out_N = add_mbconv(
                    slots,
                    f"block{block}.layer{layer}",
                    channels=(before, width),
                    hidden=before * expansion_N,
                    size=size_N,
                    kernel=kernel_N,
                    stride=1 if layer else stride,
                    expands=expansion_N > 1,
                    shortcut=np.full(len(genes_ND), bool(layer)),
                    present=present_N,
                    squeeze=before // SQUEEZE_RATIO * genes_ND[:, first + 3],
                )
                size_N, before = np.where(present_N, out_N, size_N), width
        add_convolution(slots, "head", channels=(before, HEAD_WIDTH), size=size_N)
        add_classifier(slots, channels=HEAD_WIDTH, num_classes=self._num_classes, size=size_N)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length or an index that names no choice.
        """
        from torch import nn  # torch takes a second to import; listing and screening do without

        from paretune.spaces.mobile_blocks import MBConv, conv_norm, mobile_network

        row_D = checked_genotype(self.name, self._decisions, genotype)[0].tolist()
        stem = conv_norm(self._in_channels, STEM_WIDTH, kernel=3, stride=2, activation="silu")
        blocks: list[nn.Module] = []
        before = STEM_WIDTH
        for block, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True)):
            genes = row_D[NUM_FIELDS * block :][:NUM_FIELDS]
            for layer in range(genes[2] + 1):
                blocks.append(MBConv(_plan(genes, in_channels=before, out_channels=width, stride=1 if layer else stride, first=not layer)))
                before = width
        head = [conv_norm(before, HEAD_WIDTH, activation="silu")]
        return mobile_network(stem=stem, blocks=blocks, head=head, channels=HEAD_WIDTH, num_classes=self._num_classes)


def _block_decisions(block: int, max_depth: int) -> tuple[Decision, ...]:
    return (
        Decision(name=f"block{block}_e", choices=tuple(EXPANSIONS.tolist()), ordinal=True),
        Decision(name=f"block{block}_k", choices=tuple(KERNELS.tolist()), ordinal=True),
        Decision(name=f"block{block}_l", choices=tuple(range(1, max_depth + 1)), ordinal=True),
        Decision(name=f"block{block}_se", choices=(False, True), ordinal=False),
    )


def _plan(genes: Sequence[int], *, in_channels: int, out_channels: int, stride: int, first: bool) -> MBConvPlan:
    expansion = int(EXPANSIONS[genes[0]])
    return MBConvPlan(
        in_channels=in_channels,
        hidden_channels=in_channels * expansion,
        out_channels=out_channels,
        kernel=int(KERNELS[genes[1]]),
        stride=stride,
        expands=expansion > 1,
        shortcut=not first,
        squeeze_channels=in_channels // SQUEEZE_RATIO * genes[3],
        activation="silu",
    )
