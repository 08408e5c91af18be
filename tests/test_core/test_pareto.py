import math

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paretune.core.pareto import (
    ParetoArchive,
    constrained_ranks,
    crowding_distances,
    dominates,
    hypervolume,
    non_dominated,
    pareto_ranks,
)

# Few different values, so that ties and equal points are common; infinities as failed candidates have them.
VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0])
VALUES_OR_INFINITE = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf])
MODEST = settings(max_examples=60, deadline=None)


def point_sets(values=VALUES, *, max_points=12, max_objectives=4, min_objectives=1):
    shapes = st.tuples(st.integers(1, max_points), st.integers(min_objectives, max_objectives))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=values))


def dominates_by_definition(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def ranks_by_peeling(points):
    """Oracle: take the non-dominated points away, again and again."""
    ranks, left, rank = [-1] * len(points), set(range(len(points))), 0
    while left:
        front = {i for i in left if not any(dominates_by_definition(points[j], points[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left -= front
        rank += 1
    return ranks


def volume_by_counting(points, reference):
    """Oracle: unit cells below an integer reference that some integer point dominates."""
    cells = np.indices(tuple(int(r) for r in reference)).reshape(len(reference), -1).T
    return float(sum(any(np.all(point <= cell) for point in points) for cell in cells))


def test_front_of_three_steps_has_the_volume_worked_by_hand():
    # Against (4, 4): from (3, 1) 1 x 3, from (2, 2) the strip 1 x 2 beside it, from (1, 3) the strip 1 x 1: 3 + 2 + 1 = 6.
    assert hypervolume(np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]), np.array([4.0, 4.0])) == 6.0


def test_volume_of_two_overlapping_boxes_in_three_objectives():
    # Against (3, 3, 3): (1, 1, 2) bounds 2*2*1 = 4, (2, 2, 0) bounds 1*1*3 = 3, both 1*1*1 = 1: 4 + 3 - 1 = 6.
    assert hypervolume(np.array([[1.0, 1.0, 2.0], [2.0, 2.0, 0.0]]), np.array([3.0, 3.0, 3.0])) == 6.0


def test_volume_of_one_objective_is_the_best_improvement():
    assert hypervolume(np.array([[5.0], [2.0], [9.0]]), np.array([7.0])) == 5.0


def test_points_on_or_beyond_the_reference_and_failed_ones_add_nothing():
    reference = np.array([4.0, 4.0])
    outside = np.array([[4.0, 0.0], [0.0, 4.0], [5.0, 1.0], [math.inf, math.inf], [math.nan, 1.0]])
    assert hypervolume(outside, reference) == 0.0
    assert hypervolume(np.vstack([outside, [[2.0, 2.0]]]), reference) == 4.0
    assert hypervolume(np.zeros((0, 2)), reference) == 0.0


def test_volume_refuses_a_reference_of_another_dimension():
    with pytest.raises(ValueError, match="points have 2 objectives, the reference 3"):
        hypervolume(np.zeros((1, 2)), np.ones(3))


@MODEST
@given(point_sets(max_points=6, max_objectives=3))
def test_volume_equals_the_counted_cells(points):
    reference = np.full(points.shape[1], 4.0)
    assert hypervolume(points, reference) == volume_by_counting(points[np.all(points < reference, axis=1)], reference)


@MODEST
@given(arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 4)), elements=st.floats(-100, 100)))
def test_volume_and_ranks_equal_those_of_moocore(points):
    reference = np.full(points.shape[1], 101.0)
    assert hypervolume(points, reference) == pytest.approx(moocore.hypervolume(points, ref=reference), rel=1e-12)
    assert np.array_equal(pareto_ranks(points), moocore.pareto_rank(points))
    assert np.array_equal(non_dominated(points), moocore.is_nondominated(points, keep_weakly=True))


@MODEST
@given(point_sets(max_objectives=3), st.randoms(use_true_random=False))
def test_volume_never_falls_when_a_point_is_added_and_ignores_order(points, shuffler):
    reference = np.full(points.shape[1], 4.0)
    volumes = [hypervolume(points[:count], reference) for count in range(len(points) + 1)]
    assert volumes == sorted(volumes)
    order = list(range(len(points)))
    shuffler.shuffle(order)
    assert hypervolume(points[order], reference) == volumes[-1]


@MODEST
@given(point_sets(VALUES_OR_INFINITE))
def test_ranks_equal_those_of_peeling_front_by_front(points):
    assert pareto_ranks(points).tolist() == ranks_by_peeling(points.tolist())


@MODEST
@given(point_sets(VALUES_OR_INFINITE))
def test_no_front_member_dominates_another_and_every_point_left_out_is_dominated(points):
    mask = non_dominated(points)
    assert mask.any()
    for i, point in enumerate(points):
        assert mask[i] == (not any(dominates_by_definition(other, point) for other in points))


@MODEST
@given(point_sets(VALUES_OR_INFINITE, max_points=2))
def test_dominance_is_its_definition(points):
    assert dominates(points[0], points[-1]) == dominates_by_definition(points[0], points[-1])


