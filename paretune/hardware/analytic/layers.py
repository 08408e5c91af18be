"""What the analytic cost models ask of layers: whether they are known, their shapes, sums over networks.

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.workload import Kind, WorkloadBatch

Floats = NDArray[np.float64]

UNWEIGHTED = (Kind.POOL, Kind.ACTIVATION, Kind.ADD)
"""Kinds that most papers leave out: they are fused into the layer before them, or small beside it."""


def check_kinds(model: str, workloads: WorkloadBatch, known: Sequence[Kind]) -> None:
    """Refuse networks with a layer of another kind.

    Raises:
        BadInput: naming the first such layer and the kinds known.
    """
    strange_L = ~np.isin(workloads.kind, known)
    if strange_L.any():
        raise BadInput(
            f"{model}: knows no cost of {layer_title(workloads, int(strange_L.argmax()))}; "
            f"it knows {', '.join(kind.name.lower() for kind in known)}"
        )


def layer_title(workloads: WorkloadBatch, layer: int) -> str:
    """A layer for messages: `depthwise layer 'stage1.block0.depthwise'`."""
    name = workloads.names[layer] if workloads.names else ""
    place = (
        f"'{name}'" if name else f"number {layer - int(workloads.offsets[np.searchsorted(workloads.offsets, layer, side='right') - 1]) + 1}"
    )
    return f"{Kind(int(workloads.kind[layer])).name.lower()} layer {place}"


def total(values_L: NDArray[np.floating], workloads: WorkloadBatch) -> Floats:
    """`(N,)` sum of a quantity over the layers of each network."""
    return np.asarray(np.add.reduceat(values_L, workloads.offsets[:-1]), dtype=np.float64)


def kernel_rows(workloads: WorkloadBatch) -> Floats:
    """`(L,)` height of each kernel: 1 for a kernel over sequences, which keeps one row of its square (`taps == kernel`)."""
    in_one_row_L = (workloads.taps == workloads.kernel) & (workloads.out_height == 1)
    return np.where(in_one_row_L, 1, workloads.kernel).astype(np.float64)


def kernel_taps(workloads: WorkloadBatch) -> Floats:
    """`(L,)` weights kept of each kernel."""
    return np.where(workloads.taps > 0, workloads.taps, workloads.kernel**2).astype(np.float64)


def padded_input_elements(workloads: WorkloadBatch) -> Floats:
    """`(L,)` elements of each layer's input with its padding; what the kernel touches, where the layer does not say its input's size."""
    rows_L = kernel_rows(workloads)
    padding_rows_L = np.where(rows_L == 1, 0, workloads.padding)
    touched_height_L = (workloads.out_height - 1) * workloads.stride + rows_L
    touched_width_L = (workloads.out_width - 1) * workloads.stride + workloads.kernel
    height_L = np.where(workloads.in_height > 0, workloads.in_height + 2 * padding_rows_L, touched_height_L)
    width_L = np.where(workloads.in_width > 0, workloads.in_width + 2 * workloads.padding, touched_width_L)
    return np.asarray(workloads.in_channels * height_L * width_L * workloads.batch, dtype=np.float64)
