"""What secure inference has to do for a layer: homomorphic multiplications and rotations, and garbled ReLUs.

Linear layers run on packed ciphertexts of n slots (Gazelle): a map of w x h fills w * h of them, so that c_n = floor(n / (w h)) channels
share one. A larger map fills several; then c_n is the reciprocal of their number.

Sources: Bian et al., NASS: optimizing secure inference via neural architecture search, ECAI 2020; Juvekar et al., Gazelle: a low latency
framework for secure neural network inference, USENIX Security 2018.

Legend: L layers of all networks together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.layers import Floats, kernel_taps

CONVOLUTIONS = (Kind.CONV, Kind.DEPTHWISE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureCounts:
    """`(L,)` operations of each layer."""

    multiplications: Floats
    """Homomorphic products of a ciphertext with a plaintext."""
    input_rotations: Floats
    """Of ciphertexts before they are multiplied."""
    output_rotations: Floats
    """Of products before they are added."""
    relus: Floats
    """Garbled circuits, one for each element."""


def secure_counts(workloads: WorkloadBatch, *, slots: int, relus_listed: bool) -> SecureCounts:
    """Counts of all layers.

    Args:
        workloads: convolutions, linear layers, activations; what a pattern prunes of a kernel is saved.
        slots: n.
        relus_listed: whether only `activation` layers are ReLUs, or every output of a convolution is one.
    """
    convolution_L, linear_L = np.isin(workloads.kind, CONVOLUTIONS), workloads.kind == Kind.LINEAR
    conv, dense = _convolution(workloads, slots), _linear(workloads, slots)
    nonlinear_L = workloads.kind == Kind.ACTIVATION if relus_listed else convolution_L
    return SecureCounts(
        multiplications=_either(convolution_L, linear_L, conv[0], dense[0]),
        input_rotations=_either(convolution_L, linear_L, conv[1], dense[1]),
        output_rotations=_either(convolution_L, linear_L, conv[2], np.zeros(len(conv[2]))),
        relus=np.where(nonlinear_L, workloads.output_elements_L, 0.0),
    )


def _either(convolution_L: NDArray[np.bool_], linear_L: NDArray[np.bool_], first_L: Floats, second_L: Floats) -> Floats:
    return np.select([convolution_L, linear_L], [first_L, second_L], default=0.0)


def _convolution(workloads: WorkloadBatch, slots: int) -> tuple[Floats, Floats, Floats]:
    """Multiplications, rotations of inputs and of outputs.

    f co ci / c_n products for f weights of a kernel; f - 1 rotations of each input ciphertext; (c_n - 1) of each product ciphertext.
    """
    taps_L = kernel_taps(workloads)
    in_L, out_L = workloads.in_channels.astype(np.float64), workloads.out_channels.astype(np.float64)
    pairs_L = in_L / workloads.groups * out_L
    map_L = np.maximum(workloads.input_elements_L / (in_L * workloads.batch), 1.0)
    packed_L = np.where(map_L <= slots, np.floor(slots / map_L), 1 / np.ceil(map_L / slots))
    batch_L = workloads.batch
    return (
        taps_L * pairs_L / packed_L * batch_L,
        (taps_L - 1) * np.ceil(in_L / packed_L) * batch_L,
        np.maximum(packed_L - 1, 0) * pairs_L / packed_L**2 * batch_L,
    )


def _linear(workloads: WorkloadBatch, slots: int) -> tuple[Floats, Floats]:
    """Multiplications and rotations: a product for each n weights, then the partial sums of an output are rotated together."""
    in_L, out_L = workloads.in_channels.astype(np.float64), workloads.out_channels.astype(np.float64)
    rows_L = workloads.out_height * workloads.out_width * workloads.batch
    products_L = np.ceil(in_L * out_L / slots)
    folds_L = np.ceil(np.log2(np.maximum(slots / out_L, 1.0)))
    return products_L * rows_L, (folds_L + products_L - 1) * rows_L
