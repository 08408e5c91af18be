"""The reliability contract for ledger and worker results, without Ray: killed or failing at every state-changing system call.

P1  A finished candidate survives kill -9.
P2  It is never evaluated again.
P4  The final front is byte-identical to the undisturbed one.

P3 (checkpoints) is tested with the tasks, P5 (one driver writes) in tests/test_platform/test_lock.py. These tests run the commands of
this folder; by default with every point of a kill and a share of the others, with PARETUNE_FAULTS=full all of them.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FULL = os.environ.get("PARETUNE_FAULTS") == "full"
CANNOT_RUN = 77


def command(script: str, *arguments: str) -> tuple[int, str]:
    """Exit code and output of one of this folder's commands; skips the test where faults cannot be injected."""
    path = os.pathsep.join([str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=590,
    )
    print(ended.stdout, ended.stderr)
    if ended.returncode == CANNOT_RUN:
        pytest.skip(ended.stdout.strip())
    return ended.returncode, ended.stdout


@pytest.mark.parametrize(("family", "every", "least"), [("kill", 1, 200), ("resume", 3, 40), ("repair", 1, 15)])
def test_p1_p2_p4_killed_at_every_system_call_nothing_is_lost_repeated_or_wrong(family: str, every: int, least: int) -> None:
    code, output = command("crash_points.py", family, "--every", "1" if FULL else str(every))
    assert code == 0, output
    hit, points = map(int, re.findall(r"killed at (\d+) of (\d+)", output)[0])
    assert hit == points >= least
    assert "0 lost, 0 repeated, 0 wrong, 0 stuck" in output


def test_p1_p2_p4_full_or_failing_disk_at_a_write_or_flush_ends_with_74_and_the_search_goes_on_after_it() -> None:
    code, output = command("crash_points.py", "errors", "--every", "1" if FULL else "6")
    assert code == 0, output
    points, ended = map(int, re.findall(r"errors: (\d+) failing .* (\d+) ended", output)[0])
    assert points >= 100
    assert ended >= points * 0.8
    assert "0 lost, 0 repeated, 0 wrong, 0 stuck" in output


def test_p1_a_really_full_disk_ends_with_74_and_the_search_goes_on_when_it_is_freed() -> None:
    code, output = command("full_disk.py", "100" if FULL else "20")
    assert code == 0, output
    assert int(re.findall(r"(\d+) ended with exit code 74", output)[0]) >= 10


def test_p1_everything_is_flushed_before_it_is_acknowledged_and_files_before_they_are_renamed() -> None:
    code, output = command("crash_points.py", "flushes")
    assert code == 0, output
    # 12 results, 12 asked and 12 finished events
    assert "36 acknowledgements, 0 before" in output


@pytest.mark.parametrize(
    ("store", "family", "every", "finding"),
    [
        ("plain-write", "kill", 3, "stuck"),
        ("early-acknowledge", "kill", 9, "repeated"),
        ("no-adoption", "kill", 9, "repeated"),
        ("two-transactions", "kill", 9, "wrong"),
        ("text-ledger", "kill", 9, "stuck"),
        ("swallowed-error", "errors", 25, "lost"),
        ("unflushed-result", "flushes", 1, "before their data"),
        ("unflushed-ledger", "flushes", 1, "before their data"),
    ],
)
def test_the_harness_finds_each_planted_defect(store: str, family: str, every: int, finding: str) -> None:
    code, output = command("crash_points.py", family, "--store", store, "--every", str(every), "--discard")
    assert code == 1
    assert int(re.findall(rf"(\d+) {finding}", output)[0]) > 0
