"""Analog crossbar tiles whose costs are known as a whole: latency, energy and area from tiles and matrix-vector products, not from MACs.

Sources of the form: Jiang et al., NACIM, IEEE TC 70(4), 2021; Shafiee et al., ISAAC, ISCA 2016 (converters, shift and add, replication).

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.genotype import Decision
from paretune.core.option_checks import not_negative, one_of, positive, share, whole
from paretune.core.workload import WorkloadBatch
from paretune.hardware.analytic.crossbar_costs import CROSSBAR_METRICS, TileCosts, balanced_copies, crossbar_estimates
from paretune.hardware.analytic.crossbar_mapping import KINDS, map_to_tiles
from paretune.hardware.analytic.design_options import check_designs, searched
from paretune.hardware.analytic.layers import UNWEIGHTED, check_kinds

SEARCHABLE = ("replication",)
REPLICATION_CHOICES = (1, 2, 4, 8, 16)


class Crossbar:
    """Latency, energy, area and tiles of networks on analog crossbars, every weight on a cell of its own.

    Pooling, activations and additions are digital and left out; attention, Fourier and butterfly layers do not lie on crossbars.

    Args:
        rows: inputs of a tile.
        columns: outputs of a tile.
        weight_bits: bits of a weight at most.
        cell_bits: bits of a cell; a weight takes ceil(weight bits / cell bits) columns.
        schedule: `sequential`, one layer after another, or `pipelined`, all at once on successive images (the slowest layer counts).
        replication: copies of the layer with most positions; the other layers get copies in proportion, at least one.
        gating: whether columns without weights convert all the same (`none`) or not (`columns`).
        search: what to search: `replication`, of 1, 2, 4, 8 or 16.
        tile_mvm_s: one product of a tile, all bits of the input; the tiles of a layer work at once.
        tile_mvm_energy_j: one product of a tile with all its columns.
        column_energy_share: part of that which the columns take, all together; `gating: columns` saves it where they have no weights.
        dac_energy_j: one input of a tile, all its bits.
        cell_energy_j: one cell, all bits of the input.
        adc_energy_j: one output of a tile, all conversions.
        add_energy_j: adding one output of a tile to that of another.
        buffer_energy_j: reading one input or writing one output of the layer.
        tile_area_mm2: of a tile with its converters.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = CROSSBAR_METRICS

    def __init__(
        self,
        *,
        rows: int = 256,
        columns: int = 256,
        weight_bits: int = 8,
        cell_bits: int = 8,
        schedule: Literal["sequential", "pipelined"] = "sequential",
        replication: int = 1,
        gating: Literal["none", "columns"] = "none",
        search: tuple[Literal["replication"], ...] = (),
        tile_mvm_s: float = 132.9e-9,
        tile_mvm_energy_j: float = 13.4e-9,
        column_energy_share: float = 0.8,
        dac_energy_j: float = 0.0,
        cell_energy_j: float = 0.0,
        adc_energy_j: float = 0.0,
        add_energy_j: float = 0.0,
        buffer_energy_j: float = 0.0,
        tile_area_mm2: float = 0.62,
    ) -> None:
        self._weight_bits, self._cell_bits = whole("weight_bits", weight_bits), whole("cell_bits", cell_bits)
        self._pipelined = one_of("schedule", schedule, ("sequential", "pipelined")) == "pipelined"
        self._gated = one_of("gating", gating, ("none", "columns")) == "columns"
        self._replication = whole("replication", replication)
        choices = searched(search, SEARCHABLE)
        self._decisions = tuple(Decision(name=name, choices=REPLICATION_CHOICES, ordinal=True) for name in choices)
        tile_j, column_share = not_negative("tile_mvm_energy_j", tile_mvm_energy_j), share("column_energy_share", column_energy_share)
        gated_j = tile_j * column_share if self._gated else 0.0
        values = {
            "rows": whole("rows", rows),
            "columns": whole("columns", columns),
            "mvm_s": positive("tile_mvm_s", tile_mvm_s),
            "tile_j": tile_j - gated_j,
            "dac_j": not_negative("dac_energy_j", dac_energy_j),
            "cell_j": not_negative("cell_energy_j", cell_energy_j),
            "column_j": gated_j / whole("columns", columns) + not_negative("adc_energy_j", adc_energy_j),
            "add_j": not_negative("add_energy_j", add_energy_j),
            "buffer_j": not_negative("buffer_energy_j", buffer_energy_j),
            "area_mm2": not_negative("tile_area_mm2", tile_area_mm2),
        }
        self._tile = TileCosts(**{name: np.array([value], dtype=np.float64) for name, value in values.items()})

    def space(self) -> tuple[Decision, ...]:
        """`replication`, where it is searched."""
        return self._decisions

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """No resources: a network gets as many tiles as it needs."""
        check_designs(self._decisions, designs)
        return {}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """All metrics.

        Raises:
            BadInput: a layer is neither convolution nor linear, nor one of those left out; or a design is none of the space.
        """
        check_designs(self._decisions, designs, len(workloads))
        check_kinds("crossbar", workloads, (*KINDS, *UNWEIGHTED))
        slices_L = np.ceil(np.minimum(workloads.weight_bits, self._weight_bits) / self._cell_bits)
        mapping = map_to_tiles(workloads, tile_rows=self._tile.rows, tile_columns=self._tile.columns, cells_per_weight=slices_L)
        replication_N = np.asarray(designs.get("replication", np.array([self._replication])), dtype=np.float64)
        copies_L = balanced_copies(mapping, workloads, replication_N)
        return crossbar_estimates(workloads, mapping, self._tile, copies_L, pipelined=self._pipelined, gated=self._gated)
