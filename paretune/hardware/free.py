"""Costs that follow from the layers alone, on any hardware: parameters, MACs, peak activation memory."""

from collections.abc import Mapping

import numpy as np

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.workload import WorkloadBatch


class FreeCosts:
    """Parameters, MACs and peak activation memory: exact, known before anything runs."""

    metrics = (
        Metric(name="parameters", unit="", direction=Direction.MIN, lower=0, free=True, description="trained values of the network"),
        Metric(name="macs", unit="", direction=Direction.MIN, lower=0, free=True, description="multiply-accumulates of one inference"),
        Metric(
            name="peak_memory_bytes",
            unit="bytes",
            direction=Direction.MIN,
            lower=0,
            free=True,
            description="largest sum of a layer's input, output and held activations",
        ),
    )

    def space(self) -> tuple[Decision, ...]:
        """No decisions: these costs are the same on any hardware."""
        return ()

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:  # noqa: ARG002 -- the protocol's
        """No resources."""
        return {}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:  # noqa: ARG002 -- the protocol's
        """Each cost of every network, layers run one after another."""
        parameters_L, macs_L, live_bytes_L = workloads.parameters_L, workloads.macs_L, workloads.live_bytes_L
        totals = {
            "parameters": (workloads.per_network_sum(parameters_L), parameters_L),
            "macs": (workloads.per_network_sum(macs_L), macs_L),
            "peak_memory_bytes": (workloads.per_network_max(live_bytes_L), live_bytes_L),
        }
        return {
            name: Estimates(values=values_N.astype(np.float64), source="analytic", layers=layers_L.astype(np.float64))
            for name, (values_N, layers_L) in totals.items()
        }
