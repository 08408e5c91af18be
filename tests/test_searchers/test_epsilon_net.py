"""Which candidates deserve more training: fronts, epsilon-nets, limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretune.core.pareto import constrained_ranks
from paretune.searchers.epsilon_net import epsilon_net_order, most_deserving


def test_a_net_takes_the_best_first_then_always_the_farthest() -> None:
    # Scaled by the range (10 and 100): (0,1) (.1,.8) (.5,.5) (1,0). Best of the first objective is row 0, farthest from it row 3;
    # from {0, 3} row 2 has distance sqrt(.5) = .71 and row 1 only .22.
    points_NM = np.array([[0.0, 100.0], [1.0, 80.0], [5.0, 50.0], [10.0, 0.0]])
    assert epsilon_net_order(points_NM).tolist() == [0, 3, 2, 1]


def test_a_net_goes_on_from_what_was_taken_before() -> None:
    # The points above, with (0, 100) taken before: farthest from it is row 3, then rows 2, 1 and, equal to the earlier one, 0.
    points_NM = np.array([[0.0, 100.0], [1.0, 80.0], [5.0, 50.0], [10.0, 0.0]])
    assert epsilon_net_order(points_NM, points_NM[:1]).tolist() == [3, 2, 1, 0]
    assert most_deserving(points_NM, np.zeros(4), 1, earlier_KM=points_NM[[0, 3]]).tolist() == [2]
    assert epsilon_net_order(points_NM, np.zeros((0, 2))).tolist() == epsilon_net_order(points_NM).tolist()


def test_units_do_not_matter() -> None:
    rng = np.random.default_rng(5)
    points_NM = rng.random((12, 3))
    assert np.array_equal(epsilon_net_order(points_NM), epsilon_net_order(points_NM * [1.0, 1e6, 1e-6]))


def test_an_inner_front_is_reached_only_when_the_outer_one_is_spent() -> None:
    # Front 0: rows 1, 3. Front 1: rows 0, 2.
    points_NM = np.array([[2.0, 2.0], [1.0, 1.5], [3.0, 1.8], [1.5, 1.0]])
    assert most_deserving(points_NM, np.zeros(4), 2).tolist() == [1, 3]
    assert set(most_deserving(points_NM, np.zeros(4), 4)[2:].tolist()) == {0, 2}


def test_one_objective_is_the_order_of_its_values_and_of_arrival_where_they_are_equal() -> None:
    assert most_deserving(np.array([[3.0], [1.0], [2.0], [1.0], [np.inf]]), np.zeros(5), 4).tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize("num_objectives", [1, 2])
def test_what_breaks_a_limit_comes_last_by_how_much(num_objectives: int) -> None:
    points_NM = np.repeat([[1.0], [2.0], [3.0]], num_objectives, axis=1)
    assert most_deserving(points_NM, np.array([0.5, 0.1, 0.0]), 3).tolist() == [2, 1, 0]


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 15), st.integers(1, 3)), elements=st.integers(0, 4).map(float)),
    st.integers(1, 15),
    st.booleans(),
)
def test_nobody_chosen_has_a_worse_rank_than_somebody_left_out(points_NM: np.ndarray, count: int, limited: bool) -> None:
    violations_N = points_NM[:, 0] - 2.0 if limited else np.zeros(len(points_NM))
    chosen = most_deserving(points_NM, violations_N, count)
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(points_NM))
    ranks_N = constrained_ranks(points_NM, violations_N)
    left = np.setdiff1d(np.arange(len(points_NM)), chosen)
    assert not len(left) or ranks_N[chosen].max() <= ranks_N[left].min()


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(2, 12), st.just(2)), elements=st.floats(0, 1, width=16)))
def test_each_prefix_covers_the_rest_within_twice_the_best_radius(points_NM: np.ndarray) -> None:
    # Gonzalez 1985: the points that farthest-first leaves out are no farther than the distance between any two taken.
    order = epsilon_net_order(points_NM)
    spread_NM = points_NM - points_NM.min(axis=0)
    spread_NM = spread_NM / np.where(spread_NM.max(axis=0) > 0, spread_NM.max(axis=0), 1.0)
    distances_NN = np.linalg.norm(spread_NM[:, None] - spread_NM[None], axis=2)
    for size in range(2, len(order)):
        taken, rest = order[:size], order[size:]
        between = distances_NN[np.ix_(taken, taken)][~np.eye(size, dtype=bool)].min()
        assert distances_NN[np.ix_(rest, taken)].min(axis=1).max() <= between + 1e-9
