"""Limits that one architecture of a thousand meets: every searcher that learns gets there, random search does not."""

from dataclasses import replace

import numpy as np
import pytest

from paretune.core.objectives import Constraint
from paretune.searchers import SEARCHERS
from paretune.testing.problems import KnownFront, known_front_problem
from paretune.testing.searcher import drive

SHARE = 0.001
BUDGET = 300
SEEDS = (1, 2)
LEARNING = [name for name in SEARCHERS.names() if name not in ("random", "auto")]  # auto hands everything on to another


@pytest.fixture(scope="module")
def rare() -> KnownFront:
    """A limit on accuracy that at most 0.1 % of 187,500 architectures meet, and that costs nothing to say beforehand."""
    known = known_front_problem(num_stages=6)
    accuracies = np.array([known.evaluate(genotype)["accuracy"] for genotype in known.space.members()])
    limit = float(np.quantile(accuracies, 1 - SHARE, method="higher"))
    assert 0 < (accuracies >= limit).mean() <= 2 * SHARE
    return replace(known, problem=replace(known.problem, constraints=(Constraint(metric="accuracy", lower=limit),)))


def num_feasible(name: str, rare: KnownFront, seed: int) -> int:
    trials = drive(SEARCHERS.create(name, rare.space, rare.problem, seed=seed), rare, num_candidates=BUDGET)
    return sum(rare.problem.violation(trial.metrics) <= 0 for trial in trials)


@pytest.mark.parametrize("name", LEARNING)
def test_what_one_of_a_thousand_meets_is_found(name: str, rare: KnownFront) -> None:
    found = [num_feasible(name, rare, seed) for seed in SEEDS]
    assert min(found) >= 10, found


def test_random_search_is_not_enough(rare: KnownFront) -> None:
    assert sum(num_feasible("random", rare, seed) for seed in SEEDS) < 10
