"""Mobile inverted bottlenecks (MBConv) as plain descriptions and as workload layers, without torch; `mobile_blocks` builds them.

An MBConv widens its input by a 1x1 convolution, filters every channel by itself, perhaps weights the channels (squeeze-and-excite), narrows
them by another 1x1 convolution and perhaps adds its input. Pointwise convolutions may have groups, with a channel shuffle (FBNet).

Legend: N networks.

Sources: Sandler et al., MobileNetV2, CVPR 2018; Howard et al., MobileNetV3, ICCV 2019; Wu et al., FBNet, CVPR 2019.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import Kind
from paretune.spaces.layer_slots import LayerSlots

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Activation = Literal["relu", "hard_swish", "silu"]
Gate = Literal["sigmoid", "hard_sigmoid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MBConvPlan:
    """One mobile inverted bottleneck."""

    in_channels: int
    hidden_channels: int
    """Channels of the depthwise convolution; equal to `in_channels` where nothing expands."""
    out_channels: int
    kernel: int
    """Of the depthwise convolution, odd."""
    stride: int
    expands: bool
    """Whether a 1x1 convolution comes before the depthwise one."""
    shortcut: bool
    """Whether the input is added to the output."""
    squeeze_channels: int = 0
    """Channels inside squeeze-and-excite; 0 leaves it out."""
    groups: int = 1
    """Groups of the 1x1 convolutions."""
    activation: Activation = "relu"
    gate: Gate = "sigmoid"
    """What turns the output of squeeze-and-excite into weights of channels."""


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, but not below 90 % of it: how mobile networks round scaled widths.

    Source: the reference code of MobileNetV1 to V3.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def add_convolution(
    slots: LayerSlots,
    name: str,
    *,
    channels: tuple[Integers | int, Integers | int],
    size: Integers | int,
    kernel: Integers | int = 1,
    stride: Integers | int = 1,
    present: Mask | None = None,
) -> Integers:
    """Add a dense convolution with batch norm to the networks that have it; `(N,)` height of the map that goes out."""
    out: Integers = np.broadcast_to(-(-np.asarray(size, dtype=np.int64) // stride), (slots.num_networks,))
    padding = np.asarray(kernel, dtype=np.int64) // 2
    slots.add(
        name,
        Kind.CONV,
        channels=channels,
        size=(size, out),
        kernel=kernel,
        stride=stride,
        padding=padding,
        per_channel=2,
        present=present,
    )
    return out


def add_mbconv(
    slots: LayerSlots,
    name: str,
    *,
    channels: tuple[Integers | int, Integers | int],
    hidden: Integers,
    size: Integers,
    kernel: Integers,
    stride: Integers | int,
    expands: Mask,
    shortcut: Mask,
    present: Mask,
    squeeze: Integers | int = 0,
    groups: Integers | int = 1,
) -> Integers:
    """Add the layers of a mobile inverted bottleneck to the networks that have it.

    Args:
        slots: collects the layers.
        name: start of the layers' names.
        channels: in and out.
        hidden: `(N,)` channels of the depthwise convolution.
        size: `(N,)` height of the map that comes in.
        kernel: `(N,)` of the depthwise convolution.
        stride: of the depthwise convolution.
        expands: `(N,)` whether a 1x1 convolution comes first.
        shortcut: `(N,)` whether the input is added to the output.
        present: `(N,)` which networks have the block.
        squeeze: channels inside squeeze-and-excite; 0 leaves it out.
        groups: of the 1x1 convolutions.

    Returns:
        `(N,)` height of the map that goes out, also where the block is absent.
    """
    before, after = channels
    out: Integers = -(-size // stride)
    # A shortcut's input waits in memory for the addition; while a layer reads that very input, it is counted there already.
    waiting = np.where(shortcut, before * size**2, 0)
    held = np.where(expands, waiting, 0)
    slots.add(
        f"{name}.expand", Kind.CONV, channels=(before, hidden), size=(size, size), groups=groups, per_channel=2, present=present & expands
    )
    slots.add(
        f"{name}.depthwise",
        Kind.DEPTHWISE,
        channels=(hidden, hidden),
        size=(size, out),
        kernel=kernel,
        stride=stride,
        padding=kernel // 2,
        groups=hidden,
        per_channel=2,
        held_elements=held,
        present=present,
    )
    _add_squeeze_excite(slots, name, hidden=hidden, squeeze=np.asarray(squeeze), size=out, waiting=waiting, present=present)
    slots.add(
        f"{name}.project",
        Kind.CONV,
        channels=(hidden, after),
        size=(out, out),
        groups=groups,
        per_channel=2,
        held_elements=waiting,
        present=present,
    )
    added = present & shortcut
    slots.add(f"{name}.add", Kind.ADD, channels=(after, after), size=(out, out), held_elements=waiting, present=added)
    return out


def _add_squeeze_excite(
    slots: LayerSlots, name: str, *, hidden: Integers, squeeze: Integers, size: Integers, waiting: Integers, present: Mask
) -> None:
    """Mean of each channel, two linear layers with biases, and the weighting of the channels."""
    present = present & (squeeze > 0)
    squeeze = np.maximum(squeeze, 1)
    held = waiting + hidden * size**2
    slots.add(f"{name}.squeeze", Kind.POOL, channels=(hidden, hidden), size=(size, 1), kernel=size, held_elements=waiting, present=present)
    slots.add(f"{name}.reduce", Kind.LINEAR, channels=(hidden, squeeze), size=(1, 1), per_channel=1, held_elements=held, present=present)
    slots.add(f"{name}.excite", Kind.LINEAR, channels=(squeeze, hidden), size=(1, 1), per_channel=1, held_elements=held, present=present)
    slots.add(
        f"{name}.scale", Kind.ACTIVATION, channels=(hidden, hidden), size=(size, size), held_elements=waiting + hidden, present=present
    )


def add_classifier(slots: LayerSlots, *, channels: Integers | int, num_classes: int, size: Integers | int) -> None:
    """Add the mean of each channel's map and the linear layer that tells the classes apart."""
    slots.add("pool", Kind.POOL, channels=(channels, channels), size=(size, 1), kernel=size)
    slots.add("classifier", Kind.LINEAR, channels=(channels, num_classes), size=(1, 1), per_channel=1)
