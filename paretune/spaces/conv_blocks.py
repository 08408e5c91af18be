"""Torch networks of inverted residual blocks (MobileNetV2), built from a plain description.

Departs: a stage's first block has no shortcut, even where the shapes would allow one. Else two neighbouring stages of equal width and
stride 1 could be cut in two ways and be one network, and genotypes would no longer tell architectures apart.

Source: Sandler et al., MobileNetV2, CVPR 2018.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """One inverted residual block."""

    kernel: int
    expansion: int
    """Channels of the depthwise convolution for each input channel; 1 leaves the expanding convolution out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """Blocks of one width; the first may reduce the map."""

    width: int
    stride: int
    blocks: tuple[BlockPlan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """A whole network for square images."""

    in_channels: int
    image_size: int
    num_classes: int
    stem_width: int
    stages: tuple[StagePlan, ...]


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that trains fast where its output is smaller than its kernel.

    There oneDNN's gradient of the weights falls back to a slow kernel if it pads itself: 11 ms a step for 48 channels of 4x4
    under a 5x5 kernel, 1 ms when the padding is done before. The numbers are the same.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """As `nn.Conv2d`."""
        if not self.training:
            return super().forward(inputs)
        smallest_output = -(-min(inputs.shape[-2:]) // self.stride[0])
        if smallest_output >= self.kernel_size[0]:
            return super().forward(inputs)
        margin = self.kernel_size[0] // 2
        return conv2d(pad(inputs, (margin, margin, margin, margin)), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class InvertedResidual(nn.Module):
    """1x1 expand, KxK depthwise, 1x1 project, and a shortcut around them.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the depthwise convolution.
        plan: kernel and expansion.
        shortcut: whether the input is added to the output.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int, plan: BlockPlan, shortcut: bool) -> None:
        super().__init__()
        hidden = in_channels * plan.expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if plan.expansion > 1:
            layers["expand"] = _conv(in_channels, hidden, kernel=1, relu=True)
        layers["depthwise"] = _conv(hidden, hidden, kernel=plan.kernel, stride=stride, groups=hidden, relu=True)
        # No ReLU here: it would throw away half of what the narrow output can say (the paper's linear bottleneck).
        layers["project"] = _conv(hidden, out_channels, kernel=1, relu=False)
        self.layers = nn.Sequential(layers)
        self.shortcut = shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, in_channels, H, W)` -> `(batch, out_channels, ceil(H / stride), ceil(W / stride))`."""
        outputs: Tensor = self.layers(inputs)
        return inputs + outputs if self.shortcut else outputs


def conv_network(plan: NetworkPlan) -> nn.Module:
    """A classifier of `(batch, in_channels, size, size)` images, with fresh weights from torch's global generator."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=_conv(plan.in_channels, plan.stem_width, kernel=3, relu=True))
    channels = plan.stem_width
    for number, stage in enumerate(plan.stages, start=1):
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for index, block in enumerate(stage.blocks):
            first = index == 0
            blocks[f"block{index + 1}"] = InvertedResidual(
                in_channels=channels, out_channels=stage.width, stride=stage.stride if first else 1, plan=block, shortcut=not first
            )
            channels = stage.width
        layers[f"stage{number}"] = nn.Sequential(blocks)
    layers["activation"] = nn.ReLU()
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(channels, plan.num_classes)
    return nn.Sequential(layers)


def _conv(in_channels: int, out_channels: int, *, kernel: int, relu: bool, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias (batch norm shifts), batch norm and perhaps ReLU."""
    kind = DepthwiseConv2d if groups > 1 else nn.Conv2d
    convolution = kind(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    layers: list[nn.Module] = [convolution, nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)
