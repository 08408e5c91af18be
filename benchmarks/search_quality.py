"""How good the fronts of searchers and peers are after 100, 300 and 1,000 evaluations; run `python benchmarks/search_quality.py [--quick]`.

Ours are run here as `mode: sync` runs them. The peers' figures are those of results/search_quality_peers.json, measured by
`--peers PYTHON` with the Python of an environment with requirements.txt; they get each result before they propose again. Prints a table for
each task and the goals.

A method keeps up with a peer on a task where its mean is not below the peer's by more than three standard errors of the difference: some
eighty pairs are compared, so that by chance alone some pairs of equal methods are two standard errors apart. Where the signal is not what
is judged, a peer counts no more than the bound: what the front of the whole signal is worth.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median

from goals import Goal, report_goals
from search_leads import Lead, leads, leads_table, worst_errors
from search_runs import MARKS, PeerProcess, Run, search
from search_store import RESULTS, Figure, Store, group_table, table
from search_tasks import SearchTask, task_makers

from paretune.searchers import SEARCHERS

PEERS_FILE, OWN_FILE, PAGE_FILE = (RESULTS / f"search_quality{rest}" for rest in ("_peers.json", ".json", ".md"))
COMMAND = "python benchmarks/search_quality.py"
SINGLE = {"nb201 cifar100 alone": 100, "analog accuracy alone": 200}
"""Tasks of one objective, and the evaluations within which the optimum must be found."""
QUICK = (
    "nb201 cifar10 gold_6240 200 epochs",
    "nb201 cifar100 pixel3 12 epochs",
    "macro accuracy parameters",
    "mobile error latency",
    *SINGLE,
)
KEEPS_UP = -3.0
"""Standard errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How far a method is run."""

    budget: int
    seeds: int


FULL = Plan(budget=1000, seeds=10)
OWN = {
    "random": FULL,
    "nsga2": FULL,
    "regularized_evolution": FULL,
    "lemonade": FULL,
    "rl_controller": Plan(budget=300, seeds=10),
    "auto": FULL,
}
QUICK_OWN = dict.fromkeys(("random", "nsga2", "rl_controller"), Plan(budget=300, seeds=2)) | {"auto": Plan(budget=300, seeds=1)}
"""The methods that goals are about."""
NSGA2_PEERS = ("pymoo_nsga2", "pymoo_nsga2_20", "optuna_nsga2", "optuna_nsga2_20")
PEERS = dict.fromkeys(NSGA2_PEERS, FULL) | {
    "syne_morea": FULL,
    "nevergrad_de": Plan(budget=300, seeds=10),
    "nevergrad_ngopt": Plan(budget=300, seeds=10),
    "optuna_tpe": Plan(budget=300, seeds=10),
    "smac_parego": Plan(budget=100, seeds=10),
    "optuna_gp": Plan(budget=100, seeds=10),
}


def measure(
    store: Store, tasks: Sequence[str], methods: Iterable[str], plans: dict[str, Plan], run: Callable[[SearchTask, str, int, int], Run]
) -> Iterable[Run]:
    """Run what the store does not hold yet, all tasks and methods a seed at a time, and add it."""
    made = {name: task_makers()[name]() for name in tasks}
    for seed, method, task in product(range(max(plan.seeds for plan in plans.values())), methods, tasks):
        kept = store.runs.get(task, {}).get(method, {}).get(seed)
        reachable = sum(mark <= plans[method].budget for mark in MARKS)
        if seed >= plans[method].seeds or (kept is not None and len(kept.volumes) >= reachable):
            continue
        found = run(made[task], method, seed, plans[method].budget)
        store.add(task, method, found)
        yield found


def all_leads(store: Store, tasks: Sequence[str]) -> dict[tuple[str, int], list[Lead]]:
    """Of NSGA-II over the peers' NSGA-II and of `auto` over every peer, on the tasks of several objectives."""
    bounds = {task: task_makers()[task]().bound for task in tasks if task not in SINGLE}
    reached = [mark for mark in MARKS if any(store.volume(task, "nsga2", mark).count for task in bounds)]
    rivals = {"nsga2": NSGA2_PEERS, "auto": tuple(PEERS)}
    return {(method, mark): leads(store, method, peers, bounds, mark) for method, peers in rivals.items() for mark in reached}


