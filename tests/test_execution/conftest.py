"""Searches whose candidates do what a test wants, on a local Ray that all tests of this folder share or in this process."""

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from paretune.core.genotype import Decision
from paretune.core.objectives import Problem
from paretune.core.protocols import Searcher, SearchSpace
from paretune.platform.execution.cluster import prepare_environment, ray_cluster
from paretune.platform.execution.phase import Done, Wait
from paretune.platform.execution.stop import StopRequest
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.history import History, Record
from paretune.platform.record.jobs import Evaluation, Evaluator, Job
from paretune.searchers.random_search import RandomSearch
from paretune.testing.evaluators import FunctionEvaluator
from paretune.testing.problems import TabulatedSpace
from paretune.testing.studies import PROBLEM, FormulaStudy, open_formula_study, produced_metrics

QUIET = "ray" not in sys.modules
"""Whether Ray, which reads its settings when it is imported, reads ours: some tests of this folder import it at once."""
prepare_environment()

Behaviour: TypeAlias = Callable[[Job, Path], Mapping[str, float] | Evaluation]

SPACE = TabulatedSpace([Decision(name=f"layer{index}.width", choices=(8, 16, 24, 32), ordinal=True) for index in range(4)])
UNLIMITED = Problem(objectives=PROBLEM.objectives)
MEASURED = {name: metric for name, metric in produced_metrics().items() if name in ("accuracy", "host.latency_s")}


def random_search(space: SearchSpace, problem: Problem) -> Searcher:
    return RandomSearch(space, problem, seed=1)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray with two processors for every test that asks."""
    with ray_cluster(address=None, num_cpus=2):
        yield


@pytest.fixture
def quiet() -> bool:
    """Whether Ray has the settings that keep it from printing."""
    return QUIET


@dataclass(slots=True, kw_only=True)
class Candidates:
    """A search of candidates with one behaviour."""

    study: FormulaStudy
    evaluator: Evaluator
    limits: WorkerLimits

    @property
    def history(self) -> History:
        return self.study.history

    def by_ask(self) -> dict[int, Record]:
        return {record.job.ask_index: record for record in self.history.search_records()}

    def on_ray(self, *, workers: int = 2, stop: StopRequest | None = None, on_step: Callable[[], None] = lambda: None) -> str:
        """Run to the end on the shared Ray; why it ended."""
        from paretune.platform.execution.runner import Resources, run_phase

        resources = Resources(slots=workers, per_candidate={"CPU": 1.0}, limits=self.limits)
        return run_phase(
            self.study.phase,
            evaluator=self.evaluator,
            folder=self.study.folder,
            resources=resources,
            stop=stop or StopRequest(),
            on_step=on_step,
        )

    def here(self, *, in_flight: int = 1, seed: int = 0, until: int | None = None) -> str:
        """Run in this process, up to `in_flight` candidates handed out at a time, ended in a random order; why it ended.

        With `until` the driver dies after so many results: candidates in flight are forgotten.
        """
        phase, order = self.study.phase, random.Random(seed)
        worker = Worker(self.evaluator, self.study.folder.absolute(), self.limits)
        flying: list[Job] = []
        while until is None or phase.num_ended < until:
            step = phase.next_job() if len(flying) < in_flight else Wait()
            if isinstance(step, Job):
                flying.append(step)
            elif isinstance(step, Wait):
                job = flying.pop(order.randrange(len(flying)))
                phase.finished(job.id, worker.run(job))
            elif isinstance(step, Done):
                return step.reason
        return "killed"


@pytest.fixture
def candidates(tmp_path: Path) -> Iterator[Callable[..., Candidates]]:
    """Makes a search below `tmp_path`, or goes on with the one of that name; random search over 256 architectures unless told otherwise."""
    opened: dict[str, FormulaStudy] = {}

    def make(behaviour: Behaviour | Evaluator, *, name: str = "study", limits: WorkerLimits | None = None, **options: Any) -> Candidates:
        if name in opened:
            opened[name].ledger.close()
        settings: dict[str, Any] = {"space": SPACE, "make_searcher": random_search, "problem": UNLIMITED, **options}
        opened[name] = open_formula_study(tmp_path / name, **settings)
        evaluator = behaviour if hasattr(behaviour, "evaluate") else FunctionEvaluator(behaviour, MEASURED)  # type: ignore[arg-type]
        return Candidates(study=opened[name], evaluator=evaluator, limits=limits or WorkerLimits())  # type: ignore[arg-type]

    yield make
    for study in opened.values():
        study.ledger.close()
