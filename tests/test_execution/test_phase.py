"""Phases driven in this process, without Ray: budgets, duplicates, failures, retries, resume."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.errors import SearchFailed, SpecChanged
from paretune.core.genotype import Decision, Genotypes
from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.trial import Outcome, Trial
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Evaluation, Job
from paretune.platform.record.ledger import read_events
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.random_search import RandomSearch
from paretune.searchers.regularized_evolution import RegularizedEvolution
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.evaluators import FunctionEvaluator
from paretune.testing.problems import Inactive, TabulatedSpace
from paretune.testing.studies import produced_metrics

Make = Callable[..., Any]
SEARCHERS = {
    "random": lambda space, problem: RandomSearch(space, problem, seed=4),
    "nsga2": lambda space, problem: NSGA2(space, problem, seed=4, population=8),
    "evolution": lambda space, problem: RegularizedEvolution(space, problem, seed=4, population=8, sample=3),
}


def table(job: Job, workspace: Path | None = None) -> dict[str, float]:
    """Two objectives in conflict, known for every genotype."""
    size = sum((place + 1) * gene for place, gene in enumerate(job.genotype))
    return {"accuracy": 1 - 1 / (2 + size), "host.latency_s": 1e-6 * (1 + size + (7 * size) % 3)}


def small_space(*counts: int, inactive: tuple[Inactive, ...] = ()) -> TabulatedSpace:
    decisions = [Decision(name=f"d{index}", choices=tuple(range(count)), ordinal=True) for index, count in enumerate(counts)]
    return TabulatedSpace(decisions, inactive=inactive)


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_space_of_12_ends_after_12_and_says_so(searcher: str, mode: str, candidates: Make) -> None:
    tried: list[tuple[int, ...]] = []

    def note(job: Job, workspace: Path) -> dict[str, float]:
        tried.append(job.genotype)
        return table(job)

    search = candidates(note, space=small_space(3, 4), make_searcher=SEARCHERS[searcher], trials=200, mode=mode)
    assert search.here(in_flight=3) == "all 12 architectures tried"
    assert len(tried) == len(set(tried)) == 12


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_encodings_of_one_network_are_trained_once(searcher: str, candidates: Make) -> None:
    # 4 x 4 genotypes; d1 counts only while d0 is 3: 3 + 4 = 7 networks.
    space = small_space(4, 4, inactive=(Inactive(decision=1, controller=0, choices=(0, 1, 2)),))
    search = candidates(table, space=space, make_searcher=SEARCHERS[searcher], trials=200)
    assert search.here(in_flight=2) == "all 7 architectures tried"
    rows = np.array([record.job.genotype for record in search.history.search_records()])
    assert np.array_equal(rows, space.canonical(rows))
    assert len(search.history.records) == 7


def test_inactive_blocks_do_not_make_another_job(candidates: Make) -> None:
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1)
    column = {decision.name: index for index, decision in enumerate(space.decisions)}
    shallow = np.zeros((2, len(space.decisions)), dtype=np.int16)
    shallow[1, column["stage1.block2.kernel"]] = 1  # depth is 1, so there is no second block
    jobs = []
    for row in space.canonical(shallow):
        choices = {decision.name: decision.choices[gene] for decision, gene in zip(space.decisions, row, strict=True)}
        factory = candidates(table, space=space, trials=1).study.phase._factory
        jobs.append(factory.search(ask_index=0, genotype=tuple(int(gene) for gene in row), choices=choices))
    assert jobs[0] == jobs[1]


class Repeating(RandomSearch):
    """A planted defect: proposes one architecture for ever."""

    def ask(self, count: int) -> Genotypes:
        return np.zeros((count, len(self._choices_D)), dtype=np.int16)


def test_a_searcher_that_repeats_itself_is_named_as_the_culprit(candidates: Make) -> None:
    search = candidates(table, make_searcher=lambda space, problem: Repeating(space, problem, seed=1), trials=10)
    with pytest.raises(SearchFailed, match="ask 1 of the searcher repeats the architecture of ask 0: a bug in the searcher"):
        search.here()


def limited(limit: float) -> Problem:
    objectives = (
        Objective(metric="accuracy", direction=Direction.MAX, reference=0.0),
        Objective(metric="host.latency_s", direction=Direction.MIN, reference=1.0),
    )
    return Problem(objectives=objectives, constraints=(Constraint(metric="parameters", upper=limit),))


def test_a_limit_that_no_member_meets_stops_with_the_smallest_value_seen(candidates: Make) -> None:
    space = small_space(3, 4)
    smallest = min(space.workloads(space.members()).per_network_sum(space.workloads(space.members()).parameters_L))
    search = candidates(table, space=space, problem=limited(10), trials=50)
    with pytest.raises(SearchFailed) as caught:
        search.here()
    assert f"none of the last 12 proposals meets parameters <= 10 (smallest seen: {smallest:,.0f})" in str(caught.value)
    assert search.history.num_screened == 12


def test_a_limit_that_nothing_meets_in_a_large_space_stops_too(candidates: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.platform.execution.search_phase.SCREENED_BEFORE_STOP", 300)
    search = candidates(table, space=small_space(*[8] * 8), problem=limited(10), trials=50)
    with pytest.raises(SearchFailed, match=r"none of the last 300 proposals meets parameters <= 10 \(smallest seen: [0-9,]+\)"):
        search.here()


def test_screened_candidates_never_run_and_do_not_count(candidates: Make) -> None:
    space = small_space(4, 4, 4)
    parameters_N = space.workloads(space.members()).per_network_sum(space.workloads(space.members()).parameters_L)
    limit = float(np.median(parameters_N))
    search = candidates(table, space=space, problem=limited(limit), trials=20)
    assert search.here(in_flight=2) == "budget of 20 candidates spent"
    assert search.history.num_screened > 0
    assert all(record.metrics["parameters"] > limit for record in search.history.records.values() if record.screened)
    assert len(search.history.arrivals()) == 20


def test_a_time_budget_ends_the_search(candidates: Make) -> None:
    search = candidates(table, trials=1000)
    search.study.phase._budget = type(search.study.phase._budget)(trials=None, time_s=0.0)
    assert search.here() == "budget of 0 s spent"


def missing_data(job: Job, workspace: Path) -> dict[str, float]:
    raise FileNotFoundError("no data set at /data/digits")


def test_when_the_first_5_fail_alike_the_search_stops_and_names_the_cause(candidates: Make) -> None:
    search = candidates(missing_data, trials=100)
    with pytest.raises(SearchFailed) as caught:
        search.here(in_flight=2)
    assert str(caught.value).startswith(
        "5 of 5 candidates failed, 5 of them with user_error: FileNotFoundError: no data set at /data/digits"
    )
    recorded = History.fold(read_events(search.study.folder))
    assert sum(record.outcome is Outcome.USER_ERROR for record in recorded.records.values()) == 5


def test_where_all_of_a_few_fail_the_end_is_a_failure_too_also_after_a_resume(candidates: Make) -> None:
    for _ in range(2):
        search = candidates(missing_data, trials=2)
        with pytest.raises(SearchFailed, match="2 of 2 candidates failed, 2 of them with user_error: FileNotFoundError"):
            search.here()


def test_failures_that_differ_in_a_number_only_count_as_one_cause(candidates: Make) -> None:
    def behave(job: Job, workspace: Path) -> dict[str, float]:
        raise ValueError(f"layer {job.ask_index} has no kernel {job.ask_index + 3}")

    with pytest.raises(SearchFailed, match="5 of 5 candidates failed, 5 of them with user_error: ValueError: layer 0 has no kernel 3"):
        candidates(behave, trials=100).here()


def failing(share: Callable[[int], bool]) -> Callable[[Job, Path], dict[str, float]]:
    def behave(job: Job, workspace: Path) -> dict[str, float]:
        if share(job.ask_index):
            raise ValueError("this one is odd")
        return table(job)

    return behave


def test_a_space_in_which_a_third_fails_is_searched_to_the_end(candidates: Make) -> None:
    search = candidates(failing(lambda ask: ask % 3 == 0 or ask in (1, 2)), trials=60)  # 3 of the first 5 fail
    assert search.here() == "budget of 60 candidates spent"


def test_a_space_in_which_most_fail_is_given_up(candidates: Make) -> None:
    search = candidates(failing(lambda ask: ask % 3 != 0), trials=60)
    with pytest.raises(SearchFailed, match="of 20 candidates failed"):
        search.here()


def test_what_diverged_never_enters_the_front_and_no_nan_reaches_a_searcher(candidates: Make) -> None:
    told: list[Trial] = []

    class Listening(NSGA2):
        def tell(self, trials: Any) -> None:
            told.extend(trials)
            super().tell(trials)

    def behave(job: Job, workspace: Path) -> Any:
        if job.ask_index % 3 == 1:
            return Evaluation(outcome=Outcome.DIVERGED, metrics={"accuracy": float("nan"), "parameters": 7.0})
        if job.ask_index % 7 == 2:
            return {"accuracy": float("nan"), "host.latency_s": 1e-6}
        return table(job)

    search = candidates(behave, make_searcher=lambda space, problem: Listening(space, problem, seed=2, population=8), trials=40)
    search.here(in_flight=2)
    assert {record.outcome for record in search.history.front()} == {Outcome.OK}
    assert np.isfinite([list(record.metrics.values()) for record in search.history.front()]).all()
    assert {trial.outcome for trial in told} == {Outcome.OK, Outcome.DIVERGED, Outcome.USER_ERROR}
    assert all(np.isfinite(value) for trial in told for value in trial.metrics.values())


@pytest.mark.parametrize(
    ("outcome", "attempts", "losses"),
    [
        (Outcome.CRASHED, 3, 2),
        (Outcome.DEVICE_ERROR, 3, 2),
        (Outcome.STORAGE_ERROR, 3, 2),
        (Outcome.OOM, 2, 1),
        (Outcome.USER_ERROR, 1, 0),
    ],
)
def test_lost_attempts_are_repeated_as_often_as_their_cause_deserves(
    outcome: Outcome, attempts: int, losses: int, candidates: Make
) -> None:
    phase = (search := candidates(table, trials=1)).study.phase

    def lose_all() -> None:
        while isinstance(job := phase.next_job(), Job):
            phase.lost(job.id, outcome, "the cause")

    with pytest.raises(SearchFailed, match="1 of 1 candidates failed"):
        lose_all()
    (record,) = search.history.records.values()
    assert record.attempts == attempts
    assert record.outcome is outcome
    assert record.evaluation.message == "the cause"
    assert record.lost_to == (outcome,) * losses


def test_preemptions_do_not_use_up_retries(candidates: Make) -> None:
    phase = (search := candidates(table, trials=1)).study.phase
    for outcome in [Outcome.PREEMPTED, Outcome.CRASHED, Outcome.PREEMPTED, Outcome.PREEMPTED, Outcome.CRASHED, Outcome.PREEMPTED]:
        job = phase.next_job()
        phase.lost(job.id, outcome, "")
    job = phase.next_job()
    phase.finished(job.id, Evaluation(outcome=Outcome.OK, metrics=table(job)))
    assert phase.next_job().reason == "budget of 1 candidates spent"
    assert search.history.records[job.id].outcome is Outcome.OK


def test_a_result_whose_report_was_lost_is_adopted_and_not_evaluated_again(candidates: Make) -> None:
    search = candidates(table, trials=3)
    phase = search.study.phase
    worker = Worker(search.evaluator, search.study.folder, WorkerLimits())
    first, second = phase.next_job(), phase.next_job()
    worker.run(first)
    phase.lost(first.id, Outcome.CRASHED, "killed after it wrote its result")
    assert phase.history.records[first.id].lost_to == ()
    worker.run(second)  # and now the driver dies before it hears of it

    def evaluated_again(job: Job, workspace: Path) -> dict[str, float]:
        assert job.id not in (first.id, second.id)
        return table(job)

    resumed = candidates(evaluated_again, trials=3)
    resumed.here()
    assert {record.outcome for record in resumed.history.records.values()} == {Outcome.OK}
    assert [record.attempts for record in resumed.history.search_records()] == [1, 1, 1]


@pytest.mark.parametrize("searcher", SEARCHERS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_driver_that_dies_anywhere_goes_on_where_the_ledger_stops(searcher: str, mode: str, candidates: Make) -> None:
    options = {"make_searcher": SEARCHERS[searcher], "trials": 40, "mode": mode}
    evaluated: Counter[str] = Counter()

    def note(job: Job, workspace: Path) -> dict[str, float]:
        evaluated[job.id] += 1
        return table(job)

    for until in (1, 7, 8, 9, 23, 39):
        assert candidates(note, **options).here(in_flight=3, seed=until, until=until) == "killed"
    last = candidates(note, **options)
    assert last.here(in_flight=3, seed=99) == "budget of 40 candidates spent"
    assert set(evaluated.values()) == {1}
    assert len(last.history.arrivals()) == 40
    if mode == "sync":
        undisturbed = candidates(note, name="undisturbed", **options)
        undisturbed.here()
        assert last.study.front_json() == undisturbed.study.front_json()


def test_async_results_are_told_in_the_order_of_the_ledger_and_a_replay_leaves_the_same_searcher(candidates: Make) -> None:
    told: list[int] = []

    class Listening(RegularizedEvolution):
        def tell(self, trials: Any) -> None:
            told.extend(trial.ask_index for trial in trials)
            super().tell(trials)

    options = {
        "make_searcher": lambda space, problem: Listening(space, problem, seed=5, population=8, sample=3),
        "trials": 50,
        "mode": "async",
    }
    live = candidates(table, **options)
    live.here(in_flight=4, seed=3)
    as_it_was, state = list(told), live.study.phase._dialogue.state_dict()
    assert as_it_was != sorted(as_it_was)  # they came out of order
    events = read_events(live.study.folder)
    index_of = {event.body["job"]["id"]: event.body["job"]["ask_index"] for event in events if event.kind == "asked"}
    assert [index_of[event.body["id"]] for event in events if event.kind == "finished"] == as_it_was
    told.clear()
    replayed = candidates(table, **options)
    assert told == as_it_was
    assert replayed.study.phase._dialogue.state_dict() == state


def test_a_searcher_that_would_ask_something_else_is_refused_on_resume(candidates: Make) -> None:
    candidates(table, trials=10).here(until=5)
    with pytest.raises(SpecChanged, match=r"ask 0 of the ledger proposed .*: the searcher changed"):
        candidates(table, trials=10, make_searcher=lambda space, problem: RandomSearch(space, problem, seed=2))


def test_two_seeds_ask_differently_and_the_ledger_shows_which_asked_what(candidates: Make) -> None:
    asked = {}
    for seed in (1, 2):
        search = candidates(
            table, name=f"seed{seed}", make_searcher=lambda space, problem, seed=seed: RandomSearch(space, problem, seed=seed), trials=10
        )
        search.here()
        asked[seed] = [record.job.genotype for record in History.fold(read_events(search.study.folder)).search_records()]
    assert asked[1] != asked[2]


def test_started_is_on_the_disk_before_a_job_is_handed_out(candidates: Make) -> None:
    search = candidates(table, trials=5)
    job = search.study.phase.next_job()
    assert [(event.kind, event.body.get("id")) for event in read_events(search.study.folder)][-1] == ("started", job.id)
    assert isinstance(search.history.records[job.id].choices, Mapping)


def test_the_free_costs_are_those_that_the_studies_promise(candidates: Make) -> None:
    assert set(produced_metrics()) >= {"accuracy", "host.latency_s", "parameters"}
    assert isinstance(candidates(table, trials=1).evaluator, FunctionEvaluator)
