"""Where the kit is missing or does not fit torch, everything else works, and the message says how to mend it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.hardware.analog.kit_config import install_line

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
from paretune.core.errors import BadInput
from paretune.hardware.analog.kit_config import kit_problem, require_kit
print(kit_problem())
try:
    require_kit()
except BadInput as error:
    print(error)
"""
EVALUATE = """
import torch
from paretune.hardware.analog.evaluator import evaluate
from paretune.hardware.analog.presets import PCM
images = torch.randn(20, 4)
network, labels = torch.nn.Sequential(torch.nn.Linear(4, 3)), torch.zeros(20, dtype=torch.int64)
print(evaluate(network, PCM, images, labels, (1.0,), 1, calibration=images).programmings)
"""
MISSING = "aihwkit is not installed; everything but the aihwkit engine works"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'aihwkit'\", name='aihwkit')",
            MISSING,
        ),
        (
            "raise ModuleNotFoundError(\"No module named 'torchvision'\", name='torchvision')",
            "aihwkit is installed, but misses torchvision",
        ),
        ("raise ImportError('rpu_base.so: undefined symbol: _ZN3c106detail')", "does not fit torch (rpu_base.so: undefined symbol"),
    ],
    ids=["missing", "incomplete", "other torch"],
)
def test_the_problem_and_its_mending(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "aihwkit").mkdir()
    (tmp_path / "aihwkit" / "__init__.py").write_text(code)
    script = SCRIPT + EVALUATE * (message == MISSING)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True, timeout=120)
    problem, raised, *programmings = done.stdout.splitlines()
    assert message in problem
    assert install_line() in problem
    assert raised == f"engine: {problem}"
    assert programmings == ["1"] * (message == MISSING)


def test_the_install_line_follows_python() -> None:
    line = install_line()
    assert line.startswith("python -m pip install ")
    assert ("aihwkit==1.1.*" in line) == (sys.version_info < (3, 12))
