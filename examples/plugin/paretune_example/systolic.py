"""A systolic array that computes matrix products, weights held still; what a search may change is its shape.

Legend: N networks, L layers of all networks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.errors import BadInput
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.workload import Kind, WorkloadBatch

FREE = (Kind.POOL, Kind.ACTIVATION, Kind.ADD)


class SystolicArray:
    """`rows x columns` multipliers; a layer's weights pass through in tiles of that size.

    Args:
        clock_hz: cycles a second.
        bandwidth_bytes_per_s: at which weights arrive, two bytes each.
        rows: inputs at once.
        columns: outputs at once.
        multipliers: how many there is room for.
        search: options to decide for each candidate: `rows`, `columns`.
    """

    metrics = (Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0.0, description="one inference, layer after layer"),)

    def __init__(
        self,
        *,
        clock_hz: float,
        bandwidth_bytes_per_s: float,
        rows: int = 16,
        columns: int = 16,
        multipliers: int = 256,
        search: tuple[str, ...] = (),
    ) -> None:
        if not clock_hz > 0:
            raise BadInput(f"clock_hz: must be above 0; got {clock_hz}")
        if unknown := [name for name in search if name not in ("rows", "columns")]:
            raise BadInput(f"search: must be rows or columns; got {', '.join(unknown)}")
        self._clock_hz, self._bandwidth, self._multipliers = clock_hz, bandwidth_bytes_per_s, multipliers
        self._fixed, self._search = {"rows": rows, "columns": columns}, search

    def space(self) -> tuple[Decision, ...]:
        """The shape, where it is searched."""
        return tuple(Decision(name=name, choices=(4, 8, 16, 32), ordinal=True) for name in self._search)

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Multipliers: a shape that needs more is infeasible, not an error."""
        used = self._value(designs, "rows") * self._value(designs, "columns")
        return {"multipliers": ResourceUse(used=used.astype(np.float64), available=self._multipliers)}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency: of each tile the longer of computing it and of fetching its weights."""
        known = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR)
        for index in np.flatnonzero(~np.isin(workloads.kind, (*known, *FREE)))[:1]:
            raise BadInput(f"layer {index} is of kind {Kind(int(workloads.kind[index])).name.lower()}; known: conv, depthwise, linear")
        per_layer = np.diff(workloads.offsets)
        rows_L, columns_L = (
            np.repeat(np.broadcast_to(self._value(designs, name), len(workloads)), per_layer) for name in ("rows", "columns")
        )
        inputs_L = workloads.in_channels // workloads.groups * workloads.kernel**2
        tiles_L = -(-inputs_L // rows_L) * -(-workloads.out_channels // columns_L)
        compute_L = tiles_L * (workloads.out_height * workloads.out_width + rows_L + columns_L) / self._clock_hz
        fetch_L = 2 * workloads.weights_L / self._bandwidth
        latency_L = np.where(np.isin(workloads.kind, known), np.maximum(compute_L, fetch_L), 0.0)
        return {
            "latency_s": Estimates(
                values=np.add.reduceat(latency_L, workloads.offsets[:-1]),
                source="analytic",
                layers=latency_L,
                layer_bottlenecks=np.where(fetch_L > compute_L, "bandwidth", "compute"),
            )
        }

    def _value(self, designs: Designs, name: str) -> NDArray[Any]:
        return designs[name] if name in designs else np.array([self._fixed[name]])
