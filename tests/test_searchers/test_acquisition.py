import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from paretune.core.pareto import hypervolume
from paretune.searchers.acquisition import ImprovementGrid, log_feasibility


def identity(values):
    return values


def grid_of(front, reference, means, **options):
    num_objectives = len(reference)
    return ImprovementGrid(
        np.asarray(front, dtype=float).reshape(-1, num_objectives),
        np.asarray(reference, dtype=float),
        means,
        [identity] * num_objectives,
        **options,
    )


def test_expected_improvement_of_one_objective_is_the_closed_form():
    # Best so far 1.0; mean 0.8, deviation 0.5: z = 0.4, EI = 0.5 * (0.4 * Phi(0.4) + phi(0.4)).
    means, deviations = np.array([[0.8]]), np.array([[0.5]])
    expected = 0.5 * (0.4 * norm.cdf(0.4) + norm.pdf(0.4))
    assert grid_of([[1.0]], [5.0], means).gains(means, deviations)[0] == pytest.approx(expected)


def test_a_certain_candidate_gains_the_hypervolume_it_adds():
    # Front (1,3) (2,2) (3,1) against (4,4). (1.5, 1.5) adds [1.5,2]x[1.5,3] + [2,3]x[1.5,2] = 0.75 + 0.5; (0.5, 3.5) adds [0.5,1]x[3.5,4].
    front, reference = np.array([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), np.array([4.0, 4.0])
    means = np.array([(1.5, 1.5), (2.5, 2.5), (0.5, 3.5)])
    gains = grid_of(front, reference, means).gains(means, np.full((3, 2), 1e-9))
    added = [hypervolume(np.vstack([front, point]), reference) - hypervolume(front, reference) for point in means]
    assert added == pytest.approx([1.25, 0.0, 0.25])
    assert gains == pytest.approx(added, abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), num_objectives=st.integers(2, 3))
def test_the_grid_agrees_with_sampling(seed, num_objectives):
    rng = np.random.default_rng(seed)
    front, reference = rng.random((5, num_objectives)), np.full(num_objectives, 1.2)
    means, deviations = rng.random((4, num_objectives)), 0.05 + 0.3 * rng.random((4, num_objectives))
    gains = grid_of(front, reference, means).gains(means, deviations)
    before = hypervolume(front, reference)
    for row in range(4):
        draws = means[row] + deviations[row] * rng.standard_normal((1500, num_objectives))
        sampled = np.array([hypervolume(np.vstack([front, draw]), reference) - before for draw in draws])
        assert gains[row] == pytest.approx(sampled.mean(), abs=5 * sampled.std() / np.sqrt(1500) + 0.01)


def test_what_is_taken_brings_nothing_more_and_its_neighbours_little():
    means = np.array([(0.2, 0.2), (0.21, 0.21), (0.05, 0.9)])
    deviations = np.full((3, 2), 0.01)
    grid = grid_of([], [1.0, 1.0], means)
    before = grid.gains(means, deviations)
    grid.take(means[0], deviations[0])
    after = grid.gains(means, deviations)
    assert after[0] < 0.1 * before[0]
    assert after[1] < 0.1 * before[1]
    assert after[2] > 0.1 * before[2] > 0


def test_volume_counts_in_the_natural_scale():
    # On a scale that halves what lies beyond 1, the natural volume of the unit interval from 1 is 2.
    means = np.array([[0.0]])
    grid = ImprovementGrid(np.zeros((0, 1)), np.array([2.0]), means, [lambda x: np.where(x > 1, 1 + 2 * (x - 1), x)])
    assert grid.gains(means, np.array([[1e-9]]))[0] == pytest.approx(3.0, abs=0.05)


def test_feasibility_multiplies_over_limits():
    means, deviations = np.array([(1.0, 5.0), (3.0, 5.0)]), np.ones((2, 2))
    found = np.exp(log_feasibility(means, deviations, [(-np.inf, 1.0), (5.0, np.inf)]))
    assert found == pytest.approx([0.25, norm.cdf(-2) * 0.5])
    assert log_feasibility(np.array([[1e6]]), np.ones((1, 1)), [(-np.inf, 0.0)])[0] < -1e9
    assert log_feasibility(np.zeros((3, 0)), np.zeros((3, 0)), []).tolist() == [0, 0, 0]
