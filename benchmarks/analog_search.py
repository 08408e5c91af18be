"""What an analog search brings, on digits and spoken digits: run `python benchmarks/analog_search.py [--quick] [--resume]`.

Spoken digits are read from `PARETUNE_DATA/fsdd`. Each method evaluates as many candidates; a candidate is trained for the tiles, programmed
several times and judged a second, a day and 30 days later (settings: analog_runs.py). Prints

- the hypervolume over accuracy after a day, accuracy variation over a month (AVM) and energy, as a share of the box between the reference
  point and (1, 0, 0 J): predictor-guided search, random search, and a grid of plain ResNets, mean and deviation over seeds;
- by how much hardware-aware training raises the accuracy after a month over digital training of the same plain ResNets from the same seeds;
- Kendall's tau between digital accuracy and accuracy after a day;
- whether a candidate comes to the same numbers in two processes, one with two threads.

Runs are kept in results/analog_search.json after each method of a seed; `--resume` runs what is missing there.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice, product
from multiprocessing import get_context

import numpy as np
from analog_runs import (
    BUDGET,
    DIGITAL,
    FILE,
    GRID,
    METHODS,
    SEARCHERS,
    TASKS,
    Candidate,
    Runs,
    evaluated,
    is_trained,
    plain_resnets,
    plan_of,
    points,
    read_runs,
    run,
    write_runs,
)
from goals import Goal, report_goals
from search_store import Figure

from paretune.core.objectives import Problem
from paretune.core.pareto import hypervolume
from paretune.predictors.fidelity import kendall

COMMAND = "python benchmarks/analog_search.py"
QUICK_TASKS, QUICK_SEEDS, QUICK_BUDGET = ("digits",), 1, 16
IDEAL = np.array([-1.0, 0.0, 0.0])
"""Minimised: every answer right, nothing lost in a month, no energy."""
DIFFERENT = 0.99
"""Kendall's tau above which two orders would count as one."""
COMPARED = ("searched", "random", GRID)


def single_threaded(threads: int = 1) -> None:
    """Set up a process."""
    import torch

    torch.set_num_threads(threads)


def missing(runs: Runs, tasks: Sequence[str], seeds: int) -> Iterator[tuple[str, str, int]]:
    """What is still to be run, every method of a seed before the next seed."""
    for seed, task, method in product(range(seeds), tasks, METHODS):
        if seed not in runs.get(task, {}).get(method, {}):
            yield task, method, seed


def measure(runs: Runs, tasks: Sequence[str], *, seeds: int, budget: int, processes: int) -> Iterator[str]:
    """Run what is missing and add it; tells what is done."""
    todo = missing(runs, tasks, seeds)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=single_threaded) as pool:
        running = {pool.submit(run, *item, budget): item for item in islice(todo, processes)}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                task, method, seed = running.pop(future)
                runs.setdefault(task, {}).setdefault(method, {})[seed] = future.result()
                yield f"{task}, {method}, seed {seed}"
                running |= {pool.submit(run, *item, budget): item for item in islice(todo, 1)}


def repeated(task: str) -> bool:
    """Whether a candidate comes to the same numbers in two fresh processes, the second with two threads."""
    found = []
    for threads in (1, 2):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=single_threaded, initargs=(threads,)) as pool:
            found.append(pool.submit(evaluated_once, task).result())
    return found[0] == found[1]


def evaluated_once(task: str) -> dict[str, float]:
    """All metrics of a plain ResNet, unrounded."""
    plan = plan_of(task, 0, SEARCHERS["random"])
    return dict(evaluated(plan, plain_resnets(plan)[0], 0).metrics)


def volume(problem: Problem, candidates: Sequence[Candidate]) -> float:
    """Hypervolume as a share of the box between the reference point and `IDEAL`."""
    return hypervolume(points(problem, candidates), problem.reference) / float(np.prod(problem.reference - IDEAL))


def raised(runs: dict[str, dict[int, list[Candidate]]], seed: int, metric: str) -> list[float]:
    """By how many points hardware-aware training raises a metric, for each plain ResNet that was trained both ways."""
    aware = {item.genotype: item for item in runs[GRID][seed] if is_trained(item)}
    pairs = [(aware[item.genotype], item) for item in runs[DIGITAL][seed] if is_trained(item) and item.genotype in aware]
    return [100 * (one.metrics[metric] - other.metrics[metric]) for one, other in pairs]


def tau(candidates: Sequence[Candidate]) -> float:
    """Between the order by digital accuracy of the same weights and that by accuracy after a day, each architecture once."""
    distinct = list({item.genotype: item for item in candidates if is_trained(item)}.values())
    columns = (np.array([item.metrics[f"analog.{name}"] for item in distinct]) for name in ("digital_accuracy", "accuracy_1d"))
    return kendall(*columns)