def found_within(runs: Sequence[Run], evaluations: int) -> float:
    """Share of the runs that found the optimum within so many evaluations; NaN for no runs."""
    return fmean(run.optimum_at is not None and run.optimum_at <= evaluations for run in runs) if runs else math.nan


def goals(store: Store, tasks: Sequence[str]) -> list[Goal]:
    """Every promise, over the tasks that were run."""
    several = [task for task in tasks if task not in SINGLE]
    found = []
    by_mark = all_leads(store, tasks)
    reached = {mark for _, mark in by_mark}
    for (method, mark), listed in by_mark.items():
        label = "peers_nsga2" if method == "nsga2" else "every_peer"
        found.append(Goal(name=f"{method}_lead_over_{label}_at_{mark}_errors", value=worst_errors(listed), sense=">=", bound=KEEPS_UP))
    devices = [task for task in several if task.endswith("200 epochs")]
    for mark, bound in zip(MARKS, (0.975, 0.99, 0.998), strict=True):
        if mark in reached and devices:
            value = fmean(store.volume(task, "auto", mark).mean for task in devices)
            found.append(Goal(name=f"auto_nb201_hypervolume_at_{mark}", value=value, sense=">=", bound=bound))
    if MARKS[-1] in reached and devices:
        value = fmean(store.recall(task, "auto", MARKS[-1]).mean for task in devices)
        found.append(Goal(name="auto_nb201_recall_at_1000", value=value, sense=">=", bound=0.6))
    mobile = {task: 1.0 for task in several if task.startswith("mobile")}
    lead = worst_errors(leads(store, "auto", ["optuna_gp"], mobile, MARKS[0]))
    found.append(Goal(name="auto_mobile_lead_over_optuna_gp_at_100_errors", value=lead, sense=">=", bound=KEEPS_UP))
    if shares := cpu_shares(store, several):
        found.append(Goal(name="auto_cpu_over_optuna_gp_mean", value=fmean(shares.values()), sense="<=", bound=0.1))
    for task, evaluations in SINGLE.items():
        if task not in tasks:
            continue
        name = f"auto_optimum_within_{evaluations}_{task.split()[0]}"
        found.append(Goal(name=name, value=found_within(store.of(task, "auto"), evaluations), sense=">=", bound=0.9))
    behind = [not_above(store.volume(task, "rl_controller", 300), store.volume(task, "random", 300)) for task in several]
    found.append(Goal(name="rl_tasks_not_above_random_at_300", value=sum(behind), sense="<=", bound=0))
    return found


def not_above(one: Figure, other: Figure) -> float:
    """1.0 where the first mean is not above the second, NaN where one is missing."""
    return math.nan if math.isnan(one.mean) or math.isnan(other.mean) else float(one.mean <= other.mean)


def cpu_shares(store: Store, tasks: Iterable[str]) -> dict[str, float]:
    """CPU time of `auto` over Optuna GP's on each task, first 100 evaluations, median runs; NaN where `auto` was not run."""
    return {task: _cpu_ms(store.of(task, "auto")) / _cpu_ms(peer) for task in tasks if (peer := store.of(task, "optuna_gp"))}


