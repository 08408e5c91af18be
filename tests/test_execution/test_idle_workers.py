"""Workers that have nothing to do give their processors back on a real Ray, and come again."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from paretune.core.genotype import Genotypes
from paretune.core.objectives import Problem
from paretune.core.protocols import GenotypeSpace, Searcher
from paretune.platform.execution.runner import Resources, run_phase
from paretune.platform.execution.stop import StopRequest
from paretune.platform.record.jobs import Job
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.random_search import RandomSearch

Make = Callable[..., Any]
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(300)]
RELEASE_S = 1.0


Seen = set[tuple[int, int, int]]


def run(search: Any, on_look: Callable[[Seen], object] = lambda _: None) -> Seen:
    """What was seen in turn: candidates that ended, candidates out, processors that nobody holds."""
    seen: Seen = set()
    last_s = 0.0

    def look() -> None:
        nonlocal last_s
        if time.monotonic() - last_s > 0.2:
            last_s = time.monotonic()
            phase = search.study.phase
            seen.add((phase.num_ended, phase.num_running, int(ray.available_resources().get("CPU", 0))))
            on_look(seen)

    resources = Resources(slots=2, per_candidate={"CPU": 1.0}, limits=search.limits, release_s=RELEASE_S)
    run_phase(
        search.study.phase, evaluator=search.evaluator, folder=search.study.folder, resources=resources, stop=StopRequest(), on_step=look
    )
    return seen


def behaviour(first_s: float) -> Callable[[Job, Path], dict[str, float]]:
    """The first candidate takes so long; made here, so that it travels to the workers whole."""

    def behave(job: Job, workspace: Path) -> dict[str, float]:
        import time

        time.sleep(first_s if job.ask_index == 0 else 0.0)
        return {"accuracy": 1 / (2 + job.ask_index), "host.latency_s": 1e-5}

    return behave


def test_a_worker_that_waits_for_another_is_let_go_and_comes_again(candidates: Make) -> None:
    # Both of a generation must be known before the next: one worker has nothing to do while the other takes its time.
    make = lambda space, problem: NSGA2(space, problem, seed=4, population=2)  # noqa: E731 - as short as its name
    search = candidates(behaviour(8.0), make_searcher=make, trials=4)
    total = int(ray.cluster_resources()["CPU"])
    seen = run(search)
    assert search.study.phase.num_ended == 4
    assert (1, 1, total - 2) in seen  # kept at first
    assert (1, 1, total - 1) in seen


class SlowThought(RandomSearch):
    """Thinks about the third candidate until it may go on."""

    go_on: threading.Event

    def ask(self, count: int) -> Genotypes:
        rows_ND = super().ask(count)
        self.num_proposed = getattr(self, "num_proposed", 0) + len(rows_ND)
        if self.num_proposed == 3:
            self.go_on.wait(120)
        return rows_ND


def test_workers_are_let_go_while_the_searcher_thinks(candidates: Make) -> None:
    go_on = threading.Event()

    def make(space: GenotypeSpace, problem: Problem) -> Searcher:
        made = SlowThought(space, problem, seed=4)
        made.go_on = go_on
        return made

    search = candidates(behaviour(0.0), make_searcher=make, trials=4, patience_s=0.1)
    total = int(ray.cluster_resources()["CPU"])

    def let_go(seen: Seen) -> bool:
        """Nothing is out, and every processor is free; what ended while the searcher thinks counts later."""
        return any(ended > 0 and num_out == 0 and free == total for ended, num_out, free in seen)

    seen = run(search, lambda seen: go_on.set() if let_go(seen) else None)
    assert let_go(seen)
    assert search.study.phase.num_ended == 4
    assert sorted(search.by_ask()) == [0, 1, 2, 3]
