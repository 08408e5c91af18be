"""Candidates on a real Ray: each way to fail, workers killed under training, storage that disappears, logs that flood."""

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from paretune.core.errors import SearchFailed, StorageError
from paretune.core.protocols import Fidelity
from paretune.core.trial import Outcome
from paretune.platform.execution.cluster import session_folder
from paretune.platform.execution.worker import WorkerLimits
from paretune.platform.record.jobs import Evaluation, Job
from paretune.spaces.digits_conv import DigitsConv
from paretune.tasks.digits import Digits
from paretune.testing.evaluators import FunctionEvaluator
from paretune.testing.studies import produced_metrics

Make = Callable[..., Any]
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(300)]
FULL = os.environ.get("PARETUNE_FAULTS") == "full"
MIB = 2**20
NUM_EPOCHS = 4
MEASURED = {name: metric for name, metric in produced_metrics().items() if name in ("accuracy", "host.latency_s")}


def make_zoo(produced: Any) -> FunctionEvaluator:
    """Every third candidate fails in its own way. All in one function, so that it travels to the workers whole."""

    def allocate() -> None:
        import numpy as np

        np.ones(2**29)  # 4 GiB

    def fail() -> None:
        raise KeyError("no such layer")

    ways: dict[int, Callable[[], object]] = {
        1: allocate,
        4: lambda: time.sleep(1e9),
        7: lambda: os._exit(3),
        10: lambda: __import__("ctypes").string_at(0),
        13: lambda: __import__("sys").exit(0),
        16: fail,
        19: lambda: {"accuracy": float("nan"), "host.latency_s": 1e-5},
        22: lambda: Evaluation(outcome=Outcome.DIVERGED, metrics={"accuracy": float("nan")}),
    }

    class Zoo(FunctionEvaluator):
        def release(self, job: Job, workspace: Path) -> None:
            if job.ask_index == 25 and "PARETUNE_WORKER" in os.environ:  # set where a guard watches
                os.kill(os.getpid(), 9)  # the result is written, nobody has heard of it
            super().release(job, workspace)

    def behave(job: Job, workspace: Path) -> Any:
        with (workspace.parents[1] / "evaluated.txt").open("a") as witness:
            witness.write(f"{job.ask_index}\n")
        return (ways.get(job.ask_index, dict)()) or {"accuracy": 0.5, "host.latency_s": 1e-5}

    return Zoo(behave, produced)


def test_each_way_to_fail_gets_its_class_and_the_others_go_on(candidates: Make, capfd: pytest.CaptureFixture[str], quiet: bool) -> None:
    limits = WorkerLimits(timeout_s=3.0, memory_bytes=2048 * MIB)
    search = candidates(make_zoo(MEASURED), trials=30, limits=limits)
    folder = session_folder()
    assert folder is not None
    artifacts = folder / "artifacts"  # where Ray keeps files of every trial
    before = set(artifacts.iterdir()) if artifacts.exists() else set()
    assert search.on_ray() == "budget of 30 candidates spent"
    records = search.by_ask()
    outcomes = {ask: record.outcome for ask, record in records.items() if record.outcome is not Outcome.OK}
    assert outcomes == {
        1: Outcome.OOM,
        4: Outcome.TIMEOUT,
        7: Outcome.CRASHED,
        10: Outcome.CRASHED,
        13: Outcome.CRASHED,
        16: Outcome.USER_ERROR,
        19: Outcome.USER_ERROR,
        22: Outcome.DIVERGED,
    }
    evaluated = Counter(int(line) for line in (search.study.folder / "evaluated.txt").read_text().split())
    assert evaluated == {ask: 3 if ask in (7, 10, 13) else 1 for ask in range(30)}
    lost = {ask: record.lost_to for ask, record in records.items() if record.lost_to}
    assert lost == dict.fromkeys((7, 10, 13), (Outcome.CRASHED, Outcome.CRASHED))
    assert "(limit 2,048 MiB)" in records[1].evaluation.message
    assert records[4].evaluation.message == "still running after 3 s; ended"
    assert records[7].evaluation.message == records[10].evaluation.message
    assert "KeyError" in records[16].evaluation.message
    assert "'accuracy' is nan" in records[19].evaluation.message
    assert {record.outcome for record in search.history.front()} == {Outcome.OK}
    assert not list((search.study.folder / "work").iterdir())  # also of those that were killed
    said = capfd.readouterr()
    assert said.out + said.err == "" or not quiet
    assert not list(folder.glob("paretune-*"))
    assert set(artifacts.iterdir()) <= before


def test_a_cause_that_all_share_stops_the_search(candidates: Make) -> None:
    def behave(job: Job, workspace: Path) -> dict[str, float]:
        raise FileNotFoundError("no data set at /data/digits")

    search = candidates(behave, trials=100)
    with pytest.raises(SearchFailed, match="5 of 5 candidates failed, 5 of them with user_error: FileNotFoundError: no data set"):
        search.on_ray()


