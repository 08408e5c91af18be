"""`paretune measure` on this machine: a table that predicts, going on after Ctrl-C, and what it refuses."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.hardware.campaigns.layer_campaign import known_layers
from paretune.hardware.campaigns.layer_census import distinct_networks
from paretune.hardware.tables.layer_table import LayerTable
from paretune.hardware.tables.network_table_file import read_network_table
from paretune.spaces.digits_conv import DigitsConv

ROOT = Path(__file__).parents[2]
Command = Callable[..., Any]

TINY = {"stages": 1, "stem_widths": (8,), "widths": (8,), "depths": (1,), "strides": (1,), "kernels": (3,), "expansions": (1, 2)}
SPACE_OPTIONS = [
    word for name, value in TINY.items() for word in ("--space-option", f"{name}={list(value) if isinstance(value, tuple) else value}")
]
# Short, and content with whatever a busy machine gives: what is measured is not judged here.
TOLERANT = {
    "warm_up_s": 0.001,
    "max_s": 0.005,
    "max_attempts": 2,
    "max_relative_iqr": 100,
    "relative_interval": 0.5,
    "quiet_drift": 100,
    "max_drift": 100,
}
QUICK = [word for name, value in TOLERANT.items() for word in ("--target-option", f"{name}={value}")]


def test_a_table_is_made_here_and_predicts_every_network_of_the_space(paretune: Command, folder: Path) -> None:
    done = paretune("measure", "host", "digits_conv", "--layers", "--to", "mine.parquet", *SPACE_OPTIONS, *QUICK)
    assert done.exit_code == 0, done.output
    # Stem, expansion 8->16, depthwise of 8 and of 16, projections 8->8 and 16->8, pool, classifier.
    assert (
        "8 different layers in 5,500 random networks. Of other networks they cover 100.0 % of the layers; 100.0 % are made of them"
        in done.stderr
    )
    assert done.stdout.strip() == "mine.parquet"
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10, **TINY)  # type: ignore[arg-type]
    model = LayerTable(file=folder / "mine.parquet")
    found = model.estimate(space.workloads(distinct_networks(space, 4, seed=0)), {})["latency_s"]
    assert found.values.shape == (2,)
    assert (found.values >= model.facts.overhead["latency_s"]).all()
    assert model.facts.command.startswith("paretune measure host digits_conv --layers --to mine.parquet --space-option stages=1")
    again = paretune("measure", "host", "digits_conv", "--layers", "--to", "mine.parquet", *SPACE_OPTIONS, *QUICK)
    assert "8 are in mine.parquet already, 0 are measured now" in again.stderr


def test_networks_of_a_study_file_become_a_training_set(paretune: Command, folder: Path) -> None:
    assert paretune("measure", "host", "study.yaml", "--networks", "2", "--quiet", *QUICK).exit_code == 0
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    table = read_network_table(folder / "host-study-networks.parquet", space.decisions)
    assert table.genotypes.tolist() == distinct_networks(space, 2, seed=0).tolist()
    assert (table.values["latency_s"] > 0).all()


def test_measured_networks_are_fitted_and_validated_without_naming_their_space(paretune: Command, folder: Path) -> None:
    (folder / "study.yaml").write_text(
        (folder / "study.yaml").read_text().replace("name: digits_conv", "name: digits_conv, kernels: [3]", 1)
    )
    for words in (("study.yaml", "--to", "study.parquet"), ("digits_conv", "--to", "named.parquet", "--classes", "7", *SPACE_OPTIONS[:2])):
        done = paretune("measure", "host", *words, "--networks", "8", "--quiet", *QUICK)
        assert done.exit_code == 0, done.output
        file = words[2]
        fitted = paretune("hardware", "fit", file, "--out", "mine.npz", "--predictor", "ridge:onehot", "--metric", "latency_s")
        assert fitted.exit_code == 0, fitted.output
        judged = paretune("hardware", "validate", "mine.npz", file)
        assert "latency_s: 8 judged" in judged.stdout, judged.output
    named = read_network_table(folder / "named.parquet", DigitsConv(input_shape=(1, 8, 8), num_classes=7, stages=1).decisions).facts
    assert (named.space, named.details["num_classes"], named.details["space_options"]) == ("digits_conv", 7, {"stages": 1})
    study = read_network_table(folder / "study.parquet", DigitsConv(input_shape=(1, 8, 8), num_classes=10, kernels=(3,)).decisions).facts
    assert study.space == "digits_conv"
    assert study.details["space_options"]["kernels"] == [3]


def test_ctrl_c_keeps_what_was_measured_and_says_how_to_go_on(folder: Path) -> None:
    words = [sys.executable, "-m", "paretune", "measure", "host", "digits_conv", "--layers", "--to", "mine.parquet", *QUICK]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline_s = time.monotonic() + 300
        while not (folder / "mine.parquet").exists() and time.monotonic() < deadline_s and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 130, told
    assert "Go on with: paretune measure host digits_conv --layers --to mine.parquet" in told
    assert 1 <= len(known_layers(folder / "mine.parquet")) < 282


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hots", "digits_con", "--layers"], "unknown target 'hots'. Did you mean 'host'?"),
        (["hots", "digits_con", "--layers"], "unknown space 'digits_con'. Did you mean 'digits_conv'?"),
        (["host", "digits_conv"], "give either --layers (a lookup table) or --networks N"),
        (["host", "digits_conv", "--layers", "--networks", "3"], "give either --layers"),
        (["host", "digits_conv", "--networks", "3", "--sample", "2"], "--sample: goes with --layers only"),
        (["host", "digits_conv", "--layers", "--to", "mine.csv"], "--to mine.csv: must end in .parquet"),
        (["host", "digits_conv", "--layers", "--to", "none/mine.parquet"], "there is no folder none"),
        (
            ["host", "digits_conv", "--layers", "--target-option", "thread=2"],
            "unknown option of hardware host 'thread'. Did you mean 'threads'?",
        ),
        (["host", "digits_conv", "--layers", "--target-option", "threads"], "option 'threads' of hardware host: expected NAME=VALUE"),
        (["host", "digits_conv", "--layers", "--space-option", "kernels=[4]"], "kernels: 4 is even"),
        (["host", "study.yaml", "--layers", "--classes", "3"], "--classes: the study file says that already"),
        (["table", "digits_conv", "--layers"], "needs the option 'file'"),
        (["zcu102", "digits_conv", "--layers"], "target 'zcu102' computes costs and measures nothing"),
        (["mine.yaml", "digits_conv", "--layers"], "mine.yaml: no such target file"),
        (["roofline.yaml", "digits_conv", "--layers"], "target 'roofline.yaml' computes costs and measures nothing"),
        (["host", "transformer", "--layers", "--to", "mine.parquet"], "cannot be measured one by one"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_it_is_tried(words: list[str], message: str, paretune: Command, folder: Path) -> None:
    options = "".join(f"  {name}: {{value: 1.0e+9, source: 'chosen: slow'}}\n" for name in ("peak_flops_per_s", "bandwidth_bytes_per_s"))
    (folder / "roofline.yaml").write_text(f"kind: roofline\ndescription: computed\noptions:\n{options}")
    done = paretune("measure", *words)
    assert done.exit_code == 2
    assert message in done.stderr, done.stderr
    assert not list(folder.glob("*.parquet"))


def test_a_shape_that_is_none_is_told_with_an_example(paretune: Command) -> None:
    done = paretune("measure", "host", "digits_conv", "--layers", "--input", "3x32xbig")
    assert done.exit_code == 2
    assert "write channels, height and width like 3x32x32" in done.stderr


def test_a_target_file_of_ones_own_is_measured_and_names_the_table(paretune: Command, folder: Path) -> None:
    options = "".join(f'  {name}: {{value: {value}, source: "chosen: quick"}}\n' for name, value in TOLERANT.items())
    (folder / "bench.yaml").write_text(f"kind: host\ndescription: this machine\noptions:\n{options}")
    done = paretune("measure", "bench.yaml", "study.yaml", "--networks", "1", "--target-option", "reference=false", "--quiet")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == "bench-study-networks.parquet"
    table = read_network_table(folder / "bench-study-networks.parquet", DigitsConv(input_shape=(1, 8, 8), num_classes=10).decisions)
    assert table.facts.device == "bench"
