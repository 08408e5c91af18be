"""Paleo: a layer reads, computes and writes, one after another, at a share of the device's peaks.

Source: Qi, Sparks & Talwalkar, Paleo: a performance model for deep neural networks, ICLR 2017.

Legend: L layers of all networks together.
"""

from collections.abc import Mapping

import numpy as np

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import positive, share, whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.design_options import check_designs
from paretune.hardware.analytic.layers import UNWEIGHTED, check_kinds, padded_input_elements, total

KINDS = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR)
LABELS = np.array(["read", "compute", "write", "free"])


class Paleo:
    """Latency as the sum of read, compute and write times of each layer.

    Read is the padded input and the weights, write the output. Pooling, activations and additions are left out.

    Args:
        peak_flops_per_s: arithmetic peak; FLOPs are 2 x MACs.
        bandwidth_bytes_per_s: of the memory.
        clock_hz: no time but 0 is below one period of it; None for no such floor.
        share_of_peak: "platform percent of peak" of the arithmetic, 0 to 1.
        share_of_bandwidth: the same of the memory.
        precision_bits: bits of weights and activations; the paper's are 32.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="read + compute + write of all layers"),
    )

    def __init__(
        self,
        *,
        peak_flops_per_s: float,
        bandwidth_bytes_per_s: float,
        clock_hz: float | None = None,
        share_of_peak: float = 1.0,
        share_of_bandwidth: float = 1.0,
        precision_bits: int = 32,
    ) -> None:
        self._flops_per_s = positive("peak_flops_per_s", peak_flops_per_s) * share("share_of_peak", share_of_peak)
        self._bytes_per_s = positive("bandwidth_bytes_per_s", bandwidth_bytes_per_s) * share("share_of_bandwidth", share_of_bandwidth)
        self._floor_s = 0.0 if clock_hz is None else 1 / positive("clock_hz", clock_hz)
        self._word_bytes = whole("precision_bits", precision_bits) / 8

    def space(self) -> tuple[Decision, ...]:
        """No decisions."""
        return ()

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """No resources."""
        check_designs((), designs)
        return {}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency; the label is the longest of the three parts.

        Raises:
            BadInput: a layer is neither convolution nor linear, nor one of those left out.
        """
        check_designs((), designs)
        check_kinds("paleo", workloads, (*KINDS, *UNWEIGHTED))
        read_L = (padded_input_elements(workloads) + workloads.weights_L) * self._word_bytes / self._bytes_per_s
        compute_L = 2.0 * workloads.macs_L / self._flops_per_s
        write_L = workloads.output_elements_L * self._word_bytes / self._bytes_per_s
        parts_PL = np.maximum(np.stack([read_L, compute_L, write_L]), self._floor_s)  # P parts
        known_L = np.isin(workloads.kind, KINDS)
        latency_L = np.where(known_L, parts_PL.sum(axis=0), 0.0)
        labels_L = LABELS[np.where(known_L, parts_PL.argmax(axis=0), len(parts_PL))]
        return {"latency_s": Estimates(values=total(latency_L, workloads), source="analytic", layers=latency_L, layer_bottlenecks=labels_L)}
