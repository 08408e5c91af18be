"""Successive halving as a policy: rungs, verdicts by hand, independence of the order, nobody forgotten."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput
from paretune.searchers.rungs import AsynchronousHalving, Halving, Ladder, SynchronousHalving, Verdict

LADDER = Ladder(min_epochs=1, max_epochs=9, eta=3)


def report(halving: Halving, key: int, value: float, rung: int = 0) -> Verdict:
    return halving.report(key, rung=rung, point_M=np.array([value]), violation=0.0)


@pytest.mark.parametrize(
    ("least", "most", "eta", "rungs"),
    [(1, 9, 3, (1, 3, 9)), (1, 10, 3, (1, 3, 10)), (1, 8, 3, (1, 8)), (2, 50, 4, (2, 8, 50)), (1, 8, 2, (1, 2, 4, 8)), (5, 10, 2, (5, 10))],
)
def test_rungs_grow_by_eta_and_the_last_step_is_no_smaller(least: int, most: int, eta: int, rungs: tuple[int, ...]) -> None:
    assert Ladder(min_epochs=least, max_epochs=most, eta=eta).epochs == rungs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_epochs": 4, "max_epochs": 9, "eta": 3}, "min_epochs: .* no second rung above 4 with eta 3; at most 3"),
        ({"min_epochs": 1, "max_epochs": 2, "eta": 3}, "eta: a full training of 2 epochs leaves no second rung"),
        ({"min_epochs": 0, "max_epochs": 9}, "min_epochs: must be at least 1"),
        ({"min_epochs": 1, "max_epochs": 9, "eta": 1}, "eta: must be at least 2"),
    ],
)
def test_impossible_rungs_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Ladder(**options)


def test_asynchronous_halving_judges_every_eta_results_against_all_of_the_rung() -> None:
    halving = AsynchronousHalving(LADDER)
    assert [report(halving, 0, 5.0), report(halving, 1, 4.0)] == [Verdict(), Verdict()]
    assert report(halving, 2, 6.0) == Verdict(promoted=(1,), stopped=(0, 2))  # best 1 of 3
    report(halving, 3, 4.5)
    report(halving, 4, 3.0)
    # Best 2 of 6 are 4 (3.0) and 1 (4.0): 3 was better than most, but not among them.
    assert report(halving, 5, 7.0) == Verdict(promoted=(4,), stopped=(3, 5))
    assert report(halving, 1, 9.0, rung=1) == Verdict()
    assert halving.finish() == Verdict(promoted=(1,))  # alone in its rung


def test_with_patience_1_each_result_is_judged_as_it_comes() -> None:
    halving = AsynchronousHalving(LADDER, patience=1)
    verdicts = [report(halving, key, value) for key, value in enumerate([5.0, 4.0, 6.0, 4.5, 3.0, 3.5])]
    # Quotas 1 1 1 1 1 2: 0 leads, 1 beats it, 4 beats 1, 5 is second of six.
    assert [bool(verdict.promoted) for verdict in verdicts] == [True, True, False, False, True, True]


def test_a_cohort_is_judged_when_all_have_reached_the_rung() -> None:
    halving = SynchronousHalving(LADDER, cohort=6)
    for key in range(6):
        assert halving.enter(key) == Verdict()
    for key in (5, 3, 1, 0, 2):
        assert report(halving, key, float(key)) == Verdict()
    assert report(halving, 4, 4.0) == Verdict(promoted=(0, 1), stopped=(2, 3, 4, 5))  # 6 / 3 = 2
    assert report(halving, 1, 0.5, rung=1) == Verdict()
    assert report(halving, 0, 0.6, rung=1) == Verdict(promoted=(1,), stopped=(0,))  # 2 // 3, but at least one


def test_failures_hold_no_cohort_up_and_count_as_beaten() -> None:
    halving = SynchronousHalving(LADDER, cohort=3)
    for key in range(3):
        halving.enter(key)
    halving.fail(0, rung=0)
    halving.fail(1, rung=0)
    assert report(halving, 2, 1.0) == Verdict(promoted=(2,))
    assert halving.fail(2, rung=1) == Verdict()  # nobody is left
    asynchronous = AsynchronousHalving(LADDER)
    for key in range(3):
        asynchronous.fail(key, rung=0)
    report(asynchronous, 3, 1.0)
    report(asynchronous, 4, 2.0)
    assert report(asynchronous, 5, 3.0).promoted == (3, 4)  # best 2 of 6


def test_a_cohort_that_is_closed_early_is_compared_as_it_is() -> None:
    halving = SynchronousHalving(LADDER, cohort=100)
    for key in range(4):
        halving.enter(key)
        report(halving, key, float(key))
    assert halving.first_open == 0
    assert halving.close() == Verdict(promoted=(0,), stopped=(1, 2, 3))
    assert halving.first_open is None


FRONT = [np.array([0.0, 10.0]), np.array([10.0, 0.0]), np.array([20.0, 20.0])]
"""Two points of a front and a dominated one."""


@pytest.mark.parametrize(("settled", "second"), [(3, 4), (0, 3)])
def test_small_cohorts_do_not_always_send_up_the_best_of_the_first_objective(settled: int, second: int) -> None:
    halving, promoted = SynchronousHalving(LADDER, cohort=3), list[int]()
    for key in range(6):
        halving.enter(key, settled=settled if key >= 3 else 0)
    for key in range(6):
        promoted += halving.report(key, rung=0, point_M=FRONT[key % 3], violation=0.0).promoted
    # The first cohort sends its best of the first objective. The second, of the same points, sends the other end of the front if it was
    # known for certain who had gone on; if not, it must not depend on that.
    assert promoted == [0, second]


def drive(halving: Halving, values: list[float], order: random.Random, *, failing: frozenset[int]) -> dict[int, int]:
    """Train everybody with up to four at a time; the highest rung that each reached. Results improve a little with the rung."""
    reached: dict[int, int] = {}
    waiting, running = list(range(len(values))), list[tuple[int, int]]()
    decided: list[int] = []

    def act(verdict: Verdict) -> None:
        running.extend((key, reached[key] + 1) for key in verdict.promoted)
        decided.extend(verdict.stopped)

    while waiting or running:
        if waiting and len(running) < 4:
            key = waiting.pop(0)
            act(halving.enter(key))
            running.append((key, 0))
            if not waiting and isinstance(halving, SynchronousHalving):
                act(halving.finish())
            continue
        key, rung = running.pop(order.randrange(len(running)))
        reached[key] = rung
        if key in failing and rung == 1:
            decided.append(key)
            act(halving.fail(key, rung=rung))
        elif rung == LADDER.top:
            decided.append(key)
        else:
            act(report(halving, key, values[key] / (rung + 1), rung))
        if not running and not waiting:
            act(halving.finish())
    assert sorted(decided) == list(range(len(values)))  # each candidate's fate is decided, once
    return reached


VALUES = st.lists(st.integers(0, 30).map(float), min_size=1, max_size=40)


@settings(max_examples=50, deadline=None)
@given(VALUES, st.integers(0, 2**32), st.integers(0, 2**32), st.frozensets(st.integers(0, 40), max_size=3))
def test_synchronous_verdicts_do_not_depend_on_the_order_of_results(
    values: list[float], first: int, second: int, failing: frozenset[int]
) -> None:
    reached = [drive(SynchronousHalving(LADDER, cohort=9), values, random.Random(seed), failing=failing) for seed in (first, second)]
    assert reached[0] == reached[1]


@settings(max_examples=50, deadline=None)
@given(VALUES, st.integers(0, 2**32), st.integers(1, 5))
def test_asynchronous_halving_forgets_nobody_and_trains_the_best_fully(values: list[float], seed: int, patience: int) -> None:
    reached = drive(AsynchronousHalving(LADDER, patience=patience), values, random.Random(seed), failing=frozenset())
    assert set(reached) == set(range(len(values)))
    best = min(values)
    assert max(reached[key] for key, value in enumerate(values) if value == best) == LADDER.top
