"""How long searchers take to propose, by how much they were told, and how fast their parts are.

Run `python benchmarks/search_speed.py [--quick]`. Searchers: CPU milliseconds of ask plus tell for each candidate in a space of 20 stages
(2e15 architectures); evolution in batches of 20, the mean of the last 50 batches before each mark; learning searchers in their own rounds.
Parts: non-dominated sorting beside the C code that it calls, and screening of a pool by an additive table and by trees.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import moocore
import numpy as np
from goals import Goal, report_goals

from paretune.core.genotype import num_choices
from paretune.core.pareto import pareto_ranks
from paretune.core.protocols import Searcher
from paretune.predictors.selection import make_predictor
from paretune.searchers import SEARCHERS
from paretune.searchers.operators import random_genotypes
from paretune.testing.problems import known_front_problem

MARKS = (1000, 10_000, 100_000)
BATCH = 20
"""Candidates that evolution is asked for at once."""
LAST_BATCHES = 50
KNOWN = known_front_problem(num_stages=20, widest=4)
EVOLUTION = ("nsga2", "regularized_evolution", "lemonade")
LEARNING = ("predictor_guided", "auto")
ROUNDS, QUICK_ROUNDS = 3, 1
"""Rounds of a learning searcher that are timed at a mark."""
SORTED, SCREENED = 100_000, 200_000


def evolved_ms(name: str, marks: tuple[int, ...]) -> list[float]:
    """CPU milliseconds for each candidate before each mark, of a search that is really run."""
    searcher: Searcher = SEARCHERS.create(name, KNOWN.space, KNOWN.problem, seed=1)
    found, spent_ns, told = [], [], 0
    for mark in marks:
        while told < mark:
            start = time.process_time_ns()
            rows_ND = searcher.ask(BATCH)
            middle = time.process_time_ns()
            trials = [KNOWN.trial(told + index, row_D) for index, row_D in enumerate(rows_ND)]
            again = time.process_time_ns()
            searcher.tell(trials)
            spent_ns.append((middle - start + time.process_time_ns() - again) / BATCH)
            told += BATCH
        found.append(float(np.mean(spent_ns[-LAST_BATCHES:])) / 1e6)
    return found


def learned_ms(name: str, mark: int, rounds: int) -> float:
    """CPU milliseconds for each candidate once `mark` were told, over some rounds as `mode: sync` has them.

    The first `mark` are asked before anything is told, so they are random and only the rounds that count have to be run.
    """
    searcher: Searcher = SEARCHERS.create(name, KNOWN.space, KNOWN.problem, seed=1)
    first = next(index for index in count(mark) if searcher.tells_before(index) == index)
    rows_ND = searcher.ask(first)
    spent_ns, asked = 0, 0
    for _ in range(rounds):
        trials = [KNOWN.trial(first - len(rows_ND) + index, row_D) for index, row_D in enumerate(rows_ND)]
        end = next(index for index in count(first + 1) if searcher.tells_before(index) == index)
        start = time.process_time_ns()
        searcher.tell(trials)
        rows_ND = searcher.ask(end - first)
        spent_ns, asked = spent_ns + time.process_time_ns() - start, asked + len(rows_ND)
        first = end
    return spent_ns / asked / 1e6


def best_seconds(work: Callable[[], object], repeats: int) -> float:
    """Least elapsed seconds of some repeats: other programs only ever add to it."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def sorting_ratio(repeats: int) -> float:
    """Time of `pareto_ranks` over that of moocore, on random points of three objectives."""
    points_NM = np.random.default_rng(0).random((SORTED, 3))
    ours, theirs = [], []
    for _ in range(repeats):  # by turns, so that both see the machine alike
        ours.append(best_seconds(lambda: pareto_ranks(points_NM), 1))
        theirs.append(best_seconds(lambda: moocore.pareto_rank(points_NM), 1))
    print(f"non-dominated sort of {SORTED:,} x 3: {1000 * min(ours):.1f} ms, moocore {1000 * min(theirs):.1f} ms")
    return min(ours) / min(theirs)


def screened_per_second(name: str, repeats: int) -> float:
    """Candidates whose mean and deviation a fitted predictor gives in a second, on two threads."""
    rng = np.random.default_rng(0)
    choices_D = num_choices(KNOWN.space.decisions)
    examples_ND = KNOWN.space.canonical(random_genotypes(choices_D, rng, 500))
    latency_N = np.array([KNOWN.evaluate(row_D)["table.latency_s"] for row_D in examples_ND])
    predictor = make_predictor(name, KNOWN.space, seed=1)
    predictor.fit(examples_ND, latency_N)
    pool_ND = KNOWN.space.canonical(random_genotypes(choices_D, rng, SCREENED))
    halves = np.array_split(pool_ND, 2)
    with ThreadPoolExecutor(2) as threads:
        seconds = best_seconds(lambda: list(threads.map(predictor.predict, halves)), repeats)
    print(f"screening through {name}: {SCREENED / seconds:,.0f} candidates/s")
    return SCREENED / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="stop at 10,000 candidates, one round of learning searchers; the goals are then held there"
    )
    quick = parser.parse_args().quick
    marks = MARKS[:2] if quick else MARKS
    goals = []
    print(f"{os.cpu_count()} processors\n{'searcher':24}" + "".join(f"{f'ms at {mark:,}':>14}" for mark in marks))
    for name in EVOLUTION:
        found = evolved_ms(name, marks) if name in SEARCHERS.names() else [float("nan")] * len(marks)
        print(f"{name:24}" + "".join(f"{value:14.3f}" for value in found))
        goals.append(Goal(name=f"{name}_ms_at_{marks[-1]}", value=found[-1], sense="<=", bound=0.1))
    for name in LEARNING:
        known = name in SEARCHERS.names()
        found = [learned_ms(name, mark, QUICK_ROUNDS if quick else ROUNDS) if known else float("nan") for mark in MARKS[:2]]
        print(f"{name:24}" + "".join(f"{value:14.3f}" for value in found))
        goals.append(Goal(name=f"{name}_ms_at_{MARKS[1]}", value=found[-1], sense="<=", bound=50.0))
    repeats = 3 if quick else 7
    goals += [
        Goal(name="sorting_over_moocore", value=sorting_ratio(repeats), sense="<=", bound=1.2),
        Goal(name="screened_per_second_additive", value=screened_per_second("ridge:genes", repeats), sense=">=", bound=1e6),
        Goal(name="screened_per_second_xgboost", value=screened_per_second("xgboost:genes", repeats), sense=">=", bound=1e5),
    ]
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
