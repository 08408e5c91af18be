"""Whether rungs find at least the front of full trainings in as many epochs; run `python benchmarks/rungs.py [--quick]`.

NAS-Bench-201 with the latency of a device, two fidelities: validation accuracy after 12 epochs, and accuracy after 200, which is what
counts. The table's 12-epoch trainings had a schedule of their own, so nothing is continued: a candidate that goes on costs 12 + 200
epochs, where a task that keeps checkpoints would pay 200. The searches are those of a study with `mode: sync`, on the same phases,
without Ray and in memory.

Prints, for each task and searcher, the hypervolume of the 200-epoch front over the exact one after so many epochs, full trainings
against rungs, mean and standard deviation over seeds, and the goals.
"""

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from statistics import fmean, stdev
from typing import Any

import numpy as np
from goals import Goal, report_goals
from search_tasks import SearchTask, task_makers

from paretune.core.genotype import as_genotypes
from paretune.core.pareto import hypervolume
from paretune.core.trial import Outcome
from paretune.platform.execution.fidelity_phase import FidelityPhase
from paretune.platform.execution.phase import Events, PhaseContext
from paretune.platform.execution.search_phase import Budget, SearchPhase
from paretune.platform.record.format import Event
from paretune.platform.record.header import Header
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Evaluation, Job, JobFactory
from paretune.searchers import SEARCHERS
from paretune.searchers.rungs import Ladder

SHORT, FULL = 12, 200
MARKS = (2_000, 6_000, 20_000)
"""Epochs: 10, 30 and 100 full trainings."""
ETAS = (5, 16)
"""Of so many candidates one is trained fully."""
METHODS = ("random", "nsga2", "auto")
PAIRS = (("cifar10", "gold_6240"), ("cifar100", "pixel3"))
SEEDS = 5


@dataclass(slots=True)
class Memory:
    """A ledger that is forgotten at the end."""

    events: list[Event] = field(default_factory=list)

    def append(self, events: Events) -> Sequence[Event]:
        """Number the events."""
        first = len(self.events) + 1
        new = [Event(seq=first + place, epoch=1, kind=kind, body=body) for place, (kind, body) in enumerate(events)]
        self.events += new
        return new


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One search."""

    data: str
    device: str
    method: str
    eta: int
    """0 trains every candidate fully."""
    seed: int


@cache
def tasks(data: str, device: str) -> tuple[SearchTask, SearchTask]:
    """The task by 200-epoch accuracy, and by 12-epoch accuracy."""
    makers = task_makers()
    return makers[f"nb201 {data} {device} {FULL} epochs"](), makers[f"nb201 {data} {device} {SHORT} epochs"]()


def volumes(order: Order) -> tuple[list[float], float]:
    """Hypervolume over the exact front's after each mark, and the seconds of processor time that the search took."""
    slow, quick = tasks(order.data, order.device)
    reached: list[float] = []
    spent, points, start_s = 0, [np.zeros((0, len(slow.problem.objectives)))], time.process_time()
    phase = _phase(order, slow)
    while len(reached) < len(MARKS):
        job = phase.next_job()
        if not isinstance(job, Job):
            raise RuntimeError(f"{order}: ended early: {job}")
        task = slow if job.epochs == FULL else quick
        genotype_1D = as_genotypes([job.genotype], len(job.genotype))
        while len(reached) < len(MARKS) and spent + job.epochs > MARKS[len(reached)]:
            reached.append(hypervolume(np.concatenate(points), slow.reference) / hypervolume(slow.front, slow.reference))
        spent += job.epochs
        if job.epochs == FULL:
            points.append(slow.report(genotype_1D))
        phase.finished(job.id, Evaluation(outcome=Outcome.OK, metrics=_metrics(task, genotype_1D)))
    return reached, time.process_time() - start_s


def _metrics(task: SearchTask, genotype_1D: Any) -> Mapping[str, float]:
    return {item.metric: float(value) for item, value in zip(task.problem.objectives, task.signal(genotype_1D)[0].tolist(), strict=True)}


