"""ResNet-like space for analog in-memory computing (AnalogNAS): widths, main blocks, residual blocks, branches, block types.

One convolution, then M main blocks. A main block widens its input by a factor and has R residual blocks of B parallel branches, which are
basic (3x3, 3x3) or bottlenecks (1x1, 3x3, 1x1). From the second on, a main block halves the map. Decisions of main blocks beyond M are
inactive. The networks are described in `residual_blocks`.

Source: Benmeziane et al., AnalogNAS: A Neural Network Design Framework for Accurate Inference with Analog In-Memory Computing, IEEE EDGE
2023 (arXiv:2305.10459). Departs: its released code builds networks without stride, reads no block type, and divides widths by the widening
factor; here all three do what the paper's words say.

Legend: N candidates, D decisions, G main blocks.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.option_checks import whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.spaces.layer_slots import LayerSlots
from paretune.spaces.mutations import stepped, with_random_inactive
from paretune.spaces.option_checks import checked_factors, checked_image, checked_names, checked_numbers, checked_odd
from paretune.spaces.residual_layers import ResidualColumns, add_residual_block, bottleneck_width, widened
from paretune.spaces.rows import checked_genotype, encode_active, in_range

if TYPE_CHECKING:
    from torch import nn

    from paretune.core.protocols import Mutation
    from paretune.spaces.residual_blocks import ResidualPlan

BlockType = Literal["basic", "bottleneck"]
BLOCK_TYPES: tuple[BlockType, ...] = ("basic", "bottleneck")
SMALL_IMAGE = 24
"""Images below this many pixels a side get the small defaults."""
MAIN_DECISIONS = ("residual_blocks", "branches", "type", "widening")


class ResnetAnalog:
    """ResNet-like space of AnalogNAS: first width, main and residual blocks, branches, block type, widening factor.

    Ranges left out follow the image: those of AnalogNAS for CIFAR-size images, smaller ones below 24 pixels a side.

    Args:
        input_shape: channels, height and width of an image.
        num_classes: number of outputs.
        first_widths: channels after the first convolution; None for 8 to 64, or 8 to 24 for small images.
        main_blocks: numbers of main blocks; None for 1 to 5, or 1 to 3 for small images.
        residual_blocks: numbers of residual blocks in a main block; None for 1 to 16, or 1 to 3 for small images.
        branches: numbers of branches in a residual block; None for 1 to 4, or 1 and 2 for small images.
        block_types: `basic`, `bottleneck`.
        widenings: channels of a main block for each channel that comes in, at least 1.
        stem_kernel: size of the first convolution, odd.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "resnet_analog"

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        first_widths: tuple[int, ...] | None = None,
        main_blocks: tuple[int, ...] | None = None,
        residual_blocks: tuple[int, ...] | None = None,
        branches: tuple[int, ...] | None = None,
        block_types: tuple[BlockType, ...] = BLOCK_TYPES,
        widenings: tuple[float, ...] = (1.0, 1.25, 1.5, 2.0),
        stem_kernel: int = 3,
    ) -> None:
        self._channels, self._image_size = checked_image(input_shape)
        self._num_classes = whole("num_classes", num_classes, minimum=2)
        small = self._image_size < SMALL_IMAGE
        self._first_widths = checked_numbers("first_widths", first_widths or ((8, 12, 16, 24) if small else (8, 12, 16, 32, 48, 64)))
        self._main_blocks = checked_numbers("main_blocks", main_blocks or ((1, 2, 3) if small else (1, 2, 3, 4, 5)))
        self._residual_blocks = checked_numbers("residual_blocks", residual_blocks or ((1, 2, 3) if small else tuple(range(1, 17))))
        self._branches = checked_numbers("branches", branches or ((1, 2) if small else (1, 2, 3, 4)))
        self._types = checked_names("block_types", block_types, known=BLOCK_TYPES)
        self._widenings = checked_factors("widenings", widenings, minimum=1.0)
        self._stem_kernel = checked_odd("stem_kernel", stem_kernel)
        self._check_widths_differ()
        self._max_main_blocks = self._main_blocks[-1]
        self._decisions = self._make_decisions()
        first = 2 + len(MAIN_DECISIONS) * np.arange(self._max_main_blocks)
        self._columns_G = {name: first + offset for offset, name in enumerate(MAIN_DECISIONS)}

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What is to be chosen, in the order of the genotype."""
        return self._decisions

    @property
    def size(self) -> int:
        """Exact number of distinct architectures: M main blocks have (residual blocks x branches x types x widenings) ** M forms."""
        forms = len(self._residual_blocks) * len(self._branches) * len(self._types) * len(self._widenings)
        return len(self._first_widths) * sum(int(forms**depth) for depth in self._main_blocks)

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` with the decisions of absent main blocks set to index 0: equal rows <=> same network."""
        return np.where(self._active(genotypes_ND), genotypes_ND, 0).astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the rows whose every index names a choice; all of those describe a network."""
        return in_range(self._decisions, genotypes_ND)

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, D)`: (index + 1) / choices for each decision, 0.0 where it is inactive."""
        return encode_active(self._decisions, genotypes_ND, self._active(genotypes_ND))

    def mutation_operators(self) -> "Mapping[str, Mutation]":
        """The three mutations of AnalogNAS, by name.

        - `depth`: one main block more or fewer, or one residual block more or fewer in a main block; a new main block is random.
        - `width`: another widening factor in one main block.
        - `other`: another block type or number of branches in one main block, or another first width.

        Each takes `(N, D)` rows and a generator and gives canonical rows; ordinal choices move by one step.

        Departs: the released code replaces the whole architecture by a random one in each of them.
        """
        return {
            "depth": self._operator((1, *self._columns_G["residual_blocks"])),
            "width": self._operator(tuple(self._columns_G["widening"])),
            "other": self._operator((0, *self._columns_G["type"], *self._columns_G["branches"])),
        }

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of N networks; batch norm is counted with its convolution, ReLU costs nothing of its own."""
        genes_ND = genotypes_ND.astype(np.int64)
        slots = LayerSlots(num_networks=len(genes_ND))
        width_N = np.array(self._first_widths)[genes_ND[:, 0]]
        size = self._image_size
        slots.add(
            "stem",
            Kind.CONV,
            channels=(self._channels, width_N),
            size=(size, size),
            kernel=self._stem_kernel,
            padding=self._stem_kernel // 2,
            per_channel=2,
        )
        present_NG = self._present(genotypes_ND)
        last_width_N, last_size_N = width_N, np.full(len(genes_ND), size)
        for group in range(self._max_main_blocks):
            width_N, size_N = self._add_main_block(slots, group, genes_ND, width_N=width_N, present_N=present_NG[:, group])
            last_width_N = np.where(present_NG[:, group], width_N, last_width_N)
            last_size_N = np.where(present_NG[:, group], size_N, last_size_N)
        slots.add("pool", Kind.POOL, channels=(last_width_N, last_width_N), size=(last_size_N, 1), kernel=last_size_N)
        slots.add("classifier", Kind.LINEAR, channels=(last_width_N, self._num_classes), size=(1, 1), per_channel=1)
        return slots.batch()

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype, with fresh weights from torch's global generator.

        Raises:
            BadInput: the genotype has another length or an index that names no choice.
        """
        from paretune.spaces.residual_blocks import residual_network  # torch takes a second to import; listing and screening do without

        genes = [int(gene) for gene in checked_genotype(self.name, self._decisions, genotype)[0]]
        width = self._first_widths[genes[0]]
        plans = []
        for group in range(self._main_blocks[genes[1]]):
            plans.append(self._plan_main_block(group, genes, width=width))
            width = plans[-1][-1].out_channels
        return residual_network(
            in_channels=self._channels,
            first_width=self._first_widths[genes[0]],
            stem_kernel=self._stem_kernel,
            main_blocks=plans,
            num_classes=self._num_classes,
        )

    def _plan_main_block(self, group: int, genes: Sequence[int], *, width: int) -> "list[ResidualPlan]":
        from paretune.spaces.residual_blocks import ResidualPlan

        chosen = {name: genes[int(columns_G[group])] for name, columns_G in self._columns_G.items()}
        out_channels = int(widened(np.array(width), np.array(self._widenings[chosen["widening"]])))
        return [
            ResidualPlan(
                in_channels=width if index == 0 else out_channels,
                out_channels=out_channels,
                stride=_stride(group) if index == 0 else 1,
                branches=self._branches[chosen["branches"]],
                bottleneck=self._types[chosen["type"]] == "bottleneck",
            )
            for index in range(self._residual_blocks[chosen["residual_blocks"]])
        ]

    def _add_main_block(
        self, slots: LayerSlots, group: int, genes_ND: NDArray[np.int64], *, width_N: NDArray[np.int64], present_N: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], int]:
        """Add the layers of one main block; gives the channels and the map size after it."""
        size = self._size_before(group)
        genes = {name: genes_ND[:, columns_G[group]] for name, columns_G in self._columns_G.items()}
        after_N = widened(width_N, np.array(self._widenings)[genes["widening"]])
        count_N = np.array(self._residual_blocks)[genes["residual_blocks"]]
        middle_N = bottleneck_width(after_N)
        for index in range(self._residual_blocks[-1]):
            block = ResidualColumns(
                before=width_N,
                after=after_N,
                middle=middle_N,
                size=np.full(len(genes_ND), size),
                stride=_stride(group) if index == 0 else 1,
                branches=np.array(self._branches)[genes["branches"]],
                bottleneck=np.array(self._types)[genes["type"]] == "bottleneck",
                present=present_N & (index < count_N),
            )
            add_residual_block(slots, f"main{group + 1}.block{index + 1}", block, max_branches=self._branches[-1])
            width_N, size = after_N, self._size_before(group + 1)
        return after_N, size

    def _operator(self, columns: Sequence[int]) -> "Mutation":
        """A mutation that changes one of these decisions, where it is active."""
        chosen_D = np.zeros(len(self._decisions), dtype=np.bool_)
        chosen_D[list(columns)] = True

        def mutate(genotypes_ND: Genotypes, rng: np.random.Generator) -> Genotypes:
            active_ND = self._active(genotypes_ND)
            parents_ND = with_random_inactive(self._decisions, genotypes_ND, active_ND, rng)
            return self.canonical(stepped(self._decisions, parents_ND, active_ND & chosen_D, rng))

        return mutate

    def _make_decisions(self) -> tuple[Decision, ...]:
        decisions = [
            Decision(name="first_width", choices=self._first_widths, ordinal=True),
            Decision(name="main_blocks", choices=self._main_blocks, ordinal=True),
        ]
        for group in range(1, self._max_main_blocks + 1):
            decisions += [
                Decision(name=f"main{group}.residual_blocks", choices=self._residual_blocks, ordinal=True),
                Decision(name=f"main{group}.branches", choices=self._branches, ordinal=True),
                Decision(name=f"main{group}.type", choices=self._types, ordinal=False),
                Decision(name=f"main{group}.widening", choices=self._widenings, ordinal=True),
            ]
        return tuple(decisions)

    def _present(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N, G)` which main blocks each network has."""
        depth_N = np.array(self._main_blocks)[genotypes_ND[:, 1]]
        return np.asarray(np.arange(self._max_main_blocks) < depth_N[:, None])

    def _active(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N, D)` which decisions matter."""
        active_ND = np.ones(genotypes_ND.shape, dtype=np.bool_)
        active_ND[:, 2:] = np.repeat(self._present(genotypes_ND), len(MAIN_DECISIONS), axis=1)
        return active_ND

    def _size_before(self, group: int) -> int:
        """Height of the map that main block `group`, from 0, reads; every main block but the first halves it."""
        divisor: int = 2 ** max(group - 1, 0)
        return -(-self._image_size // divisor)

    def _check_widths_differ(self) -> None:
        """Refuse factors so close that two of them could give one width: equal networks must have equal genotypes."""
        for low, high in pairwise(self._widenings):
            if self._first_widths[0] * (high - low) < 1:
                raise BadInput(
                    f"widenings: {low:g} and {high:g} may give the same width from {self._first_widths[0]} channels; "
                    "take factors further apart or wider first_widths"
                )


def _stride(group: int) -> int:
    """By how much the first residual block of a main block, counted from 0, reduces the map."""
    return 1 if group == 0 else 2
