"""Drop-ins for convolutions and linear layers."""

from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, linear

from paretune.core.errors import BadInput
from paretune.hardware.analog.layers import AnalogLayer
from paretune.hardware.analog.noise import OutputNoise
from paretune.hardware.analog.presets import AnalogPreset
from paretune.hardware.analog.tiling import Tiling, tile_layer
from paretune.hardware.analog.training import HardwareAwareTraining

COPIED = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "transposed", "output_padding", "groups")
LINEAR_COPIED = ("in_features", "out_features", "weight", "bias")


class _AnalogConvolution(AnalogLayer):
    """Convolutions of any number of dimensions."""

    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]

    @classmethod
    def of(cls, layer: nn.Module, preset: AnalogPreset, options: HardwareAwareTraining, noise: OutputNoise, *, name: str) -> Self:
        """A drop-in for a convolution that shares its parameters.

        Raises:
            BadInput: it cannot lie on the tiles, or pads with anything but zeros.
        """
        if layer.padding_mode != "zeros":
            raise BadInput(f"layer '{name}': analog convolutions pad with zeros; got padding_mode {layer.padding_mode!r}")
        found = cls.__new__(cls)
        nn.Module.__init__(found)
        for attribute in (*COPIED, "padding_mode", "_reversed_padding_repeated_twice", "weight", "bias"):
            setattr(found, attribute, getattr(layer, attribute))
        found.lay_out(found.tiles(preset, name), preset, options, noise)
        return found

    def plain(self) -> nn.Module:
        """A convolution, with the same parameters."""
        kind = next(kind for kind in DROP_INS if isinstance(self, kind))
        found = kind.__new__(kind)
        nn.Module.__init__(found)
        for attribute in (*COPIED, "padding_mode", "_reversed_padding_repeated_twice", "weight", "bias"):
            setattr(found, attribute, getattr(self, attribute))
        return found

    def tiles(self, preset: AnalogPreset, name: str) -> Tiling:
        """Rows are the input channels of a group times the kernel positions."""
        return tile_layer(
            channels=self.in_channels // self.groups,
            kernel=(self.kernel_size[0] if len(self.kernel_size) > 1 else 1, self.kernel_size[-1]),
            columns=self.out_channels,
            groups=self.groups,
            tile_rows=preset.rows,
            tile_columns=preset.columns,
            layer=name,
        )

    def channel_axis(self, inputs: Tensor) -> int:
        """Before the dimensions of the kernel."""
        return inputs.dim() - 1 - len(self.kernel_size)

    def along_columns(self, values_N: Tensor) -> Tensor:
        """Channels are followed by the dimensions of the kernel."""
        return values_N.view(*values_N.shape, *[1] * len(self.kernel_size))

    @abstractmethod
    def convolve(self, codes: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """A convolution."""

    def product(self, codes: Tensor, weight: Tensor) -> Tensor:
        """A convolution without bias."""
        return self.convolve(codes, weight, None, self.groups)

    def products(self, codes: Tensor, weights: Tensor, count: int) -> Tensor:
        """One grouped convolution."""
        side_by_side = codes.reshape(count, -1, *codes.shape[1:]).transpose(0, 1).flatten(1, 2)
        outputs = self.convolve(side_by_side, weights, None, self.groups * count)
        images, _, *size = outputs.shape
        return outputs.view(images, count, -1, *size).transpose(0, 1).flatten(0, 1)

    def digital(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """The digital layer's forward."""
        return self.convolve(inputs, weight, self.bias, self.groups)


class AnalogConv2d(_AnalogConvolution, nn.Conv2d):
    """A convolution over images on tiles."""

    def convolve(self, codes: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """In two dimensions."""
        return conv2d(codes, weight, bias, self.stride, self.padding, self.dilation, groups)


class AnalogConv1d(_AnalogConvolution, nn.Conv1d):
    """A convolution over sequences on tiles."""

    def convolve(self, codes: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """In one dimension."""
        return conv1d(codes, weight, bias, self.stride, self.padding, self.dilation, groups)


class AnalogLinear(AnalogLayer, nn.Linear):  # type: ignore[misc]  # torch says that its bias is never None
    """A linear layer on tiles."""

    @classmethod
    def of(cls, layer: nn.Module, preset: AnalogPreset, options: HardwareAwareTraining, noise: OutputNoise, *, name: str) -> Self:
        """A drop-in for a linear layer that shares its parameters."""
        found = cls.__new__(cls)
        nn.Module.__init__(found)
        for attribute in LINEAR_COPIED:
            setattr(found, attribute, getattr(layer, attribute))
        found.lay_out(found.tiles(preset, name), preset, options, noise)
        return found

    def plain(self) -> nn.Module:
        """A linear layer, with the same parameters."""
        found = nn.Linear.__new__(nn.Linear)
        nn.Module.__init__(found)
        for attribute in LINEAR_COPIED:
            setattr(found, attribute, getattr(self, attribute))
        return found

    def tiles(self, preset: AnalogPreset, name: str) -> Tiling:
        """Rows are the inputs."""
        return tile_layer(
            channels=self.in_features,
            kernel=(1, 1),
            columns=self.out_features,
            groups=1,
            tile_rows=preset.rows,
            tile_columns=preset.columns,
            layer=name,
        )

    def channel_axis(self, inputs: Tensor) -> int:
        """The last."""
        return inputs.dim() - 1

    def along_columns(self, values_N: Tensor) -> Tensor:
        """Columns are last."""
        return values_N

    def product(self, codes: Tensor, weight: Tensor) -> Tensor:
        """A product without bias."""
        return linear(codes, weight)

    def products(self, codes: Tensor, weights: Tensor, count: int) -> Tensor:
        """One batch of matrices."""
        parts = codes.reshape(count, -1, codes.shape[-1])
        return torch.bmm(parts, weights.view(count, -1, weights.shape[-1]).mT).view(*codes.shape[:-1], -1)

    def digital(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """`nn.Linear`'s forward."""
        return linear(inputs, weight, self.bias)


DROP_INS: dict[type[nn.Module], type[_AnalogConvolution] | type[AnalogLinear]] = {
    nn.Conv1d: AnalogConv1d,
    nn.Conv2d: AnalogConv2d,
    nn.Linear: AnalogLinear,
}
"""By the kind of the digital layer."""