def test_no_points_have_no_ranks():
    assert pareto_ranks(np.zeros((0, 2))).tolist() == []
    assert constrained_ranks(np.zeros((0, 2)), np.zeros(0)).tolist() == []
    assert non_dominated(np.zeros((0, 3))).tolist() == []
    assert crowding_distances(np.zeros((0, 2)), np.zeros(0, dtype=np.int64)).tolist() == []


def test_feasible_points_come_first_and_the_others_by_violation():
    # Feasible: (3, 3) is dominated by (2, 2), ranks 1 and 0. Infeasible: violations 0.1 < 0.5 = 0.5 < inf, ranks 2, 3, 3, 4,
    # although (0, 0) would dominate everything.
    points = np.array([[3.0, 3.0], [0.0, 0.0], [2.0, 2.0], [1.0, 1.0], [math.inf, math.inf], [9.0, 9.0]])
    violations = np.array([0.0, 0.5, 0.0, 0.1, math.inf, 0.5])
    assert constrained_ranks(points, violations).tolist() == [1, 3, 0, 2, 4, 3]


def constrained_dominates(a, violation_a, b, violation_b):
    """Deb's definition, pair by pair."""
    if violation_a <= 0 and violation_b <= 0:
        return dominates_by_definition(a, b)
    return violation_a < violation_b


@MODEST
@given(point_sets(VALUES_OR_INFINITE), st.data())
def test_constrained_ranks_agree_with_pairwise_constrained_dominance(points, data):
    violations = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0, math.inf]), min_size=len(points), max_size=len(points))))
    ranks = constrained_ranks(points, violations)
    assert sorted(set(ranks.tolist())) == list(range(ranks.max() + 1))
    for i in range(len(points)):
        better = [j for j in range(len(points)) if constrained_dominates(points[j], violations[j], points[i], violations[i])]
        assert ranks[i] == (1 + max(ranks[j] for j in better) if better else 0)


def test_crowding_distance_worked_by_hand():
    # One front (0, 4) (1, 2) (3, 1) (4, 0); spans 4 and 4. (1, 2): (3 - 0)/4 + (4 - 1)/4 = 1.5; (3, 1): (4 - 1)/4 + (2 - 0)/4 = 1.25.
    points = np.array([[3.0, 1.0], [0.0, 4.0], [4.0, 0.0], [1.0, 2.0]])
    assert crowding_distances(points, pareto_ranks(points)).tolist() == [1.25, math.inf, math.inf, 1.5]


def test_crowding_is_measured_within_each_front():
    # (5, 5) alone on the second front is at both of its ends.
    points = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [5.0, 5.0]])
    assert crowding_distances(points, np.array([0, 0, 0, 1])).tolist() == [math.inf, 2.0, math.inf, math.inf]


def test_crowding_of_failed_candidates_raises_no_warning():
    # A front of infinite points has no span; the bug was inf - inf.
    distances = crowding_distances(np.full((4, 2), math.inf), np.zeros(4, dtype=np.int64))
    assert not np.isnan(distances).any()


@MODEST
@given(point_sets(VALUES_OR_INFINITE))
def test_crowding_is_never_negative_and_infinite_at_the_ends_of_each_front(points):
    ranks = pareto_ranks(points)
    distances = crowding_distances(points, ranks)
    assert np.all(distances >= 0)
    for rank in range(ranks.max() + 1):
        front = points[ranks == rank]
        for objective in range(points.shape[1]):
            at_end = (front[:, objective] == front[:, objective].min()) | (front[:, objective] == front[:, objective].max())
            assert np.isinf(distances[ranks == rank][at_end]).any()


@MODEST
@given(point_sets(VALUES_OR_INFINITE), st.data())
def test_archive_holds_the_feasible_front_in_the_order_of_arrival(points, data):
    violations = data.draw(st.lists(st.sampled_from([0.0, 0.0, 1.0]), min_size=len(points), max_size=len(points)))
    archive, volumes = ParetoArchive(points.shape[1]), []
    for key, (point, violation) in enumerate(zip(points, violations, strict=True)):
        assert archive.insert(key, point, violation) == (key in archive.keys)
        volumes.append(archive.hypervolume(np.full(points.shape[1], 4.0)))
    usable = [i for i in range(len(points)) if violations[i] == 0 and np.all(np.isfinite(points[i]))]
    expected = [i for i in usable if not any(dominates_by_definition(points[j], points[i]) for j in usable)]
    assert list(archive) == list(archive.keys) == expected
    assert len(archive) == len(expected)
    assert np.array_equal(archive.points, points[expected].reshape(-1, points.shape[1]))
    assert volumes == sorted(volumes)


def test_archive_refuses_what_is_no_number():
    archive = ParetoArchive(2)
    assert not archive.insert(0, np.array([math.nan, 0.0]))
    assert not archive.insert(1, np.array([1.0, 1.0]), violation=0.1)
    assert len(archive) == 0


def test_changing_the_points_an_archive_returned_leaves_it_alone():
    archive = ParetoArchive(2)
    archive.insert(0, np.array([1.0, 2.0]))
    archive.points[0, 0] = 99.0
    assert archive.points.tolist() == [[1.0, 2.0]]
