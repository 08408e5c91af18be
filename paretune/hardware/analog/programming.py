"""Weights of one layer on its cells: programmed, drifted, read and compensated; and how they multiply.

Drift compensation reads every row of a tile once after programming and again before use, through the same noisy outputs and ADC as any
product, and scales the tile's outputs (or those of each column) by the ratio of the mean absolute values.

Source: Joshi et al., Accurate deep neural network inference using computational phase-change memory, Nature Communications 11, 2473, 2020
(global drift compensation).

Legend: V programmings at once, A splits of rows, N columns, K rows, 2 cells of a weight (positive, negative).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from paretune.hardware.analog.devices import CellState, Device
from paretune.hardware.analog.layers import AnalogLayer
from paretune.hardware.analog.layout import laid
from paretune.hardware.analog.noise import normals

SMALLEST_READING = 1e-4
"""Mean reading below which a tile is not scaled up further; relative to the largest weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """A batch norm that follows a layer, as scale and shift of its outputs."""

    scale: Tensor
    """`(N,)`, of each column."""
    shift: Tensor
    """`(N,)`, added to each column."""


class ProgrammedWeights:
    """What a layer multiplies with in place of its parameters.

    Args:
        layer: whose tiles they are on.
        weights_VNK: as read, relative to `scales`.
        gains_VAN: of drift compensation.
        fold: batch norm to apply with the scales of the outputs.
        channels_last: lay the weights of a convolution over images so, and with them its outputs.
    """

    def __init__(
        self, layer: AnalogLayer, *, weights_VNK: Tensor, gains_VAN: Tensor, fold: Fold | None, channels_last: bool = False
    ) -> None:
        count, shape = len(weights_VNK), (len(weights_VNK), *layer.weight.shape)
        unit, ranges_A = layer.code_unit(), layer.input_ranges.detach()
        self._columns_VAN = gains_VAN * layer.scales
        self._bias_N = torch.zeros(len(layer.weight), device=weights_VNK.device) if layer.bias is None else layer.bias.detach()
        self._has_bias = layer.bias is not None or fold is not None
        if layer.exact:
            self._weights = [laid(self._digital(layer, weights_VNK).view(shape).flatten(0, 1), channels_last=channels_last)]
            return
        self._columns_VAN = self._columns_VAN * (ranges_A[:, None] * unit)
        if fold is not None:
            self._columns_VAN, self._bias_N = self._columns_VAN * fold.scale, self._bias_N * fold.scale + fold.shift
        weights = weights_VNK.view(shape) / float((layer.preset.dac_levels or 1) * unit)
        splits = [layer.split_weights(weights, number).flatten(0, 1) for number in range(len(ranges_A))]
        self._weights = [laid(split, channels_last=channels_last) for split in splits]
        self._to_codes = [(layer.preset.dac_levels or 1) / float(input_range) for input_range in ranges_A]
        self._count = count

    _count = 1

    def _digital(self, layer: AnalogLayer, weights_VNK: Tensor) -> Tensor:
        """Weights in the units of the parameters."""
        self._count = len(weights_VNK)
        splits = zip(layer.tiling.splits, self._columns_VAN.unbind(1), strict=True)
        return torch.cat([weights_VNK[:, :, split.start : split.stop] * columns_VN[:, :, None] for split, columns_VN in splits], dim=2)

    def forward(self, layer: AnalogLayer, inputs: Tensor) -> Tensor:
        """Outputs for `(V * B, ...)` inputs, those of each programming one after another."""
        if layer.exact:
            outputs = self._product(layer, inputs, self._weights[0])
            return outputs.add_(layer.along_columns(self._bias_N)) if self._has_bias else outputs
        levels_in, levels_out = layer.preset.dac_levels, layer.preset.adc_levels
        total: Tensor | None = None
        bias = layer.along_columns(self._bias_N)
        for number, weight in enumerate(self._weights):
            codes = layer.split_inputs(inputs, number) * self._to_codes[number]
            if levels_in is not None:
                codes.round_().clamp_(-levels_in, levels_in)
            outputs = self._product(layer, codes, weight)
            if layer.preset.output_noise > 0:
                layer.noise.add_to(outputs, layer.preset.output_noise / layer.code_unit(), channels_last=True)
            if levels_out is not None:
                outputs.round_().clamp_(-levels_out, levels_out)
            # One pass for scales and sum: after the products, passes over the outputs are what takes time.
            columns, outputs = self._columns(layer, outputs, number), self._by_programming(outputs)
            total = torch.addcmul(bias, outputs, columns, out=outputs) if total is None else total.addcmul_(outputs, columns)
        assert total is not None
        return total if self._count == 1 else total.flatten(0, 1)

    def _by_programming(self, outputs: Tensor) -> Tensor:
        """`(V, B, ...)`, or as they are where there is one programming."""
        return outputs if self._count == 1 else outputs.view(self._count, -1, *outputs.shape[1:])

    def _columns(self, layer: AnalogLayer, outputs: Tensor, number: int) -> Tensor:
        """Scales of the columns of a split, to broadcast over `_by_programming(outputs)`."""
        columns_VN = self._columns_VAN[:, number]
        if self._count == 1:
            return layer.along_columns(columns_VN[0])
        shape = [self._count, *[1] * outputs.dim()]
        shape[1 + layer.channel_axis(outputs)] = len(layer.weight)
        return columns_VN.reshape(shape)

    def _product(self, layer: AnalogLayer, codes: Tensor, weight: Tensor) -> Tensor:
        """Products of one or several programmings."""
        return layer.product(codes, weight) if self._count == 1 else layer.products(codes, weight, self._count)


