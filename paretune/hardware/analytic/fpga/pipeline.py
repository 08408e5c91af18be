"""A pipeline on an FPGA in which every layer has an engine of its own: latency from start gaps, after FNAS.

Legend: N networks or pairs of network and design, L layers of all of them, J layers with an engine.

Source: after Jiang et al., Accuracy vs. Efficiency: Achieving Both through FPGA-Implementation Aware NAS (FNAS), DAC 2019.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.errors import BadInput
from paretune.core.genotype import Choice, Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import positive, whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.aggregate import pipeline_latency
from paretune.hardware.analytic.design_options import design_values, searched_decisions
from paretune.hardware.analytic.fpga.pipeline_tasks import ENGINE_KINDS, engine_layers, split_dsps, start_gaps, tile_tasks
from paretune.hardware.analytic.layers import check_kinds

Reuse = Literal["output", "input"]
REUSES: tuple[Reuse, ...] = ("output", "input")

CHOICES: Mapping[str, tuple[Choice, ...]] = {
    "row_tile": (7, 14, 28, 56),
    "column_tile": (7, 14, 28, 56),
    "first_reuse": REUSES,
}
"""What `search` may name, and the choices of each."""

FREE_KINDS = (Kind.POOL, Kind.ACTIVATION, Kind.ADD)


class FpgaPipeline:
    """FPGA pipeline with an engine for every layer (after FNAS): latency and throughput where the DSPs are split by MACs.

    A layer is cut into tasks of one tile; its engine runs one task at a time. Layers alternate between reusing their output tile (all
    input channels are summed before the next tile of outputs begins) and their input tile (all outputs take an input before the next one
    is read). The next layer starts when the first tile it needs is there. Layers run as a chain, in their order; memory traffic is left
    out, pooling, activations and additions are free.

    Departs: the published gaps count tiles of channels only; here a layer also waits for the rows and columns of its first tile, and does
    not end before what depends on the previous layer's last tile is done.

    Args:
        dsps: multipliers of all engines; every layer gets one, and the rest goes by MACs.
        row_tile: Tr, rows of an output tile.
        column_tile: Tc, columns of an output tile.
        first_reuse: what the first layer reuses, `output` or `input`; the others alternate.
        clock_hz: of the engines.
        search: names of options that candidates decide; `CHOICES` has their choices.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(
            name="latency_s",
            unit="s",
            direction=Direction.MIN,
            lower=0,
            free=True,
            description="time of one batch through the FPGA pipeline",
        ),
        Metric(
            name="throughput_per_s",
            unit="",
            direction=Direction.MAX,
            lower=0,
            free=True,
            description="images a second of the full FPGA pipeline",
        ),
        Metric(name="dsps", unit="", direction=Direction.MIN, lower=0, free=True, description="DSPs that the engines use"),
    )

    def __init__(
        self,
        *,
        dsps: int = 2520,
        row_tile: int = 14,
        column_tile: int = 14,
        first_reuse: Reuse = "output",
        clock_hz: float = 200e6,
        search: tuple[str, ...] = (),
    ) -> None:
        if first_reuse not in REUSES:
            raise BadInput(f"first_reuse: must be one of {', '.join(REUSES)}; got {first_reuse!r}")
        self._dsps, self._clock_hz = whole("dsps", dsps), positive("clock_hz", clock_hz)
        self._options: dict[str, Choice] = {
            "row_tile": whole("row_tile", row_tile),
            "column_tile": whole("column_tile", column_tile),
            "first_reuse": first_reuse,
        }
        self._space = searched_decisions(search, CHOICES)

    def space(self) -> tuple[Decision, ...]:
        """The options named in `search`."""
        return self._space

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Nothing: how many DSPs are used depends on the network, so that is a metric."""
        design_values(self._options, self._space, designs)
        return {}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency, throughput and DSPs of every network on its design."""
        check_kinds("fpga_pipeline", workloads, (*ENGINE_KINDS, *FREE_KINDS))
        values = design_values(self._options, self._space, designs)
        engines = engine_layers(workloads, values)
        dsps_J = split_dsps(engines.macs, engines.offsets, self._dsps)
        tasks, tiles = tile_tasks(engines, dsps_J)
        gaps_J, tails_J = start_gaps(engines, tasks, tiles)
        cycles_J = tasks.cycles
        latency_N, slowest_N, used_N = np.zeros((3, len(workloads)))
        some_N, first = engines.networks, engines.offsets[:-1]
        latency_N[some_N] = pipeline_latency(cycles_J, gaps_J, tails_J, engines.offsets) / self._clock_hz
        slowest_N[some_N] = np.maximum.reduceat(cycles_J / engines.batch, first) / self._clock_hz
        used_N[some_N] = np.add.reduceat(tiles.used, first)
        layers_L = np.zeros(len(workloads.kind))
        layers_L[engines.index] = cycles_J / self._clock_hz
        # A network without a layer on an engine costs nothing: its throughput is that of the clock.
        throughput_N = 1 / np.maximum(slowest_N, 1 / self._clock_hz)
        return {
            "latency_s": Estimates(values=latency_N, source="analytic", layers=layers_L),
            "throughput_per_s": Estimates(values=throughput_N, source="analytic"),
            "dsps": Estimates(values=used_N, source="analytic"),
        }
