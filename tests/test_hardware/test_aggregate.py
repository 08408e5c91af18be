"""Pipelines and list schedules against schedules worked by hand, and what holds for any of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.hardware.analytic.aggregate import as_predecessors, chain, list_schedule, pipeline_latency, sequence_latency

CANNOT = np.inf
MODEST = settings(max_examples=60, deadline=None)
WHOLE = st.integers(0, 50)


def test_layers_one_after_another_add_up_in_each_network() -> None:
    assert sequence_latency(np.array([3.0, 4, 5]), np.array([0, 2, 3])).tolist() == [7, 5]


def test_pipeline_worked_by_hand() -> None:
    durations_L, gaps_L, tails_L = np.array([10.0, 4, 6, 7]), np.array([2.0, 1, 5, 7]), np.array([10.0, 1, 3, 7])
    # First network: starts 0, 2, 3; finishes 10, max(2 + 4, 10 + 1) = 11, max(3 + 6, 11 + 3) = 14. Second network: one layer of 7.
    assert pipeline_latency(durations_L, gaps_L, tails_L, np.array([0, 3, 4])).tolist() == [14, 7]


@MODEST
@given(st.lists(st.lists(st.tuples(WHOLE, WHOLE, WHOLE), min_size=1, max_size=6), min_size=1, max_size=4))
def test_pipeline_lies_between_its_longest_layer_and_the_sum(networks: list[list[tuple[int, int, int]]]) -> None:
    rows = np.array([[sum(row), row[0], row[1]] for network in networks for row in network], dtype=float)
    durations_L, gaps_L, tails_L = rows.T  # gaps and tails are at most durations
    offsets = np.cumsum([0, *map(len, networks)])
    found_N = pipeline_latency(durations_L, gaps_L, tails_L, offsets)
    assert np.all(found_N >= np.maximum.reduceat(durations_L, offsets[:-1]))
    assert np.all(found_N <= sequence_latency(durations_L, offsets))


def test_list_schedule_worked_by_hand() -> None:
    # A diamond: 0 -> {1, 2} -> 3. Engine 1 runs task 2 only.
    durations = np.array([[2.0, CANNOT], [4, CANNOT], [5, 3], [1, CANNOT]])
    found = list_schedule(durations, as_predecessors([[], [0], [0], [1, 2]]))
    assert found.start.tolist() == [0, 2, 2, 6]
    assert found.finish.tolist() == [2, 6, 5, 7]
    assert found.engine.tolist() == [0, 0, 1, 0]
    assert found.makespan == 7


def test_tasks_wait_for_a_busy_engine_and_equal_engines_are_taken_in_order() -> None:
    found = list_schedule(np.full((3, 2), 2.0), as_predecessors([[], [], []]))
    assert found.engine.tolist() == [0, 1, 0]
    assert found.start.tolist() == [0, 0, 2]


def test_tasks_that_take_no_time_keep_no_engine() -> None:
    # Task 1 is ready at 5 and takes nothing; task 2 needs nothing and is not kept until 5 by it.
    found = list_schedule(np.array([[5.0, CANNOT], [CANNOT, 0], [CANNOT, 3]]), as_predecessors([[], [0], []]))
    assert found.finish.tolist() == [5, 5, 3]


def test_schedules_side_by_side_do_not_touch_each_other() -> None:
    rng = np.random.Generator(np.random.Philox(key=3))
    durations = rng.integers(1, 9, size=(4, 2, 5, 3)).astype(float)
    predecessors = as_predecessors([[], [0], [0], [1, 2], [2]])
    together = list_schedule(durations, predecessors)
    assert together.start.shape == (4, 2, 5)
    for place in np.ndindex(4, 2):
        alone = list_schedule(durations[place], predecessors)
        assert np.array_equal(alone.finish, together.finish[place])
        assert alone.makespan == together.makespan[place]


def test_each_schedule_may_have_predecessors_of_its_own() -> None:
    durations = np.full((2, 3, 2), 2.0)
    found = list_schedule(durations, np.stack([chain(3), np.full((3, 1), -1)]))
    assert found.makespan.tolist() == [6, 4]


@MODEST
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20), st.sets(WHOLE, max_size=3)), min_size=1, max_size=8))
def test_schedule_respects_order_and_engines(tasks: list[tuple[int, int, set[int]]]) -> None:
    durations = np.array([task[:2] for task in tasks], dtype=float)
    needs = [sorted({number % index for number in task[2]}) if index else [] for index, task in enumerate(tasks)]
    found = list_schedule(durations, as_predecessors(needs))
    taken = durations[np.arange(len(tasks)), found.engine]
    assert np.array_equal(found.finish - found.start, taken)
    for task, earlier in enumerate(needs):
        assert all(found.start[task] >= found.finish[other] for other in earlier)
    for engine in (0, 1):
        own = np.flatnonzero(found.engine == engine)
        assert np.all(found.start[own][1:] >= found.finish[own][:-1])
    assert durations.min(axis=1).max() <= found.makespan <= durations.sum(axis=0).min()


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="no engine that can run it"):
        list_schedule(np.array([[CANNOT, CANNOT]]), chain(1))
    with pytest.raises(ValueError, match="before their task"):
        list_schedule(np.ones((2, 1)), as_predecessors([[1], []]))
