"""Torch networks of residual blocks with parallel branches (ResNeXt-like), built from a plain description.

Sources: He et al., Deep Residual Learning, CVPR 2016 (both block types); Benmeziane et al., AnalogNAS, IEEE EDGE 2023 (branches).
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from paretune.spaces.residual_layers import bottleneck_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualPlan:
    """One residual block."""

    in_channels: int
    out_channels: int
    stride: int
    branches: int
    """Paths of equal shape whose outputs are added."""
    bottleneck: bool
    """1x1, 3x3, 1x1 instead of 3x3, 3x3."""


class ResidualBlock(nn.Module):
    """ReLU of the sum of all branches and the shortcut; the shortcut is a 1x1 convolution where the shape changes."""

    def __init__(self, plan: ResidualPlan) -> None:
        super().__init__()
        changes = plan.stride > 1 or plan.in_channels != plan.out_channels
        self.shortcut = _conv(plan.in_channels, plan.out_channels, stride=plan.stride) if changes else nn.Identity()
        make_branch = _bottleneck_branch if plan.bottleneck else _basic_branch
        self.branches = nn.ModuleList(make_branch(plan) for _ in range(plan.branches))
        self.activation = nn.ReLU()

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, in_channels, H, W)` -> `(batch, out_channels, ceil(H / stride), ceil(W / stride))`."""
        total: Tensor = self.shortcut(inputs)
        for branch in self.branches:
            total = total + branch(inputs)
        outputs: Tensor = self.activation(total)
        return outputs


def residual_network(
    *, in_channels: int, first_width: int, stem_kernel: int, main_blocks: Sequence[Sequence[ResidualPlan]], num_classes: int
) -> nn.Module:
    """A classifier of square images: one convolution, the main blocks, the mean of each map, a linear layer."""
    stem = nn.Sequential(_conv(in_channels, first_width, kernel=stem_kernel), nn.ReLU())
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    for number, plans in enumerate(main_blocks, start=1):
        layers[f"main{number}"] = nn.Sequential(OrderedDict((f"block{index}", ResidualBlock(plan)) for index, plan in enumerate(plans, 1)))
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(main_blocks[-1][-1].out_channels, num_classes)
    return nn.Sequential(layers)


def _basic_branch(plan: ResidualPlan) -> nn.Sequential:
    return nn.Sequential(
        _conv(plan.in_channels, plan.out_channels, kernel=3, stride=plan.stride),
        nn.ReLU(inplace=True),
        _conv(plan.out_channels, plan.out_channels, kernel=3),
    )


def _bottleneck_branch(plan: ResidualPlan) -> nn.Sequential:
    middle = int(bottleneck_width(np.array(plan.out_channels)))
    return nn.Sequential(
        _conv(plan.in_channels, middle),
        nn.ReLU(inplace=True),
        _conv(middle, middle, kernel=3, stride=plan.stride),
        nn.ReLU(inplace=True),
        _conv(middle, plan.out_channels),
    )


def _conv(in_channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution without bias (batch norm shifts) and batch norm."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))
