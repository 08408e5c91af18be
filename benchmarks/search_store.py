"""Runs of benchmarks/search_quality.py in a file, their means and deviations, and the tables made of them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev

from search_runs import MARKS, Run

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Mean and deviation of one figure over some seeds."""

    mean: float
    deviation: float
    """Of one run, n - 1 in the denominator; NaN for a single seed."""
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """Of some runs; NaN for none."""
        return cls(mean=fmean(values) if values else math.nan, deviation=stdev(values) if len(values) > 1 else math.nan, count=len(values))

    def z_against(self, other: "Figure") -> float:
        """Difference of the means in standard errors of that difference (Welch); a single seed is taken to have the other's deviation."""
        mine, others = (one.deviation if one.count > 1 else two.deviation for one, two in ((self, other), (other, self)))
        error = math.sqrt(mine**2 / self.count + others**2 / other.count) if self.count and other.count else math.nan
        gap = self.mean - other.mean
        return gap / error if error > 0 else (0.0 if gap == 0 else math.copysign(math.inf, gap) if error == 0 else math.nan)

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.deviation:.4f}" if self.count > 1 else f"{self.mean:.4f}"


@dataclass(slots=True)
class Store:
    """Runs by task and method, and the versions of the peers that made theirs."""

    runs: dict[str, dict[str, dict[int, Run]]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Store":
        """From a file; empty where there is none."""
        if not path.exists():
            return cls()
        content = json.loads(path.read_text())
        runs = {
            task: {method: {run["seed"]: Run.from_json(run) for run in listed} for method, listed in methods.items()}
            for task, methods in content["runs"].items()
        }
        return cls(runs=runs, versions=content["versions"])

    def write(self, path: Path, command: str) -> None:
        """To a file, a line for each method of each task."""
        path.parent.mkdir(exist_ok=True)
        tasks = []
        for task, methods in self.runs.items():
            listed = {name: [runs[seed].as_json() for seed in sorted(runs)] for name, runs in methods.items()}
            lines = [f"  {json.dumps(name)}: {json.dumps(runs)}" for name, runs in listed.items()]
            tasks.append(f" {json.dumps(task)}: {{\n" + ",\n".join(lines) + "\n }")
        head = f'{{\n"command": {json.dumps(command)},\n"versions": {json.dumps(self.versions)},\n"runs": {{\n'
        path.write_text(head + ",\n".join(tasks) + "\n}}\n")

    def add(self, task: str, method: str, run: Run) -> None:
        """Keep a run, in the place of one with its seed."""
        self.runs.setdefault(task, {}).setdefault(method, {})[run.seed] = run

    def of(self, task: str, method: str) -> list[Run]:
        """The runs of a method on a task, by seed."""
        found = self.runs.get(task, {}).get(method, {})
        return [found[seed] for seed in sorted(found)]

    def volume(self, task: str, method: str, mark: int) -> Figure:
        """Hypervolume over the exact front's after so many evaluations."""
        return Figure.of(_at(self.of(task, method), "volumes", mark))

    def recall(self, task: str, method: str, mark: int) -> Figure:
        """Share of the true front's points after so many evaluations."""
        return Figure.of(_at(self.of(task, method), "recalls", mark))

    def merged(self, other: "Store") -> "Store":
        """These runs and the other's, the other's where both have a method on a task."""
        names = dict.fromkeys([*self.runs, *other.runs])
        return Store(
            runs={name: self.runs.get(name, {}) | other.runs.get(name, {}) for name in names}, versions=self.versions | other.versions
        )


def _at(runs: Sequence[Run], name: str, mark: int) -> list[float]:
    index = MARKS.index(mark)
    return [getattr(run, name)[index] for run in runs if len(getattr(run, name)) > index]


def table(store: Store, task: str, *, facts: str, within: int | None) -> str:
    """Every method on a task in Markdown, best first by the largest mark that it reached.

    Args:
        store: the runs.
        task: its name.
        facts: a line on it.
        within: for a task of one objective, evaluations within which the optimum is wanted; None for several objectives.
    """

    def merit(method: str) -> list[float]:
        return [_orderable(store.volume(task, method, mark).mean) for mark in MARKS[::-1]]

    methods = sorted(store.runs.get(task, {}), key=merit)
    lines = [f"### {task}", "", facts, ""]
    if within is not None:
        lines += [f"| method | seeds | found the optimum | within {within} | after, median | CPU ms |", "|---|---|---|---|---|---|"]
        lines += [_single_row(method, store.of(task, method), within) for method in methods[::-1]]
    else:
        lines += ["| method | seeds | 100 | 300 | 1000 | front found | repeats | CPU ms |", "|---|---|---|---|---|---|---|---|"]
        lines += [_row(store, task, method) for method in methods[::-1]]
    return "\n".join(lines)


def group_table(store: Store, name: str, tasks: Sequence[str]) -> str:
    """Means over tasks that differ in the device only, of the methods run on all of them; the deviation is that between the tasks."""
    methods = list(dict.fromkeys(known for task in tasks for known in store.runs.get(task, {})))
    rows = []
    for method in methods:
        if any(not store.of(task, method) for task in tasks):
            continue
        cells = []
        for mark in MARKS:
            means = [store.volume(task, method, mark).mean for task in tasks]
            cells.append("" if any(math.isnan(mean) for mean in means) else str(Figure.of(means)))
        recalls = [store.recall(task, method, MARKS[-1]).mean for task in tasks]
        found = "" if any(math.isnan(recall) for recall in recalls) else f"{fmean(recalls):.0%}"
        seeds = min(len(store.of(task, method)) for task in tasks)
        rows.append((cells[::-1], f"| {method} | {seeds} | {' | '.join(cells)} | {found} |"))
    lines = [
        f"### {name}, mean of {len(tasks)} devices",
        "",
        "| method | seeds | 100 | 300 | 1000 | front found |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(row for _, row in sorted(rows, reverse=True))])


def _orderable(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def _row(store: Store, task: str, method: str) -> str:
    runs = store.of(task, method)
    volumes = [store.volume(task, method, mark) for mark in MARKS]
    last = max((mark for mark, volume in zip(MARKS, volumes, strict=True) if volume.count), default=MARKS[0])
    recall = store.recall(task, method, last)
    cells = [str(volume) if volume.count else "" for volume in volumes]
    repeats, cpu = fmean(run.repeats for run in runs), fmean(run.cpu_ms for run in runs)
    return f"| {method} | {len(runs)} | {' | '.join(cells)} | {recall.mean:.0%} at {last} | {repeats:.1%} | {cpu:.2f} |"


def _single_row(method: str, runs: Sequence[Run], within: int) -> str:
    found = sorted(run.optimum_at for run in runs if run.optimum_at is not None)
    middle = str(found[(len(runs) - 1) // 2]) if len(found) > (len(runs) - 1) // 2 else "never"
    early = sum(evaluation <= within for evaluation in found)
    return f"| {method} | {len(runs)} | {len(found)} | {early} | {middle} | {fmean(run.cpu_ms for run in runs):.2f} |"


def best_peer(store: Store, task: str, peers: Sequence[str], mark: int) -> tuple[str, Figure] | None:
    """The peer with the highest mean on a task; None where none was run so far."""
    figures: Mapping[str, Figure] = {peer: store.volume(task, peer, mark) for peer in peers}
    known = {peer: figure for peer, figure in figures.items() if figure.count}
    if not known:
        return None
    name = max(known, key=lambda peer: known[peer].mean)
    return name, known[name]
