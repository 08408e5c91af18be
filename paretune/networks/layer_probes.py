"""Small torch networks around one layer record, from which the time of that layer inside a network follows.

A network of one layer says little of that layer: an inference has a cost of its own, and runtimes rearrange a map before the first
convolution and after the last. A *probe* therefore holds the layer several times, side by side, with weights of their own. What a further
copy adds is the layer as it runs inside a network: fused with batch norm and ReLU, on maps in the runtime's own arrangement.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer

PROBED = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR, Kind.POOL, Kind.ACTIVATION)
"""Kinds that there are probes of."""
FUSED = (Kind.ADD,)
"""Kinds whose cost is in the convolution before them: copies of a probe are added up, and runtimes fuse an addition with the convolution
that makes one of its inputs."""
CARRIED = (Kind.POOL, Kind.ACTIVATION)
"""Kinds without weights. Equal copies would be computed once, so each stands between carriers (depthwise 1x1 convolutions with weights of
their own), whose time is taken off again."""


class Probe(nn.Module):
    """Copies of a layer side by side on one input; their outputs are added up, or joined where they are vectors.

    Args:
        branches: the copies.
        joins: whether outputs are joined along the channels.
        activation: whether a ReLU follows each.
    """

    def __init__(self, branches: list[nn.Module], *, joins: bool, activation: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.joins, self.activation = joins, activation

    def forward(self, inputs: Tensor) -> Tensor:
        """One input to the sum, or the joined outputs, of all copies."""
        outputs = [self.branches[0](inputs)]
        for branch in list(self.branches)[1:]:
            # convolution + sum + ReLU is one kernel in ONNX Runtime, as the end of a residual block is.
            outputs.append(branch(inputs) if self.joins else branch(inputs) + self._activated(outputs[-1]))
        return torch.cat(outputs, dim=1) if self.joins else self._activated(outputs[-1])

    def _activated(self, outputs: Tensor) -> Tensor:
        return nn.functional.relu(outputs) if self.activation else outputs


class Scale(nn.Module):
    """Weights each channel by a number that depends on the input, as squeeze-and-excite does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before, self.after = carrier(channels), carrier(channels)
        self.shift = nn.Parameter(torch.randn(1, channels))

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, channels, H, W)` -> the same shape."""
        weights = inputs[:, :, 0, 0] + self.shift
        outputs: Tensor = self.after(self.before(inputs) * weights[:, :, None, None])
        return outputs


class Resize(nn.Module):
    """Bilinear resizing."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, channels, H, W)` -> `(batch, channels, height, width)`."""
        return interpolate(inputs, size=self.size, mode="bilinear", align_corners=False)


def carrier(channels: int) -> nn.Module:
    """A depthwise 1x1 convolution, the cheapest layer with weights."""
    return nn.Conv2d(channels, channels, 1, groups=channels)


def input_shape(layer: Layer) -> tuple[int, ...]:
    """Shape of a probe's input, batch first."""
    if layer.kind is Kind.LINEAR and layer.out_height * layer.out_width == 1:
        return (layer.batch, layer.in_channels)
    if layer.kind is Kind.LINEAR:
        return (layer.batch, layer.out_height * layer.out_width, layer.in_channels)
    return (layer.batch, layer.in_channels, layer.in_height, layer.in_width)


def probe(layer: Layer, copies: int) -> nn.Module:
    """A network with `copies` of a layer.

    Args:
        layer: its `in_height` and `in_width` are known.
        copies: at least 1.

    Raises:
        BadInput: no network can be made of such a layer.
    """
    makers: dict[Kind, Callable[[Layer], nn.Module]] = {
        Kind.CONV: _convolution,
        Kind.DEPTHWISE: _convolution,
        Kind.LINEAR: lambda item: nn.Linear(item.in_channels, item.out_channels),
        Kind.POOL: lambda item: nn.Sequential(carrier(item.in_channels), _pool(item)),
        Kind.ACTIVATION: lambda item: Scale(item.in_channels),
    }
    if layer.kind not in makers:
        known = ", ".join(kind.name.lower() for kind in PROBED)
        raise BadInput(f"a layer of kind {layer.kind.name.lower()} cannot be measured by itself; kinds that can: {known}")
    if layer.taps or layer.rank:
        raise BadInput(
            "a layer with pruned kernels or of low rank cannot be measured by itself: the runtimes here compute it as a dense one"
        )
    branches = [makers[layer.kind](layer) for _ in range(copies)]
    return Probe(branches, joins=_is_vector(layer), activation=layer.kind in (Kind.CONV, Kind.DEPTHWISE))


def baseline(layer: Layer, copies: int) -> nn.Module:
    """The carriers of a probe of one of the `CARRIED` kinds, without the layer."""
    number = 2 if layer.kind is Kind.ACTIVATION else 1
    branches: list[nn.Module] = [nn.Sequential(*(carrier(layer.in_channels) for _ in range(number))) for _ in range(copies)]
    return Probe(branches, joins=False, activation=False)


def _is_vector(layer: Layer) -> bool:
    return layer.kind in (Kind.LINEAR, Kind.POOL) and layer.out_height * layer.out_width == 1


def _convolution(layer: Layer) -> nn.Module:
    """With batch norm, as the spaces build them; runtimes fold it into the convolution."""
    convolution = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        groups=layer.groups,
        bias=False,
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(layer.out_channels))


def _pool(layer: Layer) -> nn.Module:
    if layer.out_height * layer.out_width == 1:
        return nn.AdaptiveAvgPool2d(1)
    if layer.kernel == 1 and layer.stride == 1:
        return Resize(layer.out_height, layer.out_width)
    return nn.AvgPool2d(layer.kernel, stride=layer.stride, padding=layer.padding)
