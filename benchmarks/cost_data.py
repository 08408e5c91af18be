"""Measured tables for the benchmark of cost models: latencies of two search spaces, kernels of DeepBench.

Read from the folder `PARETUNE_DATA`, by default `../shared/data` beside the repository.

Legend: N architectures, D decisions, S device settings.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Genotypes
from paretune.core.protocols import SearchSpace
from paretune.spaces.fbnet import FBNet
from paretune.spaces.nasbench201 import NasBench201

DATA = Path(os.environ.get("PARETUNE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """Every architecture of a table on every device setting."""

    space: SearchSpace
    genotypes_ND: Genotypes  # noqa: N815 -- a shape suffix
    latency_NS: NDArray[np.float64]  # noqa: N815 -- a shape suffix
    """In seconds."""
    devices: tuple[str, ...]
    classes_N: NDArray[np.int64]  # noqa: N815 -- a shape suffix
    """Equal numbers: isomorphic architectures, which never lie on both sides of a split."""

    def keep(self, devices: tuple[str, ...]) -> "LatencyTable":
        """The same architectures on fewer devices."""
        columns = [self.devices.index(device) for device in devices]
        return replace(self, latency_NS=self.latency_NS[:, columns], devices=devices)


def nasbench201() -> LatencyTable:
    """15,625 cells on 17 device settings."""
    table = pyarrow.parquet.read_table(DATA / "help_latency" / "nasbench201_latency.parquet")
    space = NasBench201(input_shape=(3, 32, 32), num_classes=10)
    devices = tuple(name for name in table.column_names if name != "arch_idx")
    genotypes_ND = space.from_index(np.asarray(table["arch_idx"], dtype=np.int64))
    merged = NasBench201(input_shape=(3, 32, 32), num_classes=10, isomorphic=True)
    return LatencyTable(
        space=space,
        genotypes_ND=genotypes_ND,
        latency_NS=_seconds(table, devices),
        devices=devices,
        classes_N=merged.index_of(merged.canonical(genotypes_ND)),
    )


def fbnet() -> LatencyTable:
    """5,000 random networks of the FBNet space on 17 device settings."""
    table = pyarrow.parquet.read_table(DATA / "help_latency" / "fbnet_latency.parquet")
    space = FBNet(input_shape=(3, 32, 32), num_classes=100)
    devices = tuple(name for name in table.column_names if name != "arch_idx" and not name.startswith("op_"))
    genotypes_ND = np.stack([np.asarray(table[f"op_{layer}"]) for layer in range(22)], axis=1).astype(GENE)
    merged = FBNet(input_shape=(3, 32, 32), num_classes=100, isomorphic=True)
    _, classes_N = np.unique(merged.canonical(genotypes_ND), axis=0, return_inverse=True)
    return LatencyTable(
        space=space, genotypes_ND=genotypes_ND, latency_NS=_seconds(table, devices), devices=devices, classes_N=classes_N.ravel()
    )


def _seconds(table: pyarrow.Table, devices: tuple[str, ...]) -> NDArray[np.float64]:
    return np.stack([np.asarray(table[name], dtype=np.float64) for name in devices], axis=1) * 1e-3


def device_of(device: str) -> str:
    """`1080ti_1`, `1080ti_32` and `1080ti_256` are one device."""
    stem, _, suffix = device.rpartition("_")
    return stem if suffix in ("1", "32", "64", "256") and stem != "essential_ph" else device


def hardware_family(device: str) -> str:
    """All GeForce and Titan processors are one family, all Xeons one, all phones one."""
    for family, starts in {
        "gpu": ("1080ti", "2080ti", "titan", "v100"),
        "xeon": ("silver", "gold"),
        "phone": ("pixel", "samsung", "essential"),
    }.items():
        if device.startswith(starts):
            return family
    return device
