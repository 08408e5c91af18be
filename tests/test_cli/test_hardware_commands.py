"""Cost models from files of measurements, through the command: fit, judge, compare."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from paretune.core.genotype import named
from paretune.core.workload import WorkloadBatch
from paretune.hardware.campaigns.layer_census import census
from paretune.hardware.tables.layer_signature import in_words, layer_of
from paretune.hardware.tables.layer_table_file import LayerEntries, write_layer_table
from paretune.hardware.tables.table_facts import TableFacts
from paretune.hardware.target_files import load_target
from paretune.networks.layer_probes import FUSED
from paretune.spaces.digits_conv import DigitsConv
from paretune.spaces.nasbench201 import NasBench201

Command = Callable[..., Any]
SPACE = NasBench201(input_shape=(3, 32, 32), num_classes=10)
ROWS = np.random.default_rng(0).permutation(15625)[:160]
PRICES = {"host": np.array([0.0, 0.1, 1.0, 3.0, 0.5]), "phone": np.array([0.5, 0.6, 3.0, 1.0, 2.0])}


def cost(device: str) -> np.ndarray:
    return (2 + PRICES[device][SPACE.from_index(ROWS)].sum(axis=1)) * 1e-3


def write_networks(path: Path, device: str, *, facts: bool = True) -> Path:
    rows = [named(SPACE.decisions, row) for row in SPACE.from_index(ROWS).tolist()]
    columns = {name: [row[name] for row in rows] for name in rows[0]} | {"latency_s": cost(device), "iqr_s": 0.01 * cost(device)}
    table = pyarrow.table(columns)
    if facts:
        details = {"input_shape": [3, 32, 32], "num_classes": 10}
        text = json.dumps({"format": "network_table", "space": "nasbench201", "device": device, "details": details})
        table = table.replace_schema_metadata({b"paretune": text.encode()})
    pyarrow.parquet.write_table(table, path)
    return path


@pytest.fixture
def measured(folder: Path) -> Path:
    return write_networks(folder / "host.parquet", "host")


FEW = ("--predictor", "ridge:onehot")


def test_fitted_model_validates_against_its_measurements(measured: Path, folder: Path, paretune: Command) -> None:
    report = json.loads(paretune("hardware", "fit", "host.parquet", "--out", "host.npz", *FEW, "--json").stdout)
    held_out = report["held_out"]["latency_s"]
    assert held_out["model"] == "ridge:onehot linear"
    assert held_out["spearman"] > 0.99
    assert held_out["noise_floor"] == pytest.approx(0.01 / 1.349)
    judged = json.loads(paretune("hardware", "validate", "host.npz", "host.parquet", "--plot", "host.html", "--json").stdout)
    assert judged["latency_s"]["rmspe"] < 0.02
    assert len(judged["latency_s"]["worst"]) == 5
    page = (folder / "host.html").read_text()
    assert "measured latency (ms)" in page
    assert "<script src" not in page  # nothing is loaded from anywhere


def test_validation_names_the_networks_that_are_furthest_off(measured: Path, folder: Path, paretune: Command) -> None:
    paretune("hardware", "fit", "host.parquet", "--out", "host.npz", *FEW)
    table = pyarrow.parquet.read_table("host.parquet")
    latency = cost("host")
    latency[17] *= 3
    pyarrow.parquet.write_table(table.set_column(table.column_names.index("latency_s"), "latency_s", pyarrow.array(latency)), "odd.parquet")
    text = paretune("hardware", "validate", "host.npz", "odd.parquet").stdout
    worst = text.splitlines()[1]
    assert all(f"{name}={choice}" in worst for name, choice in named(SPACE.decisions, SPACE.from_index(ROWS)[17].tolist()).items())


def write_layers(path: Path, *, slow: int, times: float) -> str:
    """A table of the digits space on a device just like a target's roofline, but for one layer that takes longer; that layer in words."""
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1)
    signatures = census(space, sample=50, skip=FUSED).signatures
    model = load_target("titan_x_roofline").create()
    layers = WorkloadBatch.from_layers([[layer_of(row)] for row in signatures.tolist()])
    latency_s = model.estimate(layers, {})["latency_s"].values.copy()
    latency_s[slow] *= times
    facts = TableFacts(format="layer_table", device="board", created="2026-01-01", overhead={"latency_s": 0.0})
    spreads = {"latency_iqr_s": 0.01 * latency_s}
    write_layer_table(path, LayerEntries(facts=facts, signatures=signatures, values={"latency_s": latency_s}, spreads=spreads))
    return in_words(signatures[slow])


def test_validation_against_a_layer_table_names_the_layers_that_are_furthest_off(folder: Path, paretune: Command) -> None:
    words = write_layers(folder / "layers.parquet", slow=3, times=5)
    told = paretune("hardware", "validate", "titan_x_roofline", "layers.parquet").stdout.splitlines()
    assert told[0].startswith("latency_s of layers: ")
    assert "noise floor 0.7%" in told[0]
    assert told[1].endswith(f": {words}")
    judged = json.loads(paretune("hardware", "validate", "titan_x_roofline", "layers.parquet", "--json").stdout)["layers"]["latency_s"]
    assert judged["worst"][0][0] == words
    assert judged["worst"][0][2] == pytest.approx(5 * judged["worst"][0][1])
    assert judged["rmspe"] == pytest.approx(0.8 / judged["num_networks"] ** 0.5)  # off by 1 - 1/5 once


