import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.genotype import num_choices
from paretune.searchers.operators import best_first, crossed, mutated, mutated_once, random_genotypes
from paretune.testing.strategies import genotypes, spaces

MODEST = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
PROBABILITIES = st.sampled_from([0.0, 0.3, 1.0])


def inside(rows, choices):
    return bool(np.all((rows >= 0) & (rows < choices)))


@MODEST
@given(st.data(), SEEDS, PROBABILITIES)
def test_every_mutant_is_inside_the_space_and_changes_a_gene_where_one_can(data, seed, probability):
    space = data.draw(spaces())
    parents, choices = data.draw(genotypes(space)), num_choices(space.decisions)
    mutants = mutated(parents, choices, probability=probability, rng=np.random.default_rng(seed))
    assert mutants.shape == parents.shape
    assert mutants.dtype == parents.dtype
    assert inside(mutants, choices)
    changed = mutants != parents
    assert np.all(changed.any(axis=1)) == bool(np.any(choices > 1))
    if probability == 0.0:
        assert np.all(changed.sum(axis=1) <= 1)
    if probability == 1.0:
        assert np.array_equal(changed, np.broadcast_to(choices > 1, changed.shape))


@MODEST
@given(st.data(), SEEDS)
def test_one_mutation_changes_exactly_one_gene(data, seed):
    space = data.draw(spaces())
    parents, choices = data.draw(genotypes(space)), num_choices(space.decisions)
    mutants = mutated_once(parents, choices, np.random.default_rng(seed))
    assert inside(mutants, choices)
    assert np.all((mutants != parents).sum(axis=1) == int(np.any(choices > 1)))


@MODEST
@given(st.data(), SEEDS, PROBABILITIES)
def test_every_gene_of_a_child_is_one_of_its_parents(data, seed, probability):
    space = data.draw(spaces())
    mothers = data.draw(genotypes(space))
    fathers = mothers[::-1]
    children = crossed(mothers, fathers, probability=probability, rng=np.random.default_rng(seed))
    assert np.all((children == mothers) | (children == fathers))
    if probability == 0.0:
        assert np.array_equal(children, mothers)


@MODEST
@given(st.data(), SEEDS)
def test_random_genotypes_are_inside_the_space(data, seed):
    choices = num_choices(data.draw(spaces()).decisions)
    assert inside(random_genotypes(choices, np.random.default_rng(seed), 50), choices)


def test_operators_leave_their_arguments_alone():
    choices, parents = np.array([3, 4, 5]), np.array([[0, 1, 2], [2, 3, 4]], dtype=np.int16)
    before, rng = parents.copy(), np.random.default_rng(0)
    mutated(parents, choices, probability=1.0, rng=rng)
    mutated_once(parents, choices, rng)
    crossed(parents, parents[::-1], probability=1.0, rng=rng)
    assert np.array_equal(parents, before)


def test_choices_are_drawn_alike_often():
    # 30,000 draws from 3: each 10,000 with standard deviation sqrt(30,000 * 1/3 * 2/3) = 82; 5 deviations are 408.
    rng = np.random.default_rng(1)
    sampled = random_genotypes(np.array([3]), rng, 30_000)
    assert np.all(np.abs(np.bincount(sampled[:, 0], minlength=3) - 10_000) < 408)
    # Mutating 1 of 4 choices: the three others 10,000 times each, itself never.
    mutants = mutated_once(np.full((30_000, 1), 1, dtype=np.int16), np.array([4]), rng)
    counts = np.bincount(mutants[:, 0], minlength=4)
    assert counts[1] == 0
    assert np.all(np.abs(counts[[0, 2, 3]] - 10_000) < 408)
    # The one gene that mutates is any of the three decisions that have a choice, the single-choice one never.
    changed = mutated_once(np.zeros((30_000, 4), dtype=np.int16), np.array([2, 1, 3, 2]), rng) != 0
    assert np.all(np.abs(changed.sum(axis=0)[[0, 2, 3]] - 10_000) < 408)
    assert not changed[:, 1].any()


def test_the_order_of_merit_worked_by_hand():
    # Front 0: a (0, 4), b (1, 2), c (3, 1), d (4, 0): a and d lonely at the ends, then b (1.5), then c (1.25). Front 1: e (5, 5).
    # f breaks a limit by 0.1 and g by 0.2: behind all, though g would dominate everything.
    points = np.array([[5.0, 5.0], [3.0, 1.0], [0.0, 4.0], [-9.0, -9.0], [1.0, 2.0], [9.0, 9.0], [4.0, 0.0]])
    violations = np.array([0.0, 0.0, 0.0, 0.2, 0.0, 0.1, 0.0])
    a, b, c, d, e, f, g = 2, 4, 1, 6, 0, 5, 3
    assert best_first(points, violations).tolist() == [a, d, b, c, e, f, g]
