"""Torch blocks of mobile networks, built from the plain descriptions in `mobile_layers`.

Sources: Sandler et al., MobileNetV2, CVPR 2018; Howard et al., MobileNetV3, ICCV 2019; Wu et al., FBNet, CVPR 2019.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from paretune.spaces.conv_blocks import DepthwiseConv2d
from paretune.spaces.mobile_layers import Activation, Gate, MBConvPlan

ACTIVATIONS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "hard_swish": nn.Hardswish, "silu": nn.SiLU}
GATES: dict[Gate, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "hard_sigmoid": nn.Hardsigmoid}


class SqueezeExcite(nn.Module):
    """Weights each channel by what two linear layers make of all channels' means.

    Args:
        channels: of the map.
        squeeze_channels: between the two linear layers.
        activation: between them.
        gate: after them.
    """

    def __init__(self, *, channels: int, squeeze_channels: int, activation: Activation, gate: Gate) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, squeeze_channels)
        self.activation = ACTIVATIONS[activation]()
        self.excite = nn.Linear(squeeze_channels, channels)
        self.gate = GATES[gate]()

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, channels, H, W)` -> the same shape."""
        weights: Tensor = self.gate(self.excite(self.activation(self.reduce(inputs.mean(dim=(2, 3))))))
        return inputs * weights[:, :, None, None]


class MBConv(nn.Module):
    """A mobile inverted bottleneck, see `mobile_layers`."""

    def __init__(self, plan: MBConvPlan) -> None:
        super().__init__()
        hidden, activation = plan.hidden_channels, plan.activation
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if plan.expands:
            layers["expand"] = conv_norm(plan.in_channels, hidden, groups=plan.groups, activation=activation)
            if plan.groups > 1:
                layers["shuffle"] = nn.ChannelShuffle(plan.groups)
        layers["depthwise"] = conv_norm(hidden, hidden, kernel=plan.kernel, stride=plan.stride, groups=hidden, activation=activation)
        if plan.squeeze_channels:
            inner: Activation = "silu" if activation == "silu" else "relu"
            layers["squeeze_excite"] = SqueezeExcite(
                channels=hidden, squeeze_channels=plan.squeeze_channels, activation=inner, gate=plan.gate
            )
        layers["project"] = conv_norm(hidden, plan.out_channels, groups=plan.groups, activation=None)
        self.layers = nn.Sequential(layers)
        self.shortcut = plan.shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, in_channels, H, W)` -> `(batch, out_channels, ceil(H / stride), ceil(W / stride))`."""
        outputs: Tensor = self.layers(inputs)
        return inputs + outputs if self.shortcut else outputs


def conv_norm(
    in_channels: int, out_channels: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, activation: Activation | None
) -> nn.Sequential:
    """Convolution without bias (batch norm shifts), batch norm and perhaps an activation."""
    kind = DepthwiseConv2d if 1 < groups == in_channels else nn.Conv2d
    convolution = kind(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(convolution=convolution, norm=nn.BatchNorm2d(out_channels))
    if activation is not None:
        layers["activation"] = ACTIVATIONS[activation](inplace=True)
    return nn.Sequential(layers)


def mobile_network(
    *, stem: nn.Module, blocks: Sequence[nn.Module], head: Sequence[nn.Module], channels: int, num_classes: int
) -> nn.Module:
    """A classifier: stem, blocks, what follows them, the mean of each of `channels` maps, and a linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem, blocks=nn.Sequential(*blocks), head=nn.Sequential(*head))
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(channels, num_classes)
    return nn.Sequential(layers)
