"""The example package is found, keeps the contracts and runs: docs/extending.md, step by step."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "plugin"
STUDY = str(PLUGIN / "study.yaml")
PACKAGE = "paretune_example"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pip install --target` leaves it, made by hand: building a wheel would need the network."""
    target = tmp_path_factory.mktemp("installed")
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    shutil.copytree(PLUGIN / PACKAGE, target / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    information = target / f"{PACKAGE}-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in points.items())]
    (information / "entry_points.txt").write_text("\n".join(lines))
    return target


@pytest.fixture(scope="module")
def contracts(installed: Path) -> Iterator[ModuleType]:
    """`examples/plugin/test_contracts.py`, imported with the package beside it."""
    folders = [str(installed), str(PLUGIN)]
    sys.path[:0] = folders
    invalidate_caches()
    try:
        yield import_module("test_contracts")
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] in (PACKAGE, "test_contracts")]:
            del sys.modules[name]


def paretune(installed: Path, folder: Path, *arguments: str) -> str:
    """Standard output of a command that must succeed, in a process that sees the package on PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(installed)])}
    command = [sys.executable, "-m", "paretune", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=folder, env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_an_installed_device_is_listed_with_its_options(installed: Path, tmp_path: Path) -> None:
    listed = {entry["name"]: entry for entry in json.loads(paretune(installed, tmp_path, "list", "hardware", "--json"))}
    assert {"board", "host"} <= set(listed)
    assert [option["name"] for option in listed["board"]["options"]] == ["host", "threads", "time_s", "max_relative_iqr"]


def test_a_spec_that_names_all_four_is_valid(installed: Path, tmp_path: Path) -> None:
    said = json.loads(paretune(installed, tmp_path, "validate", STUDY, "--json"))
    # widths 3: 3 + 9 + 27 networks
    assert (said["ok"], said["space"], said["searcher"], said["architectures"]) == (True, "perceptron", "local_search", 39)


def test_a_spec_that_searches_networks_and_designs_is_valid(installed: Path, tmp_path: Path) -> None:
    said = json.loads(paretune(installed, tmp_path, "validate", str(PLUGIN / "codesign.yaml"), "--json"))
    assert (said["ok"], said["architectures"], said["designs"]) == (True, 75_866_112, 4 * 4)


@pytest.mark.parametrize("part", ["board", "systolic", "perceptron", "local_search"])
def test_each_part_keeps_its_contract(contracts: ModuleType, part: str) -> None:
    getattr(contracts, f"test_{part}_keeps_the_contract")()


def test_the_task_keeps_its_contract(contracts: ModuleType, tmp_path: Path) -> None:
    contracts.test_breast_cancer_keeps_the_contract(tmp_path)


@pytest.mark.ray
def test_ray_workers_find_the_package_and_train_and_measure_four_candidates(installed: Path, tmp_path: Path) -> None:
    smaller = ("budget.trials=4", "training.epochs=2", "final=null", "tracking.uri=none", "hardware.pi.max_relative_iqr=50")
    said = paretune(installed, tmp_path, "run", STUDY, "--json", *(word for pair in smaller for word in ("--set", pair)))
    summary = json.loads(said)
    assert summary["counts"]["outcomes"] == {"ok": 4}
    results = [json.loads(path.read_text()) for path in (tmp_path / "runs" / "tumours" / "results").glob("*/*.json")]
    assert len(results) == 4
    assert '"host":""' in json.dumps(results[0], separators=(",", ":"))  # the board's own details
