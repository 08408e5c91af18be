"""Crossbar tiles composed of their parts, so that cells, converters and sizes can be searched beside the network, as NACIM does.

Inputs are applied bit by bit; every column is converted once for each bit, and conversions are shifted and added.

Sources: Jiang et al., Device-circuit-architecture co-exploration for computing-in-memory neural accelerators (NACIM), IEEE TC 70(4), 2021
(what is searched); Shafiee et al., ISAAC, ISCA 2016 (the parts). Departs: NACIM takes costs from NeuroSim; here they follow from closed
forms, published cells and a regression over published converters, and are first-order.

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import not_negative, one_of, positive, whole
from paretune.core.workload import WorkloadBatch
from paretune.hardware.analytic.adc_regression import SURVEYED_ADCS
from paretune.hardware.analytic.crossbar_costs import CROSSBAR_METRICS, TileCosts, balanced_copies, crossbar_estimates
from paretune.hardware.analytic.crossbar_devices import CELLS, READ_S
from paretune.hardware.analytic.crossbar_mapping import KINDS, CrossbarMapping, map_to_tiles
from paretune.hardware.analytic.design_options import by_layer, by_network, check_designs, searched
from paretune.hardware.analytic.layers import UNWEIGHTED, Floats, check_kinds

Device = Literal["fefet", "pcm", "rram"]
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "device": ("fefet", "pcm", "rram"),
    "cell_bits": (1, 2, 4),
    "adc_bits": (4, 5, 6, 7, 8, 9, 10),
    "tile_size": (64, 128, 256, 512),
    "replication": (1, 2, 4, 8, 16),
}
"""What may be searched, in the order of the decisions."""
SHORTFALL = Metric(
    name="adc_shortfall_bits",
    unit="",
    direction=Direction.MIN,
    lower=0,
    free=True,
    description="bits that converters lack to hold the largest sum of a column, of the worst layer",
)


class ComposedCrossbar:
    """Latency, energy, area and tiles of networks on crossbar tiles composed of cells, converters and adders.

    Pooling, activations and additions are digital and left out, as are routers and leakage; attention, Fourier and butterfly layers do not
    lie on crossbars. Fewer bits of converters cost less and lose accuracy, which this model does not know: limit `adc_shortfall_bits`.

    Args:
        device: cells: `pcm`, `rram` or `fefet`.
        cell_bits: bits of a cell; a weight takes ceil(weight bits / cell bits) columns. More than the device can hold are infeasible.
        adc_bits: bits of a conversion.
        tile_size: inputs and outputs of a tile.
        replication: copies of the layer with most positions; the other layers get copies in proportion, at least one.
        search: what to search: `device`, `cell_bits` (1, 2, 4), `adc_bits` (4 to 10), `tile_size` (64 to 512), `replication` (1 to 16).
        schedule: `sequential`, one layer after another, or `pipelined`, all at once on successive images (the slowest layer counts).
        gating: whether columns without weights convert all the same (`none`) or not (`columns`).
        weight_bits: bits of a weight at most.
        input_bits: bits of an input at most, one read of the tile each.
        technology_m: feature size; decides cells and converters. Energies below do not follow it.
        columns_per_adc: columns that share a converter, one after another.
        adc_rate_hz: conversions of a converter.
        adc_energy_j: of a conversion; None for the regression over published converters.
        adc_area_mm2: of a converter; None for the regression over published converters.
        dac_energy_j: of applying one bit to one row.
        dac_area_mm2: of a row's driver.
        add_energy_j: of shifting and adding one conversion.
        add_area_mm2: of the shift and add beside each converter.
        buffer_energy_j: of reading one input or writing one output of the layer.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (*CROSSBAR_METRICS, SHORTFALL)

    def __init__(
        self,
        *,
        device: Device = "rram",
        cell_bits: int = 2,
        adc_bits: int = 8,
        tile_size: int = 128,
        replication: int = 1,
        search: tuple[Literal["device", "cell_bits", "adc_bits", "tile_size", "replication"], ...] = (),
        schedule: Literal["sequential", "pipelined"] = "sequential",
        gating: Literal["none", "columns"] = "columns",
        weight_bits: int = 8,
        input_bits: int = 8,
        technology_m: float = 32e-9,
        columns_per_adc: int = 8,
        adc_rate_hz: float = 1e8,
        adc_energy_j: float | None = None,
        adc_area_mm2: float | None = None,
        dac_energy_j: float = 0.417e-12,  # these four: ISAAC at 32 nm, as Accelergy's component library has them
        dac_area_mm2: float = 0.166e-6,
        add_energy_j: float = 0.021e-12,
        add_area_mm2: float = 60e-6,
        buffer_energy_j: float = 0.64e-12,  # ISAAC's eDRAM: 20.45 pJ for 256 bits, 8 of them
    ) -> None:
        self._fixed = {
            "device": one_of("device", device, CHOICES["device"]),
            "cell_bits": whole("cell_bits", cell_bits),
            "adc_bits": whole("adc_bits", adc_bits),
            "tile_size": whole("tile_size", tile_size),
            "replication": whole("replication", replication),
        }
        names = searched(search, tuple(CHOICES))
        self._decisions = tuple(Decision(name=name, choices=CHOICES[name], ordinal=name != "device") for name in names)
        self._pipelined = one_of("schedule", schedule, ("sequential", "pipelined")) == "pipelined"
        self._gated = one_of("gating", gating, ("none", "columns")) == "columns"
        self._weight_bits, self._input_bits = whole("weight_bits", weight_bits), whole("input_bits", input_bits)
        self._technology_m = positive("technology_m", technology_m)
        self._columns_per_adc, self._adc_rate_hz = whole("columns_per_adc", columns_per_adc), positive("adc_rate_hz", adc_rate_hz)
        self._adc_j = None if adc_energy_j is None else not_negative("adc_energy_j", adc_energy_j)
        self._adc_mm2 = None if adc_area_mm2 is None else not_negative("adc_area_mm2", adc_area_mm2)
        self._dac_j, self._dac_mm2 = not_negative("dac_energy_j", dac_energy_j), not_negative("dac_area_mm2", dac_area_mm2)
        self._add_j, self._add_mm2 = not_negative("add_energy_j", add_energy_j), not_negative("add_area_mm2", add_area_mm2)
        self._buffer_j = not_negative("buffer_energy_j", buffer_energy_j)

    def space(self) -> tuple[Decision, ...]:
        """What is searched."""
        return self._decisions

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Bits of a cell as a share of what its device can hold."""
        check_designs(self._decisions, designs)
        shares = np.asarray(self._chosen("cell_bits", designs) / self._of_device("max_bits", designs), dtype=np.float64)
        return {"cell_bits": ResourceUse(used=shares, available=1.0)}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """All metrics.

        Raises:
            BadInput: a layer is neither convolution nor linear, nor one of those left out; or a design is none of the space.
        """
        check_designs(self._decisions, designs, len(workloads))
        check_kinds("crossbar", workloads, (*KINDS, *UNWEIGHTED))
        tile = self._tile(workloads, designs)
        cell_bits_L = by_layer(self._chosen("cell_bits", designs).astype(np.float64), workloads)
        slices_L = np.ceil(np.minimum(workloads.weight_bits, self._weight_bits) / cell_bits_L)
        mapping = map_to_tiles(workloads, tile_rows=tile.rows, tile_columns=tile.columns, cells_per_weight=slices_L)
        copies_L = balanced_copies(mapping, workloads, self._chosen("replication", designs).astype(np.float64))
        found = crossbar_estimates(workloads, mapping, tile, copies_L, pipelined=self._pipelined, gated=self._gated)
        shortfall_L = self._shortfall(workloads, mapping, tile.rows, cell_bits_L, designs)
        worst_N = np.maximum.reduceat(shortfall_L, workloads.offsets[:-1])
        return {**found, SHORTFALL.name: Estimates(values=by_network(worst_N, workloads), source="analytic", layers=shortfall_L)}

    def _tile(self, workloads: WorkloadBatch, designs: Designs) -> TileCosts:
        """What each layer's tiles cost."""
        size_L = by_layer(self._chosen("tile_size", designs).astype(np.float64), workloads)
        reads_L = np.minimum(workloads.activation_bits, self._input_bits).astype(np.float64)
        adc_j, adc_mm2 = (by_layer(values, workloads) for values in self._adc(designs))
        adcs_L = np.ceil(size_L / self._columns_per_adc)
        cell_mm2 = by_layer(self._of_device("area_f2", designs), workloads) * (self._technology_m * 1e3) ** 2
        return TileCosts(
            rows=size_L,
            columns=size_L,
            # Columns wait for the converter that they share.
            mvm_s=reads_L * (READ_S + np.minimum(size_L, self._columns_per_adc) / self._adc_rate_hz),
            tile_j=np.zeros(1),
            dac_j=reads_L * self._dac_j,
            cell_j=reads_L * by_layer(self._of_device("read_energy_j", designs), workloads),
            column_j=reads_L * (adc_j + self._add_j),
            add_j=np.array([self._add_j]),
            buffer_j=np.array([self._buffer_j]),
            area_mm2=size_L**2 * cell_mm2 + size_L * self._dac_mm2 + adcs_L * (adc_mm2 + self._add_mm2),
        )

    def _adc(self, designs: Designs) -> tuple[Floats, Floats]:
        """`(N,)` or `(1,)` energy of a conversion and area of a converter."""
        bits = self._chosen("adc_bits", designs).astype(np.float64)
        rates_hz = np.full_like(bits, self._adc_rate_hz)
        energy_j = SURVEYED_ADCS.energy_j(bits=bits, rate_hz=rates_hz, technology_m=self._technology_m)
        area_mm2 = SURVEYED_ADCS.area_mm2(bits=bits, rate_hz=rates_hz, technology_m=self._technology_m)
        return (
            energy_j if self._adc_j is None else np.full_like(bits, self._adc_j),
            area_mm2 if self._adc_mm2 is None else np.full_like(bits, self._adc_mm2),
        )

    def _shortfall(
        self, workloads: WorkloadBatch, mapping: CrossbarMapping, tile_rows_L: Floats, cell_bits_L: Floats, designs: Designs
    ) -> Floats:
        """`(L,)` bits that converters lack for the largest sum of the rows in use."""
        group_rows_L = mapping.rows / np.maximum(workloads.groups, 1)
        needed_L = np.ceil(np.log2(np.minimum(group_rows_L, tile_rows_L) * (2.0**cell_bits_L - 1) + 1))
        return np.asarray(np.maximum(needed_L - by_layer(self._chosen("adc_bits", designs), workloads), 0.0))

    def _chosen(self, name: str, designs: Designs) -> NDArray[Any]:
        """`(N,)` or `(1,)` values of an option."""
        return np.asarray(designs[name]) if name in designs else np.array([self._fixed[name]])

    def _of_device(self, name: str, designs: Designs) -> Floats:
        """`(N,)` or `(1,)` values of the chosen cells."""
        return np.array([getattr(CELLS[str(device)], name) for device in self._chosen("device", designs)], dtype=np.float64)
