"""Lookup tables as their authors published them, read into slot tables.

Legend: B blocks.
"""

import csv
from pathlib import Path

import numpy as np

from paretune.core.errors import BadInput
from paretune.hardware.tables.additive import AdditiveTable
from paretune.hardware.tables.differentiable import SinglePathRuntime
from paretune.hardware.tables.slot_table_file import FORMAT, SlotEntries
from paretune.hardware.tables.table_facts import TableFacts

SINGLE_PATH_CHOICES = ("k3_e3", "k3_e6", "k5_e3", "k5_e6")
"""In the order of the file's choices 0 to 3."""
SINGLE_PATH_BLOCKS = 22
SINGLE_PATH_SEARCHED = range(1, 21)
"""The first and the last block are fixed."""
SINGLE_PATH_FIXED_S = 19.5999e-3
"""Stem, head and the two fixed blocks (published code)."""
HAQ_BITS = range(1, 9)


def read_single_path(path: Path) -> SlotEntries:
    """Single-Path NAS' runtimes on a Pixel 1: 20 searched blocks of four forms.

    Args:
        path: CSV with columns `block` (0 to 21), `choice` (0 to 3) and `latency_ms`.

    Raises:
        BadInput: the file is another one.

    Source: Stamoulis et al., Single-Path NAS, ECML-PKDD 2019; `pixel1_runtime_model.json` of its published code.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            cells = {(int(row["block"]), int(row["choice"])): float(row["latency_ms"]) for row in csv.DictReader(file)}
        latency_s = np.array([[cells[block, choice] for choice in range(4)] for block in range(SINGLE_PATH_BLOCKS)]) * 1e-3
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadInput(f"{path}: cannot be read as Single-Path NAS' table (block 0-21, choice 0-3, latency_ms): {error!r}") from error
    facts = TableFacts(
        format=FORMAT, device="Pixel 1", created="2019", runtime="TensorFlow Lite", overhead={"latency_s": SINGLE_PATH_FIXED_S}
    )
    slots = [f"block{block}" for block in SINGLE_PATH_SEARCHED]
    return SlotEntries(
        facts=facts,
        choices=dict.fromkeys(slots, SINGLE_PATH_CHOICES),
        values={"latency_s": tuple(latency_s[block] for block in SINGLE_PATH_SEARCHED)},
    )


def single_path_runtime(table: AdditiveTable) -> SinglePathRuntime:
    """The differentiable runtime of Single-Path NAS from a table of `SINGLE_PATH_CHOICES`."""
    latency_BC = np.stack(table.values)
    small_full, large_half, large_full = (SINGLE_PATH_CHOICES.index(name) for name in ("k3_e6", "k5_e3", "k5_e6"))
    return SinglePathRuntime(
        fixed=table.fixed, r50=latency_BC[:, large_half], r100=latency_BC[:, large_full], r100_small=latency_BC[:, small_full]
    )


def read_haq(path: Path, *, seconds_per_count: float) -> SlotEntries:
    """HAQ's table of MobileNetV2: every layer's time by bits of weights and of activations, from a simulator of an accelerator.

    Args:
        path: `.npz` with integers `latency`, `(layers, 8, 8)`: weight bits 1 to 8, activation bits 1 to 8.
        seconds_per_count: what a count is worth. The file names no unit, so the caller has to: the accelerator's clock period if it counts
            cycles.

    Returns:
        Slots `layer0.weight_bits+layer0.activation_bits`, ... with choices `1+1` to `8+8`.

    Raises:
        BadInput: the file is another one, or `seconds_per_count` no positive number.

    Source: Wang et al., HAQ, CVPR 2019, and its published code.
    """
    if not (np.isfinite(seconds_per_count) and seconds_per_count > 0):
        raise BadInput(f"seconds_per_count: must be above 0; got {seconds_per_count}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            counts = np.asarray(arrays["latency"], dtype=np.float64)
    except (OSError, KeyError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read as HAQ's table: {error}") from error
    if counts.ndim != 3 or counts.shape[1:] != (len(HAQ_BITS), len(HAQ_BITS)):
        raise BadInput(f"{path}: expected an array (layers, 8, 8); got shape {counts.shape}")
    slots = [f"layer{layer}.weight_bits+layer{layer}.activation_bits" for layer in range(len(counts))]
    choices = tuple(f"{weight}+{activation}" for weight in HAQ_BITS for activation in HAQ_BITS)
    facts = TableFacts(
        format=FORMAT,
        device="simulated accelerator",
        created="2019",
        batch=16,
        precision="mixed",
        details={"seconds_per_count": seconds_per_count},
    )
    values = {"latency_s": tuple(layer.reshape(-1) * seconds_per_count for layer in counts)}
    return SlotEntries(facts=facts, choices=dict.fromkeys(slots, choices), values=values)
