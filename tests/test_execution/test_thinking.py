"""A searcher that thinks beside its driver: what ends meanwhile waits, and the ledger has what the searcher saw, in its order."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paretune.core.genotype import Genotypes
from paretune.core.objectives import Problem
from paretune.core.protocols import GenotypeSpace, Searcher
from paretune.platform.execution.phase import Done, Thinking, Wait
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.jobs import Job
from paretune.platform.record.ledger import read_events
from paretune.searchers import SEARCHERS
from paretune.searchers.rungs import Ladder
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.studies import FormulaStudy, open_formula_study

TRIALS = 30
IN_FLIGHT = 4
LADDER = Ladder(min_epochs=1, max_epochs=4, eta=2)


class Gate:
    """Lets answers of a searcher through one by one."""

    def __init__(self) -> None:
        self.passes = threading.Semaphore(0)

    def before(self, searcher: Searcher) -> Searcher:
        """The searcher, each of whose answers waits at this gate: it has seen all it will see, and nobody knows yet."""
        ask = searcher.ask

        def gated(count: int) -> Genotypes:
            rows_ND = ask(count)
            self.passes.acquire()
            return rows_ND

        searcher.ask = gated  # type: ignore[method-assign]
        return searcher


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.passes.release(10_000)  # nobody waits for ever when a test has failed


Open = Callable[..., FormulaStudy]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens or makes a study; with a gate the searcher waits there in its own thread."""
    made: dict[str, FormulaStudy] = {}

    def open_study(name: str, searcher: str, *, gate: Gate | None = None, **options: Any) -> FormulaStudy:
        def make(space: GenotypeSpace, problem: Problem) -> Searcher:
            created: Searcher = SEARCHERS.create(searcher, space, problem, seed=5)
            return gate.before(created) if gate else created

        if name in made:
            made[name].ledger.close()
        space = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
        patience_s = 0.002 if gate else None
        made[name] = open_formula_study(tmp_path / name, space=space, make_searcher=make, trials=TRIALS, patience_s=patience_s, **options)
        return made[name]

    yield open_study
    for study in made.values():
        study.ledger.close()


def run_on(study: FormulaStudy, rng: random.Random, *, gate: Gate | None = None, results: int = 10_000) -> tuple[bool, int]:
    """Evaluate candidates in a random order, also while the searcher thinks; whether the search ended, and how many ended meanwhile."""
    worker = Worker(study.evaluator, study.folder.absolute(), WorkerLimits())
    jobs: list[Job] = []
    num_meanwhile = 0
    while results > 0:
        step = study.phase.next_job() if len(jobs) < IN_FLIGHT else Wait()
        if isinstance(step, Done):
            return True, num_meanwhile
        if isinstance(step, Job):
            jobs.append(step)
        elif isinstance(step, Thinking) and gate is not None and (not jobs or rng.random() < 0.4):
            gate.passes.release()
        else:
            job = jobs.pop(rng.randrange(len(jobs)))
            study.phase.finished(job.id, worker.run(job))
            num_meanwhile += isinstance(step, Thinking)
            results -= 1
    return False, num_meanwhile


def proposals(study: FormulaStudy) -> list[tuple[int, ...]]:
    return [record.job.genotype for record in study.history.proposals()]


@pytest.mark.parametrize("ladder", [None, LADDER], ids=["full", "rungs"])
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("searcher", ["nsga2", "regularized_evolution"])
def test_what_ended_meanwhile_is_told_after_the_answer_and_the_ledger_replays(
    searcher: str, mode: str, ladder: Ladder | None, opened: Open, gate: Gate
) -> None:
    study = opened("beside", searcher, gate=gate, mode=mode, ladder=ladder)
    ended, num_meanwhile = run_on(study, random.Random(3), gate=gate)
    assert ended
    assert num_meanwhile > 5
    # Opening it asks the searcher everything again, in the order of the ledger, and refuses where an answer differs.
    again = opened("beside", searcher, mode=mode, ladder=ladder)
    assert isinstance(again.phase.next_job(), Done)
    assert len(proposals(again)) == TRIALS
    if mode == "sync":
        alone = opened("alone", searcher, mode=mode, ladder=ladder)
        assert run_on(alone, random.Random(4))[0]
        assert proposals(again) == proposals(alone)
        assert again.front_json() == alone.front_json()


@pytest.mark.parametrize("paused", [False, True], ids=["killed", "paused"])
def test_a_search_that_ends_while_its_searcher_thinks_goes_on_as_if_it_had_not(paused: bool, opened: Open, gate: Gate) -> None:
    rng, num_sessions = random.Random(1), 0
    while True:
        gate.passes.release(10_000)  # what the ledger has is asked at once
        study = opened("cut", "nsga2", gate=gate)
        while gate.passes.acquire(blocking=False):
            pass
        ended, _ = run_on(study, rng, gate=gate, results=rng.randint(1, 9))
        if ended:
            break
        num_sessions += 1
        step = study.phase.next_job()
        while isinstance(step, Job):
            step = study.phase.next_job()
            gate.passes.release()
        if paused:
            gate.passes.release(10_000)
            study.phase.pause()
    assert num_sessions > 3
    whole = opened("whole", "nsga2")
    assert run_on(whole, random.Random(2))[0]
    assert proposals(study) == proposals(whole)
    assert study.front_json() == whole.front_json()


def test_a_pause_keeps_the_answer_and_what_ended_meanwhile(opened: Open, gate: Gate) -> None:
    study = opened("paused", "nsga2", gate=gate)
    worker = Worker(study.evaluator, study.folder.absolute(), WorkerLimits())
    gate.passes.release()
    while not isinstance(first := study.phase.next_job(), Job):
        assert isinstance(first, Thinking)
    assert isinstance(study.phase.next_job(), Thinking)
    study.phase.finished(first.id, worker.run(first))
    assert [event.kind for event in read_events(study.folder)].count("finished") == 0
    gate.passes.release()
    study.phase.pause()
    kinds = [event.kind for event in read_events(study.folder)]
    assert (kinds.count("asked"), kinds.count("started"), kinds.count("finished")) == (2, 1, 1)
    second = study.phase.next_job()  # no third ask
    assert isinstance(second, Job)
    assert second.ask_index == 1


def test_an_error_of_the_searcher_reaches_whoever_asks(opened: Open, gate: Gate) -> None:
    study = opened("broken", "nsga2", gate=gate)

    def broken(count: int) -> Genotypes:
        raise ArithmeticError("no such luck")

    study.phase._dialogue.searcher.ask = broken  # type: ignore[attr-defined]
    with pytest.raises(ArithmeticError, match="no such luck"):
        run_on(study, random.Random(0))
