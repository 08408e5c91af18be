"""A signal while libraries are still being imported, before any command has a handler of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AS_IF_IMPORTING = """
import os, signal, sys, time

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "paretune.platform.cli.commands":
            os.kill(os.getpid(), {number})
            time.sleep(60)

sys.meta_path.insert(0, Finder())
sys.argv = ["paretune", "list", "spaces"]
from paretune.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGINT, "paretune: stopped\n"),
        (signal.SIGTERM, "paretune: stopped by SIGTERM\n"),
        (signal.SIGHUP, "paretune: stopped by SIGHUP\n"),
    ],
)
def test_a_signal_during_imports_ends_with_a_word_and_its_code(number: signal.Signals, told: str) -> None:
    program = AS_IF_IMPORTING.format(number=int(number))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (128 + number, told, "")


def test_under_nohup_a_hang_up_stays_ignored() -> None:
    program = AS_IF_IMPORTING.format(number=int(signal.SIGHUP)).replace("time.sleep(60)", "")
    done = subprocess.run(
        ["nohup", sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=True
    )
    assert "nasbench201" in done.stdout
