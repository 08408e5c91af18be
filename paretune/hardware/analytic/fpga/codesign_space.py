"""The accelerator space of Codesign-NAS: its eight decisions, and the area of a design in equivalents of logic blocks.

Legend: N networks or pairs of network and design.

Source: after Abdelfattah et al., Best of Both Worlds: AutoML Codesign of a CNN and its Hardware Accelerator, DAC 2020. The space and the
silicon equivalents are the paper's; how much logic and memory a part takes is ours (see `LogicCosts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import Choice

Floats = NDArray[np.float64]
DesignValues = Mapping[str, NDArray[Any]]
"""Decision -> `(N,)` or `(1,)` values."""

CHOICES: Mapping[str, tuple[Choice, ...]] = {
    "filter_parallelism": (8, 16),
    "pixel_parallelism": (4, 8, 16, 32, 64),
    "input_buffer_depth": (1024, 2048, 4096, 8192),
    "weight_buffer_depth": (1024, 2048, 4096),
    "output_buffer_depth": (1024, 2048, 4096),
    "memory_interface_bits": (256, 512),
    "pool_engine": (False, True),
    "conv_engine_ratio": (0.25, 0.33, 0.5, 0.67, 0.75, 1.0),
}
"""The 8,640 designs: decision -> its choices."""

MM2_PER_CLB = 0.0044
"""Silicon area of a configurable logic block (CLB)."""
CLBS_PER_BLOCK_RAM = 6
"""Of 36 kbit: 0.026 mm2."""
CLBS_PER_DSP = 10
"""0.044 mm2."""
BLOCK_RAM_BITS = 36 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicCosts:
    """Logic blocks of the parts of an accelerator, and the width of its words.

    The paper's area model is not published in numbers. These make the largest design fill about 70 % of its device, and put large designs
    where the paper's lie (132 to 186 mm2); fit them to syntheses of your own.
    """

    base_clbs: int
    """Control, direct memory access, host interface."""
    clbs_per_mac: int
    """Of each multiplier's pipeline."""
    clbs_per_interface_bit: int
    """Of the memory interface."""
    second_engine_clbs: int
    """Control of a second convolution engine."""
    pool_engine_clbs: int
    word_bits: int
    """Of weights and activations in the buffers."""


def engine_lanes(values: DesignValues) -> tuple[Floats, Floats]:
    """Pixels that the two convolution engines compute at once.

    Returns:
        Of the engine for kernels above 1x1, `conv_engine_ratio` of all; of the one for 1x1, the rest. Where the ratio is 1, one engine with
        all of them runs both, and the second has none.
    """
    pixels, ratio = values["pixel_parallelism"].astype(np.float64), values["conv_engine_ratio"].astype(np.float64)
    spatial = np.where(ratio < 1, np.maximum(np.floor(ratio * pixels), 1), pixels)
    return spatial, pixels - spatial


def buffer_words(values: DesignValues) -> tuple[Floats, Floats, Floats]:
    """Words that the input, weight and output buffers hold: as deep as decided, as wide as what is computed at once."""
    pixels, filters = values["pixel_parallelism"], values["filter_parallelism"]
    return (
        (values["input_buffer_depth"] * pixels).astype(np.float64),
        (values["weight_buffer_depth"] * filters).astype(np.float64),
        (values["output_buffer_depth"] * filters).astype(np.float64),
    )


def resources(values: DesignValues, logic: LogicCosts) -> dict[str, Floats]:
    """`(N,)` or `(1,)` logic blocks, 36-kbit memories and DSPs of designs. All buffers are double."""
    macs = values["filter_parallelism"] * values["pixel_parallelism"]
    block_rams = sum(np.ceil(2 * words * logic.word_bits / BLOCK_RAM_BITS) for words in buffer_words(values))
    clbs = logic.base_clbs + logic.clbs_per_mac * macs + logic.clbs_per_interface_bit * values["memory_interface_bits"]
    clbs = clbs + logic.second_engine_clbs * (values["conv_engine_ratio"] < 1) + logic.pool_engine_clbs * values["pool_engine"]
    return {
        "clbs": np.asarray(clbs, dtype=np.float64),
        "block_rams": np.asarray(block_rams, dtype=np.float64),
        "dsps": np.asarray(macs, dtype=np.float64),
    }


def clb_equivalents(clbs: Floats, block_rams: Floats, dsps: Floats) -> Floats:
    """Logic blocks of the same silicon area as a mixture of logic, memories of 36 kbit and DSPs."""
    return np.asarray(clbs + CLBS_PER_BLOCK_RAM * block_rams + CLBS_PER_DSP * dsps)


def silicon_area_mm2(equivalents: Floats) -> Floats:
    """Area of logic blocks: 64,922 of them, the paper's device, are 286 mm2."""
    return np.asarray(equivalents * MM2_PER_CLB)


def performance_per_area(latency_s: Floats, area_mm2: Floats) -> Floats:
    """Images a second and square centimetre, one image after another."""
    return np.asarray(100 / (latency_s * area_mm2))