class Cells:
    """The cells of one layer through one or more programmings.

    Args:
        layer: with a device that is not exact.
        device: the cells.
        name: of the layer; with its shape it decides the variates, so equal layers of other networks get equal ones.
        repeats: numbers of the programmings.
        seed: of all variates.
    """

    def __init__(self, layer: AnalogLayer, device: Device, *, name: str, repeats: Sequence[int], seed: int) -> None:
        self._layer, self._device, self._name, self._repeats, self._seed = layer, device, name, tuple(repeats), seed
        weights_NK = layer.weight.detach().flatten(1).float() / self._per_row(layer.scales)
        self._largest_NK = self._largest(weights_NK)
        share = weights_NK / self._largest_NK
        self._span = device.g_max_siemens - device.g_min_siemens
        target = torch.stack([share.clamp(min=0), (-share).clamp(min=0)]) * self._span + device.g_min_siemens
        self._state = CellState(
            target=target,
            programmed=device.program(target, self._draw("programming", *target.shape)),
            exponents=device.exponents(target, self._draw("drift", *target.shape)),
        )
        self._baseline = self._read(self._weights(self._state.programmed), "baseline")

    def at(self, time_s: float, *, fold: Fold | None = None, channels_last: bool = False) -> ProgrammedWeights:
        """The weights as they multiply `time_s` after programming."""
        weights_VNK, gains_VAN = self.read(time_s)
        return ProgrammedWeights(self._layer, weights_VNK=weights_VNK, gains_VAN=gains_VAN, fold=fold, channels_last=channels_last)

    def read(self, time_s: float) -> tuple[Tensor, Tensor]:
        """Weights `(V, N, K)` relative to `scales`, and gains `(V, A, N)` of drift compensation, `time_s` after programming."""
        noise = self._draw(f"read {time_s!r}", *self._state.target.shape)
        weights_VNK = self._weights(self._device.at(time_s, self._state, noise))
        return weights_VNK, self._baseline / self._read(weights_VNK, f"compensation {time_s!r}")

    def errors(self, time_s: float) -> Tensor:
        """`(V, N, K)` compensated weights less those asked for, relative to `scales`."""
        weights_VNK, gains_VAN = self.read(time_s)
        asked_NK = self._layer.weight.detach().flatten(1).float() / self._per_row(self._layer.scales)
        gains_VNK = torch.stack([self._per_row(gains_AN) for gains_AN in gains_VAN])
        return weights_VNK * gains_VNK - asked_NK

    def _draw(self, purpose: str, *shape: int) -> Tensor:
        """`(V, *shape)` variates."""
        drawn = [normals(shape, self._seed, repeat, self._name, str(tuple(shape)), purpose) for repeat in self._repeats]
        return (torch.stack(drawn) if len(drawn) > 1 else drawn[0][None]).to(self._layer.weight.device)

    def _weights(self, conductances: Tensor) -> Tensor:
        """`(V, N, K)`: the difference of a weight's two cells, relative to `scales`."""
        return (conductances[:, 0] - conductances[:, 1]) / self._span * self._largest_NK

    def _per_row(self, values_AN: Tensor) -> Tensor:
        """`(N, K)` of a value for each split and column."""
        splits = self._layer.tiling.splits
        lengths_A = torch.tensor([split.stop - split.start for split in splits], device=values_AN.device)
        return values_AN.T.repeat_interleave(lengths_A, dim=1)

    def _largest(self, weights_NK: Tensor) -> Tensor:
        """`(N, K)` largest absolute weight of the tile, which has the largest conductance."""
        largest_NK = torch.empty_like(weights_NK)
        for split in self._layer.tiling.splits:
            for start, stop in self._layer.tiling.blocks:
                tile = weights_NK[start:stop, split.start : split.stop]
                largest_NK[start:stop, split.start : split.stop] = tile.abs().max().clamp(min=1e-7)
        return largest_NK

    def _read(self, weights_VNK: Tensor, purpose: str) -> Tensor:
        """`(V, A, N)` mean absolute reading of each row of a tile, of all of its columns or of each; 1 without compensation."""
        preset, tiling, unit = self._layer.preset, self._layer.tiling, self._layer.code_unit()
        readings_VAN = weights_VNK.new_ones((len(weights_VNK), len(tiling.splits), weights_VNK.shape[1]))
        if preset.compensation == "none":
            return readings_VAN
        outputs_VNK = weights_VNK / unit
        if preset.output_noise > 0:
            outputs_VNK = outputs_VNK + self._draw(purpose, *weights_VNK.shape[1:]) * (preset.output_noise / unit)
        if preset.adc_levels is not None:
            outputs_VNK = outputs_VNK.round().clamp_(-preset.adc_levels, preset.adc_levels)
        outputs_VNK = outputs_VNK.abs() * unit
        for number, split in enumerate(tiling.splits):
            columns_VN = outputs_VNK[:, :, split.start : split.stop].mean(dim=2)
            if preset.compensation == "global":
                for start, stop in tiling.blocks:
                    columns_VN[:, start:stop] = columns_VN[:, start:stop].mean(dim=1, keepdim=True)
            readings_VAN[:, number] = columns_VN.clamp(min=SMALLEST_READING)
        return readings_VAN
