"""Converters with straight-through gradients: inputs to codes within a learnable range, outputs of a tile to codes.

Inputs are quantised before a convolution gathers its patches: rounding each value once or once a patch is the same. The gradient of
the range follows the rules of Rasch et al., Nature Communications 14, 5282, 2023, as the IBM analog hardware acceleration kit states
them: clipped inputs can only widen the range, decay narrows it while nearly nothing is clipped.

Departs: the kit sums the range's gradient over gathered patches, we sum it over inputs, where patches are already added up.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def quantised_inputs(inputs: Tensor, input_range: Tensor, *, levels: int, decay: float, widest_clipped: float) -> Tensor:
    """Codes of inputs, `round(clamp(x, -r, r) * levels / r)`, with the gradients described above.

    Args:
        inputs: of any shape.
        input_range: r, `()`, positive.
        levels: steps on either side of zero.
        decay: gradient that narrows the range, relative to it.
        widest_clipped: share of clipped inputs from which the range does not decay.
    """
    codes: Tensor = _Dac.apply(inputs, input_range, levels, decay, widest_clipped)  # type: ignore[no-untyped-call, unused-ignore]
    return codes


def quantised_outputs(outputs: Tensor, levels: int) -> Tensor:
    """Codes of outputs in steps of the ADC, `clamp(round(y), -levels, levels)`; gradients pass where nothing is clipped."""
    codes: Tensor = _Adc.apply(outputs, levels)  # type: ignore[no-untyped-call, unused-ignore]
    return codes


class _Dac(Function):
    """Codes of inputs: `round(clamp(x, -r, r) * levels / r)`."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, input_range: Tensor, levels: int, decay: float, widest_clipped: float) -> Tensor:
        """Of inputs of any shape and a positive range `()`, which does not decay when a larger share than `widest_clipped` is clipped."""
        codes = inputs.float() * (levels / input_range)  # half precision would round twice
        codes.round_().clamp_(-levels, levels)
        ctx.save_for_backward(inputs, input_range, codes)
        ctx.levels, ctx.decay, ctx.widest_clipped = levels, decay, widest_clipped
        return codes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Straight through within the range; the range by the rules above."""
        (gradient,) = gradients
        inputs, input_range, codes = ctx.saved_tensors
        scale = ctx.levels / input_range
        clipped = inputs.float().abs().ge_(input_range)  # 0 or 1: arithmetic on floats is several times faster than on masks
        outside = gradient * clipped
        inputs_gradient = (gradient - outside).mul_(scale).to(inputs.dtype) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return inputs_gradient, None, None, None, None
        # Codes outside are +-levels, so this is d loss / d (x / r) * sign(x), and only what widens the range is kept.
        widening = outside.mul_(codes).clamp_(max=0).sum()
        decaying = clipped.mean() < ctx.widest_clipped
        return inputs_gradient, widening + ctx.decay * input_range * decaying, None, None, None


class _Adc(Function):
    """Codes of outputs, `clamp(round(y), -levels, levels)`; gradients pass where nothing is clipped."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, levels: int) -> Tensor:
        """Of outputs in steps of the converter."""
        ctx.levels = levels
        codes = outputs.round().clamp_(-levels, levels)
        ctx.save_for_backward(codes)
        return codes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Straight through where the code is below the last."""
        (codes,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradients[0], codes, -ctx.levels, ctx.levels), None
