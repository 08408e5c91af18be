"""Searches at several fidelities, driven in this process without Ray: rungs, checkpoints handed on, kills, workers, what is told."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paretune.core.canonical import canonical_json
from paretune.core.errors import SpecChanged
from paretune.core.genotype import Decision
from paretune.core.objectives import Constraint, Problem
from paretune.core.protocols import Searcher
from paretune.core.trial import Outcome, Trial
from paretune.platform.execution.fidelity_phase import FidelityPhase
from paretune.platform.execution.forecast import CurveForecast
from paretune.platform.execution.phase import Done, PhaseContext, Wait
from paretune.platform.execution.search_phase import Budget
from paretune.platform.execution.worker import Worker, WorkerLimits, recall, workspace_path
from paretune.platform.record.header import Header
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Evaluation, Job, JobFactory
from paretune.platform.record.ledger import Ledger, read_events
from paretune.platform.record.summary import progress, summary_json
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.random_search import RandomSearch
from paretune.searchers.regularized_evolution import RegularizedEvolution
from paretune.searchers.rungs import Ladder
from paretune.testing.problems import TabulatedSpace
from paretune.testing.studies import PROBLEM, front_json, produced_metrics

SPACE = TabulatedSpace([Decision(name=f"layer{index}.width", choices=(8, 16, 24, 32), ordinal=True) for index in range(4)])
UNLIMITED = Problem(objectives=PROBLEM.objectives)
MEASURED = {name: metric for name, metric in produced_metrics().items() if name in ("accuracy", "host.latency_s")}
LADDER = Ladder(min_epochs=1, max_epochs=9, eta=3)
SEARCHERS: dict[str, Callable[..., Searcher]] = {
    "random": lambda space, problem: RandomSearch(space, problem, seed=4),
    "nsga2": lambda space, problem: NSGA2(space, problem, seed=4, population=8),
    "evolution": lambda space, problem: RegularizedEvolution(space, problem, seed=4, population=8, sample=3),
}


def accuracy(genotype: Sequence[int], epoch: int) -> float:
    """Rises with the epochs; the order of two candidates may change on the way."""
    size = sum((place + 1) * gene for place, gene in enumerate(genotype))
    return 1 - 1 / (2 + size) - 0.4 * (1 + size % 4) / 4 / epoch


class Trainer:
    """Trains an epoch at a time with a checkpoint that counts them; tells of each epoch it really trained."""

    def __init__(self, witness: Path, failing: Callable[[Job], bool]) -> None:
        self._witness, self._failing = witness, failing
        self.metrics = tuple(MEASURED.values())

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:
        checkpoint = workspace / "checkpoint"
        done = int(checkpoint.read_text()) if checkpoint.exists() else 0
        for epoch in range(done + 1, job.epochs + 1):
            with self._witness.open("a") as file:
                file.write(f"{job.ask_index} {epoch}\n")
            checkpoint.write_text(str(epoch))
        if self._failing(job):
            return Evaluation(outcome=Outcome.DIVERGED)
        curve = [{"epoch": float(epoch), "accuracy": accuracy(job.genotype, epoch)} for epoch in range(1, job.epochs + 1)]
        latency_s = 1e-6 * (1 + sum(job.genotype))
        return Evaluation(
            outcome=Outcome.OK, metrics={"accuracy": curve[-1]["accuracy"], "host.latency_s": latency_s}, details={"curve": curve}
        )

    def release(self, job: Job, workspace: Path) -> None:
        (workspace / "checkpoint").unlink(missing_ok=True)
        workspace.rmdir()


class Listening:
    """Passes everything on to a searcher and keeps what it is told."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher, self.told = searcher, list[Trial]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.searcher, name)

    def tell(self, trials: Sequence[Trial]) -> None:
        self.told += trials
        self.searcher.tell(trials)


