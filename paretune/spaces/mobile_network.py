"""Torch networks of once-for-all's MobileNetV3, built from a plain description.

Sources: Howard et al., Searching for MobileNetV3, ICCV 2019; Cai et al., Once-for-All, ICLR 2020.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import interpolate

from paretune.spaces.mobile_blocks import MBConv, conv_norm
from paretune.spaces.mobile_frame import MobileFrame
from paretune.spaces.mobile_layers import MBConvPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class MobilePlan:
    """A whole network for square images."""

    in_channels: int
    resolution: int
    """Height and width that images are resized to; 0 leaves them as they are."""
    frame: MobileFrame
    blocks: tuple[MBConvPlan, ...]
    """The searched layers, stage after stage."""
    num_classes: int


class Resize(nn.Module):
    """Bilinear resizing to a square."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """`(batch, channels, H, W)` -> `(batch, channels, size, size)`."""
        return interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)


def once_for_all_network(plan: MobilePlan) -> nn.Module:
    """A classifier: resizing, stem, a fixed block, the searched layers, 1x1 convolution, mean of each map, two linear layers."""
    frame, width = plan.frame, plan.frame.stem
    first = MBConvPlan(
        in_channels=width, hidden_channels=width, out_channels=width, kernel=3, stride=1, expands=False, shortcut=True, activation="relu"
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if plan.resolution:
        layers["resize"] = Resize(plan.resolution)
    layers["stem"] = conv_norm(plan.in_channels, width, kernel=3, stride=frame.stem_stride, activation="hard_swish")
    layers["first"] = MBConv(first)
    layers["blocks"] = nn.Sequential(*(MBConv(block) for block in plan.blocks))
    layers["head"] = conv_norm(frame.widths[-1], frame.head, activation="hard_swish")
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["last"] = nn.Linear(frame.head, frame.last, bias=False)
    layers["last_activation"] = nn.Hardswish()
    layers["classifier"] = nn.Linear(frame.last, plan.num_classes)
    return nn.Sequential(layers)
