"""Mobile space of once-for-all: kernel, expansion and depth of MobileNetV3 blocks, width multiplier and input resolution.

Five stages of up to four layers. Decisions carry the names that tables of once-for-all networks use: `ks_i` and `e_i` for layer i (four to
a stage, counted through), `d_j` for stage j, `r` and `w`. Decisions of layers beyond a stage's depth are inactive; `r` and `w` are
decisions only where there is a choice.

Sources: Cai et al., Once-for-All: Train One Network and Specialize it for Efficient Deployment, ICLR 2020; Howard et al., Searching for
MobileNetV3, ICCV 2019. Departs: a stage's first layer never has a shortcut (in the published frames its shape never allows one), so that
neighbouring stages of equal width stay apart; images are resized inside the network, since a task has one input shape.

Legend: N candidates, D decisions, G stages, W width multipliers, E expansions.
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
from paretune.spaces.mobile_frame import MobileFrame, frame_for
from paretune.spaces.mobile_layers import MBConvPlan, add_convolution, add_mbconv, make_divisible
from paretune.spaces.option_checks import checked_factors, checked_image, checked_numbers, checked_odd
from paretune.spaces.rows import checked_genotype, encode_active, in_range

if TYPE_CHECKING:
    from torch import nn

Integers = NDArray[np.int64]

SQUEEZE_RATIO = 4


class Mobile:
    """Mobile space of once-for-all (MobileNetV3): kernel, expansion, depth, width multiplier, resolution.

    What surrounds the searched layers follows the image: the published widths and strides from 96 pixels a side, the same widths with fewer
    strides from 24, narrower ones below.

    Args:
        input_shape: channels, height and width of an image.
        num_classes: number of outputs.
        kernels: sizes of the depthwise convolutions, odd.
        expansions: channels inside a layer for each channel that comes in, from 2.
        depths: layers of a stage.
        width_multipliers: of all widths, which are then rounded to multiples of 8.
        resolutions: heights and widths that images are resized to; None for that of the input.
        stage_widths: channels of each stage before multiplying; None for those of the image size.
        stage_strides: by how much each stage reduces the map; None for those of the image size.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "mobile"

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        kernels: tuple[int, ...] = (3, 5, 7),
        expansions: tuple[int, ...] = (3, 4, 6),
        depths: tuple[int, ...] = (2, 3, 4),
        width_multipliers: tuple[float, ...] = (1.0,),
        resolutions: tuple[int, ...] | None = None,
        stage_widths: tuple[int, ...] | None = None,
        stage_strides: tuple[int, ...] | None = None,
    ) -> None:
        self._channels, self._image_size = checked_image(input_shape)
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        self._kernels = checked_numbers("kernels", [checked_odd("kernels", kernel) for kernel in kernels])
        self._expansions = checked_numbers("expansions", expansions, minimum=2)
        self._depths = checked_numbers("depths", depths)
        self._multipliers = checked_factors("width_multipliers", width_multipliers, minimum=0.1)
        self._resolutions = checked_numbers("resolutions", resolutions or (self._image_size,))
        frame = frame_for(self._image_size, widths=stage_widths, strides=stage_strides)
        self._frames_W = tuple(frame.scaled(multiplier) for multiplier in self._multipliers)
        self._check_widths_differ()
        self._num_stages, self._max_depth = len(frame.widths), self._depths[-1]
        self._decisions = self._make_decisions()
        self._columns = {decision.name: index for index, decision in enumerate(self._decisions)}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Kernels, expansions, depths; then resolution and width multiplier where there is a choice."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures: a stage of depth d has (kernels x expansions) ** d forms."""
        forms = sum(int((len(self._kernels) * len(self._expansions)) ** depth) for depth in self._depths)
        return int(forms**self._num_stages) * len(self._resolutions) * len(self._multipliers)

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` with the decisions of absent layers set to index 0: equal rows <=> same network."""
        return np.where(self._active(genotypes_ND), genotypes_ND, 0).astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names a choice; all of those describe a network."""
        return in_range(self._decisions, genotypes_ND)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, D)`: (index + 1) / choices for each decision, 0.0 where it is inactive."""
        return encode_active(self._decisions, genotypes_ND, self._active(genotypes_ND))

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks; batch norm is counted with its convolution, activations cost nothing of their own."""
        genes_ND = genotypes_ND.astype(np.int64)
        slots = LayerSlots(num_networks=len(genes_ND))
        frame_N = self._genes(genes_ND, "w")
        stem_N, head_N, last_N = (
            np.array([getattr(frame, name) for frame in self._frames_W])[frame_N] for name in ("stem", "head", "last")
        )
        size_N = np.array(self._resolutions)[self._genes(genes_ND, "r")]
        image = (self._channels, self._channels)
        slots.add("resize", Kind.POOL, channels=image, size=(self._image_size, size_N), present=size_N != self._image_size)
        stem_stride = self._frames_W[0].stem_stride
        size_N = add_convolution(slots, "stem", channels=(self._channels, stem_N), size=size_N, kernel=3, stride=stem_stride)
        all_N, none_N = np.ones(len(genes_ND), dtype=np.bool_), np.zeros(len(genes_ND), dtype=np.bool_)
        size_N = add_mbconv(
            slots,
            "first",
            channels=(stem_N, stem_N),
            hidden=stem_N,
            size=size_N,
            kernel=np.full(len(genes_ND), 3),
            stride=1,
            expands=none_N,
            shortcut=all_N,
            present=all_N,
        )
        for stage in range(self._num_stages):
            size_N = self._add_stage(slots, stage, genes_ND, frame_N=frame_N, size_N=size_N)
        width_N = np.array([frame.widths[-1] for frame in self._frames_W])[frame_N]
        add_convolution(slots, "head", channels=(width_N, head_N), size=size_N)
        slots.add("pool", Kind.POOL, channels=(head_N, head_N), size=(size_N, 1), kernel=size_N)
        slots.add("last", Kind.LINEAR, channels=(head_N, last_N), size=(1, 1))
        slots.add("classifier", Kind.LINEAR, channels=(last_N, self._num_classes), size=(1, 1), per_channel=1)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length or an index that names no choice.
        """
        from paretune.spaces.mobile_network import (
            MobilePlan,
            once_for_all_network,
        )  # torch takes a second to import; screening does without

        row = checked_genotype(self.name, self._decisions, genotype).astype(np.int64)
        frame = self._frames_W[int(self._genes(row, "w")[0])]
        resolution = self._resolutions[int(self._genes(row, "r")[0])]
        return once_for_all_network(
            MobilePlan(
                in_channels=self._channels,
                resolution=0 if resolution == self._image_size else resolution,
                frame=frame,
                blocks=self._block_plans(row, frame),
                num_classes=self._num_classes,
            )
        )

    def _block_plans(self, row: Integers, frame: MobileFrame) -> tuple[MBConvPlan, ...]:
        plans, before = [], frame.stem
        for stage, width in enumerate(frame.widths):
            for layer in range(self._depths[int(self._genes(row, f"d_{stage}")[0])]):
                number = stage * self._max_depth + layer
                hidden = hidden_channels(before, self._expansions[int(self._genes(row, f"e_{number}")[0])])
                plans.append(
                    MBConvPlan(
                        in_channels=before,
                        hidden_channels=hidden,
                        out_channels=width,
                        kernel=self._kernels[int(self._genes(row, f"ks_{number}")[0])],
                        stride=1 if layer else frame.strides[stage],
                        expands=True,
                        shortcut=layer > 0,
                        squeeze_channels=squeeze_channels(hidden) if frame.squeezes[stage] else 0,
                        activation=frame.activations[stage],
                        gate="hard_sigmoid",
                    )
                )
                before = width
        return tuple(plans)

    def _add_stage(self, slots: LayerSlots, stage: int, genes_ND: Integers, *, frame_N: Integers, size_N: Integers) -> Integers:
        """Add the layers of one stage; gives the map size after it."""
        frame = self._frames_W[0]  # strides and squeeze-and-excite are the same for every width
        widths_W = np.array([frame.widths[stage] for frame in self._frames_W])
        before_W = np.array([frame.widths[stage - 1] if stage else frame.stem for frame in self._frames_W])
        depth_N = np.array(self._depths)[self._genes(genes_ND, f"d_{stage}")]
        for layer in range(self._max_depth):
            number = stage * self._max_depth + layer
            hidden_WE = np.array([[hidden_channels(int(before), expansion) for expansion in self._expansions] for before in before_W])
            squeeze_WE = np.array([[squeeze_channels(int(hidden)) for hidden in hidden_E] for hidden_E in hidden_WE])
            expansion_N = self._genes(genes_ND, f"e_{number}")
            size_N = add_mbconv(
                slots,
                f"stage{stage}.layer{layer}",
                channels=(before_W[frame_N], widths_W[frame_N]),
                hidden=hidden_WE[frame_N, expansion_N],
                size=size_N,
                kernel=np.array(self._kernels)[self._genes(genes_ND, f"ks_{number}")],
                stride=1 if layer else frame.strides[stage],
                expands=np.ones(len(genes_ND), dtype=np.bool_),
                shortcut=np.full(len(genes_ND), layer > 0),
                present=layer < depth_N,
                squeeze=squeeze_WE[frame_N, expansion_N] if frame.squeezes[stage] else 0,
            )
            before_W = widths_W
        return size_N

    def _genes(self, genes_ND: Integers, name: str) -> Integers:
        """`(N,)` indices of one decision; 0 where there is no choice."""
        return genes_ND[:, self._columns[name]] if name in self._columns else np.zeros(len(genes_ND), dtype=np.int64)

    def _make_decisions(self) -> tuple[Decision, ...]:
        layers = range(self._num_stages * self._max_depth)
        decisions = [Decision(name=f"ks_{layer}", choices=self._kernels, ordinal=True) for layer in layers]
        decisions += [Decision(name=f"e_{layer}", choices=self._expansions, ordinal=True) for layer in layers]
        decisions += [Decision(name=f"d_{stage}", choices=self._depths, ordinal=True) for stage in range(self._num_stages)]
        shared: dict[str, tuple[int, ...] | tuple[float, ...]] = {"r": self._resolutions, "w": self._multipliers}
        return (*decisions, *(Decision(name=name, choices=choices, ordinal=True) for name, choices in shared.items() if len(choices) > 1))

    def _active(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N, D)` which decisions matter."""
        num_layers = self._num_stages * self._max_depth
        active_ND = np.ones(genotypes_ND.shape, dtype=np.bool_)
        depths_NG = np.array(self._depths)[genotypes_ND[:, 2 * num_layers : 2 * num_layers + self._num_stages]]
        present = (np.arange(self._max_depth) < depths_NG[:, :, None]).reshape(len(genotypes_ND), num_layers)
        active_ND[:, :num_layers] = active_ND[:, num_layers : 2 * num_layers] = present
        return active_ND

    def _check_widths_differ(self) -> None:
        """Refuse multipliers that round to the same widths: equal networks must have equal genotypes."""
        for index, frame in enumerate(self._frames_W):
            if frame in self._frames_W[:index]:
                same = self._multipliers[self._frames_W.index(frame)]
                raise BadInput(f"width_multipliers: {same:g} and {self._multipliers[index]:g} give the same widths, multiples of 8")


def hidden_channels(in_channels: int, expansion: int) -> int:
    """Channels of a layer's depthwise convolution."""
    return make_divisible(in_channels * expansion)


def squeeze_channels(hidden: int) -> int:
    """Channels inside a layer's squeeze-and-excite."""
    return make_divisible(hidden // SQUEEZE_RATIO)
