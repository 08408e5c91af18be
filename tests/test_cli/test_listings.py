"""What may be named, and what a valid spec would run: for people and as JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("what", "name", "option"),
    [
        ("spaces", "digits_conv", "kernels"),
        ("searchers", "nsga2", "population"),
        ("hardware", "host", "runtime"),
        ("tasks", "digits", "momentum"),
    ],
)
def test_listed_plugins_show_their_options_with_type_and_default(what: str, name: str, option: str, paretune: Command) -> None:
    text = paretune("list", what).stdout
    entries = {entry["name"]: entry for entry in json.loads(paretune("list", what, "--json").stdout)}
    found = next(item for item in entries[name]["options"] if item["name"] == option)
    assert found["required"] is False
    assert f"    {option}: {found['type']}, default" in text
    assert f"{name}  {entries[name]['description']}" in text


def test_a_plugin_that_cannot_be_loaded_is_named_and_hides_no_other(tmp_path: Path) -> None:
    metadata = tmp_path / "somebody_elses-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody-elses\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[paretune.hardware]\nusb = no_such_sdk:Usb\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    command = [sys.executable, "-m", "paretune", "list", "hardware", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    entries = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert "cannot be loaded from no_such_sdk:Usb" in entries["usb"]["description"]
    assert entries["host"]["options"]


def test_printed_spec_is_valid_and_validate_says_what_it_would_run(paretune: Command, folder: Path) -> None:
    (folder / "mine.yaml").write_text(paretune("init", "kws").stdout)
    done = paretune("validate", "mine.yaml")
    assert done.exit_code == 0
    assert "nsga2, 64 candidates or 15m, over 75,866,112 architectures of digits_conv" in done.stdout
    facts = json.loads(paretune("validate", "mine.yaml", "--json", "--set", "budget={time: 90s}").stdout)
    assert (facts["ok"], facts["trials"], facts["time_s"]) == (True, None, 90.0)


def test_status_of_a_study_that_has_not_begun_says_how_to_go_on(paretune: Command, new_study: Command) -> None:
    new_study("digits")
    done = paretune("status", "digits")
    assert "stopped" in done.stdout
    assert "no feasible candidate yet" in done.stdout
    assert done.stdout.endswith("Go on with: paretune resume digits\n")
    assert [study["name"] for study in json.loads(paretune("status", "--json").stdout)] == ["digits"]


def test_listed_targets_show_kind_description_and_sources(paretune: Command) -> None:
    (line,) = (line for line in paretune("list", "targets").stdout.splitlines() if line.startswith("host "))
    assert line.strip().split(maxsplit=3)[1:] == ["host", "latency_s", "the machine that runs paretune, one thread of ONNX Runtime"]
    entries = {entry["name"]: entry for entry in json.loads(paretune("list", "targets", "--json").stdout)}
    assert entries["host"]["kind"] == "host"
    assert entries["host"]["options"]["threads"]["source"].startswith("chosen")
    assert entries["hermes"]["metrics"][:3] == ["latency_s", "energy_j", "area_mm2"]
