"""Workers that hang, die, run out of memory or change their process: what is left is a durable result or nothing, and no process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from paretune.core.trial import Outcome
from paretune.platform.execution.worker import recall
from paretune.platform.record.jobs import JobFactory

SCRIPT = Path(__file__).with_name("one_worker.py")
ROOT = SCRIPT.parents[2]
TIMEOUT_S = 1.0
ALLOWED_S = 5.0
"""How long after its deadline a candidate and what it started may still be there."""


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}  # as Ray sets it for a worker of one processor
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def evaluations(worker: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """What a worker says of its candidates, where it lives to say it."""
    out, err = worker.communicate(timeout=120)
    assert worker.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def job_id(index: int) -> str:
    factory = JobFactory(study_seed=1, protocol="behaviours", search_epochs=1, final_epochs=1)
    return factory.search(ask_index=index, genotype=(index,), choices={"index": index}).id


def wait_for(condition: Any, seconds: float) -> bool:
    deadline_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return bool(condition())


def running(pids: list[int]) -> list[int]:
    """Those that run; a zombie nobody has waited for is dead."""
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            continue
    return found


def children_of(folder: Path) -> list[int]:
    assert wait_for((folder / "began").exists, 60)
    pids: list[int] = json.loads((folder / "children.json").read_text())
    assert len(pids) == 3
    return pids


@pytest.mark.parametrize("hang", ["spin", "sleep", "hold_gil"])
def test_a_candidate_that_hangs_is_killed_at_its_deadline_with_all_it_started_and_ends_as_timeout(hang: str, tmp_path: Path) -> None:
    worker = start(tmp_path, "--timeout-s", str(TIMEOUT_S), hang)
    children = children_of(tmp_path)
    worker.communicate(timeout=TIMEOUT_S + ALLOWED_S)
    assert worker.returncode == -signal.SIGKILL
    assert wait_for(lambda: not running(children), ALLOWED_S)
    evaluation = recall(tmp_path, job_id(0))
    assert evaluation is not None
    assert evaluation.outcome is Outcome.TIMEOUT
    assert evaluation.message == "still running after 1 s; ended"


@pytest.mark.parametrize("death", ["segfault", "leave"])
def test_what_a_candidate_started_ends_with_its_worker(death: str, tmp_path: Path) -> None:
    worker = start(tmp_path, death, "good")
    children = children_of(tmp_path)
    worker.communicate(timeout=60)
    assert worker.returncode == (-signal.SIGSEGV if death == "segfault" else 0)
    assert wait_for(lambda: not running(children), ALLOWED_S)
    assert (recall(tmp_path, job_id(0)) is None) == (death == "segfault")


def test_a_guard_ends_with_its_worker(tmp_path: Path) -> None:
    worker = start(tmp_path, "--timeout-s", "600", "sleep")
    children = children_of(tmp_path)
    guards = [child.pid for child in psutil.Process(worker.pid).children() if child.pid not in children]
    assert len(guards) == 1
    worker.kill()
    worker.communicate()
    assert wait_for(lambda: not running([*children, *guards]), ALLOWED_S)


def test_memory_beyond_the_limit_is_oom_and_the_worker_lives(tmp_path: Path) -> None:
    before, too_much, after = evaluations(start(tmp_path, "--memory-mib", "2048", "good", "allocate", "good"))
    assert too_much["outcome"] == "oom"
    assert "(limit 2,048 MiB)" in too_much["message"]
    assert before["outcome"] == after["outcome"] == "ok"
    assert before["worker"] == too_much["worker"] == after["worker"]


def test_what_a_candidate_changes_in_the_process_does_not_reach_the_next(tmp_path: Path) -> None:
    workers = {}
    for before in ("look good", "look spoil", "good spoil"):  # the last: torch is loaded by the candidate that spoils
        folder = tmp_path / before
        folder.mkdir()
        workers[before] = start(folder, *before.split(), "look")
    found = {before: evaluations(worker)[-1]["details"] for before, worker in workers.items()}
    assert found["look spoil"] == found["look good"]
    assert found["good spoil"] == found["look good"]
