"""A small accelerator with made-up numbers, for tests of everything around cost models: searchable, limited, with bottlenecks.

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

COMPUTED = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR)
FREE = (Kind.POOL, Kind.ACTIVATION, Kind.ADD)
DECISIONS = (
    Decision(name="lanes", choices=(4, 8, 16, 32), ordinal=True),
    Decision(name="depth", choices=(1, 2, 4), ordinal=True),
    Decision(name="memory", choices=("narrow", "wide"), ordinal=False),
)
BYTES_PER_CYCLE = {"narrow": 1.0, "wide": 4.0}


class MadeUpAccelerator:
    """`lanes * depth` multipliers; output channels are spread over lanes, input channels over the depth.

    A layer takes the longer of its multiplications and of reading its weights.

    Args:
        clock_hz: cycles a second.
        lanes: output channels at once.
        depth: input channels at once.
        memory: `narrow` or `wide`.
        multipliers: how many there are.
        search: options that are decided for each candidate instead: `lanes`, `depth`, `memory`.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0.0, description="time of one inference, layers one by one"),
        Metric(name="energy_j", unit="j", direction=Direction.MIN, lower=0.0, description="1 pJ a multiplication"),
    )

    def __init__(
        self,
        *,
        clock_hz: float = 1e8,
        lanes: int = 8,
        depth: int = 2,
        memory: str = "wide",
        multipliers: int = 64,
        search: tuple[str, ...] = (),
    ) -> None:
        if not clock_hz > 0:
            raise BadInput(f"clock_hz: must be above 0; got {clock_hz}")
        if memory not in BYTES_PER_CYCLE:
            raise BadInput(f"memory: must be one of {', '.join(BYTES_PER_CYCLE)}; got {memory!r}")
        known = [decision.name for decision in DECISIONS]
        unknown = [name for name in search if name not in known]
        if unknown:
            raise BadInput(f"search: {', '.join(unknown)} cannot be searched; choose from {', '.join(known)}")
        self._clock_hz, self._multipliers, self._search = clock_hz, multipliers, search
        self._fixed = {"lanes": lanes, "depth": depth, "memory": memory}

    def space(self) -> tuple[Decision, ...]:
        """The options that are searched."""
        return tuple(decision for decision in DECISIONS if decision.name in self._search)

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Multipliers."""
        return {"multipliers": ResourceUse(used=self._of(designs, "lanes") * self._of(designs, "depth") * 1.0, available=self._multipliers)}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency and energy of N networks.

        Raises:
            BadInput: a layer is of a kind that it cannot compute.
        """
        strange = np.flatnonzero(~np.isin(workloads.kind, (*COMPUTED, *FREE)))
        if len(strange):
            layer = f"layer '{workloads.names[strange[0]]}'" if workloads.names else f"layer {strange[0]}"
            kind = Kind(int(workloads.kind[strange[0]])).name.lower()
            raise BadInput(f"{layer} is of kind {kind}; known: {', '.join(item.name.lower() for item in (*COMPUTED, *FREE))}")
        lanes_L, depth_L = (self._by_layer(workloads, designs, name) for name in ("lanes", "depth"))
        width_L = np.vectorize(BYTES_PER_CYCLE.get)(self._by_layer(workloads, designs, "memory"))
        inputs_L = workloads.in_channels // workloads.groups
        steps_L = -(-workloads.out_channels // lanes_L) * -(-inputs_L // depth_L) * workloads.kernel**2
        compute_L = np.where(np.isin(workloads.kind, COMPUTED), steps_L * workloads.out_height * workloads.out_width, 0)
        memory_L = workloads.weights_L / width_L
        latency_L = np.maximum(compute_L, memory_L) / self._clock_hz
        energy_L = 1e-12 * workloads.macs_L.astype(np.float64)
        labels_L = np.where(memory_L > compute_L, "memory", "compute")
        first_L = workloads.offsets[:-1]
        return {
            "latency_s": Estimates(
                values=np.add.reduceat(latency_L, first_L), source="analytic", layers=latency_L, layer_bottlenecks=labels_L
            ),
            "energy_j": Estimates(
                values=np.add.reduceat(energy_L, first_L),
                source="analytic",
                layers=energy_L,
                deviation=0.1 * np.add.reduceat(energy_L, first_L),
            ),
        }

    def _of(self, designs: Designs, name: str) -> NDArray[Any]:
        return designs[name] if name in designs else np.array([self._fixed[name]])

    def _by_layer(self, workloads: WorkloadBatch, designs: Designs, name: str) -> NDArray[Any]:
        return np.repeat(np.broadcast_to(self._of(designs, name), len(workloads)), np.diff(workloads.offsets))
