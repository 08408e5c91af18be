"""Time and traffic of a layer on three dataflows: NVDLA (`dla`), ShiDianNao (`shi`), row-stationary (`rs`).

Legend: L layers; K, C, R, S, Y, X as in the field: output channels, input channels (of one group), kernel rows and columns, output rows
and columns; P processing elements.

Sources: Yang et al., NASAIC, DAC 2020 (the three templates); Chen et al., Eyeriss, JSSC 52(1), 2017 (row-stationary).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.layers import Floats, kernel_rows, kernel_taps

Dataflow = Literal["dla", "shi", "rs"]
DATAFLOWS: tuple[Dataflow, ...] = ("dla", "shi", "rs")
KINDS = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR)
INPUT_LANES = 64
"""Input channels that NVDLA's array multiplies at once."""
ROW_FILTERS = 16
"""Filters that share an input row inside a row-stationary element. Eyeriss keeps 224 weights there: 16 rows of up to 14 weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShapes:
    """What the dataflows read of `(L,)` layers, as floats: ceilings of them are several times faster than of integers."""

    k: Floats
    """K."""
    k_of_group: Floats
    """Output channels that read the same inputs."""
    c: Floats
    """C."""
    r: Floats
    """R."""
    taps: Floats
    """R * S."""
    y: Floats
    """Y."""
    x: Floats
    """X."""
    batch: Floats
    """Images."""
    weights: Floats
    """Weights, without those that a pattern prunes."""
    inputs: Floats
    """Input elements."""
    outputs: Floats
    """Output elements."""
    macs: Floats
    """Multiply-accumulates; 0 for layers left out."""


def layer_shapes(workloads: WorkloadBatch) -> LayerShapes:
    """Shapes of all layers; patterns of pruned weights save traffic but no time: these arrays skip no zeros."""
    rows_L = kernel_rows(workloads)
    in_one_row_L = rows_L < workloads.kernel
    taps_L = np.where(in_one_row_L, kernel_taps(workloads), workloads.kernel**2.0)
    known_L = np.isin(workloads.kind, KINDS)
    return LayerShapes(
        k=np.where(known_L, workloads.out_channels, 0.0),
        k_of_group=np.maximum(workloads.out_channels // workloads.groups, 1).astype(np.float64),
        c=(workloads.in_channels // workloads.groups).astype(np.float64),
        r=rows_L,
        taps=taps_L,
        y=workloads.out_height.astype(np.float64),
        x=workloads.out_width.astype(np.float64),
        batch=workloads.batch.astype(np.float64),
        weights=np.where(known_L, workloads.weights_L, 0.0),
        inputs=np.where(known_L, workloads.input_elements_L, 0.0),
        outputs=np.where(known_L, workloads.output_elements_L, 0.0),
        macs=np.where(known_L, workloads.macs_L, 0.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DataflowCost:
    """What layers take on a sub-accelerator."""

    cycles: Floats
    """`(L,)` cycles of the array."""
    weight_words: Floats
    """`(L,)` weights between the shared buffer and the array."""
    activation_words: Floats
    """`(L,)` inputs, outputs and partial sums between the shared buffer and the array."""


def dla_cost(shapes: LayerShapes, pes: Floats) -> DataflowCost:
    """NVDLA, weights stationary: 64 input channels by P / 64 output channels at once.

    Weights move once; inputs once for each tile of output channels; partial sums come back for each tile of input channels but the first.
    """
    lanes = np.minimum(pes, INPUT_LANES)
    k_tiles, c_tiles = np.ceil(shapes.k / np.floor(pes / lanes)), np.ceil(shapes.c / lanes)
    reads = np.maximum(np.ceil(shapes.k_of_group / np.floor(pes / lanes)), 1.0)
    return DataflowCost(
        cycles=k_tiles * c_tiles * shapes.taps * shapes.y * shapes.x * shapes.batch,
        weight_words=shapes.weights,
        activation_words=reads * shapes.inputs + (2 * c_tiles - 1) * shapes.outputs,
    )


def shi_cost(shapes: LayerShapes, pes: Floats) -> DataflowCost:
    """ShiDianNao, outputs stationary: a square of floor(sqrt(P)) by as many positions of one output map at a time.

    Outputs move once; weights once for each square; inputs, shifted between neighbours inside it, once for each output map.
    """
    side = np.floor(np.sqrt(pes))
    squares = np.ceil(shapes.y / side) * np.ceil(shapes.x / side) * shapes.batch
    return DataflowCost(
        cycles=squares * shapes.k * shapes.c * shapes.taps,
        weight_words=squares * shapes.weights,
        activation_words=shapes.k_of_group * shapes.inputs + shapes.outputs,
    )


def rs_cost(shapes: LayerShapes, pes: Floats) -> DataflowCost:
    """Row-stationary (Eyeriss): R elements make one output row, floor(P / R) output rows at once.

    Outputs move once; weights once for each strip of output rows; inputs once for each `ROW_FILTERS` output maps. A kernel of more rows
    than there are elements is folded.
    """
    folds = np.ceil(shapes.r / pes)
    strips = np.ceil(shapes.y / np.maximum(np.floor(pes / shapes.r), 1.0)) * shapes.batch
    return DataflowCost(
        cycles=folds * strips * shapes.x * (shapes.taps / shapes.r) * shapes.k * shapes.c,
        weight_words=strips * shapes.weights,
        activation_words=np.ceil(shapes.k_of_group / ROW_FILTERS) * shapes.inputs + shapes.outputs,
    )


COSTS = {"dla": dla_cost, "shi": shi_cost, "rs": rs_cost}
