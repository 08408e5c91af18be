"""Workload layers of residual blocks with parallel branches, without torch; `residual_blocks` builds the same.

A block runs its shortcut first and then one branch after the other, each added to what is there already.

Legend: N networks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import Kind
from paretune.spaces.layer_slots import LayerSlots

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualColumns:
    """The same residual block of N networks."""

    before: Integers
    """`(N,)` channels that come in."""
    after: Integers
    """`(N,)` channels that go out."""
    middle: Integers
    """`(N,)` channels of a bottleneck's 3x3 convolution."""
    size: Integers
    """`(N,)` height of the map that comes in."""
    stride: int
    branches: Integers
    """`(N,)`."""
    bottleneck: Mask
    """`(N,)`."""
    present: Mask
    """`(N,)` which networks have the block."""

    @property
    def out_size(self) -> Integers:
        """`(N,)` height of the map that goes out."""
        return np.asarray(-(-self.size // self.stride))

    @property
    def projects(self) -> Mask:
        """`(N,)` whether the shortcut is a convolution."""
        return np.asarray((self.before != self.after) | (self.stride > 1))


def widened(width: Integers, factor: NDArray[np.float64]) -> Integers:
    """Channels times a factor, to the nearest whole number, halves upwards."""
    return np.floor(width * factor + 0.5).astype(np.int64)


def bottleneck_width(out_channels: Integers) -> Integers:
    """Channels of a bottleneck's 3x3 convolution: a quarter of those that go out, as in ResNet-50."""
    return np.maximum(out_channels // 4, 1)


def add_residual_block(slots: LayerSlots, name: str, block: ResidualColumns, *, max_branches: int) -> None:
    """Add the shortcut and all branches of one block to the networks that have it."""
    size, out = block.size, block.out_size
    slots.add(
        f"{name}.shortcut",
        Kind.CONV,
        channels=(block.before, block.after),
        size=(size, out),
        stride=block.stride,
        per_channel=2,
        present=block.present & block.projects,
    )
    for branch in range(max_branches):
        _add_branch(slots, f"{name}.branch{branch + 1}", block, branch=branch)


def _add_branch(slots: LayerSlots, name: str, block: ResidualColumns, *, branch: int) -> None:
    """Two convolutions (basic) or three (bottleneck), and the addition to the sum so far."""
    present, bottleneck, size, out = block.present & (branch < block.branches), block.bottleneck, block.size, block.out_size
    inputs, sums = block.before * size**2, block.after * out**2
    # The sum so far is a map of its own, except where it still is the very input that an identity shortcut passes on.
    own_sum = block.projects if branch == 0 else np.ones_like(block.projects)
    sum_so_far = np.where(own_sum, sums, 0)
    input_needed = np.where((branch + 1 < block.branches) | ~own_sum, inputs, 0)
    inner = np.where(bottleneck, block.middle, block.after)
    first_out = np.where(bottleneck, size, out)
    slots.add(
        f"{name}.conv1",
        Kind.CONV,
        channels=(block.before, inner),
        size=(size, first_out),
        kernel=np.where(bottleneck, 1, 3),
        stride=np.where(bottleneck, 1, block.stride),
        padding=np.where(bottleneck, 0, 1),
        per_channel=2,
        held_elements=sum_so_far,
        present=present,
    )
    slots.add(
        f"{name}.conv2",
        Kind.CONV,
        channels=(inner, inner),
        size=(first_out, out),
        kernel=3,
        stride=np.where(bottleneck, block.stride, 1),
        padding=1,
        per_channel=2,
        held_elements=sum_so_far + input_needed,
        present=present,
    )
    slots.add(
        f"{name}.conv3",
        Kind.CONV,
        channels=(inner, block.after),
        size=(out, out),
        per_channel=2,
        held_elements=sum_so_far + input_needed,
        present=present & bottleneck,
    )
    slots.add(
        f"{name}.add",
        Kind.ADD,
        channels=(block.after, block.after),
        size=(out, out),
        held_elements=sum_so_far + input_needed,
        present=present,
    )
