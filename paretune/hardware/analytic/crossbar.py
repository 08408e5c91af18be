"""Analog crossbar tiles, a first closed form: latency, energy and area from tiles and matrix-vector products, not from MACs.

Sources of the form: Jiang et al., NACIM, IEEE TC 70(4), 2021; Shafiee et al., ISAAC, ISCA 2016 (converters, shift and add).

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.workload import WorkloadBatch
from paretune.hardware.analytic.crossbar_mapping import KINDS, CrossbarMapping, map_to_tiles
from paretune.hardware.analytic.design_options import check_designs, not_negative, one_of, positive, whole
from paretune.hardware.analytic.layers import UNWEIGHTED, Floats, check_kinds, total

LABELS = np.array(["tile", "free"])


class Crossbar:
    """Latency, energy, area and tiles of networks on analog crossbars, every weight on a cell of its own.

    Pooling, activations and additions are digital and left out; attention, Fourier and butterfly layers do not lie on crossbars.

    Args:
        rows: inputs of a tile.
        columns: outputs of a tile.
        weight_bits: bits of a weight at most.
        cell_bits: bits of a cell; a weight takes ceil(weight bits / cell bits) columns.
        schedule: `sequential`, one layer after another, or `pipelined`, all at once on successive images (the slowest layer counts).
        tile_mvm_s: one product of a tile, all bits of the input; the tiles of a layer work at once.
        tile_mvm_energy_j: one product of a tile, however little of it is used.
        dac_energy_j: one input of a tile, all its bits.
        cell_energy_j: one cell, all bits of the input.
        adc_energy_j: one output of a tile, all conversions.
        add_energy_j: adding one output of a tile to that of another.
        buffer_energy_j: reading one input or writing one output of the layer.
        tile_area_mm2: of a tile with its converters.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="products of the tiles"),
        Metric(name="energy_j", unit="j", direction=Direction.MIN, lower=0, free=True, description="tiles, converters, cells, buffers"),
        Metric(name="area_mm2", unit="mm2", direction=Direction.MIN, lower=0, free=True, description="tiles"),
        Metric(name="arrays", unit="", direction=Direction.MIN, lower=0, free=True, description="crossbar tiles"),
        Metric(name="tile_mvms", unit="", direction=Direction.MIN, lower=0, free=True, description="matrix-vector products of tiles"),
        Metric(name="utilization", unit="", direction=Direction.MAX, lower=0, upper=1, free=True, description="share of cells in use"),
    )

    def __init__(
        self,
        *,
        rows: int = 256,
        columns: int = 256,
        weight_bits: int = 8,
        cell_bits: int = 8,
        schedule: Literal["sequential", "pipelined"] = "sequential",
        tile_mvm_s: float = 132.9e-9,
        tile_mvm_energy_j: float = 13.4e-9,
        dac_energy_j: float = 0.0,
        cell_energy_j: float = 0.0,
        adc_energy_j: float = 0.0,
        add_energy_j: float = 0.0,
        buffer_energy_j: float = 0.0,
        tile_area_mm2: float = 0.62,
    ) -> None:
        self._rows, self._columns = whole("rows", rows), whole("columns", columns)
        self._weight_bits, self._cell_bits = whole("weight_bits", weight_bits), whole("cell_bits", cell_bits)
        self._pipelined = one_of("schedule", schedule, ("sequential", "pipelined")) == "pipelined"
        self._mvm_s = positive("tile_mvm_s", tile_mvm_s)
        self._mvm_j = not_negative("tile_mvm_energy_j", tile_mvm_energy_j)
        self._dac_j, self._adc_j = not_negative("dac_energy_j", dac_energy_j), not_negative("adc_energy_j", adc_energy_j)
        self._cell_j, self._add_j = not_negative("cell_energy_j", cell_energy_j), not_negative("add_energy_j", add_energy_j)
        self._buffer_j = not_negative("buffer_energy_j", buffer_energy_j)
        self._tile_mm2 = not_negative("tile_area_mm2", tile_area_mm2)

    def space(self) -> tuple[Decision, ...]:
        """No decisions."""
        return ()

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """No resources: a network gets as many tiles as it needs."""
        check_designs((), designs)
        return {}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """All metrics.

        Raises:
            BadInput: a layer is neither convolution nor linear, nor one of those left out.
        """
        check_designs((), designs)
        check_kinds("crossbar", workloads, (*KINDS, *UNWEIGHTED))
        slices_L = np.ceil(np.minimum(workloads.weight_bits, self._weight_bits) / self._cell_bits)
        mapping = map_to_tiles(workloads, tile_rows=self._rows, tile_columns=self._columns, cells_per_weight=slices_L)
        latency_L, energy_L = mapping.positions * self._mvm_s, self._energy(mapping)
        latency_N = np.maximum.reduceat(latency_L, workloads.offsets[:-1]) if self._pipelined else total(latency_L, workloads)
        tiles_N, cells_N = total(mapping.tiles, workloads), total(mapping.cells, workloads)
        room_N = tiles_N * self._rows * self._columns
        utilization_N = np.divide(cells_N, room_N, out=np.zeros(len(workloads)), where=room_N > 0)
        labels_L = LABELS[np.where(mapping.tiles > 0, 0, 1)]
        tiles, mvms_L = mapping.tiles, mapping.tile_mvms
        return {
            "latency_s": Estimates(values=latency_N, source="analytic", layers=latency_L, layer_bottlenecks=labels_L),
            "energy_j": Estimates(values=total(energy_L, workloads), source="analytic", layers=energy_L),
            "area_mm2": Estimates(values=tiles_N * self._tile_mm2, source="analytic", layers=tiles * self._tile_mm2),
            "arrays": Estimates(values=tiles_N, source="analytic", layers=tiles),
            "tile_mvms": Estimates(values=total(mvms_L, workloads), source="analytic", layers=mvms_L),
            "utilization": Estimates(values=utilization_N, source="analytic"),
        }

    def _energy(self, mapping: CrossbarMapping) -> Floats:
        """`(L,)` joules: a product's tiles, inputs for each split of columns, cells, outputs for each split of rows, sums, buffers."""
        inputs, outputs = mapping.column_splits * mapping.rows, mapping.row_splits * mapping.columns
        product_j = (
            mapping.tiles * self._mvm_j
            + inputs * self._dac_j
            + mapping.cells * self._cell_j
            + outputs * self._adc_j
            + np.maximum(mapping.row_splits - 1, 0) * mapping.columns * self._add_j
            + (mapping.rows + mapping.columns) * self._buffer_j
        )
        return mapping.positions * product_j
