"""Searches whose candidates are judged against rivals: the same with any number of workers, cut off and gone on with, by rungs."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.pareto import dominates
from paretune.core.protocols import Searcher
from paretune.core.trial import Outcome
from paretune.hardware.analog.drift_report import DriftReport, Floats
from paretune.hardware.analog.early_stopping import EarlyStopping
from paretune.hardware.analog.evaluator import run_programmings
from paretune.hardware.analog.presets import HERMES, AnalogPreset
from paretune.platform.execution.racing import RivalFront, contest_of
from paretune.platform.record.jobs import Evaluation, Job, JobFactory
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.random_search import RandomSearch
from paretune.searchers.regularized_evolution import RegularizedEvolution
from paretune.searchers.rungs import Ladder
from paretune.testing.evaluators import FunctionEvaluator
from paretune.testing.problems import TabulatedSpace
from paretune.testing.studies import FormulaStudy, evaluate_in_any_order, open_formula_study

SPACE = TabulatedSpace([Decision(name=f"layer{index}.width", choices=(8, 16, 24, 32), ordinal=True) for index in range(4)])
PROBLEM = Problem(
    objectives=(
        Objective(metric="tiles.accuracy_1d", direction=Direction.MAX, reference=0.0),
        Objective(metric="tiles.avm", direction=Direction.MIN, reference=1.0),
        Objective(metric="parameters", direction=Direction.MIN, reference=1e6),
    ),
    constraints=(Constraint(metric="tiles.accuracy_1d", lower=0.3),),
)
PRODUCED = {
    name: Metric(name=name, unit="", direction=Direction.MAX)
    for name in ("tiles.accuracy_1d", "tiles.avm", "tiles.programmings", "parameters")
}
PLANNED = 10
TRIALS = 40
SEARCHERS: dict[str, Callable[..., Searcher]] = {
    "random": lambda space, problem: RandomSearch(space, problem, seed=4),
    "nsga2": lambda space, problem: NSGA2(space, problem, seed=4, population=8),
    "evolution": lambda space, problem: RegularizedEvolution(space, problem, seed=4, population=8, sample=3),
}


class Tiles:
    """Accuracies that the genotype and the number of the programming decide."""

    preset: AnalogPreset = HERMES
    times_s = (1.0, 86_400.0)
    at_once = 1
    num_images = 200
    digital_accuracy = 0.99

    def __init__(self, genotype: tuple[int, ...]) -> None:
        self._genotype = genotype

    def programmings(self, first: int, count: int) -> tuple[Floats, Floats]:
        genes = np.array(self._genotype)
        level = 0.25 + 0.6 * float(np.sin(genes @ np.array([1.0, 2.3, 3.1, 4.7])) ** 2)
        noise_RT = np.random.default_rng([7, *self._genotype]).standard_normal((PLANNED, 2)) * 0.03
        accuracies_RT = np.clip(level + np.array([0.05, 0.0]) * genes[0] + noise_RT, 0, 1)[first : first + count]
        return accuracies_RT, np.zeros_like(accuracies_RT)


def parameters(job: Job) -> float:
    workloads = SPACE.workloads(np.array([job.genotype], dtype=np.int16))
    return float(workloads.per_network_sum(workloads.parameters_L)[0])


def judged(job: Job, workspace: Path | None = None, *, all_programmings: bool = False) -> dict[str, float]:
    """As the staged evaluator does it."""
    known = {"parameters": parameters(job)}
    rule = EarlyStopping(contest=contest_of(job, PROBLEM, known, "tiles"), confidence=0.95)
    found: DriftReport = run_programmings(Tiles(job.genotype), PLANNED, None if all_programmings else rule)
    values = {"accuracy_1d": float(found.means_T[1]), "avm": found.avm, "programmings": float(found.programmings)}
    return {**known, **{f"tiles.{name}": value for name, value in values.items()}}


def opened(folder: Path, name: str, *, mode: Literal["sync", "async"] = "sync", ladder: Ladder | None = None) -> FormulaStudy:
    study = open_formula_study(
        folder, space=SPACE, make_searcher=SEARCHERS[name], trials=TRIALS, mode=mode, problem=PROBLEM, racing=True, ladder=ladder
    )
    study.folder.mkdir(exist_ok=True)
    return replace(study, evaluator=FunctionEvaluator(judged, PRODUCED))


def told(study: FormulaStudy) -> list[Any]:
    """All that a search came to: who was asked, against whom, and what came back."""
    return [(record.job, dict(record.metrics)) for record in study.history.search_records()]


@pytest.mark.parametrize("name", SEARCHERS)
def test_one_worker_and_three_come_to_the_same_in_sync_mode(name: str, tmp_path: Path) -> None:
    found = []
    for in_flight in (1, 3):
        study = opened(tmp_path / str(in_flight), name)
        assert evaluate_in_any_order(study, random.Random(in_flight), in_flight=in_flight)
        found.append(told(study))
    assert found[0] == found[1]
    assert any(metrics["tiles.programmings"] < PLANNED for _, metrics in found[0])
    if name == "random":  # it waits for nobody, so nobody is known for certain: only limits decide
        assert not any(job.rivals for job, _ in found[0])


@pytest.mark.parametrize("name", ["nsga2", "evolution"])
def test_a_search_cut_off_again_and_again_ends_as_the_one_that_was_not(name: str, tmp_path: Path) -> None:
    whole = opened(tmp_path / "whole", name)
    evaluate_in_any_order(whole, random.Random(1), in_flight=3)
    rng, num_sessions = random.Random(2), 1
    while not evaluate_in_any_order(opened(tmp_path / "cut", name), rng, in_flight=3, results=rng.randint(1, 20)):
        num_sessions += 1
    assert num_sessions > 3
    cut = opened(tmp_path / "cut", name)
    cut.ledger.close()
    assert told(cut) == told(whole)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_was_in_flight_is_judged_against_the_same_rivals_after_a_resume(mode: Literal["sync", "async"], tmp_path: Path) -> None:
    study = opened(tmp_path / "study", "nsga2", mode=mode)
    evaluate_in_any_order(study, random.Random(3), in_flight=3, results=25)
    asked = {record.job.id: record.job for record in study.history.search_records() if record.evaluation is None}
    assert asked
    again = opened(tmp_path / "study", "nsga2", mode=mode)
    handed_out = [again.phase.next_job() for _ in asked]
    again.ledger.close()
    assert {job.id: job for job in handed_out if isinstance(job, Job)} == asked


def test_stopped_candidates_would_have_lost_and_the_front_is_judged_thoroughly(tmp_path: Path) -> None:
    study = opened(tmp_path / "study", "random", mode="async")  # asks the same, whatever it is told
    evaluate_in_any_order(study, random.Random(4), in_flight=2)
    records = study.history.search_records()
    whole = {record.job.ask_index: judged(record.job, all_programmings=True) for record in records}
    stopped = [record for record in records if record.metrics["tiles.programmings"] < PLANNED]
    fates = set()
    for record in stopped:
        full = whole[record.job.ask_index]
        misses = PROBLEM.violation(full) > 0
        point_M = PROBLEM.minimised(full)
        beaten = any(dominates(PROBLEM.minimised(member.metrics), point_M) for member in study.history.front())
        assert misses or beaten
        fates.add("limit" if misses else "dominated")
    assert fates == {"limit", "dominated"}
    for member in study.history.front():
        assert dict(member.metrics) == whole[member.job.ask_index]
    saved = 1 - sum(record.metrics["tiles.programmings"] for record in records) / (PLANNED * len(records))
    assert saved > 0.2


def test_only_full_trainings_are_judged_against_rivals(tmp_path: Path) -> None:
    ladder = Ladder(min_epochs=1, max_epochs=9, eta=3)
    study = opened(tmp_path / "study", "nsga2", ladder=ladder)
    evaluate_in_any_order(study, random.Random(5), in_flight=2)
    jobs = [record.job for record in study.history.evaluations()]
    assert any(job.rivals for job in jobs)
    assert all(job.is_full for job in jobs if job.rivals)


def job(*rivals: dict[str, float]) -> Job:
    made = JobFactory(study_seed=1, protocol="p", search_epochs=1, final_epochs=1)
    return replace(made.search(ask_index=7, genotype=(0,), choices={"a": 1}), rivals=rivals)


def ended(**metrics: float) -> Evaluation:
    return Evaluation(outcome=Outcome.OK, metrics={name.replace("__", "."): value for name, value in metrics.items()})


def asked(index: int) -> Job:
    return replace(job(), ask_index=index)


def test_rivals_are_the_known_front_that_costs_no_more(tmp_path: Path) -> None:
    front = RivalFront(PROBLEM, "sync", lambda index: index - 2)
    front.add(asked(0), ended(tiles__accuracy_1d=0.8, tiles__avm=0.1, parameters=50.0))
    front.add(asked(1), ended(tiles__accuracy_1d=0.9, tiles__avm=0.1, parameters=500.0))  # larger than the candidate
    front.add(asked(2), ended(tiles__accuracy_1d=0.7, tiles__avm=0.2, parameters=10.0))  # beaten by 0 where it matters
    front.add(asked(3), ended(tiles__accuracy_1d=0.8, tiles__avm=0.1, parameters=20.0))  # as good as 0
    front.add(asked(4), ended(tiles__accuracy_1d=0.5, tiles__avm=0.0, parameters=50.0))
    front.add(asked(5), ended(tiles__accuracy_1d=0.2, tiles__avm=-0.5, parameters=50.0))  # misses the limit
    front.add(asked(6), ended(tiles__accuracy_1d=0.99, tiles__avm=0.0, parameters=1.0))  # not known for certain yet
    best, flat = {"tiles.accuracy_1d": 0.8, "tiles.avm": 0.1}, {"tiles.accuracy_1d": 0.5, "tiles.avm": 0.0}
    assert front.of(7, {"parameters": 100.0}) == (best, flat)
    assert front.of(3, {"parameters": 100.0}) == (best,)
    assert front.of(9, {"parameters": 100.0}) == ({"tiles.accuracy_1d": 0.99, "tiles.avm": 0.0},)
    assert front.of(7, {"parameters": 5.0}) == ()


def test_a_job_travels_with_its_rivals_under_the_same_id() -> None:
    alone, contested = job(), job({"tiles.accuracy_1d": 0.8})
    assert Job.from_json(contested.as_json()) == contested
    assert alone.id == contested.id
    assert "rivals" not in alone.as_json()


def test_a_rival_counts_where_it_is_no_worse_in_what_the_training_gave() -> None:
    problem = replace(PROBLEM, objectives=(*PROBLEM.objectives, Objective(metric="accuracy", direction=Direction.MAX, reference=0.0)))
    rivals = ({"tiles.accuracy_1d": 0.8, "tiles.avm": 0.1, "accuracy": 0.9}, {"tiles.accuracy_1d": 0.7, "tiles.avm": 0.2, "accuracy": 0.5})
    known = {"parameters": 100.0, "accuracy": 0.8}
    contest = contest_of(job(*rivals), problem, known, "tiles")
    assert [item.metric for item in contest.objectives] == ["accuracy_1d", "avm"]
    assert contest.rivals.tolist() == [[-0.8, 0.1]]
    assert contest.constraints == (Constraint(metric="accuracy_1d", lower=0.3),)
    assert not contest.lost
    # Another target measures whenever it is free: what it gives is not known for certain here, so nobody can be beaten in it.
    elsewhere = {**rivals[0], "host.latency_s": 1.0}
    three = replace(problem, objectives=(*problem.objectives, Objective(metric="host.latency_s", direction=Direction.MIN, reference=1.0)))
    assert len(contest_of(job(elsewhere), three, known, "tiles").rivals) == 0


def test_who_misses_a_limit_by_training_has_lost_before_it_is_programmed() -> None:
    problem = replace(PROBLEM, constraints=(Constraint(metric="accuracy", lower=0.5),))
    assert contest_of(job(), problem, {"accuracy": 0.4}, "tiles").lost
