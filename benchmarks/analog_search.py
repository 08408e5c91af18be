"""What an analog search brings, on digits and spoken digits: run `python benchmarks/analog_search.py [--quick] [--resume] [--seeds 1]`.

Every network of a small space is trained for the tiles of the HERMES chip, programmed several times and judged a second, a day and 30 days
later (`analog_tables.py` has the settings); plain ResNets are also trained digitally from the same seeds. So searches are free, and the
exact front is known. Training seeds are those of studies: each gives a table of its own. Prints

- the hypervolume over accuracy after a day, accuracy variation over a month (AVM) and energy, over that of the exact front: searches, one
  of them from the textbook's ResNets, and grids of as many plain ResNets, mean and deviation over the seeds of the search;
- by how much hardware-aware training raises the accuracy over digital training of the same plain ResNets from the same seeds;
- Kendall's tau between digital accuracy and accuracy after a day;
- whether a network comes to the same numbers in two processes, one with two threads.

Results are kept in results/analog_search.json after every eight networks; `--resume` evaluates what is missing there, `--quick` nothing.
Spoken digits are read from `PARETUNE_DATA/fsdd`.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from analog_tables import (
    AWARE,
    DIGITAL,
    FILE,
    TASKS,
    Genes,
    Table,
    Tables,
    evaluated,
    every_network,
    fill,
    finer_plain_resnets,
    plain_resnets,
    plan_of,
    read_tables,
    textbook_resnets,
    use_threads,
    write_tables,
)
from goals import Goal, report_goals
from search_store import Figure

from paretune.core.genotype import as_genotypes
from paretune.core.pareto import hypervolume
from paretune.core.protocols import Searcher, StartingSearcher
from paretune.core.trial import Outcome, Trial
from paretune.platform.study.plan import Plan
from paretune.predictors.fidelity import kendall
from paretune.searchers import SEARCHERS

COMMAND = "python benchmarks/analog_search.py"
MARKS = (24, 48)
"""Evaluations after which searches are judged, against a grid of as many plain ResNets."""
GUIDED: tuple[str, dict[str, Any]] = ("predictor_guided", {"initial": 8, "batch": 4})
METHODS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "predictor-guided": GUIDED,
    "from textbook ResNets": GUIDED,
    "nsga2": ("nsga2", {"population": 8}),
    "random": ("random", {}),
}
STARTS: Mapping[str, Callable[[Plan], list[Genes]]] = {"from textbook ResNets": textbook_resnets}
"""What the search is given to start from; counted in its evaluations."""
SEARCHED, GRID = ("predictor-guided", "from textbook ResNets"), "plain ResNets"
GRIDS: Mapping[int, Callable[[Plan], list[Genes]]] = {24: plain_resnets, 48: finer_plain_resnets}
SEARCHES, QUICK_SEARCHES = 20, 5
"""Seeds of the search on each table."""
TIMES = ("1s", "1d", "30d")
DIFFERENT = 0.99
"""Kendall's tau above which two orders would count as one."""


def search(plan: Plan, table: Table, method: str, *, seed: int) -> list[Genes]:
    """What a searcher asks, as `mode: sync` runs it: before ask number i it was told the first `tells_before(i)` results and no more."""
    name, options = METHODS[method]
    supplied = {"costs": plan.free} if SEARCHERS.wants(name, "costs") else {}
    searcher: Searcher = SEARCHERS.create(name, plan.space, plan.problem, seed=seed, **supplied, **options)
    if method in STARTS:
        assert isinstance(searcher, StartingSearcher)
        searcher.start_from(as_genotypes(STARTS[method](plan), len(plan.space.decisions)))
    asked: list[Genes] = []
    told = 0
    while len(asked) < MARKS[-1]:
        needed = searcher.tells_before(len(asked))
        searcher.tell([trial(index, asked[index], table) for index in range(told, needed)])
        told = needed
        asked.append(tuple(searcher.ask(1)[0].tolist()))
    return asked


def trial(ask_index: int, genes: Genes, table: Table) -> Trial:
    """What a searcher is told of a network."""
    outcome = Outcome.OK if is_trained(table[genes]) else Outcome.DIVERGED
    return Trial(ask_index=ask_index, genotype=genes, outcome=outcome, metrics=table[genes])


def is_trained(metrics: Mapping[str, float]) -> bool:
    """Whether training came to an end."""
    return "analog.accuracy_1d" in metrics


def volume(plan: Plan, table: Table, chosen: Sequence[Genes]) -> float:
    """Hypervolume of some networks; an AVM below 0 is chance and counts as 0."""
    points_N3 = np.array([plan.problem.minimised(table[genes]) for genes in chosen])
    points_N3[:, 1] = np.maximum(points_N3[:, 1], 0.0)
    return hypervolume(points_N3, plan.problem.reference)


def volumes(plan: Plan, table: Table, *, searches: int) -> dict[str, dict[int, list[float]]]:
    """Over the exact front's, of every method after each mark; one value for each seed of the search, a single one for a grid."""
    whole = volume(plan, table, list(table))
    found: dict[str, dict[int, list[float]]] = {}
    for method in METHODS:
        runs = [search(plan, table, method, seed=seed) for seed in range(searches)]
        found[method] = {mark: [volume(plan, table, asked[:mark]) / whole for asked in runs] for mark in MARKS}
    found[GRID] = {mark: [volume(plan, table, grid(plan)) / whole] for mark, grid in GRIDS.items()}
    return found


def both_ways(tables: Mapping[str, Mapping[int, Table]], seed: int) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    """Results of the networks that were trained for the tiles, and of the same trained digitally."""
    aware, digital = (tables.get(training, {}).get(seed, {}) for training in (AWARE, DIGITAL))
    return [
        (aware[genes], metrics) for genes, metrics in digital.items() if genes in aware and is_trained(aware[genes]) and is_trained(metrics)
    ]


