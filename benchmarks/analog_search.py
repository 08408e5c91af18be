"""What an analog search brings, on digits and spoken digits: run `python benchmarks/analog_search.py [--quick] [--resume]`.

The space is that of `make demo-analog`. Each network that a search asks for is trained for the tiles of the HERMES chip, programmed several
times and judged a second, a day and 30 days later (`analog_tables.py` has the settings); plain ResNets are also trained digitally from the
same seeds. Each seed is a study of its own, of training as of search. Prints

- the hypervolume over accuracy after a day, accuracy variation over a month (AVM) and energy, over that of all networks that were evaluated
  from the same seed: searches, one of them from the textbook's ResNets, and grids of as many plain ResNets, mean and deviation over
  the seeds;
- by how much hardware-aware training raises the accuracy over digital training of the same plain ResNets from the same seeds;
- Kendall's tau between digital accuracy and accuracy after a day;
- whether a network comes to the same numbers in two processes, one with two threads.

Networks are kept in results/analog_search.json, so that `--resume` evaluates only what is missing there; `--quick` searches again from
one seed among the networks that are kept. Spoken digits are read from `PARETUNE_DATA/fsdd`.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from typing import Any

import numpy as np
from analog_tables import (
    AWARE,
    DIGITAL,
    FILE,
    TASKS,
    TRAININGS,
    EvaluatedTable,
    Genes,
    Table,
    Tables,
    evaluated,
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
"""Evaluations after which searches are judged, against a grid of as many plain ResNets: `plain_resnets`, `finer_plain_resnets`."""
GUIDED: tuple[str, dict[str, Any]] = ("predictor_guided", {"initial": 8, "batch": 4})
TRUSTING: tuple[str, dict[str, Any]] = ("predictor_guided", {**GUIDED[1], "offspring": 0.0})
"""Asks only what the predictors promise: whoever starts from 24 good networks has taught them something."""
METHODS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "predictor-guided": GUIDED,
    "from textbook ResNets": GUIDED,
    "from plain ResNets": TRUSTING,
    "random": ("random", {}),
}
STARTS: Mapping[str, Callable[[Plan], list[Genes]]] = {
    "from textbook ResNets": textbook_resnets,
    "from plain ResNets": plain_resnets,
}
"""What the search is given to start from; counted in its evaluations."""
SEARCHED, FROM_HAND, GRID = ("predictor-guided", *STARTS), "from plain ResNets", "plain ResNets"
"""Every search is held to be above random; the one that starts from what one would try by hand, above the grids as well."""
SEEDS = 5
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What one process does: a search or a grid, from one seed."""

    task: str
    seed: int
    method: str
    known: Mapping[str, Table]
    """By training."""

    def run(self) -> tuple[list[Genes], dict[str, Table]]:
        """The networks in their order, and what is known of the task and the seed by then."""
        plan = plan_of(self.task, study_seed=self.seed)
        aware, digital = (
            EvaluatedTable(self.task, study_seed=self.seed, training=training, known=self.known.get(training, {}))
            for training in (AWARE, DIGITAL)
        )
        if self.method == GRID:
            coarse = plain_resnets(plan)
            asked = [*coarse, *(genes for genes in finer_plain_resnets(plan) if genes not in coarse)]
            for genes in coarse:
                digital[genes]
        else:
            asked = search(plan, aware, self.method, seed=self.seed)
        for genes in asked:
            aware[genes]
        return asked, {AWARE: Table(aware), DIGITAL: Table(digital)}


Found = dict[str, dict[int, dict[str, list[Genes]]]]
"""Task -> seed -> method -> the networks it asked for."""


