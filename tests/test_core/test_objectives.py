import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput
from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.pareto import constrained_ranks, dominates
from paretune.core.trial import Outcome, Trial
from paretune.testing.strategies import FINITE, problems, spaces, trials

ACCURACY = Objective(metric="accuracy", direction=Direction.MAX, reference=0.5)
LATENCY = Objective(metric="host.latency_s", direction=Direction.MIN, reference=0.01)
PROBLEM = Problem(objectives=(ACCURACY, LATENCY), constraints=(Constraint(metric="parameters", upper=1000.0),))
MODEST = settings(max_examples=60, deadline=None)


def trial(outcome=Outcome.OK, **metrics):
    return Trial(ask_index=0, genotype=(0,), outcome=outcome, metrics=metrics)


def test_what_is_maximised_changes_sign_once():
    metrics = {"accuracy": 0.9, "host.latency_s": 0.002}
    assert PROBLEM.minimised(metrics).tolist() == [-0.9, 0.002]
    assert PROBLEM.reference.tolist() == [-0.5, 0.01]
    assert PROBLEM.natural(PROBLEM.minimised(metrics)) == metrics


@MODEST
@given(problems(), st.data())
def test_natural_undoes_minimised(problem, data):
    metrics = {objective.metric: data.draw(FINITE) for objective in problem.objectives}
    assert problem.natural(problem.minimised(metrics)) == metrics


@MODEST
@given(FINITE, FINITE, st.sampled_from(Direction))
def test_better_metrics_dominate(a, b, direction):
    problem = Problem(objectives=(Objective(metric="x", direction=direction, reference=0.0),))
    better = a > b if direction is Direction.MAX else a < b
    assert dominates(problem.minimised({"x": a}), problem.minimised({"x": b})) == better


@pytest.mark.parametrize("missing", [{}, {"accuracy": math.nan}, {"accuracy": -math.inf}, {"accuracy": math.inf}])
def test_a_missing_or_non_finite_metric_is_infinitely_bad(missing):
    # Also an accuracy of +inf, which would be infinitely good: nothing that is measured is infinite.
    assert PROBLEM.minimised({"host.latency_s": 0.001} | missing).tolist() == [math.inf, 0.001]


def test_violation_is_relative_to_the_limit():
    # 1,200 parameters of 1,000 allowed: 200 / 1,000 = 0.2. 0.02 s where at least 0.05 s is asked: 0.03 / 0.05 = 0.6.
    assert Constraint(metric="x", upper=1000.0).violation(1200.0) == pytest.approx(0.2)
    assert Constraint(metric="x", lower=0.05).violation(0.02) == pytest.approx(0.6)
    assert Constraint(metric="x", upper=-2.0).violation(-1.0) == pytest.approx(0.5)


def test_violation_of_a_limit_of_zero_is_absolute():
    assert Constraint(metric="x", upper=0.0).violation(3.0) == 3.0


def test_violations_add_up():
    # 0.5 from parameters (1,500 of 1,000) and 1.0 from latency (0.02 of 0.01).
    problem = Problem(objectives=(ACCURACY,), constraints=(Constraint(metric="p", upper=1000.0), Constraint(metric="l", upper=0.01)))
    assert problem.violation({"p": 1500.0, "l": 0.02}) == pytest.approx(1.5)
    assert problem.violation({"p": 1500.0}) == math.inf
    assert problem.known_violation({"p": 1500.0}) == pytest.approx(0.5)
    assert problem.known_violation({}) == 0.0


@MODEST
@given(FINITE, FINITE, FINITE, st.booleans(), st.booleans())
def test_violation_is_zero_exactly_inside_the_limits(a, b, value, has_lower, has_upper):
    lower, upper = min(a, b) if has_lower else -math.inf, max(a, b) if has_upper else math.inf
    violation = Constraint(metric="x", lower=lower, upper=upper).violation(value)
    assert violation >= 0
    assert (violation == 0) == (lower <= value <= upper)


@MODEST
@given(FINITE, st.floats(0, 1e6), st.floats(0, 1e6))
def test_violation_grows_with_the_distance(upper, near, far):
    constraint = Constraint(metric="x", upper=upper)
    near, far = sorted((near, far))
    assert constraint.violation(upper + near) <= constraint.violation(upper + far)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_cannot_be_compared_violates_infinitely(value):
    assert Constraint(metric="x", upper=1.0).violation(value) == math.inf


def test_a_gated_candidate_keeps_the_violation_of_its_free_costs():
    point, violation = PROBLEM.score(trial(Outcome.INFEASIBLE, parameters=1100.0))
    assert point.tolist() == [math.inf, math.inf]
    assert violation == pytest.approx(0.1)


def test_a_gated_candidate_without_a_known_violation_is_still_infeasible():
    assert PROBLEM.score(trial(Outcome.INFEASIBLE))[1] > 0


def test_failures_rank_below_every_candidate_with_metrics():
    good = trial(accuracy=0.9, **{"host.latency_s": 0.001, "parameters": 900.0})
    over = trial(accuracy=0.9, **{"host.latency_s": 0.001, "parameters": 5e9})
    gated = trial(Outcome.INFEASIBLE, parameters=1100.0)
    failed = trial(Outcome.DIVERGED, parameters=10.0)
    scores = [PROBLEM.score(item) for item in (failed, over, good, gated)]
    ranks = constrained_ranks(np.array([point for point, _ in scores]), np.array([violation for _, violation in scores]))
    assert ranks.tolist() == [3, 2, 0, 1]


@MODEST
@given(st.data())
def test_only_ok_trials_within_the_limits_are_feasible(data):
    problem = data.draw(problems())
    scored = data.draw(trials(space=data.draw(spaces()), problem=problem))
    point, violation = problem.score(scored)
    assert point.shape == (len(problem.objectives),)
    assert violation >= 0
    if scored.outcome is not Outcome.OK:
        assert violation > 0
    elif not problem.constraints:
        assert violation == 0


def test_metrics_are_listed_once_in_order():
    problem = Problem(
        objectives=(ACCURACY, LATENCY), constraints=(Constraint(metric="accuracy", lower=0.1), Constraint(metric="area_mm2", upper=1.0))
    )
    assert problem.metrics == ("accuracy", "host.latency_s", "area_mm2")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Problem(objectives=()), "objectives: at least one"),
        (lambda: Problem(objectives=(ACCURACY, LATENCY, ACCURACY)), r"objectives\[2\]: 'accuracy' is already objectives\[0\]"),
        (lambda: Objective(metric="x", direction=Direction.MIN, reference=math.inf), "reference must be finite"),
        (lambda: Constraint(metric="x", lower=2.0, upper=1.0), "no value is at least 2.0 and at most 1.0"),
        (lambda: Constraint(metric="x", upper=math.nan), "x: no value"),
    ],
)
def test_senseless_problems_are_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


def test_objectives_that_nothing_measures_are_named_with_the_nearest():
    with pytest.raises(BadInput, match=r"'host.latency_s'.*Did you mean 'host.latency_ns'.*'parameters'"):
        PROBLEM.check_produced(("accuracy", "host.latency_ns"))
    PROBLEM.check_produced(("accuracy", "host.latency_s", "parameters", "more"))
