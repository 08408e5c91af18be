"""Clock cycles of layers on one tiled convolution engine, and what limits each layer (HotNAS).

The engine computes a tile of Tm output by Tn input channels in Tr x Tc positions at a time, one position and tap of Tm * Tn products in
a cycle, while three ports load inputs (I) and weights (W) of the next tile and store outputs (O) of the last one.

Legend: L layers. Letters of the paper: M, N output and input channels; R, C height and width of the output; K kernel; S stride; P padding.

Source: Jiang et al., Standing on the Shoulders of Giants: Hardware and Neural Architecture Co-Search with Hot Start (HotNAS),
CODES+ISSS 2020, and its released code.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LABELS = np.array(["O", "I", "W", "C", ""])
"""Output port, input port, weight port, computation; nothing for layers that cost nothing."""
FREE = 4
"""Index of the empty label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TiledLayers:
    """Layers as the engine sees them; every field is `(L,)`."""

    out_channels: Floats
    """M, of one group."""
    in_channels: Floats
    """N, of one group."""
    out_height: Floats
    """R."""
    out_width: Floats
    """C."""
    kernel: Floats
    """K."""
    stride: Floats
    """S."""
    padding: Floats
    """P."""
    taps: Floats
    """Taps computed of each kernel: K * K, or fewer under a pruning pattern."""
    repeats: Floats
    """Images times convolution groups: the layer runs as often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """The engine; fields are `(L,)` or `(1,)`."""

    output_channels: Floats
    """Tm."""
    input_channels: Floats
    """Tn."""
    rows: Floats
    """Tr."""
    columns: Floats
    """Tc."""
    weights_per_cycle: Floats
    """W_p in weights of the layer's width."""
    inputs_per_cycle: Floats
    """I_p."""
    outputs_per_cycle: Floats
    """O_p."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileTimes:
    """Cycles of one tile's parts, and how often tiles come; every field is `(L,)`."""

    inputs: Floats
    """tI."""
    weights: Floats
    """tW."""
    outputs: Floats
    """tO."""
    compute: Floats
    """tComp."""
    input_steps: Floats
    """Tiles of input channels that are summed into one tile of the output."""
    output_tiles: Floats
    """Tiles of the output, over all repeats."""

    def cycles(self) -> tuple[Floats, NDArray[np.int64]]:
        """`(L,)` cycles and the index in `LABELS` of what limits each layer.

        Loading and computing overlap, as do storing and the next tile: the slowest sets the pace. The first load and the last store,
        which overlap with nothing, are left out, as in the released code.
        """
        step_L = np.maximum(np.maximum(self.inputs, self.weights), self.compute)
        tile_L = np.maximum(self.input_steps * step_L, self.outputs)
        bound_L = np.where(tile_L == self.outputs, 0, np.where(step_L == self.inputs, 1, np.where(step_L == self.weights, 2, 3)))
        return self.output_tiles * tile_L, bound_L


def corrected_times(layers: TiledLayers, tiling: Tiling, is_depthwise_L: NDArray[np.bool_]) -> TileTimes:
    """Tiles as they must be: a tile reads (Tr - 1) * S + K rows, of which it computes Tr.

    A depthwise tile needs one channel of the input for each of the output, so it sums over one step.

    Departs: from the released code. Output maps are not divided by the stride again; the input tile has the halo of the kernel and the
    stride; only channels that exist move through the ports; depthwise layers take one input step.
    """
    tm_L, tn_L = np.minimum(tiling.output_channels, layers.out_channels), np.minimum(tiling.input_channels, layers.in_channels)
    rows_L, columns_L = np.minimum(tiling.rows, layers.out_height), np.minimum(tiling.columns, layers.out_width)
    in_rows_L, in_columns_L = (rows_L - 1) * layers.stride + layers.kernel, (columns_L - 1) * layers.stride + layers.kernel
    positions_L = rows_L * columns_L
    weights_L = np.where(is_depthwise_L, tm_L, tm_L * tn_L) * layers.kernel**2
    return TileTimes(
        inputs=tn_L * in_rows_L * in_columns_L / tiling.inputs_per_cycle,
        weights=weights_L / tiling.weights_per_cycle,
        outputs=tm_L * positions_L / tiling.outputs_per_cycle,
        compute=layers.taps * positions_L,
        input_steps=np.where(is_depthwise_L, 1.0, np.ceil(layers.in_channels / tiling.input_channels)),
        output_tiles=layers.repeats
        * np.ceil(layers.out_height / tiling.rows)
        * np.ceil(layers.out_width / tiling.columns)
        * np.ceil(layers.out_channels / tiling.output_channels),
    )


def published_times(layers: TiledLayers, tiling: Tiling, is_depthwise_L: NDArray[np.bool_], *, as_logged: bool) -> TileTimes:
    """Tiles as the released code has them, with its quirks, so that its figures come out to the last digit.

    Output maps are divided by the stride again, input tiles have no halo, whole tiles of weights are loaded, and depthwise layers sum
    over as many steps as there are tiles of input channels.

    Args:
        layers: what to compute.
        tiling: the engine; `input_channels` equals `output_channels` where a layer is depthwise.
        is_depthwise_L: which layers run on the depthwise engine.
        as_logged: the earlier form behind the logs of its design space exploration: padded maps everywhere, and whole tiles of channels
            through the ports.
    """
    tm_L, tn_L = tiling.output_channels, tiling.input_channels
    padded_height_L, padded_width_L = layers.out_height + 2 * layers.padding, layers.out_width + 2 * layers.padding
    rows_L, columns_L = np.minimum(tiling.rows, layers.out_height), np.minimum(tiling.columns, layers.out_width)
    padded_rows_L, padded_columns_L = np.minimum(tiling.rows, padded_height_L), np.minimum(tiling.columns, padded_width_L)
    in_channels_L, out_channels_L = np.minimum(tn_L, layers.in_channels), np.minimum(tm_L, layers.out_channels)
    tiles_L = np.ceil(layers.out_height / tiling.rows) * np.ceil(layers.out_width / tiling.columns)
    if as_logged:
        rows_L, columns_L, in_channels_L, out_channels_L = padded_rows_L, padded_columns_L, tn_L, tm_L
        tiles_L = np.ceil(padded_height_L / tiling.rows) * np.ceil(padded_width_L / tiling.columns)
    return TileTimes(
        inputs=in_channels_L * rows_L * columns_L / tiling.inputs_per_cycle,
        weights=np.where(is_depthwise_L, tm_L, tm_L * tn_L) * layers.kernel**2 / tiling.weights_per_cycle,
        outputs=out_channels_L * np.ceil(rows_L / layers.stride) * np.ceil(columns_L / layers.stride) / tiling.outputs_per_cycle,
        compute=layers.taps * np.ceil(padded_rows_L / layers.stride) * np.ceil(padded_columns_L / layers.stride),
        input_steps=np.ceil(layers.in_channels / tn_L),
        output_tiles=layers.repeats * tiles_L * np.ceil(layers.out_channels / tm_L),
    )
