"""Costs that are known are computed and not predicted, and limits on them are held by everything that is asked."""

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paretune.core.genotype import Genotypes
from paretune.core.objectives import Constraint
from paretune.searchers import known_costs
from paretune.searchers.auto import Auto
from paretune.searchers.known_costs import KnownCosts
from paretune.searchers.predictor_guided import PredictorGuided
from paretune.testing.problems import KnownFront, known_front_problem
from paretune.testing.searcher import drive

SMALL, LARGE = known_front_problem(), known_front_problem(num_stages=12, widest=4)


class Counted:
    """The parameters and latency of a known problem, and how often they were asked for."""

    def __init__(self, known: KnownFront) -> None:
        self._known = known
        self.calls: list[int] = []

    def __call__(self, genotypes_ND: Genotypes) -> Mapping[str, NDArray[np.float64]]:
        self.calls.append(len(genotypes_ND))
        metrics = [self._known.evaluate(tuple(row)) for row in genotypes_ND.tolist()]
        return {name: np.array([found[name] for found in metrics]) for name in ("parameters", "table.latency_s")}


def guided(known: KnownFront, *limits: Constraint, costs: Counted | None = None, **options: object) -> PredictorGuided:
    chosen = {"initial": 8, "batch": 6, "pool": 1000, "predictor": "gaussian_process", "costs": costs or Counted(known), **options}
    return PredictorGuided(known.space, replace(known.problem, constraints=limits), seed=1, **chosen)  # type: ignore[arg-type]


def test_what_is_known_has_no_predictor_and_no_expectation() -> None:
    searcher = guided(SMALL, Constraint(metric="parameters", upper=9000.0))
    trials = drive(searcher, SMALL, num_candidates=30)
    assert searcher.state_dict()["chosen"] == {"accuracy": "gaussian_process"}
    expected = [searcher.expected(trial.ask_index, trial.genotype) for trial in trials]
    assert {name for found in expected for name in found} == {"accuracy"}


@pytest.mark.parametrize("known", [SMALL, LARGE], ids=["listed", "bred"])
@pytest.mark.parametrize("acquisition", ["hypervolume", "rank"])
def test_nothing_is_asked_that_misses_a_known_limit(known: KnownFront, acquisition: str) -> None:
    costs = Counted(known)
    some = costs(
        np.random.default_rng(0).integers(0, [len(item.choices) for item in known.space.decisions], (2000, len(known.space.decisions)))
    )
    limit = Constraint(metric="table.latency_s", upper=float(np.quantile(some["table.latency_s"], 0.05)))
    trials = drive(guided(known, limit, acquisition=acquisition), known, num_candidates=40)
    assert [limit.violation(trial.metrics["table.latency_s"]) for trial in trials] == [0.0] * 40
    unguarded = drive(
        PredictorGuided(known.space, replace(known.problem, constraints=(limit,)), seed=1, initial=8), known, num_candidates=8
    )
    assert any(limit.violation(trial.metrics["table.latency_s"]) > 0 for trial in unguarded)


def test_a_limit_that_nothing_random_meets_is_approached() -> None:
    # The narrowest of 12 stages: 1 in 5 ** 12.
    limit = Constraint(metric="parameters", upper=LARGE.evaluate((0,) * len(LARGE.space.decisions))["parameters"])
    trials = drive(guided(LARGE, limit, offspring=0.0), LARGE, num_candidates=30)
    sizes = [trial.metrics["parameters"] for trial in trials]
    assert min(sizes[8:]) < min(sizes[:8])


def test_a_problem_of_known_metrics_alone_needs_no_predictor() -> None:
    problem = replace(SMALL.problem, objectives=(SMALL.problem.objectives[1],))
    searcher = PredictorGuided(SMALL.space, problem, seed=0, initial=4, costs=Counted(SMALL))
    trials = drive(searcher, SMALL, num_candidates=10)
    least = min(SMALL.evaluate(tuple(row))["table.latency_s"] for row in SMALL.space.members().tolist())
    assert min(trial.metrics["table.latency_s"] for trial in trials) == least


def test_a_pool_is_costed_once_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_costs, "CHUNK", 100)
    costs = Counted(SMALL)
    known = KnownCosts(SMALL.space, replace(SMALL.problem, constraints=(Constraint(metric="parameters", upper=3000.0),)), costs)
    pool_ND = SMALL.space.members()[:250]
    pool_ND.flags.writeable = False
    costs.calls.clear()
    whole = known.of(pool_ND)
    known.violations(pool_ND)
    assert costs.calls == [100, 100, 50]
    assert list(whole) == ["table.latency_s", "parameters"]
    assert whole["parameters"].tolist() == [SMALL.evaluate(tuple(row))["parameters"] for row in pool_ND.tolist()]


def test_a_searcher_from_its_state_asks_the_same_and_auto_hands_costs_on() -> None:
    limit = Constraint(metric="parameters", upper=17_000.0)
    searcher = guided(LARGE, limit)
    drive(searcher, LARGE, num_candidates=18)
    copy = guided(LARGE, limit)
    copy.load_state_dict(json.loads(json.dumps(searcher.state_dict())))
    assert np.array_equal(searcher.ask(4), copy.ask(4))
    problem = replace(LARGE.problem, constraints=(limit,))
    auto, plain = Auto(LARGE.space, problem, seed=1, costs=Counted(LARGE)), Auto(LARGE.space, problem, seed=1)
    assert [limit.violation(LARGE.evaluate(tuple(row))["parameters"]) for row in auto.ask(9).tolist()] == [0.0] * 9
    assert any(limit.violation(LARGE.evaluate(tuple(row))["parameters"]) for row in plain.ask(9).tolist())


@given(
    values=st.lists(st.floats(allow_infinity=False), max_size=5),
    bounds=st.lists(st.sampled_from([-np.inf, -2.0, 0.0, 1e-3, 5.0, np.inf]), min_size=2, max_size=2),
)
def test_violations_of_many_are_those_of_each(values: list[float], bounds: list[float]) -> None:
    limit = Constraint(metric="m", lower=min(bounds), upper=max(bounds))
    with np.errstate(over="ignore"):
        found = limit.violations(np.array(values))
    assert found.tolist() == [limit.violation(value) for value in values]