@dataclass(slots=True, kw_only=True)
class Search:
    folder: Path
    ledger: Ledger
    history: History
    phase: FidelityPhase
    searcher: Listening
    failing: Callable[[Job], bool]

    def run(self, *, in_flight: int = 1, seed: int = 0, events: int | None = None) -> str:
        """Up to `in_flight` jobs at a time, ended in a random order; with `events` the driver dies after so many jobs ended."""
        order, flying, ended = random.Random(seed), list[Job](), 0
        worker = Worker(Trainer(self.folder / "epochs.txt", self.failing), self.folder.absolute(), WorkerLimits())
        while events is None or ended < events:
            step = self.phase.next_job() if len(flying) < in_flight else Wait()
            if isinstance(step, Job):
                flying.append(step)
            elif isinstance(step, Wait):
                job = flying.pop(order.randrange(len(flying)))
                self.phase.finished(job.id, worker.run(job))
                ended += 1
            elif isinstance(step, Done):
                return step.reason
        return "killed"

    def epochs(self) -> Counter[tuple[int, int]]:
        """How often each (candidate, epoch) was trained."""
        return Counter(tuple(map(int, line.split())) for line in (self.folder / "epochs.txt").read_text().splitlines())  # type: ignore[misc]

    def reached(self) -> dict[int, int]:
        return {record.job.ask_index: record.job.epochs for record in self.history.search_records()}


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Callable[..., Search]]:
    """Makes a search below `tmp_path`, or goes on with the one of that name."""
    opened: dict[str, Search] = {}

    def make(
        name: str = "study",
        *,
        searcher: str = "nsga2",
        mode: Any = "sync",
        trials: int = 32,
        forecast: bool = False,
        problem: Problem = UNLIMITED,
        failing: Callable[[Job], bool] = lambda job: False,
        space: TabulatedSpace = SPACE,
    ) -> Search:
        if name in opened:
            opened[name].ledger.close()
        folder = tmp_path / name
        if (folder / "ledger.db").exists():
            ledger = Ledger.open(folder)
        else:
            header = Header(
                name=name, spec={}, spec_text="", decisions=space.decisions, problem=problem, metrics=MEASURED, protocol="p", provenance={}
            )
            ledger = Ledger.create(folder, header.as_json())
        history = History.fold(read_events(folder), details=False)
        context = PhaseContext(
            history=history, journal=ledger, recall=lambda job_id: recall(folder, job_id), clock=lambda: history.elapsed_s + 1.0, retries=2
        )
        listening = Listening(SEARCHERS[searcher](space, problem))
        phase = FidelityPhase(
            context,
            searcher=listening,
            space=space,
            mode=mode,
            budget=Budget(trials=trials, time_s=None),
            factory=JobFactory(study_seed=1, protocol="p", search_epochs=9, final_epochs=9, rungs=LADDER.epochs),
            screen=lambda rows: {"parameters": space.workloads(rows).per_network_sum(space.workloads(rows).parameters_L)},
            ladder=LADDER,
            forecast=CurveForecast(problem=problem, metrics=MEASURED, num_epochs=9) if forecast else None,
        )
        opened[name] = Search(folder=folder, ledger=ledger, history=history, phase=phase, searcher=listening, failing=failing)
        return opened[name]

    yield make
    for one in opened.values():
        one.ledger.close()