def test_workers_that_cannot_start_stop_the_search(candidates: Make) -> None:
    class Homesick(FunctionEvaluator):
        def __reduce__(self) -> Any:
            return __import__, ("a_module_that_workers_do_not_have",)

    search = candidates(Homesick(lambda job, workspace: {}, {}), trials=100)
    with pytest.raises(SearchFailed, match=r"user_error: its worker could not start: .*a_module_that_workers_do_not_have"):
        search.on_ray()


def test_a_candidate_that_prints_without_end_does_not_fill_the_disk(candidates: Make) -> None:
    def behave(job: Job, workspace: Path) -> dict[str, float]:
        import sys

        for _ in range(2_000 if job.ask_index == 0 else 0):
            print("x" * 50_000)
            print("y" * 50_000, file=sys.stderr)
        return {"accuracy": 0.5, "host.latency_s": 1e-5}

    folder = session_folder()
    assert folder is not None
    sizes: list[int] = []

    def measure() -> None:
        sizes.append(sum(file.stat().st_size for file in (folder / "logs").iterdir() if file.is_file()))

    candidates(behave, trials=3).on_ray(on_step=measure)  # 200 MB
    measure()
    assert max(sizes) < 60 * MIB


def test_storage_that_disappears_stops_a_search_whose_candidates_run_long(candidates: Make) -> None:
    def behave(job: Job, workspace: Path) -> dict[str, float]:
        (workspace.parents[1] / "began").touch()
        time.sleep(120)
        return {"accuracy": 0.5, "host.latency_s": 1e-5}

    search = candidates(behave, trials=5)
    removed_s: list[float] = []

    def remove() -> None:
        if not removed_s and (search.study.folder / "began").exists():
            shutil.rmtree(search.study.folder)
            removed_s.append(time.monotonic())

    with pytest.raises(StorageError, match=r"ledger\.db is gone"):
        search.on_ray(on_step=remove)
    assert time.monotonic() - removed_s[0] < 30
    assert not search.study.folder.exists()


def make_training(witness: Path) -> Callable[[Job, Path], dict[str, float]]:
    """Real training that goes on from its checkpoints; the witness notes every epoch once its checkpoint is durable."""
    num_epochs = NUM_EPOCHS

    def behave(job: Job, workspace: Path) -> dict[str, float]:
        def note(epochs_done: int, record: Any) -> None:
            with witness.open("a") as file:
                file.write(f"{job.ask_index} {epochs_done}\n")

        space = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1, widths=(8, 16), kernels=(3,), expansions=(1, 2))
        fidelity, checkpoint = Fidelity(epochs=num_epochs), workspace / "checkpoint"
        _, result = Digits().train(
            lambda: space.build(job.genotype), seed=job.seed, fidelity=fidelity, checkpoint=checkpoint, on_epoch=note
        )
        return {"accuracy": result.metrics["accuracy"], "host.latency_s": 1e-5}

    return behave


def is_worker(process: psutil.Process) -> bool:
    try:
        return "Trainable" in process.cmdline()[0]
    except (psutil.Error, IndexError):
        return False


class Killer:
    """Kills a worker at a random moment after each bit of progress."""

    def __init__(self, witness: Path, kills: int) -> None:
        self.left, self.killed = kills, 0
        self._witness, self._seen, self._due_s = witness, -1, 0.0
        self._random = random.Random(6)

    def __call__(self) -> None:
        progress = self._witness.stat().st_size if self._witness.exists() else 0
        if self._due_s == 0.0 and progress > self._seen:
            self._seen, self._due_s = progress, time.monotonic() + self._random.uniform(0.0, 0.5)
        workers = [child for child in psutil.Process().children(recursive=True) if is_worker(child)]
        if self.left and workers and 0.0 < self._due_s < time.monotonic():
            self._random.choice(workers).kill()
            self.left, self.killed, self._due_s = self.left - 1, self.killed + 1, 0.0


@pytest.mark.timeout(3600 if FULL else 300)
def test_training_whose_workers_are_killed_goes_on_from_its_checkpoints_to_the_same_numbers(candidates: Make, tmp_path: Path) -> None:
    kills, witness = (50 if FULL else 5), tmp_path / "epochs.txt"
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1, widths=(8, 16), kernels=(3,), expansions=(1, 2))
    options = {"space": space, "trials": kills, "retries": 100}
    search, killer = candidates(make_training(witness), **options), Killer(witness, kills)
    search.on_ray(on_step=killer)
    assert killer.killed == kills
    trained = Counter(witness.read_text().splitlines())
    assert max(trained.values()) == 1  # no epoch was done again once its checkpoint was durable
    undisturbed = candidates(make_training(tmp_path / "again.txt"), name="undisturbed", **options)
    undisturbed.here()
    for ask, record in search.by_ask().items():
        assert record.outcome is Outcome.OK
        assert dict(record.metrics) == dict(undisturbed.by_ask()[ask].metrics)
    assert sum(len(record.lost_to) for record in search.by_ask().values()) > 0
