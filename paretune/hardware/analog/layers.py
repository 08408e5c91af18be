"""Layers on analog tiles: they train with the target's converters and noise, and run programmed weights. Kinds are in `drop_ins`.

The parameters stay the digital ones (`weight`, `bias`); what a tile holds are weights over `scales`. So any optimiser works, and its step
is that of the digital network.

Departs from the IBM analog hardware acceleration kit, which gives each tile an input range of its own: tiles that get the same inputs,
side by side in one split of the rows, share it.

Legend: A splits of rows, N columns (outputs), K rows (inputs of a product), V programmings at once, B images.
"""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn

from paretune.hardware.analog.converters import quantised_inputs, quantised_outputs
from paretune.hardware.analog.noise import OutputNoise
from paretune.hardware.analog.presets import AnalogPreset
from paretune.hardware.analog.tiling import RowSplit, Tiling
from paretune.hardware.analog.training import HardwareAwareTraining


class RunningWeights(Protocol):
    """Weights of a layer in cells that were programmed; see `programming.ProgrammedWeights`."""

    def forward(self, layer: "AnalogLayer", inputs: Tensor) -> Tensor:
        """Outputs of the layer with these weights."""
        ...


class AnalogLayer(nn.Module, ABC):
    """What both kinds share; `scales` and `input_ranges` belong to the tiles, one row for each split of the weights' rows."""

    weight: Tensor
    bias: Tensor | None
    scales: Tensor
    """`(A, N)` weight that is the largest conductance."""
    range_batches_seen: Tensor
    input_ranges: nn.Parameter
    """`(A,)` largest input that the DAC converts, as of training, or of `calibrate`."""
    tiling: Tiling
    preset: AnalogPreset
    training_options: HardwareAwareTraining
    noise: OutputNoise
    programmed: RunningWeights | None = None
    """Weights as programmed and drifted; where set, they are what runs."""
    _ranges_started: bool = False  # spares a look at a number on the GPU each step

    def lay_out(self, tiling: Tiling, preset: AnalogPreset, options: HardwareAwareTraining, noise: OutputNoise) -> None:
        """Take the target on; called once by the subclasses."""
        self.tiling, self.preset, self.training_options, self.noise = tiling, preset, options, noise
        device, count = self.weight.device, len(tiling.splits)
        ranges = torch.full((count,), options.initial_range, device=device)
        self.input_ranges = nn.Parameter(ranges, requires_grad=options.learn_ranges and preset.dac_levels is not None)
        self.register_buffer("range_batches_seen", torch.zeros((), dtype=torch.int64, device=device))
        self.register_buffer("scales", torch.ones((count, len(self.weight)), device=device))
        masks = [self._mask(split) for split in tiling.splits]
        for number, mask in enumerate(masks):
            self.register_buffer(f"_mask{number}", mask, persistent=False)
        self.remap("layer" if options.remap == "none" else options.remap)

    @property
    def positions(self) -> int:
        """Kernel positions."""
        return self.weight[0, 0].numel()

    @property
    def exact(self) -> bool:
        """Whether products are those of the digital layer."""
        return self.preset.exact_products

    def _mask(self, split: RowSplit) -> Tensor | None:
        """1 for the weights of a split among those of its channels; None where all are."""
        first, stop = split.first_channel * self.positions, split.stop_channel * self.positions
        if (first, stop) == (split.start, split.stop):
            return None
        rows = torch.arange(first, stop, device=self.weight.device)
        return ((rows >= split.start) & (rows < split.stop)).float().view(self.weight[0, split.first_channel : split.stop_channel].shape)

    def split_weights(self, weight: Tensor, number: int) -> Tensor:
        """Weights of one split `(..., N, channels, *kernel)`, zero where a channel's rows lie on another tile."""
        split, mask = self.tiling.splits[number], getattr(self, f"_mask{number}")
        channels_from_the_end = 1 + len(self.weight.shape[2:])
        part = weight.narrow(weight.dim() - channels_from_the_end, split.first_channel, split.stop_channel - split.first_channel)
        return part if mask is None else part * mask

    def split_inputs(self, inputs: Tensor, number: int) -> Tensor:
        """Input channels of one split."""
        split = self.tiling.splits[number]
        if len(self.tiling.splits) == 1:
            return inputs
        return inputs.narrow(self.channel_axis(inputs), split.first_channel, split.stop_channel - split.first_channel)

    @abstractmethod
    def tiles(self, preset: AnalogPreset, name: str) -> Tiling:
        """How its weights lie on the tiles of a target.

        Raises:
            BadInput: they do not fit.
        """

    @abstractmethod
    def channel_axis(self, inputs: Tensor) -> int:
        """Dimension of the inputs that holds the channels."""

    @abstractmethod
    def product(self, codes: Tensor, weight: Tensor) -> Tensor:
        """Products of codes and weights of a split, without bias."""

    @abstractmethod
    def products(self, codes: Tensor, weights: Tensor, count: int) -> Tensor:
        """Products of several programmings at once: codes and weights of each, one after another along the first dimension."""

    @abstractmethod
    def along_columns(self, values_N: Tensor) -> Tensor:
        """`(N,)` in the shape that broadcasts over outputs."""

    def code_unit(self) -> float:
        """Output of one step of the ADC, relative to the largest weight times a full input; 1 without ADC."""
        levels = self.preset.adc_levels
        return 1.0 if levels is None else self.preset.output_bound / levels

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs as of the target; with noise on the weights in training mode; of programmed weights where there are any."""
        if self.programmed is not None and not self.training:
            return self.programmed.forward(self, inputs)
        weight = self._noisy(self.weight) if self.training and self.training_options.weight_noise > 0 else self.weight
        if self.exact:
            return self.digital(inputs, weight)
        if self.training:
            self._start_ranges(inputs)
        total: Tensor | None = None
        for number in range(len(self.tiling.splits)):
            part = self._tile_row(self.split_inputs(inputs, number), weight, number)
            total = part if total is None else total + part
        assert total is not None
        return total if self.bias is None else total + self.along_columns(self.bias)

    @abstractmethod
    def digital(self, inputs: Tensor, weight: Tensor) -> Tensor:
        """The exact layer."""

    @abstractmethod
    def plain(self) -> nn.Module:
        """The torch layer that it stands in for, with the same parameters."""

    def _tile_row(self, inputs: Tensor, weight: Tensor, number: int) -> Tensor:
        """Outputs of the tiles that share one split of the rows."""
        input_range, scales_N = self.input_ranges[number], self.scales[number]
        options, levels, unit = self.training_options, self.preset.dac_levels, self.code_unit()
        if levels is None:
            codes = inputs / input_range.detach()
        else:
            codes = quantised_inputs(
                inputs, input_range, levels=levels, decay=options.range_decay, widest_clipped=1 - options.range_unclipped
            )
        # The product comes out in steps of the ADC: normalised weights, over the code of a full input, over the step.
        per_column = (1 / (scales_N * ((levels or 1) * unit))).view(-1, *[1] * (weight.dim() - 1))
        outputs = self.product(codes, self.split_weights(weight, number) * per_column).float()
        codes_out = self.convert(outputs)
        return codes_out * self.along_columns(scales_N * (unit * input_range.detach()))

    def convert(self, outputs: Tensor) -> Tensor:
        """Noise, then the ADC; outputs in its steps, overwritten."""
        if self.preset.output_noise > 0:
            outputs = self.noise.add_to(outputs, self.preset.output_noise / self.code_unit())
        return outputs if self.preset.adc_levels is None else quantised_outputs(outputs, self.preset.adc_levels)

    def _noisy(self, weight: Tensor) -> Tensor:
        """Weights with the noise of training, relative to the largest weight of each tile."""
        noise = self.noise.add_to(torch.zeros(weight.shape, device=weight.device), self.training_options.weight_noise)
        flat = noise.view(len(weight), -1)
        for split, scales_N in zip(self.tiling.splits, self.scales, strict=True):
            flat[:, split.start : split.stop] *= scales_N[:, None]
        return weight + noise

    @torch.no_grad()
    def _start_ranges(self, inputs: Tensor) -> None:
        """Ranges from the first batches' deviation: the running mean of `range_deviations` of each."""
        self._ranges_started = self._ranges_started or bool(self.range_batches_seen >= self.training_options.range_batches)
        if self._ranges_started:
            return
        for number in range(len(self.tiling.splits)):
            deviation = self.split_inputs(inputs, number).float().std()
            if deviation > 0:
                told = self.training_options.range_deviations * deviation
                # On the data: a forward that still waits for its backward may hold the range.
                self.input_ranges.data[number] += (told - self.input_ranges[number]) / (self.range_batches_seen + 1)
        self.range_batches_seen += 1

    @torch.no_grad()
    def clip(self) -> None:
        """Clip the weights of each tile as the options say."""
        options = self.training_options
        if options.clip == "none":
            return
        flat = self.weight.detach().flatten(1)  # a copy where channels are last in memory
        for split, scales_N in zip(self.tiling.splits, self.scales, strict=True):
            for start, stop in self.tiling.blocks:
                part, scales = flat[start:stop, split.start : split.stop], scales_N[start:stop, None]
                held = part / scales
                limit = options.clip_value if options.clip == "fixed" or held.numel() < 2 else options.clip_deviations * held.std()
                part.copy_(held.clamp_(-limit, limit) * scales)
        if flat.data_ptr() != self.weight.data_ptr():
            self.weight.copy_(flat.view(self.weight.shape))

    @torch.no_grad()
    def remap(self, way: str) -> None:
        """Make the largest weight of each tile (`layer`) or column of a tile (`channel`) its largest conductance."""
        flat = self.weight.detach().flatten(1)
        for number, split in enumerate(self.tiling.splits):
            largest_N = flat[:, split.start : split.stop].abs().amax(dim=1).float()
            if way == "layer":
                for start, stop in self.tiling.blocks:
                    largest_N[start:stop] = largest_N[start:stop].max()
            self.scales[number] = torch.where(largest_N > 0, largest_N, 1.0)

    def after_step(self) -> None:
        """Clip, then remap, as training does after each step of the optimiser."""
        self.clip()
        if self.training_options.remap != "none":
            self.remap(self.training_options.remap)
