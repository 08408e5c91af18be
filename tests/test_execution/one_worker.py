"""A worker in a process of its own, for candidates that wreck it: runs them one after another and prints each evaluation as JSON.

python one_worker.py FOLDER --timeout-s 1 --memory-mib 2048 BEHAVIOUR ...
"""

import argparse
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from paretune.core.metrics import Direction, Metric
from paretune.core.trial import Outcome
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.jobs import Evaluation, Job, JobFactory
from paretune.testing.evaluators import FunctionEvaluator

GOOD = {"accuracy": 0.5}


def start_children(job: Job, workspace: Path) -> None:
    """Three that outlive their parent: a program that detached itself, a forked child, and a forked child in a session of its own."""
    pids = [subprocess.Popen(["sleep", "600"], start_new_session=True).pid]
    for detached in (False, True):
        pid = os.fork()
        if pid == 0:
            if detached:
                os.setsid()
            time.sleep(600)
            os._exit(0)
        pids.append(pid)
    (workspace.parents[1] / "children.json").write_text(json.dumps(pids))
    (workspace.parents[1] / "began").touch()


def good(job: Job, workspace: Path) -> dict[str, float]:
    return GOOD


def allocate(job: Job, workspace: Path) -> dict[str, float]:
    """Four GiB, really written."""
    return {"accuracy": float(np.ones(2**29).sum())}


def spin(job: Job, workspace: Path) -> dict[str, float]:
    start_children(job, workspace)
    while True:
        pass


def sleep(job: Job, workspace: Path) -> dict[str, float]:
    start_children(job, workspace)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1e9)
    return GOOD


def hold_gil(job: Job, workspace: Path) -> dict[str, float]:
    """Waits in C for a signal without releasing the interpreter lock: no other thread of Python runs again."""
    start_children(job, workspace)
    ctypes.PyDLL(None).pause()
    return GOOD


def segfault(job: Job, workspace: Path) -> dict[str, float]:
    start_children(job, workspace)
    ctypes.string_at(0)
    return GOOD


def leave(job: Job, workspace: Path) -> dict[str, float]:
    start_children(job, workspace)
    return GOOD


def spoil(job: Job, workspace: Path) -> dict[str, float]:
    """Changes what a process has only one of."""
    import torch

    os.chdir("/")
    os.environ["OMP_NUM_THREADS"] = "7"
    os.environ.pop("HOME", None)
    os.umask(0o777)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - what users do
    np.seterr(all="raise")
    sys.path.insert(0, "/nowhere")
    sys.setrecursionlimit(5000)
    sys.stdout = sys.stderr
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(3)
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.autograd.set_detect_anomaly(True)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    return GOOD


def look(job: Job, workspace: Path) -> Evaluation:
    """What a candidate finds, and what it would compute."""
    import torch

    time.sleep(2.0 if job.ask_index > 0 else 0.0)  # longer than the alarm that `spoil` set
    found = {
        "folder": str(Path.cwd()),
        "environment": {name: value for name, value in os.environ.items() if name != "PARETUNE_WORKER"},
        "umask": os.umask(0o022),
        "draws": [random.random(), float(np.random.random()), float(torch.rand(()))],  # noqa: NPY002
        "division": float(np.float64(1.0) / np.array(0.0)),
        "import_path": sys.path,
        "recursion_limit": sys.getrecursionlimit(),
        "prints_to": sys.stdout.fileno(),
        "handlers": [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGALRM)],
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "dtype": str(torch.ones(1).dtype),
        "device": str(torch.ones(1).device),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
    }
    return Evaluation(outcome=Outcome.OK, metrics=GOOD, details=found)


BEHAVIOURS: dict[str, Callable[[Job, Path], dict[str, float] | Evaluation]] = {
    function.__name__: function for function in (good, allocate, spin, sleep, hold_gil, segfault, leave, spoil, look)
}


def job(index: int) -> Job:
    factory = JobFactory(study_seed=1, protocol="behaviours", search_epochs=1, final_epochs=1)
    return factory.search(ask_index=index, genotype=(index,), choices={"index": index})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("behaviours", nargs="+", choices=BEHAVIOURS)
    parser.add_argument("--timeout-s", type=float, default=60.0)
    parser.add_argument("--memory-mib", type=int)
    options = parser.parse_args()
    np.seterr(divide="ignore")
    memory_bytes = None if options.memory_mib is None else options.memory_mib * 2**20

    def behave(job: Job, workspace: Path) -> dict[str, float] | Evaluation:
        return BEHAVIOURS[options.behaviours[job.ask_index]](job, workspace)

    produced = {"accuracy": Metric(name="accuracy", unit="", direction=Direction.MAX)}
    limits = WorkerLimits(timeout_s=options.timeout_s, memory_bytes=memory_bytes)
    worker = Worker(FunctionEvaluator(behave, produced), options.folder, limits)
    for index in range(len(options.behaviours)):
        print(json.dumps(worker.run(job(index)).as_json()), flush=True, file=sys.__stdout__)
    worker.close()


if __name__ == "__main__":
    main()
