"""How layers lie on crossbar tiles: splits of rows and columns, tiles, and matrix-vector products of them. Costs are elsewhere.

A convolution is a matrix of K = kernel weights * input channels rows by N = output channels * cells of a weight columns, read once for
each output position. Groups are matrices of their own; small ones share a tile along its diagonal.

Sources: Jiang et al., Device-circuit-architecture co-exploration for computing-in-memory neural accelerators (NACIM), IEEE TC 70(4), 2021
(number of arrays, resolution of the converters).

Legend: L layers of all networks together.
"""

import math
from dataclasses import dataclass

import numpy as np

from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.layers import Floats, kernel_taps

KINDS = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossbarMapping:
    """`(L,)` for each layer; 0 for layers without weights."""

    rows: Floats
    """Rows of weights, of all groups."""
    columns: Floats
    """Columns of cells, of all groups."""
    row_splits: Floats
    """Tiles that one column is split into; their results are added digitally."""
    column_splits: Floats
    """Tiles that one row is split into; each gets the input."""
    tiles: Floats
    """Tiles that hold the layer."""
    cells: Floats
    """Cells that hold a weight."""
    positions: Floats
    """Matrix-vector products of the whole layer: output positions and images."""

    @property
    def tile_mvms(self) -> Floats:
        """Products of single tiles."""
        return self.tiles * self.positions


def map_to_tiles(
    workloads: WorkloadBatch, *, tile_rows: Floats | int, tile_columns: Floats | int, cells_per_weight: Floats
) -> CrossbarMapping:
    """Place every weighted layer, each on tiles of its own.

    Args:
        workloads: any layers.
        tile_rows: inputs of a tile, of all or `(L,)`.
        tile_columns: outputs of a tile, of all or `(L,)`.
        cells_per_weight: `(L,)` or `(1,)` columns that a weight is sliced into.
    """
    known_L = np.isin(workloads.kind, KINDS)
    groups_L = workloads.groups.astype(np.float64)
    group_rows_L = kernel_taps(workloads) * np.maximum(workloads.in_channels // workloads.groups, 1)
    group_columns_L = np.maximum(workloads.out_channels // workloads.groups, 1) * cells_per_weight
    row_splits_L, column_splits_L = np.ceil(group_rows_L / tile_rows), np.ceil(group_columns_L / tile_columns)
    sharing_L = np.maximum(np.minimum(tile_rows // group_rows_L, tile_columns // group_columns_L), 1.0)
    whole_L = np.ceil(groups_L / sharing_L)
    return CrossbarMapping(
        rows=np.where(known_L, groups_L * group_rows_L, 0.0),
        columns=np.where(known_L, groups_L * group_columns_L, 0.0),
        row_splits=np.where(known_L, row_splits_L, 0.0),
        column_splits=np.where(known_L, column_splits_L, 0.0),
        tiles=np.where(known_L, whole_L * row_splits_L * column_splits_L, 0.0),
        cells=np.where(known_L, groups_L * group_rows_L * group_columns_L, 0.0),
        positions=np.where(known_L, workloads.out_height * workloads.out_width * workloads.batch, 0.0),
    )


def full_precision_adc_bits(*, tile_rows: int, cell_bits: int) -> int:
    """Bits that hold every sum of a column of cells, for inputs of one bit: ceil(log2(rows * (2 ** cell_bits - 1) + 1))."""
    return math.ceil(math.log2(tile_rows * (2**cell_bits - 1) + 1))