def _phase(order: Order, task: SearchTask) -> SearchPhase:
    header = Header(
        name="rungs", spec={}, spec_text="", decisions=task.space.decisions, problem=task.problem, metrics={}, protocol="", provenance={}
    )
    context = PhaseContext(history=History(header, details=False), journal=Memory(), recall=lambda _: None, clock=lambda: 0.0, retries=0)
    ladder = Ladder(min_epochs=SHORT, max_epochs=FULL, eta=order.eta) if order.eta else None
    common: dict[str, Any] = {
        "searcher": SEARCHERS.create(order.method, task.space, task.problem, seed=order.seed),
        "space": task.space,
        "mode": "sync",
        "budget": Budget(trials=None, time_s=None),
        "factory": JobFactory(study_seed=0, protocol="", search_epochs=FULL, final_epochs=FULL, rungs=ladder.epochs if ladder else ()),
        "screen": lambda _: {},
    }
    return FidelityPhase(context, ladder=ladder, **common) if ladder else SearchPhase(context, **common)


def report(
    found: Mapping[Order, tuple[list[float], float]], *, pairs: Sequence[tuple[str, str]], methods: Sequence[str], etas: Sequence[int]
) -> list[Goal]:
    """Print the tables; the goals are that rungs keep up at the last mark, for each searcher over all tasks."""
    gains: dict[tuple[str, int], list[float]] = {}
    for data, device in pairs:
        print(f"\nnb201 {data} {device}: hypervolume of the {FULL}-epoch front over the exact one")
        print(f"{'':24}" + "".join(f"{mark:>10,} epochs " for mark in MARKS) + "   CPU s")
        for method, eta in product(methods, (0, *etas)):
            runs = {
                order.seed: run
                for order, run in found.items()
                if (order.data, order.device) == (data, device) and (order.method, order.eta) == (method, eta)
            }
            columns = list(zip(*(marks for marks, _ in runs.values()), strict=True))
            shown = "".join(f"{fmean(column):10.4f} ±{_deviation(column):.4f}" for column in columns)
            name = f"{method}, {'full trainings' if eta == 0 else f'rungs, eta {eta}'}"
            print(f"{name:24}{shown}{fmean(seconds for _, seconds in runs.values()):8.1f}")
            if eta:
                full = {
                    order.seed: run
                    for order, run in found.items()
                    if (order.data, order.device) == (data, device) and (order.method, order.eta) == (method, 0)
                }
                gains.setdefault((method, eta), []).extend(runs[seed][0][-1] - full[seed][0][-1] for seed in runs)
    print(f"\ngain of rungs after {MARKS[-1]:,} epochs, mean over tasks and seeds, and its standard error:")
    for (method, eta), values in gains.items():
        print(f"{method}, eta {eta}: {fmean(values):+.4f} ±{_deviation(values) / math.sqrt(len(values)):.4f}")
    return [
        Goal(name=f"rungs_gain_{method}_eta{eta}", value=fmean(values), sense=">=", bound=0.0) for (method, eta), values in gains.items()
    ]


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one task, three seeds, random and nsga2 only")
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--etas", nargs="+", type=int, default=ETAS, help="of so many candidates one is trained fully, 5 to 16")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if not all(5 <= eta <= 16 for eta in options.etas):
        parser.error("--etas: from 5 to 16, where 12 and 200 epochs are the only rungs")
    pairs, methods = (PAIRS[:1], METHODS[:2]) if options.quick else (PAIRS, METHODS)
    methods, seeds = options.methods or methods, options.seeds or (3 if options.quick else SEEDS)
    orders = [
        Order(data=data, device=device, method=method, eta=eta, seed=seed)
        for (data, device), method, eta, seed in product(pairs, methods, (0, *options.etas), range(seeds))
    ]
    found: dict[Order, tuple[list[float], float]] = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for order, run in zip(orders, pool.map(volumes, orders), strict=True):
            found[order] = run
            print(f"{len(found)} of {len(orders)}: {order}: {run}", file=sys.stderr)
    return report_goals(report(found, pairs=pairs, methods=methods, etas=options.etas))


if __name__ == "__main__":
    sys.exit(main())