Make = Callable[..., Search]


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_every_candidate_is_told_once_and_no_epoch_is_trained_twice(searcher: str, mode: str, search: Make) -> None:
    one = search(searcher=searcher, mode=mode)
    assert one.run(in_flight=3) == "budget of 32 candidates spent"
    reached = one.reached()
    assert set(reached) == set(range(32))
    assert set(reached.values()) == {1, 3, 9}
    assert one.epochs() == {(ask, epoch): 1 for ask, epochs in reached.items() for epoch in range(1, epochs + 1)}
    if mode == "async":  # in sync the searcher is told only what it demands
        assert sorted(trial.ask_index for trial in one.searcher.told) == list(range(32))
    for trial in one.searcher.told:
        epochs = reached[trial.ask_index]
        assert trial.metrics["epochs"] == epochs
        assert trial.metrics["accuracy"] == accuracy(trial.genotype, epochs)
    assert len({trial.ask_index for trial in one.searcher.told}) == len(one.searcher.told)
    assert one.history.epochs_trained == sum(reached.values()) < 32 * 9 / 2
    assert not [path for path in (one.folder / "work").iterdir() if path.name not in one.history.records]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_front_holds_full_trainings_only(mode: str, search: Make) -> None:
    one = search(mode=mode)
    one.run(in_flight=2)
    front = one.history.front()
    assert front
    assert {record.job.epochs for record in front} == {9}
    complete = [record for record in one.history.search_records() if record.job.is_full]
    points = {record.job.ask_index: UNLIMITED.minimised(record.metrics) for record in complete}
    expected = {ask for ask, point in points.items() if not any((o <= point).all() and (o < point).any() for o in points.values())}
    assert {record.job.ask_index for record in front} == expected
    assert progress(one.history.arrivals(), UNLIMITED)[-1].front_size == len(front)
    summary = summary_json(one.history)
    assert summary["counts"]["asked"] == summary["counts"]["finished"] == 32
    assert summary["counts"]["epochs"] == one.history.epochs_trained


def test_a_promoted_candidate_has_the_result_of_a_training_that_never_stopped(search: Make) -> None:
    one = search()
    one.run()
    factory = JobFactory(study_seed=1, protocol="p", search_epochs=9, final_epochs=9)
    for record in one.history.front():
        job = factory.search(ask_index=record.job.ask_index, genotype=record.job.genotype, choices=dict(record.choices))
        assert (record.job.id, record.job.seed) == (job.id, job.seed)
        assert record.job.continues
        assert not workspace_path(one.folder, record.job.continues).exists()


@pytest.mark.parametrize(("searcher", "forecast"), [("random", True), ("nsga2", False), ("nsga2", True), ("evolution", True)])
def test_sync_gives_one_front_for_any_number_of_workers(searcher: str, forecast: bool, search: Make) -> None:
    fronts, reached = set(), set()
    for name, (in_flight, seed) in enumerate([(1, 0), (3, 1), (40, 2)]):
        one = search(f"study{name}", searcher=searcher, forecast=forecast, trials=24, failing=lambda job: job.ask_index in {3, 17})
        one.run(in_flight=in_flight, seed=seed)
        fronts.add(front_json(one.history))
        reached.add(canonical_json(one.reached()))
    assert len(fronts) == len(reached) == 1


@pytest.mark.parametrize(
    ("searcher", "mode", "forecast"),
    [("nsga2", "sync", False), ("evolution", "sync", True), ("nsga2", "async", True), ("random", "async", False)],
)
def test_a_search_killed_again_and_again_ends_as_the_one_that_was_not(searcher: str, mode: str, forecast: bool, search: Make) -> None:
    options: dict[str, Any] = {"searcher": searcher, "mode": mode, "forecast": forecast, "trials": 20}
    options["failing"] = lambda job: job.ask_index == 5
    whole = search("whole", **options)
    whole.run()
    while (one := search("killed", **options)).run(events=5) == "killed":
        pass
    assert front_json(one.history) == front_json(whole.history)
    assert one.reached() == whole.reached()
    assert set(one.epochs().values()) == {1}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_full_training_that_fails_ends_its_candidate_only(mode: str, search: Make) -> None:
    options: dict[str, Any] = {"searcher": "random", "mode": mode, "trials": 20, "failing": lambda job: job.is_full}
    while (one := search(**options)).run(events=3) == "killed":
        pass
    ended = [record for record in one.history.search_records() if record.job.is_full]
    assert ended
    assert {record.outcome for record in ended} == {Outcome.DIVERGED}
    assert set(one.reached()) == set(range(20))
    assert set(one.epochs().values()) == {1}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_with_jobs_in_flight_at_a_kill_nothing_is_lost_or_trained_twice(mode: str, search: Make) -> None:
    for seed in range(2):
        while (one := search(f"study{seed}", mode=mode, trials=20)).run(in_flight=4, seed=seed, events=7) == "killed":
            pass
        assert set(one.reached()) == set(range(20))
        assert one.epochs() == {(ask, epoch): 1 for ask, epochs in one.reached().items() for epoch in range(1, epochs + 1)}


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_finished_search_goes_on_with_a_larger_budget(searcher: str, mode: str, search: Make) -> None:
    first = search(trials=13, searcher=searcher, mode=mode)
    first.run(in_flight=2)
    before = {record.job.id for record in first.history.evaluations()}
    second = search(trials=30, searcher=searcher, mode=mode)
    assert second.run(in_flight=2, events=9) == "killed"
    third = search(trials=30, searcher=searcher, mode=mode)  # replays a session within which the budget was another
    assert third.run(in_flight=2) == "budget of 30 candidates spent"
    assert before <= {record.job.id for record in third.history.evaluations()}
    assert set(third.reached()) == set(range(30))
    assert set(third.epochs().values()) == {1}