def test_worst_layers_stand_beside_worst_networks(folder: Path, paretune: Command) -> None:
    words = write_layers(folder / "layers.parquet", slow=0, times=3)
    write_networks(folder / "host.parquet", "host")
    done = paretune("hardware", "validate", "titan_x_roofline", "host.parquet", "--layers", "layers.parquet", "--plot", "page.html")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("latency_s: 160 judged")
    assert lines[6].startswith("latency_s of layers: ")
    assert lines[7].endswith(words)
    page = (folder / "page.html").read_text()
    assert "latency_s of networks" in page
    assert "latency_s of layers" in page
    turned = paretune("hardware", "validate", "titan_x_roofline", "layers.parquet", "--layers", "layers.parquet")
    assert "give measured networks first" in turned.stderr
    paretune("hardware", "fit", "host.parquet", "--out", "host.npz", *FEW)
    assert "predicts whole networks, not layers" in paretune("hardware", "validate", "host.npz", "layers.parquet").stderr


def test_a_target_file_of_ones_own_is_validated(measured: Path, folder: Path, paretune: Command) -> None:
    board = "kind: roofline\ndescription: a board\noptions:\n"
    options = {"peak_flops_per_s": 1e12, "bandwidth_bytes_per_s": 1e10}
    (folder / "board.yaml").write_text(
        board + "".join(f'  {name}: {{value: {value}, source: "its maker"}}\n' for name, value in options.items())
    )
    done = paretune("hardware", "validate", "./board.yaml", "host.parquet")
    assert done.stdout.startswith("latency_s: 160 judged"), done.stderr


def test_devices_are_compared_by_rank_with_a_picture(measured: Path, folder: Path, paretune: Command) -> None:
    write_networks(folder / "phone.parquet", "phone")
    paretune("hardware", "fit", "host.parquet", "--out", "model.npz", *FEW)
    found = json.loads(
        paretune("hardware", "compare", "host.parquet", "phone.parquet", "model.npz", "--plot", "devices.html", "--json").stdout
    )
    assert found["columns"] == ["host.latency_s", "phone.latency_s", "model.latency_s"]
    matrix = np.array(found["spearman"])
    assert np.allclose(matrix, matrix.T)
    assert np.allclose(np.diag(matrix), 1)
    assert matrix[0, 2] > 0.99 > 0.8 > matrix[0, 1]
    assert "heatmap" in (folder / "devices.html").read_text()


def test_layers_are_fitted_to_power_and_energy(folder: Path, paretune: Command) -> None:
    rng = np.random.default_rng(0)
    size, channels = rng.choice([8.0, 16.0, 32.0], 60), rng.choice([8.0, 16.0, 64.0], 60)
    macs = size**2 * 9 * channels * channels
    columns = {"kind": ["conv"] * 60, "out_height": size, "out_width": size, "in_channels": channels, "out_channels": channels}
    columns |= {"kernel": np.full(60, 3.0), "padding": np.ones(60), "latency_s": 1e-6 + 1e-9 * macs, "power_w": 2 + 0.1 * np.log2(channels)}
    pyarrow.parquet.write_table(pyarrow.table(columns), "layers.parquet")
    report = json.loads(paretune("hardware", "fit", "layers.parquet", "--out", "board.json", "--json").stdout)
    assert set(report["held_out"]) == {"latency_s conv", "power_w conv"}
    assert report["held_out"]["latency_s conv"]["rmspe"] < 0.1
    assert json.loads((folder / "board.json").read_text())["format"] == "paretune.layer_regression"


def test_published_tables_are_read_by_official_numbers(folder: Path, paretune: Command) -> None:
    columns = {"arch_idx": ROWS, "titan": cost("host") * 1e3, "phone": cost("phone") * 1e3}
    pyarrow.parquet.write_table(pyarrow.table(columns), "table.parquet")
    text = paretune("hardware", "compare", "table.parquet", "--space", "nasbench201", "--unit", "ms").stdout
    assert "titan_s" in text
    assert "phone_s" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("fit", "none.parquet", "--out", "a.npz"), "no such file"),
        (("fit", "plain.parquet", "--out", "a.npz"), "give --space"),
        (("fit", "plain.parquet", "--space", "fbnet", "--out", "a.npz"), "22 decisions are missing"),
        (("fit", "host.parquet", "--out", "a.json"), "must end in .npz"),
        (("fit", "host.parquet", "--out", "a.npz", "--metric", "energy_j"), "the file has latency_s"),
        (("fit", "host.parquet", "--out", "a.npz", "--held-out", "1.5"), "held-out"),
        (("validate", "host.npz", "host.parquet"), "no such file"),
        (("validate", "host", "host.parquet"), "is a device that measures"),
        (("validate", "zcu", "host.parquet"), "unknown target 'zcu'. Did you mean 'zcu102'?"),
        (("compare", "host.parquet"), "at least two columns"),
        (("compare", "a.npz"), "at least one file of measurements"),
    ],
)
def test_what_cannot_be_used_is_told_with_exit_code_2(
    arguments: tuple[str, ...], told: str, measured: Path, folder: Path, paretune: Command
) -> None:
    write_networks(folder / "plain.parquet", "host", facts=False)
    found = paretune("hardware", *arguments)
    assert found.exit_code == 2
    assert told in found.stderr
