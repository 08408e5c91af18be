"""Costs of layers that lie on crossbar tiles, for tiles of any make: products of tiles and positions, replication, gating, area.

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paretune.core.costs import Estimates
from paretune.core.metrics import Direction, Metric
from paretune.core.workload import WorkloadBatch
from paretune.hardware.analytic.crossbar_mapping import CrossbarMapping
from paretune.hardware.analytic.layers import Floats, total

LABELS = np.array(["tile", "free"])

CROSSBAR_METRICS = (
    Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="products of the tiles"),
    Metric(name="energy_j", unit="j", direction=Direction.MIN, lower=0, free=True, description="tiles, converters, cells, buffers"),
    Metric(name="area_mm2", unit="mm2", direction=Direction.MIN, lower=0, free=True, description="tiles"),
    Metric(name="arrays", unit="", direction=Direction.MIN, lower=0, free=True, description="crossbar tiles"),
    Metric(name="tile_mvms", unit="", direction=Direction.MIN, lower=0, free=True, description="matrix-vector products of tiles"),
    Metric(name="utilization", unit="", direction=Direction.MAX, lower=0, upper=1, free=True, description="share of cells in use"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCosts:
    """`(L,)` or `(1,)` for each layer's tiles. Energies are of one product, all bits of the input."""

    rows: Floats
    """Inputs of a tile."""
    columns: Floats
    """Outputs of a tile."""
    mvm_s: Floats
    """One product."""
    tile_j: Floats
    """A tile, however little of it is used."""
    dac_j: Floats
    """One input."""
    cell_j: Floats
    """One cell in use."""
    column_j: Floats
    """One output: its converter and what works with it."""
    add_j: Floats
    """Adding one output of a tile to that of another."""
    buffer_j: Floats
    """Reading one input or writing one output of the layer."""
    area_mm2: Floats
    """A tile."""


def balanced_copies(mapping: CrossbarMapping, workloads: WorkloadBatch, replication_N: Floats) -> Floats:
    """`(L,)` copies of each layer that work on different positions at once, at least one.

    The layer with most positions has `replication` copies, the others in proportion to their positions, so that a pipeline is balanced
    (Shafiee et al., ISAAC, ISCA 2016, section V).

    Args:
        mapping: positions of each layer.
        workloads: the layers.
        replication_N: `(N,)` or `(1,)` copies of the layer with most positions.
    """
    counts_N = np.diff(workloads.offsets)
    most_N = np.maximum(np.maximum.reduceat(mapping.positions, workloads.offsets[:-1]), 1.0)
    per_position_L = np.repeat(np.broadcast_to(replication_N, most_N.shape) / most_N, counts_N)
    return np.asarray(np.maximum(np.floor(mapping.positions * per_position_L + 1e-9), 1.0))


def crossbar_estimates(
    workloads: WorkloadBatch, mapping: CrossbarMapping, tile: TileCosts, copies_L: Floats, *, pipelined: bool, gated: bool
) -> dict[str, Estimates]:
    """The metrics of `CROSSBAR_METRICS`.

    Args:
        workloads: the layers.
        mapping: how they lie on tiles.
        tile: what a tile costs.
        copies_L: copies of each layer.
        pipelined: all layers at once on successive images, so that the slowest counts; else one after another.
        gated: columns without weights do not convert; else every column of a tile does.
    """
    latency_L = np.ceil(mapping.positions / copies_L) * tile.mvm_s
    converted_L = mapping.row_splits * mapping.columns if gated else mapping.tiles * tile.columns
    product_j = (
        mapping.tiles * tile.tile_j
        + mapping.column_splits * mapping.rows * tile.dac_j
        + mapping.cells * tile.cell_j
        + converted_L * tile.column_j
        + np.maximum(mapping.row_splits - 1, 0) * mapping.columns * tile.add_j
        + (mapping.rows + mapping.columns) * tile.buffer_j
    )
    energy_L, tiles_L = mapping.positions * product_j, mapping.tiles * copies_L
    latency_N = np.maximum.reduceat(latency_L, workloads.offsets[:-1]) if pipelined else total(latency_L, workloads)
    room_N = total(tiles_L * tile.rows * tile.columns, workloads)
    used_N = total(mapping.cells * copies_L, workloads)
    labels_L = LABELS[np.where(mapping.tiles > 0, 0, 1)]
    parts: Mapping[str, Floats] = {
        "energy_j": energy_L,
        "area_mm2": tiles_L * tile.area_mm2,
        "arrays": tiles_L,
        "tile_mvms": mapping.tile_mvms,
    }
    return {
        "latency_s": Estimates(values=latency_N, source="analytic", layers=latency_L, layer_bottlenecks=labels_L),
        **{name: Estimates(values=total(part, workloads), source="analytic", layers=part) for name, part in parts.items()},
        "utilization": Estimates(values=np.divide(used_N, room_N, out=np.zeros(len(workloads)), where=room_N > 0), source="analytic"),
    }
