"""Kernels of DeepBench: layer polynomials against a roofline, both fitted on the same training split of each device.

Legend: L kernels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet
from cost_data import DATA
from numpy.typing import NDArray

from paretune.predictors.fidelity import rmspe
from paretune.predictors.layer_features import Columns
from paretune.predictors.layer_regression import fit_layers, fit_roofline

FOLDS = 3
"""Every shape is held out once, with all its layouts: the same product with another operand transposed is no new kernel. Two thirds are
learned from."""
LEAST_KERNELS = 50
"""Devices with fewer kernels of a kind (Raspberry Pi 3, iPhones: 13 to 16) are left out: there is nothing to hold out."""
QUICK_DEVICES = ("NV_V100", "NV_TitanXp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Kernels of one kind on one device in one precision."""

    device: str
    kind: str
    columns: Columns
    flops_L: NDArray[np.float64]  # noqa: N815 -- a shape suffix
    bytes_L: NDArray[np.float64]  # noqa: N815 -- a shape suffix
    latency_L: NDArray[np.float64]  # noqa: N815 -- a shape suffix


def kernels(*, quick: bool) -> list[Kernels]:
    """Forward convolutions and matrix products of every device and precision with enough kernels."""
    found = []
    for file, time_column, columns_of in (("conv", "fwd_ms", _convolutions), ("gemm", "time_ms", _products)):
        table = pyarrow.parquet.read_table(DATA / "deepbench" / f"{file}.parquet")
        labels = [" ".join(row) for row in zip(*(table[name].to_pylist() for name in ("device", "mode", "sheet")), strict=True)]
        time_R = np.asarray(table[time_column].to_pandas(), dtype=np.float64)
        for label in sorted(set(labels)):
            rows = np.flatnonzero((np.array(labels) == label) & (time_R > 0))
            if len(rows) >= LEAST_KERNELS and (not quick or label.startswith(QUICK_DEVICES)):
                found.append(_group(table.take(rows), label, time_R[rows] * 1e-3, columns_of))
    return found


def _group(table: pyarrow.Table, label: str, latency_L: NDArray[np.float64], columns_of: Callable[[pyarrow.Table], Columns]) -> Kernels:
    columns = columns_of(table)
    weights_L = columns["in_channels"] * columns["out_channels"]
    kind = "linear"
    positions_L, inputs_L = columns["batch"], columns["batch"] * columns["in_channels"]
    if "out_height" in columns:
        kind = "conv"
        weights_L = weights_L * columns["kernel_height"] * columns["kernel_width"]
        positions_L = positions_L * columns["out_height"] * columns["out_width"]
        inputs_L = inputs_L * columns["in_height"] * columns["in_width"]
    elements_L = inputs_L + weights_L + positions_L * columns["out_channels"]
    return Kernels(
        device=label, kind=kind, columns=columns, flops_L=2 * weights_L * positions_L, bytes_L=4 * elements_L, latency_L=latency_L
    )


def _convolutions(table: pyarrow.Table) -> Columns:
    names = {
        "batch": "N",
        "in_channels": "C",
        "out_channels": "K",
        "in_height": "H",
        "in_width": "W",
        "out_height": "P",
        "out_width": "Q",
        "kernel_height": "R_filter_h",
        "kernel_width": "S_filter_w",
        "padding_height": "pad_h",
        "padding_width": "pad_w",
    }
    return {name: np.asarray(table[column].to_pandas(), dtype=np.float64) for name, column in names.items()}


def _products(table: pyarrow.Table) -> Columns:
    """The weights are M x K, the inputs K x N."""
    names = {"out_channels": "M", "batch": "N", "in_channels": "K"}
    columns = {name: np.asarray(table[column].to_pandas(), dtype=np.float64) for name, column in names.items()}
    layouts = {"transposed_weights": "transA", "transposed_input": "transB"}
    return columns | {
        name: np.array([str(cell).upper().startswith("T") for cell in table[column].to_pylist()], dtype=np.float64)
        for name, column in layouts.items()
    }


def compare(group: Kernels) -> tuple[float, float]:
    """Held-out RMSPE of the polynomial and of the roofline."""
    shapes_LF = np.stack([values_L for name, values_L in group.columns.items() if not name.startswith("transposed")], axis=1)
    shape_L = np.unique(shapes_LF, axis=0, return_inverse=True)[1].ravel()
    fold_L = (np.random.default_rng(0).permutation(shape_L.max() + 1) % FOLDS)[shape_L]
    polynomial_L, roofline_L = np.empty(len(fold_L)), np.empty(len(fold_L))
    for fold in range(FOLDS):
        inside_L, outside_L = fold_L != fold, fold_L == fold
        inside, outside = ({name: values_L[mask_L] for name, values_L in group.columns.items()} for mask_L in (inside_L, outside_L))
        fitted = fit_layers(group.kind, inside, group.latency_L[inside_L], "latency_s")
        polynomial_L[outside_L] = fitted.predict(group.kind, outside, "latency_s")
        roofline = fit_roofline(group.flops_L[inside_L], group.bytes_L[inside_L], group.latency_L[inside_L])
        roofline_L[outside_L] = roofline.predict(group.flops_L[outside_L], group.bytes_L[outside_L])
    return rmspe(polynomial_L, group.latency_L), rmspe(roofline_L, group.latency_L)


def print_kernels(*, quick: bool) -> list[float]:
    """Print the table; the ratio of the two errors of each device and precision, over both kinds of kernels by the mean."""
    print(f"\n{'DeepBench kernels':56} {'kind':7} {'count':>5} {'polynomial':>10} {'roofline':>9} {'ratio':>6}")
    ratios: dict[str, list[float]] = {}
    for group in kernels(quick=quick):
        polynomial, roofline = compare(group)
        ratios.setdefault(group.device, []).append(polynomial / roofline)
        ratio = polynomial / roofline
        print(
            f"{group.device:56} {group.kind:7} {len(group.latency_L):5} {polynomial:10.3f} {roofline:9.3f} {ratio:6.2f}",
            flush=True,
        )
    return [ratio for found in ratios.values() for ratio in found]
