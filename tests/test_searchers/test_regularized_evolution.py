import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction
from paretune.core.objectives import Objective, Problem
from paretune.core.pareto import hypervolume
from paretune.core.trial import Outcome, Trial
from paretune.searchers.random_search import RandomSearch
from paretune.searchers.regularized_evolution import RegularizedEvolution
from paretune.testing.problems import TabulatedSpace, known_front_problem
from paretune.testing.searcher import drive

SPACE = TabulatedSpace([Decision(name=f"d{index}", choices=tuple(range(30)), ordinal=True) for index in range(8)])
PROBLEM = Problem(objectives=(Objective(metric="merit", direction=Direction.MAX, reference=0.0),))


def told(searcher, merits):
    """Ask a candidate for each merit and tell them in order; their genotypes."""
    rows = searcher.ask(len(merits))
    trials = [
        Trial(ask_index=index, genotype=tuple(row.tolist()), outcome=Outcome.OK, metrics={"merit": merit})
        for index, (row, merit) in enumerate(zip(rows, merits, strict=True))
    ]
    searcher.tell(trials)
    return rows


def parent_of(child, rows):
    """Index of the one told candidate that the child is a single mutation away from."""
    distances = [(child != row).sum() for row in rows]
    assert min(distances) == 1, "the child differs from every candidate in more than one decision"
    return int(np.argmin(distances))


def living(searcher):
    return [tuple(genotype) for genotype in searcher.state_dict()["living"]["genotypes"]]


def test_the_oldest_dies_even_if_it_is_the_best():
    searcher = RegularizedEvolution(SPACE, PROBLEM, seed=0, population=3)
    rows = told(searcher, [9.0, 1.0, 2.0, 3.0])
    assert living(searcher) == [tuple(row) for row in rows[1:].tolist()]


def test_age_is_the_order_of_the_tells():
    searcher = RegularizedEvolution(SPACE, PROBLEM, seed=0, population=2)
    rows = [tuple(row) for row in searcher.ask(3).tolist()]
    for index in (2, 0, 1):
        searcher.tell([Trial(ask_index=index, genotype=rows[index], outcome=Outcome.OK, metrics={"merit": 1.0})])
    assert living(searcher) == [rows[0], rows[1]]


def test_a_tournament_of_many_always_takes_the_best_living():
    # With 200 draws from 4 the best is missed with probability (3/4)^200 < 1e-24.
    searcher = RegularizedEvolution(SPACE, PROBLEM, seed=0, population=4, sample=200)
    rows = told(searcher, [2.0, 5.0, 4.0, 3.0])
    assert {parent_of(child, rows) for child in searcher.ask(20)} == {1}


def test_a_tournament_of_one_takes_anybody():
    # 80 children of 4 parents: 20 each, standard deviation sqrt(80 * 3/16) = 3.9.
    searcher = RegularizedEvolution(SPACE, PROBLEM, seed=0, population=4, sample=1)
    rows = told(searcher, [2.0, 5.0, 4.0, 3.0])
    counts = np.bincount([parent_of(child, rows) for child in searcher.ask(80)], minlength=4)
    assert np.all(np.abs(counts - 20) <= 16)


def test_fitness_proportionate_parents_are_drawn_in_proportion_to_their_standing():
    # Of 4 the best is drawn with 4/10, then 3/10, 2/10, 1/10: of 200 children 80, 60, 40, 20, deviations at most 7.
    searcher = RegularizedEvolution(SPACE, PROBLEM, seed=0, population=4, policy="fitness_proportionate")
    rows = told(searcher, [2.0, 5.0, 4.0, 3.0])
    counts = np.bincount([parent_of(child, rows) for child in searcher.ask(200)], minlength=4)
    assert np.all(np.abs(counts[[1, 2, 3, 0]] - [80, 60, 40, 20]) <= 25)


def test_the_youngest_of_the_best_rank_is_the_parent():
    # Candidates 0, 2 and 3 are on the front, 1 and 4 are dominated; of the three, 3 was told last.
    objectives = tuple(Objective(metric=name, direction=Direction.MAX, reference=0.0) for name in ("a", "b"))
    searcher = RegularizedEvolution(SPACE, Problem(objectives=objectives), seed=0, population=5, policy="youngest")
    rows = searcher.ask(5)
    merits = [(5.0, 1.0), (1.0, 1.0), (1.0, 5.0), (3.0, 3.0), (2.0, 2.0)]
    for index, (a, b) in enumerate(merits):
        searcher.tell([Trial(ask_index=index, genotype=tuple(rows[index].tolist()), outcome=Outcome.OK, metrics={"a": a, "b": b})])
    assert {parent_of(child, rows) for child in searcher.ask(20)} == {3}


def test_the_window_bounds_what_is_in_flight():
    searcher = RegularizedEvolution(SPACE, PROBLEM, seed=0, population=10, window=4)
    assert [searcher.tells_before(index) for index in (0, 9, 10, 11, 100)] == [0, 0, 7, 8, 97]
    patient = RegularizedEvolution(SPACE, PROBLEM, seed=0, population=2, window=100)
    assert [patient.tells_before(index) for index in (0, 50, 99, 100)] == [0, 0, 0, 1]


@pytest.mark.parametrize("policy", ["tournament", "fitness_proportionate", "youngest"])
def test_every_policy_beats_random_search_over_five_seeds(policy):
    known = known_front_problem()
    best = hypervolume(known.front, known.problem.reference)

    def mean_share(make):
        searches = [drive(make(seed), known, num_candidates=250) for seed in range(5)]
        points = [np.array([known.problem.minimised(trial.metrics) for trial in trials]) for trials in searches]
        return np.mean([hypervolume(cloud, known.problem.reference) for cloud in points]) / best

    ours = mean_share(lambda seed: RegularizedEvolution(known.space, known.problem, seed=seed, policy=policy))
    assert ours > mean_share(lambda seed: RandomSearch(known.space, known.problem, seed=seed)) + 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 1}, r"population: must be at least 2 \(got 1\)"),
        ({"sample": 0}, r"sample: must be at least 1 \(got 0\)"),
        ({"window": 0}, r"window: must be at least 1 \(got 0\)"),
        ({"policy": "oldest"}, "policy: must be one of tournament, fitness_proportionate, youngest"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(BadInput, match=message):
        RegularizedEvolution(SPACE, PROBLEM, seed=0, **options)
