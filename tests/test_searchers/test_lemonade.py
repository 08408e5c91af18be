import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction
from paretune.core.objectives import Objective, Problem
from paretune.core.pareto import hypervolume, non_dominated
from paretune.core.trial import Outcome, Trial
from paretune.searchers.lemonade import Lemonade, _Density
from paretune.searchers.random_search import RandomSearch
from paretune.searchers.regularized_evolution import RegularizedEvolution
from paretune.testing.problems import TabulatedSpace, known_front_problem
from paretune.testing.searcher import drive

SPACE = TabulatedSpace([Decision(name=f"d{index}", choices=tuple(range(5)), ordinal=True) for index in range(6)])
PROBLEM = Problem(
    objectives=(
        Objective(metric="error", direction=Direction.MIN, reference=100.0),
        Objective(metric="size", direction=Direction.MIN, reference=100.0),
    )
)


def told(searcher, count, metrics_of):
    """Ask and tell `count` candidates."""
    rows_ND = searcher.ask(count)
    searcher.tell(
        [
            Trial(ask_index=index, genotype=tuple(row.tolist()), outcome=Outcome.OK, metrics=metrics_of(row))
            for index, row in enumerate(rows_ND)
        ]
    )
    return rows_ND


def test_the_lonely_cluster_is_drawn_as_often_as_the_crowd():
    # 9 members around 0 and 1 at 10, far apart: the crowd is 9 times as dense, so the lonely one weighs as much as all 9 together.
    members_KQ = np.array([[0.0]] * 9 + [[1e6]])
    shares_K = _Density(members_KQ).shares_K
    assert shares_K[-1] == pytest.approx(0.5, abs=0.01)
    assert shares_K[:-1].sum() == pytest.approx(0.5, abs=0.01)


def test_children_go_where_the_front_is_sparse_in_the_cheap_objective():
    """All candidates are on the front; one in five is large (first gene 4), so the small sizes are four times as dense.

    Parents by inverse density: half are large, and of those 5/6 have large children: .42 + .5 * .2 / 6 = .43 of all children. Chosen
    by inverse density again: .43 * 4 / (.43 * 4 + .57) = .75. Without density it would be .2.
    """

    def size(rows_ND):
        return (rows_ND[:, 0] == 4) + 1e-6 * rows_ND[:, 1:].sum(axis=1)

    def share_of_large():
        # Many children, as the shares above have it: among 16 there are not always enough large ones.
        searcher = Lemonade(SPACE, PROBLEM, seed=0, initial=100, pool=64, costs=lambda rows_ND: {"size": size(rows_ND)})
        rows_ND = searcher.ask(100)
        sizes_N = size(rows_ND)
        trials = [
            Trial(ask_index=index, genotype=tuple(row.tolist()), outcome=Outcome.OK, metrics={"error": 50 - large, "size": large})
            for index, (row, large) in enumerate(zip(rows_ND, sizes_N.tolist(), strict=True))
        ]
        searcher.tell(trials)
        return (searcher.ask(100)[:, 0] == 4).mean()

    # A share of .75 among 100 has a deviation of .043.
    assert share_of_large() == pytest.approx(0.75, abs=0.15)


def test_the_population_is_the_front():
    searcher = Lemonade(SPACE, PROBLEM, seed=0, initial=30)
    rows_ND = told(searcher, 30, lambda row: {"error": float(row[0] + 3 * row[2]), "size": float(10 - 2 * row[0] + row[3])})
    points_NM = np.stack([rows_ND[:, 0] + 3 * rows_ND[:, 2], 10 - 2 * rows_ND[:, 0] + rows_ND[:, 3]], axis=1).astype(float)
    parents_KD = rows_ND[non_dominated(points_NM)]
    for child_D in searcher.ask(20):
        assert (parents_KD != child_D).sum(axis=1).min() == 1, "a child is not one mutation away from the front"


