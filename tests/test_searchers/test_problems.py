import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput
from paretune.core.genotype import Decision, row_keys
from paretune.core.metrics import checked_metrics
from paretune.core.pareto import non_dominated
from paretune.core.protocols import SearchSpace
from paretune.testing.problems import Inactive, TabulatedSpace, constrained_front_problem, known_front_problem
from paretune.testing.strategies import genotypes, spaces

MODEST = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize(
    ("known", "num_points"),
    [(known_front_problem(), 17), (constrained_front_problem(), 10), (known_front_problem(num_stages=2, widest=1, max_parameters=0.0), 1)],
)
def test_the_known_front_is_that_of_every_architecture(known, num_points):
    metrics = [known.evaluate(row) for row in known.space.members()]
    feasible = [known.problem.minimised(item) for item in metrics if known.problem.violation(item) == 0]
    points = np.array(feasible)
    front = np.unique(points[non_dominated(points)], axis=0)
    assert np.array_equal(front, known.front)
    assert len(front) == num_points
    assert np.all(front < known.problem.reference)


def test_every_architecture_has_metrics_within_their_ranges():
    known = known_front_problem(num_stages=2, widest=2)
    expected = {metric.name: metric for metric in known.metrics}
    for row in known.space.members():
        assert checked_metrics(known.evaluate(row), expected, producer="known front") == known.evaluate(row)


def test_problems_cross_processes():
    known = constrained_front_problem()
    copy = pickle.loads(pickle.dumps(known))
    rows = known.space.members()[::500]
    assert np.array_equal(copy.space.members(), known.space.members())
    assert [copy.evaluate(row) for row in rows] == [known.evaluate(row) for row in rows]
    assert np.array_equal(copy.front, known.front)


def test_sizes_worked_by_hand():
    # 5^4 widths * 3 operations * (tail absent 1 + present 3 kernels) = 625 * 3 * 4 = 7,500.
    assert known_front_problem().space.size == 7500
    # 20 stages cannot be listed: the two ruled decisions give 4, the others multiply: 5^20 * 3 * 4.
    assert known_front_problem(num_stages=20).space.size == 5**20 * 12


@MODEST
@given(st.data())
def test_a_space_is_its_members(data):
    space = data.draw(spaces())
    members = space.members()
    keys = set(row_keys(members))
    assert isinstance(space, SearchSpace)
    assert len(keys) == len(members) == space.size > 0
    rows = data.draw(genotypes(space))
    canonical = space.canonical(rows)
    assert np.array_equal(space.canonical(canonical), canonical)
    assert [key in keys for key in row_keys(canonical)] == space.valid(rows).tolist()
    features = space.encode(rows)
    assert np.all((features >= 0) & (features <= 1))
    assert np.array_equal(features, space.encode(canonical))


def test_the_built_network_has_the_parameters_of_its_workload():
    space = known_front_problem().space
    rows = space.members()[::1500]
    workloads = space.workloads(rows)
    expected = workloads.per_network_sum(workloads.parameters_L)
    for row, parameters in zip(rows, expected, strict=True):
        network = space.build(tuple(row.tolist()))
        assert sum(weights.numel() for weights in network.parameters()) == parameters
        assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_rules_that_look_forward_are_refused():
    decisions = [Decision(name=name, choices=(0, 1), ordinal=True) for name in "ab"]
    with pytest.raises(BadInput, match="controller must come before"):
        TabulatedSpace(decisions, inactive=[Inactive(decision=0, controller=1, choices=(0,))])


def test_spaces_too_large_to_list_say_so():
    with pytest.raises(BadInput, match="too many to list"):
        known_front_problem(num_stages=20).space.members()
