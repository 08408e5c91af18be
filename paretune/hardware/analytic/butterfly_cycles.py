"""Cycles of the adaptable butterfly engine: Fourier and butterfly layers as pipelines of loading, computing and writing.

Rows (tokens) go through E engines at once, in `runs`. Each engine has U butterfly units, which together take n / (2 U) cycles for each of
the log2(n) factors of a row of n numbers.

Source: Fan et al., Adaptable Butterfly Accelerator for Attention-based NNs via Hardware and Algorithm Co-design, MICRO 2022, and the
pipeline of its released simulator. Departs, unless `as_released`: every step of a pipeline counts, the second pass of a Fourier layer runs
along tokens, and outputs are neither padded nor written beyond their number.

Legend: L layers (design values may be `(1,)` where all layers share them).
"""

from dataclasses import dataclass

import numpy as np

from paretune.core.workload import log2_ceil
from paretune.hardware.analytic.layers import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The design that runs each layer."""

    engines: Floats
    """E."""
    units: Floats
    """U, butterfly units of an engine."""
    bits: int
    """Of a number."""
    input_port_bits: float
    """A cycle, from DRAM."""
    coefficient_port_bits: float
    """A cycle, from DRAM."""
    output_port_bits: float
    """A cycle, to DRAM."""

    def compute(self, length: Floats) -> Floats:
        """All factors of a row."""
        return length / (2 * self.units) * levels(length)

    def load(self, length: Floats, *, coefficients: Floats, parts: int) -> Floats:
        """A row for each engine and the coefficients, whichever takes longer; an engine takes one number a cycle.

        Args:
            length: numbers of a row.
            coefficients: real numbers.
            parts: 2 for complex rows, 1 for real ones.
        """
        words = np.maximum(np.ceil(length * self.engines * self.bits * parts / self.input_port_bits), length)
        # Coefficients enter four memories a unit, two numbers wide each.
        stored = coefficients / (8 * self.units)
        fetched = np.ceil(coefficients * self.bits / self.coefficient_port_bits)
        return np.maximum(words, np.maximum(fetched, stored))

    def store(self, length: Floats, *, parts: int) -> Floats:
        """A row of each engine."""
        return np.maximum(np.ceil(length * self.engines * self.bits * parts / self.output_port_bits), length)


def levels(length: Floats) -> Floats:
    """log2 of powers of two."""
    return log2_ceil(length.astype(np.int64)).astype(np.float64)


def padded(length: Floats) -> Floats:
    """The power of two that is not below each length, at least 2."""
    return 2.0 ** np.maximum(log2_ceil(length.astype(np.int64)), 1)


def fft_pass(engine: Engine, *, rows: Floats, length: Floats, complex_input: bool, as_released: bool) -> Floats:
    """One dimension of a Fourier layer: a real row becomes complex, a complex one real again.

    Two stages: load and compute share the memory that holds both parts of a number; the write of one run overlaps with the next run, that
    of the last with the next layer.

    Args:
        engine: the design.
        rows: to be transformed.
        length: of a row, a power of two.
        complex_input: whether this is the second dimension.
        as_released: leave the second run out, as the released simulator does.
    """
    runs = np.ceil(rows / engine.engines)
    coefficients = 2 * length * levels(length)  # one complex number for each output of each factor
    first = engine.compute(length) + engine.load(length, coefficients=coefficients, parts=2 if complex_input else 1)
    later = np.maximum(first, engine.store(length, parts=1 if complex_input else 2))
    return np.asarray(first + np.maximum(runs - (2 if as_released else 1), 0) * later)


def butterfly_layer(engine: Engine, *, rows: Floats, in_features: Floats, out_features: Floats, as_released: bool) -> Floats:
    """A butterfly linear layer.

    Three stages: load, compute and write overlap; the last write overlaps with the next layer.

    Args:
        engine: the design.
        rows: tokens.
        in_features: of a token.
        out_features: of a token; more than the padded input take further runs.
        as_released: as the released simulator: outputs padded to a power of two, rows written at their padded input's length, the second
            step of the pipeline left out.
    """
    length = padded(in_features)
    stacks = np.maximum(padded(out_features) / length, 1) if as_released else np.ceil(out_features / length)
    runs = np.ceil(rows / engine.engines) * stacks
    load = engine.load(length, coefficients=2 * length * levels(length), parts=1)
    compute = engine.compute(length)
    store = engine.store(length if as_released else np.minimum(length, out_features), parts=1)
    whole_step = np.maximum(load, np.maximum(compute, store))
    if as_released:
        last_step = np.where(runs > 2, np.maximum(compute, store), 0)
        return np.asarray(load + compute + np.maximum(runs - 3, 0) * whole_step + last_step)
    second_step = np.where(runs > 1, np.maximum(load, compute), 0)
    last_step = np.where(runs > 1, np.maximum(compute, store), compute)
    return np.asarray(load + second_step + np.maximum(runs - 2, 0) * whole_step + last_step)
