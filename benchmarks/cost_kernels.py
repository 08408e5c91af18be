"""Kernels of DeepBench: fitted layers against the roofline of the data sheet and one fitted on the same training split of each device.

Legend: L kernels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet
from cost_data import DATA
from numpy.typing import NDArray

from paretune.predictors.fidelity import rmspe
from paretune.predictors.fitted_roofline import fit_roofline
from paretune.predictors.layer_features import Columns
from paretune.predictors.layer_regression import fit_layers

FOLDS = 3
"""Every shape is held out once, with all its layouts: the same product with another operand transposed is no new kernel. Two thirds are
learned from."""
LEAST_KERNELS = 50
"""Devices with fewer kernels of a kind (Raspberry Pi 3, iPhones: 13 to 16) are left out: there is nothing to hold out."""
QUICK_DEVICES = ("NV_V100", "NV_TitanXp")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSheet:
    """Peaks that the vendor states, at the boost clock."""

    fp32: float
    """Operations a second, a multiplication and an addition being two."""
    narrow: float
    """The same in the narrower precision of the table's other sheets: 16-bit products of tensor cores, 8-bit integers in inference."""
    bytes_per_s: float


DATA_SHEETS = {
    "AMD_MI25": DataSheet(fp32=12.3e12, narrow=24.6e12, bytes_per_s=484e9),  # Radeon Instinct MI25, 2017
    "AMD_VegaFE": DataSheet(fp32=13.1e12, narrow=26.2e12, bytes_per_s=483e9),  # Radeon Vega Frontier Edition, 2017
    "IA_KNL7250": DataSheet(fp32=6.1e12, narrow=6.1e12, bytes_per_s=400e9),  # Xeon Phi 7250: 68 cores x 64 operations x 1.4 GHz; MCDRAM
    "NV_1080Ti": DataSheet(fp32=11.3e12, narrow=45.4e12, bytes_per_s=484e9),  # GeForce GTX 1080 Ti, 2017
    "NV_M40": DataSheet(fp32=6.8e12, narrow=6.8e12, bytes_per_s=288e9),  # Tesla M40, 2015
    "NV_P100": DataSheet(fp32=9.3e12, narrow=9.3e12, bytes_per_s=732e9),  # Tesla P100 PCIe, 2016; pseudo FP16 computes in 32 bits
    "NV_T4 inference": DataSheet(fp32=8.1e12, narrow=130e12, bytes_per_s=320e9),  # T4, 2018: 8-bit integers
    "NV_T4 train": DataSheet(fp32=8.1e12, narrow=65e12, bytes_per_s=320e9),  # T4, 2018: tensor cores
    "NV_TitanX_Pascal": DataSheet(fp32=11.0e12, narrow=44e12, bytes_per_s=480e9),  # Titan X (Pascal), 2016
    "NV_TitanXp": DataSheet(fp32=12.1e12, narrow=48.6e12, bytes_per_s=548e9),  # Titan Xp, 2017
    "NV_TitanX": DataSheet(fp32=6.7e12, narrow=6.7e12, bytes_per_s=336e9),  # GeForce GTX Titan X (Maxwell), 2015
    "NV_V100": DataSheet(fp32=15.7e12, narrow=125e12, bytes_per_s=900e9),  # Tesla V100 SXM2, 2017
}
"""Begin of a label -> data sheet; the first that fits counts."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """RMSPE of shapes held out."""

    device: str
    count: int
    layers: float
    fitted_roofline: float
    data_sheet: float


def by_data_sheet(group: Kernels) -> NDArray[np.float64]:
    """`(L,)` seconds by the roofline that `kind: roofline` is: the vendor's peak and bandwidth, nothing fitted."""
    sheet = next(sheet for begin, sheet in DATA_SHEETS.items() if group.device.startswith(begin))
    narrow = "FP32" not in group.device
    element_bytes = 1 if "inference" in group.device else 2
    bytes_L = group.bytes_L * (element_bytes / 4 if narrow else 1)
    return np.maximum(group.flops_L / (sheet.narrow if narrow else sheet.fp32), bytes_L / sheet.bytes_per_s)


def compare(group: Kernels) -> Errors:
    """Fitted layers, a fitted roofline and the data sheet's, on shapes held out."""
    shapes_LF = np.stack([values_L for name, values_L in group.columns.items() if not name.startswith("transposed")], axis=1)
    shape_L = np.unique(shapes_LF, axis=0, return_inverse=True)[1].ravel()
    fold_L = (np.random.default_rng(0).permutation(shape_L.max() + 1) % FOLDS)[shape_L]
    layers_L, roofline_L = np.empty(len(fold_L)), np.empty(len(fold_L))
    for fold in range(FOLDS):
        inside_L, outside_L = fold_L != fold, fold_L == fold
        inside, outside = ({name: values_L[mask_L] for name, values_L in group.columns.items()} for mask_L in (inside_L, outside_L))
        fitted = fit_layers(group.kind, inside, group.latency_L[inside_L], "latency_s")
        layers_L[outside_L] = fitted.predict(group.kind, outside, "latency_s")
        roofline = fit_roofline(group.flops_L[inside_L], group.bytes_L[inside_L], group.latency_L[inside_L])
        roofline_L[outside_L] = roofline.predict(group.flops_L[outside_L], group.bytes_L[outside_L])
    found = (layers_L, roofline_L, by_data_sheet(group))
    layers, fitted_roofline, data_sheet = (rmspe(predicted_L, group.latency_L) for predicted_L in found)
    return Errors(device=group.device, count=len(group.latency_L), layers=layers, fitted_roofline=fitted_roofline, data_sheet=data_sheet)


def over_both_kinds(found: list[Errors]) -> list[Errors]:
    """Of each device and precision: errors over its convolutions and products together."""
    pooled = []
    for device in dict.fromkeys(errors.device for errors in found):
        own = [errors for errors in found if errors.device == device]
        count = sum(errors.count for errors in own)
        layers, data_sheet, fitted_roofline = (
            math.sqrt(sum(errors.count * value**2 for errors, value in zip(own, values, strict=True)) / count)
            for values in zip(*((errors.layers, errors.data_sheet, errors.fitted_roofline) for errors in own), strict=True)
        )
        pooled.append(Errors(device=device, count=count, layers=layers, data_sheet=data_sheet, fitted_roofline=fitted_roofline))
    return pooled


def print_kernels(*, quick: bool) -> list[Errors]:
    """Print the tables; the errors of each device and precision over both kinds of kernels."""
    columns = f"{'count':>5} {'layers':>7} {'data sheet':>10} {'ratio':>6} {'fitted roofline':>15} {'ratio':>6}"
    print(f"\n{'DeepBench kernels, RMSPE':56} {'kind':7} {columns}")
    found = []
    for group in kernels(quick=quick):
        found.append(compare(group))
        _print_row(group.kind, found[-1])
    pooled = over_both_kinds(found)
    for errors in pooled:
        _print_row("both", errors)
    return pooled


def _print_row(kind: str, errors: Errors) -> None:
    print(
        f"{errors.device:56} {kind:7} {errors.count:5} {errors.layers:7.3f} {errors.data_sheet:10.3f} "
        f"{errors.layers / errors.data_sheet:6.2f} {errors.fitted_roofline:15.3f} {errors.layers / errors.fitted_roofline:6.2f}",
        flush=True,
    )