def test_candidates_that_break_a_limit_on_free_costs_are_in_no_cohort(search: Make) -> None:
    problem = Problem(objectives=UNLIMITED.objectives, constraints=(Constraint(metric="parameters", upper=400.0),))
    one = search(searcher="nsga2", problem=problem, trials=20)
    one.run(in_flight=3)
    assert one.history.num_screened > 0
    records = one.history.search_records()
    assert len(records) == 20
    assert {1, 9} <= {record.job.epochs for record in records}
    assert all(record.metrics.keys() == {"parameters"} for record in one.history.evaluations() if record.screened)


def test_an_exhausted_space_settles_everybody(search: Make) -> None:
    small = TabulatedSpace(SPACE.decisions[:2])
    one = search(searcher="random", mode="async", trials=1000, space=small)
    assert one.run(in_flight=4) == "all 16 architectures tried"
    assert len(one.searcher.told) == 16


def test_with_a_forecast_stopped_candidates_are_told_on_the_scale_of_full_trainings(search: Make) -> None:
    plain, foreseen = search("plain", mode="async", trials=60), search("foreseen", mode="async", trials=60, forecast=True)
    for one in (plain, foreseen):
        one.run()
    errors = {}
    for name, one in {"plain": plain, "foreseen": foreseen}.items():
        stopped = [trial for trial in one.searcher.told[20:] if trial.metrics["epochs"] < 9]
        errors[name] = sum(abs(trial.metrics["accuracy"] - accuracy(trial.genotype, 9)) for trial in stopped) / len(stopped)
    assert errors["foreseen"] < errors["plain"] / 2
    kept = [record for record in foreseen.history.search_records() if record.job.epochs < 9]
    assert all(record.metrics["accuracy"] == accuracy(record.job.genotype, record.job.epochs) for record in kept)  # the ledger measures


def test_a_ledger_whose_promotions_this_version_would_not_make_is_refused(search: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    search(trials=32).run()
    monkeypatch.setattr("paretune.searchers.rungs.most_deserving", lambda points, violations, count, *, earlier_KM: [len(points) - 1])
    with pytest.raises(SpecChanged, match="went on to 3 epochs in the ledger, but this version of paretune would have stopped it"):
        search(trials=32)


def test_ordinary_jobs_are_written_as_before() -> None:
    factory = JobFactory(study_seed=1, protocol="p", search_epochs=9, final_epochs=9)
    job = factory.search(ask_index=0, genotype=(0,), choices={"a": 1})
    assert set(job.as_json()) == {"id", "purpose", "ask_index", "genotype", "choices", "seed", "seed_index", "epochs"}
    assert job.is_full
    assert Job.from_json(json.loads(canonical_json(job.as_json()))) == job
    rung = JobFactory(study_seed=1, protocol="p", search_epochs=9, final_epochs=9, rungs=(1, 3, 9)).search(
        ask_index=0, genotype=(0,), choices={"a": 1}, rung=1
    )
    assert (rung.epochs, rung.schedule_epochs, rung.is_full, rung.seed) == (3, 9, False, job.seed)
    assert Job.from_json(json.loads(canonical_json(rung.as_json()))) == rung