def _cpu_ms(runs: Sequence[Run]) -> float:
    early = [run.early_cpu_ms or (run.cpu_ms if len(run.volumes) == 1 else None) for run in runs]
    known = [value for value in early if value is not None]
    return median(known) if known else math.nan


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="some tasks, 300 evaluations, one seed of auto; the goals are then held there")
    parser.add_argument("--peers", type=Path, help="measure the peers with this Python, too")
    parser.add_argument("--resume", action="store_true", help="measure only what the files of results/ lack")
    parser.add_argument("--budget", type=int, default=1000, help="no more evaluations than these: 100, 300 or 1000")
    parser.add_argument("--seeds", type=int, default=10, help="no more seeds than these")
    parser.add_argument("--tasks", default="", help="only the tasks with this in their name")
    parser.add_argument("--methods", default="", help="only these methods, separated by commas; '-' for none")
    return parser.parse_args()


def main() -> int:
    given = options()
    tasks = [name for name in (QUICK if given.quick else task_makers()) if given.tasks in name]
    wanted = (QUICK_OWN if given.quick else OWN) | PEERS
    chosen = [name for name in given.methods.split(",") if name] or list(wanted)
    own = Store.read(OWN_FILE) if given.resume else Store()
    peers = Store.read(PEERS_FILE)
    ours = [name for name in chosen if name in OWN and name in SEARCHERS.names()]
    plans = {name: Plan(budget=min(plan.budget, given.budget), seeds=min(plan.seeds, given.seeds)) for name, plan in (OWN | wanted).items()}
    for _ in measure(own, tasks, ours, plans, lambda task, name, seed, budget: search(task, name, seed=seed, budget=budget)):
        if not given.quick:
            own.write(OWN_FILE, COMMAND)
    if given.peers:
        measure_peers(given.peers, peers if given.resume else Store(), tasks, [name for name in chosen if name in PEERS], plans)
        peers = Store.read(PEERS_FILE)
    everything = peers.merged(own)
    page = "\n\n".join(pages(everything, tasks))
    print(page, end="\n\n")
    if not given.quick and not given.tasks:
        PAGE_FILE.write_text(f"# Search quality, every table\n\nWritten by `{COMMAND}`; see docs/search-quality.md.\n\n{page}\n")
    return report_goals(goals(everything, tasks))


def pages(store: Store, tasks: Sequence[str]) -> Iterator[str]:
    """The leads, the means over devices, then a table for each task."""
    yield leads_table(all_leads(store, tasks))
    if shares := cpu_shares(store, [task for task in tasks if task not in SINGLE]):
        dearest = max(shares, key=shares.__getitem__)
        yield f"CPU time of `auto` over Optuna GP's: {fmean(shares.values()):.1%} on average, at most {shares[dearest]:.1%} ({dearest})."
    for data, epochs in product(("cifar10", "cifar100"), ("200 epochs", "12 epochs")):
        group = [task for task in tasks if task.startswith(f"nb201 {data} ") and task.endswith(epochs)]
        if len(group) > 1:
            yield group_table(store, f"nb201 {data} {epochs}", group)
    for name in tasks:
        yield table(store, name, facts=facts(task_makers()[name]()), within=SINGLE.get(name))


def measure_peers(python: Path, store: Store, tasks: Sequence[str], methods: Sequence[str], plans: dict[str, Plan]) -> None:
    """Run the peers and keep their figures in results/."""
    process = PeerProcess(python)
    store.versions = process.versions
    try:
        run = lambda task, name, seed, budget: process.search(task, name, seed=seed, budget=budget)  # noqa: E731 - as short as its name
        for _ in measure(store, tasks, methods, plans, run):
            store.write(PEERS_FILE, f"{COMMAND} --peers PYTHON")
    finally:
        process.close()


def facts(task: SearchTask) -> str:
    """What a reader of a table needs to know of the task."""
    size = f"{task.space.size:,}" if task.space.size < 10**7 else f"{task.space.size:.1e}"
    known = "best known front" if task.name.startswith("mobile") else "exact front"
    bound = "" if task.bound == 1 else f"; who knows the whole signal gets {task.bound:.4f}"
    return f"{size} networks, {known} of {len(task.front)} points{bound}."


if __name__ == "__main__":
    sys.exit(main())
