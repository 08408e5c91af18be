"""Every registered searcher under a ledger: cut off with candidates in flight and gone on with, it asks what it would have asked."""

import random
from pathlib import Path

import pytest

from paretune.core.objectives import Problem
from paretune.core.protocols import Searcher, SearchSpace, StartingSearcher
from paretune.platform.spec.checks import sample
from paretune.searchers import SEARCHERS
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.studies import FormulaStudy, evaluate_in_any_order, open_formula_study

TRIALS = 44
IN_FLIGHT = 3


def opened(folder: Path, name: str, *, num_given: int = 0) -> FormulaStudy:
    space = DigitsConv(input_shape=(1, 8, 8), num_classes=10)

    def make(space: SearchSpace, problem: Problem) -> Searcher:
        searcher = SEARCHERS.create(name, space, problem, seed=5)
        assert isinstance(searcher, StartingSearcher)
        if num_given:
            searcher.start_from(sample(space, 50)[:num_given])
        return searcher

    return open_formula_study(folder, space=space, make_searcher=make, trials=TRIALS)


def check_cut_off(name: str, folder: Path, *, num_given: int = 0) -> FormulaStudy:
    """Run a search at once and in pieces; both must be the same."""
    whole = opened(folder / "whole", name, num_given=num_given)
    assert evaluate_in_any_order(whole, random.Random(1), in_flight=IN_FLIGHT)
    rng, num_sessions = random.Random(2), 1
    while not evaluate_in_any_order(
        cut := opened(folder / "cut", name, num_given=num_given), rng, in_flight=IN_FLIGHT, results=rng.randint(1, 15)
    ):
        num_sessions += 1
    assert num_sessions > 3
    assert cut.front_json() == whole.front_json()
    assert [record.job.genotype for record in cut.history.proposals()] == [record.job.genotype for record in whole.history.proposals()]
    return cut


@pytest.mark.parametrize("name", [name for name in SEARCHERS.names() if name != "auto"])  # auto hands everything on to another
def test_a_search_cut_off_again_and_again_ends_as_the_one_that_was_not(name: str, tmp_path: Path) -> None:
    check_cut_off(name, tmp_path)


@pytest.mark.parametrize("name", ["nsga2", "auto"])
def test_a_search_from_given_candidates_is_cut_off_among_them_and_goes_on(name: str, tmp_path: Path) -> None:
    study = check_cut_off(name, tmp_path, num_given=17)
    given = sample(DigitsConv(input_shape=(1, 8, 8), num_classes=10), 50)[:17]
    assert [record.job.genotype for record in study.history.proposals()[:17]] == [tuple(row) for row in given.tolist()]
