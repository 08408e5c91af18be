"""One seed, one front: whatever the number of workers, the order in which they finish, and the environment."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.platform.execution.runner import Resources, run_phase
from paretune.platform.execution.stop import StopRequest
from paretune.platform.execution.worker import WorkerLimits

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from one_search import open_study  # noqa: E402 - also a command

NUM_RUNS = 18


def start(folder: Path, draw: random.Random) -> "subprocess.Popen[str]":
    """One run below Ray in a process with an environment of its own."""
    folder.mkdir()
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONHASHSEED": str(draw.randrange(2**32)),
        "TZ": draw.choice(["UTC", "America/St_Johns", "Asia/Kathmandu"]),
        "LC_ALL": draw.choice(["C", "C.UTF-8", "tr_TR.UTF-8", "de_DE.UTF-8"]),
        "LANG": "",
    }
    arguments = [str(folder / "study"), "--in-flight", str(draw.randint(1, 6)), "--order", str(draw.randrange(1000))]
    return subprocess.Popen(
        [sys.executable, str(HERE / "one_search.py"), *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def on_ray(folder: Path, workers: int) -> str:
    study = open_study(folder)
    resources = Resources(slots=workers, per_candidate={"CPU": 1.0}, limits=WorkerLimits(timeout_s=60.0))
    run_phase(study.phase, evaluator=study.evaluator, folder=folder, resources=resources, stop=StopRequest())
    study.ledger.close()
    return study.front_json()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
@pytest.mark.timeout(300)
def test_20_runs_of_one_seed_give_one_front(tmp_path: Path) -> None:
    draw, fronts = random.Random(20), []
    for batch in range(0, NUM_RUNS, 3):
        for run in [start(tmp_path / f"run{number}", draw) for number in range(batch, batch + 3)]:
            out, err = run.communicate(timeout=120)
            assert run.returncode == 0, err
            fronts.append(out.strip())
    fronts += [on_ray(tmp_path / f"ray{workers}", workers) for workers in (1, 2)]
    assert len(fronts) == 20
    assert len(set(fronts)) == 1
    assert fronts[0].count("host.latency_s") > 3
