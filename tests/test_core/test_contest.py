"""What is certain of a candidate whose metrics are known to lie within intervals."""

import numpy as np
import pytest

from paretune.core.contest import Contest, Fate
from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective

ACCURACY = Objective(metric="accuracy_1d", direction=Direction.MAX, reference=0.5)
AVM = Objective(metric="avm", direction=Direction.MIN, reference=0.2)


def contest(*rivals: tuple[float, float], constraints: tuple[Constraint, ...] = (), lost: bool = False) -> Contest:
    """Rivals as (accuracy, AVM)."""
    points = np.array([(-accuracy, avm) for accuracy, avm in rivals]).reshape(len(rivals), 2)
    return Contest(objectives=(ACCURACY, AVM), rivals=points, constraints=constraints, lost=lost)


@pytest.mark.parametrize(
    ("accuracy", "avm", "fate"),
    [
        ((0.6, 0.79), (0.11, 0.3), Fate.DOMINATED),  # at best 0.79 and 0.11 against 0.8 and 0.1
        ((0.6, 0.8), (0.11, 0.3), Fate.OPEN),  # it may be as accurate
        ((0.6, 0.79), (0.1, 0.3), Fate.OPEN),
        ((0.6, 0.9), (0.11, 0.3), Fate.OPEN),
        ((0.1, 0.2), (0.0, 0.0), Fate.OPEN),  # by no rival in both
    ],
)
def test_dominated_is_what_one_rival_beats_in_every_objective_at_its_best(
    accuracy: tuple[float, float], avm: tuple[float, float], fate: Fate
) -> None:
    rivals = contest((0.8, 0.1), (0.95, 0.4))
    assert rivals.fate({"accuracy_1d": accuracy, "avm": avm}) is fate


def test_two_rivals_that_are_better_in_one_objective_each_dominate_nobody() -> None:
    assert contest((0.9, 0.3), (0.5, 0.0)).fate({"accuracy_1d": (0.7, 0.7), "avm": (0.1, 0.1)}) is Fate.OPEN


@pytest.mark.parametrize(
    ("limit", "interval", "fate"),
    [
        (Constraint(metric="avm", upper=0.1), (0.11, 0.2), Fate.MISSES_LIMIT),
        (Constraint(metric="avm", upper=0.1), (0.1, 0.2), Fate.OPEN),
        (Constraint(metric="avm", lower=0.3), (0.1, 0.29), Fate.MISSES_LIMIT),
        (Constraint(metric="avm", lower=0.2), (0.1, 0.29), Fate.OPEN),
    ],
)
def test_a_limit_is_missed_where_the_whole_interval_is_beyond_it(limit: Constraint, interval: tuple[float, float], fate: Fate) -> None:
    assert contest(constraints=(limit,)).fate({"avm": interval}) is fate


def test_what_has_no_interval_may_be_anything() -> None:
    assert contest((1.0, 0.0)).fate({"accuracy_1d": (0.1, 0.1)}) is Fate.OPEN
    assert contest(constraints=(Constraint(metric="elsewhere", upper=0.0),)).fate({}) is Fate.OPEN


def test_what_missed_a_limit_before_has_lost() -> None:
    assert contest(lost=True).fate({}) is Fate.MISSES_LIMIT


def test_each_end_that_decides_is_counted_once_however_many_rivals() -> None:
    limits = (Constraint(metric="avm", upper=0.1), Constraint(metric="deviation_1d", upper=0.1, lower=0.0))
    ends = {("accuracy_1d", "max"), ("avm", "min"), ("deviation_1d", "min"), ("deviation_1d", "max")}
    assert contest((0.8, 0.1), (0.9, 0.2), constraints=limits).ends == ends
    assert contest(constraints=limits).ends == ends - {("accuracy_1d", "max")}