def tau_of_trainings(runs: dict[str, dict[int, list[Candidate]]], seed: int) -> float:
    """Between accuracy after digital training and accuracy after a day and hardware-aware training, over the plain ResNets."""
    aware = {item.genotype: item for item in runs[GRID][seed] if is_trained(item)}
    digital = [item for item in runs[DIGITAL][seed] if is_trained(item) and item.genotype in aware]
    trained_N = np.array([item.metrics["analog.digital_accuracy"] for item in digital])
    return kendall(trained_N, np.array([aware[item.genotype].metrics["analog.accuracy_1d"] for item in digital]))


def doubles(runs: dict[str, dict[int, list[Candidate]]], seed: int) -> tuple[int, int]:
    """Architectures that several methods evaluated, in processes of their own, and those of them that came to other numbers."""
    found: dict[tuple[int, ...], list[Candidate]] = {}
    for item in (item for method in COMPARED for item in runs[method][seed]):
        found.setdefault(item.genotype, []).append(item)
    several = [items for items in found.values() if len(items) > 1]
    return len(several), sum(any(item.metrics != items[0].metrics for item in items) for items in several)


def shown(task: str, runs: dict[str, dict[int, list[Candidate]]]) -> list[Goal]:
    """Print what the complete seeds of a task show; its goals."""
    seeds = sorted(set.intersection(*(set(runs.get(method, {})) for method in METHODS)))
    if not seeds:
        print(f"{task}: no seed is complete")
        return [Goal(name=f"{task}_seeds", value=0, sense=">=", bound=1)]
    problem = plan_of(task, 0, SEARCHERS["random"]).problem
    volumes = {method: [volume(problem, runs[method][seed]) for seed in seeds] for method in COMPARED}
    print(f"\n{task}, {len(seeds)} seeds, {len(runs[GRID][seeds[0]])} candidates each: hypervolume, share of the box")
    for method, values in volumes.items():
        wins = sum(mine > other for mine, other in zip(volumes["searched"], values, strict=True))
        beside = "" if method == "searched" else f"   search above in {wins} of {len(seeds)} seeds"
        print(f"  {method:20}{Figure.of(values)!s:>18}{beside}")
    for time in ("1s", "1d", "30d"):
        gains = Figure.of([float(np.mean(raised(runs, seed, f"analog.accuracy_{time}"))) for seed in seeds])
        levels = [np.mean([i.metrics[f"analog.accuracy_{time}"] for i in runs[DIGITAL][seed] if is_trained(i)]) for seed in seeds]
        print(
            f"  hardware-aware training after {time:>3}: {gains.mean:+.1f} ± {gains.deviation:.1f} points (digital {np.mean(levels):.3f})"
        )
    every = [[item for method in COMPARED for item in runs[method][seed]] for seed in seeds]
    taus, tops = Figure.of([tau(items) for items in every]), Figure.of([tau_of_trainings(runs, seed) for seed in seeds])
    print(f"  Kendall's tau of digital accuracy and accuracy after a day: {taus}; digitally trained against trained for tiles: {tops}")
    twice = np.sum([doubles(runs, seed) for seed in seeds], axis=0)
    print(f"  {twice[0]} candidates were evaluated by several methods in processes of their own, {twice[1]} with other numbers")
    means = {method: float(np.mean(values)) for method, values in volumes.items()}
    month = float(np.mean([np.mean(raised(runs, seed, "analog.accuracy_30d")) for seed in seeds]))
    return [
        Goal(name=f"{task}_search_over_random", value=means["searched"] / means["random"], sense=">=", bound=1),
        Goal(name=f"{task}_search_over_plain_resnets", value=means["searched"] / means[GRID], sense=">=", bound=1),
        Goal(name=f"{task}_hardware_aware_points_after_a_month", value=month, sense=">=", bound=0),
        Goal(name=f"{task}_tau_digital_and_after_a_day", value=taus.mean, sense="<=", bound=DIFFERENT),
        Goal(name=f"{task}_candidates_with_other_numbers", value=float(twice[1]), sense="<=", bound=0),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"digits, one seed, {QUICK_BUDGET} candidates; nothing is kept")
    parser.add_argument("--resume", action="store_true", help="run only what results/analog_search.json lacks")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes to come
    tasks, seeds, budget = (QUICK_TASKS, QUICK_SEEDS, QUICK_BUDGET) if given.quick else (tuple(given.tasks), given.seeds, BUDGET)
    runs = read_runs(FILE) if given.resume and not given.quick else {}
    for told in measure(runs, tasks, seeds=seeds, budget=budget, processes=given.processes):
        print(f"done: {told}", flush=True)
        if not given.quick:
            write_runs(FILE, runs, COMMAND)
    goals = [goal for task in tasks for goal in shown(task, runs.get(task, {}))]
    same = float(all(repeated(task) for task in tasks))
    goals.append(Goal(name="same_numbers_in_other_processes_and_threads", value=same, sense=">=", bound=1))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