def column(rows: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    """A judged metric of several networks."""
    return np.array([row[f"analog.{name}"] for row in rows])


def show_searches(task: str, tables: Mapping[int, Table], *, searches: int) -> list[Goal]:
    """Print what searches found on the complete tables; the goals."""
    plans = {seed: plan_of(task, study_seed=seed) for seed in tables}
    whole = {seed: table for seed, table in tables.items() if len(table) == len(every_network(plans[seed]))}
    if not whole:
        print(f"\n{task}: no table is complete")
        return [Goal(name=f"{task}_complete_tables", value=0, sense=">=", bound=1)]
    found = [volumes(plans[seed], table, searches=searches) for seed, table in whole.items()]
    size = len(next(iter(whole.values())))
    print(f"\n{task}: {size} networks, {len(whole)} training seeds, {searches} searches each; hypervolume over the exact front's")
    print(f"{'':20}" + "".join(f"{f'after {mark}':>20}" for mark in MARKS))
    figures = {
        method: {mark: Figure.of([value for one in found for value in one[method][mark]]) for mark in found[0][method]}
        for method in found[0]
    }
    for method, marks in figures.items():
        print(f"{method:20}" + "".join(f"{figure!s:>20}" for figure in marks.values()))
    goals = []
    for method in SEARCHED:
        for mark in MARKS:
            mine = figures[method][mark].mean
            ahead = np.mean([value > one[GRID][mark][0] for one in found for value in one[method][mark]])
            print(f"{method} above {mark} plain ResNets after {mark}: in {ahead:.0%} of the searches")
            named = f"{task}_{method.replace(' ', '_').replace('-', '_').lower()}"
            for other, shown in (("random", "random"), (GRID, "plain_resnets")):
                goals.append(Goal(name=f"{named}_over_{shown}_at_{mark}", value=mine / figures[other][mark].mean, sense=">=", bound=1))
    return goals


def show_training(task: str, tables: Mapping[str, Mapping[int, Table]]) -> list[Goal]:
    """Print what hardware-aware training brings and how the orders differ; the goals."""
    pairs = [pair for seed in tables.get(DIGITAL, {}) for pair in both_ways(tables, seed)]
    gain = Figure.of([])
    if pairs:
        aware, digital = zip(*pairs, strict=True)
        print(f"\n{task}: {len(pairs)} plain ResNets trained both ways; accuracy in %, and points gained, mean ± deviation over networks")
        for time in TIMES:
            before_N, after_N = (100 * column(rows, f"accuracy_{time}") for rows in (digital, aware))
            gain = Figure.of(list(after_N - before_N))
            gained = f"{gain.mean:+.1f} ± {gain.deviation:.1f}"
            print(f"after {time:>4}: digital {before_N.mean():.1f}, for the tiles {after_N.mean():.1f}: {gained}")
        between = kendall(column(digital, "digital_accuracy"), column(aware, "accuracy_1d"))
        print(f"Kendall's tau of accuracy trained digitally and, trained for the tiles, after a day: {between:.2f}")
    taus, count = [], 0
    for table in tables.get(AWARE, {}).values():
        rows = [metrics for metrics in table.values() if is_trained(metrics)]
        count += len(rows)
        best = sorted(rows, key=lambda row: row["analog.accuracy_1d"])[-len(rows) // 4 :]
        taus.append([kendall(column(some, "digital_accuracy"), column(some, "accuracy_1d")) for some in (rows, best)])
    overall, top = np.mean(taus, axis=0) if taus else (math.nan, math.nan)
    print(
        f"Kendall's tau of digital accuracy and accuracy after a day, same weights, {count} networks: {overall:.2f}, best quarter {top:.2f}"
    )
    return [
        Goal(name=f"{task}_points_gained_after_a_month", value=gain.mean, sense=">=", bound=0),
        Goal(name=f"{task}_tau_digital_and_after_a_day", value=float(overall), sense="<=", bound=DIFFERENT),
    ]


def evaluated_once(task: str) -> dict[str, float]:
    """All metrics of a plain ResNet, unrounded."""
    plan = plan_of(task, study_seed=0)
    return evaluated(plan, plain_resnets(plan)[0])


def same_everywhere(task: str) -> bool:
    """Whether a network comes to the same numbers in two fresh processes, the second with two threads."""
    found = []
    for threads in (1, 2):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=use_threads, initargs=(threads,)) as pool:
            found.append(pool.submit(evaluated_once, task).result())
    return found[0] == found[1]


def filled(given: argparse.Namespace) -> Tables:
    """The tables, as far as they are wanted."""
    tables = read_tables(FILE) if given.resume or given.quick else {}
    if not given.quick:
        for told in fill(tables, given.tasks, seeds=given.seeds, processes=given.processes):
            print(f"done: {told}", flush=True)
            write_tables(FILE, tables, COMMAND)
    return tables


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"the tables that are kept, {QUICK_SEARCHES} searches on each")
    parser.add_argument("--resume", action="store_true", help="evaluate only what results/analog_search.json lacks")
    parser.add_argument("--seeds", type=int, default=1, help="of training: tables of each task; half an hour each on two cores")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes to come
    tables = filled(given)
    goals = []
    for task in given.tasks:
        known = tables.get(task, {})
        goals += show_searches(task, known.get(AWARE, {}), searches=QUICK_SEARCHES if given.quick else SEARCHES)
        goals += show_training(task, known)
    same = float(all(same_everywhere(task) for task in given.tasks))
    goals.append(Goal(name="same_numbers_in_other_processes_and_threads", value=same, sense=">=", bound=1))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
