"""What surrounds the searched layers of once-for-all's MobileNetV3: widths, strides, squeeze-and-excite and activations of each stage.

Source: Cai et al., Once-for-All, ICLR 2020 (frame of images from 96 pixels a side; the smaller ones are ours).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from paretune.core.errors import BadInput
from paretune.core.option_checks import whole
from paretune.spaces.mobile_layers import Activation, make_divisible

SQUEEZES = (False, True, False, True, True)
ACTIVATIONS: tuple[Activation, ...] = ("relu", "relu", "hard_swish", "hard_swish", "hard_swish")


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileFrame:
    """Everything about a mobile network but its searched layers."""

    stem: int
    """Channels of the first convolution and of the fixed block behind it."""
    stem_stride: int
    widths: tuple[int, ...]
    """Channels of each stage."""
    strides: tuple[int, ...]
    """By how much the first layer of each stage reduces the map."""
    head: int
    """Channels of the last convolution."""
    last: int
    """Features before the classifier."""
    squeezes: tuple[bool, ...] = SQUEEZES
    """Whether a stage's layers have squeeze-and-excite."""
    activations: tuple[Activation, ...] = ACTIVATIONS

    def scaled(self, multiplier: float) -> "MobileFrame":
        """The frame with all widths multiplied and rounded to multiples of 8."""
        return replace(
            self,
            stem=make_divisible(self.stem * multiplier),
            widths=tuple(make_divisible(width * multiplier) for width in self.widths),
            head=make_divisible(self.head * multiplier),
            last=make_divisible(self.last * multiplier),
        )


PUBLISHED = MobileFrame(stem=16, stem_stride=2, widths=(24, 40, 80, 112, 160), strides=(2, 2, 2, 1, 2), head=960, last=1280)
CIFAR_SIZE = replace(PUBLISHED, stem_stride=1, strides=(1, 2, 2, 1, 2))
DIGITS_SIZE = MobileFrame(stem=8, stem_stride=1, widths=(8, 16, 24, 32, 40), strides=(1, 2, 1, 2, 1), head=96, last=128)
LARGE_IMAGE, CIFAR_IMAGE = 96, 24
"""Pixels a side from which on an image gets the published frame, and that for images of CIFAR size."""


def frame_for(image_size: int, *, widths: Sequence[int] | None, strides: Sequence[int] | None) -> MobileFrame:
    """The frame of an image size, with other widths or strides of its stages where they are given.

    Raises:
        BadInput: not as many as stages, or not positive whole numbers.
    """
    frame = PUBLISHED if image_size >= LARGE_IMAGE else CIFAR_SIZE if image_size >= CIFAR_IMAGE else DIGITS_SIZE
    return replace(
        frame,
        widths=_of_stages("stage_widths", frame.widths if widths is None else widths),
        strides=_of_stages("stage_strides", frame.strides if strides is None else strides),
    )


def _of_stages(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if len(values) != len(SQUEEZES):
        raise BadInput(f"{name}: must be {len(SQUEEZES)} numbers, one a stage; got {len(values)}")
    return tuple(whole(name, value, minimum=1) for value in values)
