"""The command in a folder of its own: in this process where it is quick, as a process where the process is what matters."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from paretune.platform.cli.commands import main
from paretune.platform.spec.template import template
from paretune.platform.study.api import read_spec
from paretune.platform.study.creation import SpecSource, create_study
from paretune.platform.study.plan import build_plan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a valid spec in `study.yaml`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARETUNE_STORAGE", raising=False)
    (tmp_path / "study.yaml").write_text(template())
    return tmp_path


@pytest.fixture
def paretune(folder: Path) -> Callable[..., Result]:
    """Runs a command in this process."""
    return lambda *words: CliRunner().invoke(main, words, catch_exceptions=False)


@pytest.fixture
def process(folder: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a shell line in which $PARETUNE is the command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PARETUNE": f"{sys.executable} -m paretune"}

    def run(line: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def new_study(folder: Path) -> Callable[[str], Path]:
    """Makes a study that has not begun."""

    def create(name: str) -> Path:
        loaded = read_spec(folder / "study.yaml", {"name": name})
        return create_study(build_plan(loaded), SpecSource(text=loaded.text, overrides={"name": name}))

    return create
