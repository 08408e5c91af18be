"""Layer-wise convolution space for small images: depth, width, stride, kernel and expansion of inverted residual blocks.

A stem convolution, then stages. A stage chooses its width, its stride (where the map is halved) and its depth; each of its blocks
chooses a kernel and an expansion. Decisions of blocks beyond the depth are inactive. The networks are described in `conv_blocks`.

Legend: N candidates, D decisions, G stages, B blocks a stage at most, F features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.option_checks import whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.spaces.layer_slots import LayerSlots
from paretune.spaces.mobile_layers import add_mbconv
from paretune.spaces.option_checks import checked_image, checked_numbers, checked_odd
from paretune.spaces.rows import checked_genotype, encode_active, in_range

if TYPE_CHECKING:
    from torch import nn

    from paretune.spaces.conv_blocks import NetworkPlan

Integers = NDArray[np.int64]


class DigitsConv:
    """Layer-wise space of inverted residual blocks for 8x8 digits (and other small square images).

    Args:
        input_shape: channels, height and width of an image.
        num_classes: number of outputs.
        stages: number of stages.
        stem_widths: channels after the first convolution.
        widths: channels of a stage.
        depths: blocks of a stage.
        strides: by how much a stage reduces the map; 1 keeps it.
        kernels: sizes of the depthwise convolutions, odd.
        expansions: channels inside a block for each channel that comes in.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "digits_conv"

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        stages: int = 3,
        stem_widths: tuple[int, ...] = (8, 16),
        widths: tuple[int, ...] = (8, 16, 24, 32),
        depths: tuple[int, ...] = (1, 2),
        strides: tuple[int, ...] = (1, 2),
        kernels: tuple[int, ...] = (3, 5),
        expansions: tuple[int, ...] = (1, 2, 3),
    ) -> None:
        self._channels, self._image_size = checked_image(input_shape)
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        self._num_stages = whole("stages", stages, minimum=1)
        self._stem_widths = checked_numbers("stem_widths", stem_widths)
        self._widths = checked_numbers("widths", widths)
        self._depths = checked_numbers("depths", depths)
        self._strides = checked_numbers("strides", strides)
        self._kernels = checked_numbers("kernels", kernels)
        self._expansions = checked_numbers("expansions", expansions)
        self._check_fit()
        self._max_depth = self._depths[-1]
        self._decisions = self._make_decisions()
        column = {decision.name: index for index, decision in enumerate(self._decisions)}
        stage_numbers, block_numbers = range(1, self._num_stages + 1), range(1, self._max_depth + 1)
        self._width_columns_G = [column[f"stage{stage}.width"] for stage in stage_numbers]
        self._stride_columns_G = [column[f"stage{stage}.stride"] for stage in stage_numbers]
        self._depth_columns_G = [column[f"stage{stage}.depth"] for stage in stage_numbers]
        self._kernel_columns_GB = np.array(
            [[column[f"stage{stage}.block{block}.kernel"] for block in block_numbers] for stage in stage_numbers]
        )
        self._expansion_columns_GB = np.array(
            [[column[f"stage{stage}.block{block}.expansion"] for block in block_numbers] for stage in stage_numbers]
        )

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What is to be chosen, in the order of the genotype."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures: a stage of depth d has (kernels x expansions) ** d sets of blocks."""
        blocks = sum(int((len(self._kernels) * len(self._expansions)) ** depth) for depth in self._depths)
        return len(self._stem_widths) * int((len(self._widths) * len(self._strides) * blocks) ** self._num_stages)

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` with the decisions of absent blocks set to index 0: equal rows <=> same network."""
        return np.where(self._active(genotypes_ND), genotypes_ND, 0).astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names a choice; all of those describe a network."""
        return in_range(self._decisions, genotypes_ND)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, D)`: (index + 1) / choices for each decision, 0.0 where it is inactive."""
        return encode_active(self._decisions, genotypes_ND, self._active(genotypes_ND))

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks; batch norm is counted with its convolution, ReLU costs nothing of its own."""
        genes_ND = genotypes_ND.astype(np.int64)
        slots = LayerSlots(num_networks=len(genes_ND))
        channels_N = np.array(self._stem_widths)[genes_ND[:, 0]]
        size_N = np.full(len(genes_ND), self._image_size)
        stem = (self._channels, channels_N)
        slots.add("stem", Kind.CONV, channels=stem, size=(size_N, size_N), kernel=3, padding=1, per_channel=2)
        for stage in range(self._num_stages):
            channels_N, size_N = self._add_stage(slots, stage, genes_ND, channels_N=channels_N, size_N=size_N)
        slots.add("pool", Kind.POOL, channels=(channels_N, channels_N), size=(size_N, 1), kernel=size_N)
        slots.add("classifier", Kind.LINEAR, channels=(channels_N, self._num_classes), size=(1, 1), per_channel=1)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length or an index that names no choice.
        """
        from paretune.spaces.conv_blocks import conv_network  # torch takes a second to import; listing and screening do without

        return conv_network(self._plan(genotype))

    def _plan(self, genotype: Sequence[int]) -> "NetworkPlan":
        from paretune.spaces.conv_blocks import BlockPlan, NetworkPlan, StagePlan

        genes = checked_genotype(self.name, self._decisions, genotype)[0].tolist()
        stages = []
        for stage in range(self._num_stages):
            blocks = tuple(
                BlockPlan(
                    kernel=self._kernels[genes[self._kernel_columns_GB[stage, block]]],
                    expansion=self._expansions[genes[self._expansion_columns_GB[stage, block]]],
                )
                for block in range(self._depths[genes[self._depth_columns_G[stage]]])
            )
            width, stride = self._widths[genes[self._width_columns_G[stage]]], self._strides[genes[self._stride_columns_G[stage]]]
            stages.append(StagePlan(width=width, stride=stride, blocks=blocks))
        return NetworkPlan(
            in_channels=self._channels,
            image_size=self._image_size,
            num_classes=self._num_classes,
            stem_width=self._stem_widths[genes[0]],
            stages=tuple(stages),
        )

    def _make_decisions(self) -> tuple[Decision, ...]:
        decisions = [Decision(name="stem.width", choices=self._stem_widths, ordinal=True)]
        for stage in range(1, self._num_stages + 1):
            decisions += [
                Decision(name=f"stage{stage}.width", choices=self._widths, ordinal=True),
                Decision(name=f"stage{stage}.stride", choices=self._strides, ordinal=True),
                Decision(name=f"stage{stage}.depth", choices=self._depths, ordinal=True),
            ]
            for block in range(1, self._max_depth + 1):
                decisions += [
                    Decision(name=f"stage{stage}.block{block}.kernel", choices=self._kernels, ordinal=True),
                    Decision(name=f"stage{stage}.block{block}.expansion", choices=self._expansions, ordinal=True),
                ]
        return tuple(decisions)

    def _active(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N, D)` which decisions matter."""
        active_ND = np.ones(genotypes_ND.shape, dtype=np.bool_)
        depths_NG = np.array(self._depths)[genotypes_ND[:, self._depth_columns_G]]
        present_NGB = np.arange(self._max_depth) < depths_NG[:, :, None]
        active_ND[:, self._kernel_columns_GB] = present_NGB
        active_ND[:, self._expansion_columns_GB] = present_NGB
        return active_ND

    def _add_stage(
        self, slots: LayerSlots, stage: int, genes_ND: Integers, *, channels_N: Integers, size_N: Integers
    ) -> tuple[Integers, Integers]:
        """Add the layers of one stage; gives the channels and the map size after it."""
        depth_N = np.array(self._depths)[genes_ND[:, self._depth_columns_G[stage]]]
        width_N = np.array(self._widths)[genes_ND[:, self._width_columns_G[stage]]]
        stride_N = np.array(self._strides)[genes_ND[:, self._stride_columns_G[stage]]]
        for block in range(self._max_depth):
            expansion_N = np.array(self._expansions)[genes_ND[:, self._expansion_columns_GB[stage, block]]]
            size_N = add_mbconv(
                slots,
                f"stage{stage + 1}.block{block + 1}",
                channels=(channels_N, width_N),
                hidden=channels_N * expansion_N,
                size=size_N,
                kernel=np.array(self._kernels)[genes_ND[:, self._kernel_columns_GB[stage, block]]],
                stride=np.ones_like(stride_N) if block else stride_N,
                expands=expansion_N > 1,
                shortcut=np.full(len(genes_ND), block > 0),
                present=block < depth_N,
            )
            channels_N = width_N
        return channels_N, size_N

    def _check_fit(self) -> None:
        """Refuse kernels without a middle or beyond the image, and strides that the map cannot take."""
        for kernel in self._kernels:
            if checked_odd("kernels", kernel) > self._image_size:
                raise BadInput(f"kernels: {kernel} is larger than the {self._image_size}x{self._image_size} input")
        total = self._strides[-1] ** self._num_stages
        if total > self._image_size:
            raise BadInput(
                f"strides: {self._num_stages} stages of stride {self._strides[-1]} reduce the map by {total}, more than the "
                f"{self._image_size}x{self._image_size} input; use fewer stages or smaller strides"
            )
