"""Roofline: a layer takes as long as its arithmetic or its traffic, whichever is slower.

Source: Williams, Waterman & Patterson, Roofline: an insightful visual performance model, CACM 52(4), 2009.

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Mapping

import numpy as np

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import not_negative, positive, whole
from paretune.core.workload import WorkloadBatch
from paretune.hardware.analytic.design_options import check_designs
from paretune.hardware.analytic.layers import UNWEIGHTED, total

LABELS = np.array(["memory", "compute", "free"])


class Roofline:
    """Latency bound of a device: max(FLOPs / peak, bytes / bandwidth) of each layer, summed.

    Every tensor moves once: inputs and weights in, outputs out. Knows every kind of layer; FLOPs are 2 x MACs.

    Args:
        peak_flops_per_s: arithmetic peak at the precision used.
        bandwidth_bytes_per_s: of the memory.
        precision_bits: bits of weights and activations; None takes each layer's own.
        fused_elementwise: whether activations, additions and pooling cost nothing (fused by the runtime) or move their tensors.
        layer_overhead_s: added to each layer that is not free, for example a kernel launch.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="roofline bound of an inference"),
        Metric(name="utilization", unit="", direction=Direction.MAX, lower=0, upper=1, free=True, description="share of the peak reached"),
    )

    def __init__(
        self,
        *,
        peak_flops_per_s: float,
        bandwidth_bytes_per_s: float,
        precision_bits: int | None = None,
        fused_elementwise: bool = True,
        layer_overhead_s: float = 0.0,
    ) -> None:
        self._peak = positive("peak_flops_per_s", peak_flops_per_s)
        self._bandwidth = positive("bandwidth_bytes_per_s", bandwidth_bytes_per_s)
        self._bits = None if precision_bits is None else whole("precision_bits", precision_bits)
        self._fused = fused_elementwise
        self._overhead_s = not_negative("layer_overhead_s", layer_overhead_s)

    def space(self) -> tuple[Decision, ...]:
        """No decisions."""
        return ()

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """No resources."""
        check_designs((), designs)
        return {}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency and the share of the peak that it leaves."""
        check_designs((), designs)
        weight_bits_L = workloads.weight_bits if self._bits is None else self._bits
        activation_bits_L = workloads.activation_bits if self._bits is None else self._bits
        elements_L = workloads.input_elements_L + workloads.output_elements_L
        bytes_L = (workloads.weights_L * weight_bits_L + elements_L * activation_bits_L) / 8
        compute_s_L, memory_s_L = 2.0 * workloads.macs_L / self._peak, bytes_L / self._bandwidth
        free_L = np.isin(workloads.kind, UNWEIGHTED) & self._fused
        latency_s_L = np.where(free_L, 0.0, np.maximum(compute_s_L, memory_s_L) + self._overhead_s)
        latency_s_N = total(latency_s_L, workloads)
        busy_s_N = total(compute_s_L, workloads)
        labels_L = LABELS[np.where(free_L, 2, compute_s_L >= memory_s_L)]
        utilization_N = np.divide(busy_s_N, latency_s_N, out=np.zeros(len(workloads)), where=latency_s_N > 0)
        return {
            "latency_s": Estimates(values=latency_s_N, source="analytic", layers=latency_s_L, layer_bottlenecks=labels_L),
            "utilization": Estimates(values=np.minimum(utilization_N, 1.0), source="analytic"),
        }
