"""Secure inference: linear layers under homomorphic encryption, ReLUs as garbled circuits.

Source: Bian et al., NASS: optimizing secure inference via neural architecture search, ECAI 2020.

Legend: L layers of all networks together.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import not_negative, one_of, whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.design_options import check_designs
from paretune.hardware.analytic.layers import UNWEIGHTED, Floats, check_kinds, kernel_taps, total
from paretune.hardware.analytic.secure_counts import CONVOLUTIONS, secure_counts

LABELS = np.array(["multiplication", "rotation", "garbled", "free"])


class Secure:
    """Time and traffic of a private inference: homomorphic linear layers, garbled ReLUs (Gazelle's protocol, NASS's cost model).

    Average pooling and additions are linear and left out; maximum pooling is not modelled. The defaults are calibrated on the published
    Gazelle network alone (its homomorphic and its garbled time, its traffic), whose traffic is put down to the ReLUs.

    Args:
        multiplication_s: of one homomorphic product.
        rotation_s: of one homomorphic rotation.
        relu_s: of one garbled ReLU of `calibrated_bits`; it grows with the plaintext's bits.
        relu_bytes: of one garbled ReLU of `calibrated_bits`, both ways.
        calibrated_bits: plaintext bits that `relu_s` and `relu_bytes` belong to.
        plaintext_bits: of every layer; None for weight bits + activation bits + ceil(log2(products of an output)).
        slots: of a ciphertext.
        activations: `convolutions` for a ReLU on every output of a convolution, `listed` for the `activation` layers alone.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(name="time_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="homomorphic and garbled time"),
        Metric(name="bandwidth_bytes", unit="bytes", direction=Direction.MIN, lower=0, free=True, description="sent both ways"),
        Metric(name="relus", unit="", direction=Direction.MIN, lower=0, free=True, description="garbled circuits"),
        Metric(name="multiplications", unit="", direction=Direction.MIN, lower=0, free=True, description="homomorphic products"),
        Metric(name="rotations", unit="", direction=Direction.MIN, lower=0, free=True, description="homomorphic rotations"),
    )

    def __init__(
        self,
        *,
        multiplication_s: float = 55.85e-6,
        rotation_s: float = 558.5e-6,
        relu_s: float = 76.73e-6,
        relu_bytes: float = 10_550.0,
        calibrated_bits: int = 23,
        plaintext_bits: int | None = 23,
        slots: int = 2048,
        activations: Literal["convolutions", "listed"] = "convolutions",
    ) -> None:
        self._multiplication_s = not_negative("multiplication_s", multiplication_s)
        self._rotation_s = not_negative("rotation_s", rotation_s)
        self._relu_s, self._relu_bytes = not_negative("relu_s", relu_s), not_negative("relu_bytes", relu_bytes)
        self._calibrated_bits = whole("calibrated_bits", calibrated_bits)
        self._plaintext_bits = None if plaintext_bits is None else whole("plaintext_bits", plaintext_bits)
        self._slots = whole("slots", slots)
        self._listed = one_of("activations", activations, ("convolutions", "listed")) == "listed"

    def space(self) -> tuple[Decision, ...]:
        """No decisions."""
        return ()

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """No resources."""
        check_designs((), designs)
        return {}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Time, traffic and counts; the label is the longest part of a layer: `multiplication`, `rotation` or `garbled`.

        Raises:
            BadInput: a layer is neither convolution nor linear, nor one of those left out.
        """
        check_designs((), designs)
        check_kinds("secure", workloads, (*CONVOLUTIONS, Kind.LINEAR, *UNWEIGHTED))
        counts = secure_counts(workloads, slots=self._slots, relus_listed=self._listed)
        rotations_L = counts.input_rotations + counts.output_rotations
        circuits_L = counts.relus * self._bits(workloads) / self._calibrated_bits
        parts_PL = np.stack([counts.multiplications * self._multiplication_s, rotations_L * self._rotation_s, circuits_L * self._relu_s])
        time_L, bytes_L = parts_PL.sum(axis=0), circuits_L * self._relu_bytes
        labels_L = LABELS[np.where(time_L > 0, parts_PL.argmax(axis=0), len(parts_PL))]
        layers = {
            "bandwidth_bytes": bytes_L,
            "relus": counts.relus,
            "multiplications": counts.multiplications,
            "rotations": rotations_L,
        }
        found = {
            name: Estimates(values=total(values_L, workloads), source="analytic", layers=values_L) for name, values_L in layers.items()
        }
        time = Estimates(values=total(time_L, workloads), source="analytic", layers=time_L, layer_bottlenecks=labels_L)
        return {"time_s": time, **found}

    def _bits(self, workloads: WorkloadBatch) -> Floats:
        """`(L,)` plaintext bits: what the sum of an output's products needs."""
        if self._plaintext_bits is not None:
            return np.full(len(workloads.kind), float(self._plaintext_bits))
        products_L = kernel_taps(workloads) * (workloads.in_channels // workloads.groups)
        return np.asarray(
            workloads.weight_bits + workloads.activation_bits + np.ceil(np.log2(np.maximum(products_L, 1.0))), dtype=np.float64
        )