def run_all(tables: Tables, tasks: Sequence[str], *, seeds: int, processes: int) -> Iterator[tuple[Errand, list[Genes]]]:
    """Every search and grid; `tables` grow by what is evaluated."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=use_threads, initargs=(1,)) as pool:
        running = {}
        for seed, task, method in product(range(seeds), tasks, (GRID, *METHODS)):
            known = {training: tables.get(task, {}).get(training, {}).get(seed, {}) for training in TRAININGS}
            errand = Errand(task=task, seed=seed, method=method, known=known)
            running[pool.submit(errand.run)] = errand
        for future in as_completed(running):
            errand = running[future]
            asked, evaluated_now = future.result()
            for training, rows in evaluated_now.items():
                tables.setdefault(errand.task, {}).setdefault(training, {}).setdefault(errand.seed, {}).update(rows)
            yield errand, asked


def volumes(plan: Plan, table: Table, found: Mapping[str, Sequence[Genes]]) -> dict[str, dict[int, float]]:
    """Method -> mark -> hypervolume over that of all networks of the table."""
    whole = volume(plan, table, list(table))
    return {method: {mark: volume(plan, table, asked[:mark]) / whole for mark in MARKS} for method, asked in found.items()}


def both_ways(tables: Mapping[str, Mapping[int, Table]], seed: int) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    """Results of the networks that were trained for the tiles, and of the same trained digitally."""
    aware, digital = (tables.get(training, {}).get(seed, {}) for training in (AWARE, DIGITAL))
    return [
        (aware[genes], metrics) for genes, metrics in digital.items() if genes in aware and is_trained(aware[genes]) and is_trained(metrics)
    ]


def column(rows: Sequence[Mapping[str, float]], name: str) -> np.ndarray:
    """A judged metric of several networks."""
    return np.array([row[f"analog.{name}"] for row in rows])


def show_searches(task: str, tables: Mapping[int, Table], found: Mapping[int, Mapping[str, Sequence[Genes]]]) -> list[Goal]:
    """Print what searches and grids found; the goals."""
    seeds = [volumes(plan_of(task, study_seed=seed), tables[seed], asked) for seed, asked in sorted(found.items())]
    size = np.mean([len(tables[seed]) for seed in found])
    print(f"\n{task}: {len(seeds)} seeds, {size:.0f} networks from each; hypervolume over that of all of them")
    print(f"{'':22}" + "".join(f"{f'after {mark}':>20}" for mark in MARKS))
    figures = {method: {mark: Figure.of([one[method][mark] for one in seeds]) for mark in MARKS} for method in (*METHODS, GRID)}
    for method, marks in figures.items():
        print(f"{method:22}" + "".join(f"{figure!s:>20}" for figure in marks.values()))
    goals = []
    for method, mark in product(SEARCHED, MARKS):
        grids = [(GRID, size, f"{size}_plain_resnets") for size in MARKS if size <= mark]
        for other, other_mark, shown in [("random", mark, "random"), *grids]:
            ahead = sum(one[method][mark] > one[other][other_mark] for one in seeds)
            print(f"{method} after {mark} above {shown.replace('_', ' ')}: {ahead} of {len(seeds)} seeds")
            named = f"{task}_{method.replace(' ', '_').replace('-', '_').lower()}"
            ratio = figures[method][mark].mean / figures[other][other_mark].mean
            if other == "random" or (method == FROM_HAND and mark == MARKS[-1]):
                goals.append(Goal(name=f"{named}_at_{mark}_over_{shown}", value=ratio, sense=">=", bound=1))
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, among the networks that are kept")
    parser.add_argument("--resume", action="store_true", help="evaluate only what results/analog_search.json lacks")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="studies of each task; 8 minutes each on two cores")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes to come
    tables = read_tables(FILE) if given.resume or given.quick else {}
    seeds = 1 if given.quick else given.seeds
    found: Found = {}
    begin_s, count = time.monotonic(), seeds * len(given.tasks) * (len(METHODS) + 1)
    for number, (errand, asked) in enumerate(run_all(tables, given.tasks, seeds=seeds, processes=given.processes), start=1):
        found.setdefault(errand.task, {}).setdefault(errand.seed, {})[errand.method] = asked
        left_s = (time.monotonic() - begin_s) / number * (count - number)
        print(f"{number} of {count}, about {left_s / 60:.0f} min left: {errand.task}, {errand.method}, seed {errand.seed}", flush=True)
        if not given.quick:
            write_tables(FILE, tables, COMMAND)
    goals = []
    for task in given.tasks:
        known = {training: {seed: by_seed[seed] for seed in sorted(found[task])} for training, by_seed in tables[task].items()}
        goals += show_searches(task, known[AWARE], found[task])
        goals += show_training(task, known)
    same = float(all(same_everywhere(task) for task in given.tasks))
    goals.append(Goal(name="same_numbers_in_other_processes_and_threads", value=same, sense=">=", bound=1))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