def test_costs_are_estimated_where_nobody_computes_them():
    # size = 3 a + 2 b^2 + 1 is a sum over decisions, so the estimate orders unseen genotypes as the truth does.
    searcher = Lemonade(SPACE, PROBLEM, seed=0, initial=60)
    told(searcher, 60, lambda row: {"error": float(row[2]), "size": float(3 * row[0] + 2 * row[1] ** 2 + 1)})
    searcher.ask(1)
    unseen_ND = RandomSearch(SPACE, PROBLEM, seed=9).ask(100)
    truth_N = 3.0 * unseen_ND[:, 0] + 2.0 * unseen_ND[:, 1] ** 2
    found_N = searcher._cheap_objectives(unseen_ND)[:, 0]
    assert np.corrcoef(truth_N, found_N)[0, 1] > 0.999


def test_computed_costs_are_used_where_the_platform_has_them():
    asked = []

    def costs(genotypes_ND):
        asked.append(len(genotypes_ND))
        return {"size": genotypes_ND.sum(axis=1).astype(float), "macs": np.zeros(len(genotypes_ND))}

    searcher = Lemonade(SPACE, PROBLEM, seed=0, initial=10, pool=32, costs=costs)
    told(searcher, 10, lambda row: {"error": float(row[0]), "size": float(row.sum())})
    searcher.ask(1)
    assert asked[0] == 1
    assert 32 in asked


def test_it_beats_random_search_over_five_seeds():
    known = known_front_problem()
    best = hypervolume(known.front, known.problem.reference)

    def mean_share(make):
        searches = [drive(make(seed), known, num_candidates=200) for seed in range(5)]
        points = [np.array([known.problem.minimised(trial.metrics) for trial in trials]) for trials in searches]
        return np.mean([hypervolume(cloud, known.problem.reference) for cloud in points]) / best

    ours = mean_share(lambda seed: Lemonade(known.space, known.problem, seed=seed))
    assert ours > mean_share(lambda seed: RandomSearch(known.space, known.problem, seed=seed)) + 0.01


class ShiftingSpace(TabulatedSpace):
    """Its one operator raises the first gene, cyclically."""

    def mutation_operators(self):
        def raised(genotypes_ND, rng):
            mutants_ND = np.array(genotypes_ND)
            mutants_ND[:, 0] = (mutants_ND[:, 0] + 1) % 5
            return mutants_ND

        return {"raise": raised}


@pytest.mark.parametrize("factory", [RegularizedEvolution, Lemonade])
def test_a_spaces_own_operators_make_the_children(factory):
    space = ShiftingSpace(SPACE.decisions)
    start = {"initial": 10} if factory is Lemonade else {"population": 10}
    searcher = factory(space, PROBLEM, seed=0, mutation="space", **start)
    rows_ND = told(searcher, 10, lambda row: {"error": float(row[1]), "size": float(row[2])})
    child_D = searcher.ask(1)[0]
    parents = [row for row in rows_ND if (row[1:] == child_D[1:]).all() and (row[0] + 1) % 5 == child_D[0]]
    assert parents, "the child is not the operator's"
    with pytest.raises(BadInput, match="mutation: this space brings no operators of its own"):
        factory(SPACE, PROBLEM, seed=0, mutation="space")
    with pytest.raises(BadInput, match="mutation: must be one of decision, space"):
        factory(SPACE, PROBLEM, seed=0, mutation="genes")


def test_generations_wait_for_each_other():
    searcher = Lemonade(SPACE, PROBLEM, seed=0, initial=20, generation=10)
    assert [searcher.tells_before(index) for index in (0, 19, 20, 29, 30, 45)] == [0, 0, 20, 20, 30, 40]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": 0}, r"initial: must be at least 1 \(got 0\)"),
        ({"pool": 0}, "pool: must be at least 8"),
        ({"generation": 0}, "generation: must be at least 1"),
        ({"cheap": ("sise",)}, "cheap: 'sise' is no objective. Did you mean 'size'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(BadInput, match=message):
        Lemonade(SPACE, PROBLEM, seed=0, **options)
