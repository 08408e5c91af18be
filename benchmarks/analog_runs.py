"""Candidates of an analog search, evaluated as a study does but in this process: searched, random, a grid of plain ResNets, digital."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from search_store import RESULTS
from search_tasks import DATA

from paretune.core.genotype import as_genotypes, from_named, named
from paretune.core.objectives import Problem
from paretune.core.trial import Outcome, Trial
from paretune.platform.execution.evaluator import evaluate_here
from paretune.platform.record.jobs import Evaluation, JobFactory
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study.plan import Plan, build_plan

FILE = RESULTS / "analog_search.json"
BUDGET = 24
"""Candidates of each method; so many plain ResNets there are."""
TASKS: Mapping[str, dict[str, Any]] = {
    "digits": {"name": "digits"},
    "spoken_digits": {
        "name": "spoken_digits",
        "folder": str(DATA / "fsdd"),
        "bands": 8,
        "frames": 8,
        "learning_rate": 0.1,
        "train_limit": 1600,
    },
}
SPACE = {"name": "resnet_analog", "first_widths": [8, 12, 16], "main_blocks": [1, 2], "residual_blocks": [1, 2]}
ANALOG = {"kind": "analog", "preset": "hermes", "times_s": ["1s", "1d", "30d"], "programmings": 6, "images": 200}
EPOCHS = 4
OBJECTIVES = (
    {"metric": "analog.accuracy_1d", "goal": "max", "reference": 0.5},
    {"metric": "analog.avm", "goal": "min", "reference": 0.4},
    {"metric": "chip.energy_uj", "goal": "min", "reference": 20},
)
SEARCHERS: Mapping[str, dict[str, Any]] = {
    "searched": {"name": "predictor_guided", "initial": 8, "batch": 4},
    "random": {"name": "random"},
}
GRID, DIGITAL = "plain ResNets", "trained digitally"
METHODS = (*SEARCHERS, GRID, DIGITAL)
KEPT = ("analog.accuracy_1s", "analog.accuracy_1d", "analog.accuracy_30d", "analog.avm", "analog.digital_accuracy", "chip.energy_j")
"""Metrics that are kept of a candidate; energy to the digit, accuracies are counts of at most 1,800 answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An architecture and what it came to."""

    genotype: tuple[int, ...]
    metrics: Mapping[str, float]
    """`KEPT`; free costs alone where training diverged."""


Runs = dict[str, dict[str, dict[int, list[Candidate]]]]
"""Candidates in the order asked, by task, method and seed."""


def plan_of(task: str, seed: int, searcher: Mapping[str, Any], *, hardware_aware: bool = True) -> Plan:
    """The study of which candidates are evaluated here."""
    training = {"epochs": EPOCHS, **({"hardware_aware": "analog"} if hardware_aware else {})}
    spec = {
        "version": 1,
        "name": "analog-search",
        "seed": seed,
        "task": TASKS[task],
        "space": SPACE,
        "hardware": {"chip": {"target": "hermes"}, "analog": ANALOG},
        "objectives": list(OBJECTIVES),
        "searcher": dict(searcher),
        "budget": {"trials": BUDGET},
        "training": training,
    }
    return build_plan(spec_from_mapping(spec))


def evaluated(plan: Plan, genotype: Sequence[int], ask_index: int) -> Evaluation:
    """Trained, programmed, drifted and judged in this process; the study's seed and the architecture decide everything."""
    factory = JobFactory(study_seed=plan.spec.seed, protocol="", search_epochs=EPOCHS, final_epochs=EPOCHS)
    genes = tuple(int(gene) for gene in genotype)
    job = factory.search(ask_index=ask_index, genotype=genes, choices=named(plan.space.decisions, genes))
    with tempfile.TemporaryDirectory() as folder:
        return evaluate_here(plan.make_evaluator(tuple(plan.devices)), job, Path(folder) / "work" / "candidate", plan.devices)


def plain_resnets(plan: Plan) -> list[tuple[int, ...]]:
    """What one would try by hand: basic blocks, one branch, every stage as deep, wider by two where the map is halved or also before."""
    rows = []
    for width, depth, blocks, widening in product((8, 12, 16), (1, 2), (1, 2), (1.0, 2.0)):
        stages = {1: widening, 2: 2.0}
        choices: dict[str, Any] = {"first_width": width, "main_blocks": depth}
        for stage, factor in stages.items():
            parts = {"residual_blocks": blocks, "branches": 1, "type": "basic", "widening": factor}
            choices |= {f"main{stage}.{name}": value for name, value in parts.items()}
        rows.append(from_named(plan.space.decisions, choices))
    genotypes_ND = plan.space.canonical(as_genotypes(rows, len(plan.space.decisions)))
    return [tuple(row) for row in genotypes_ND.tolist()]


def run(task: str, method: str, seed: int, budget: int) -> list[Candidate]:
    """The candidates of one method. The digital ones are every other plain ResNet, from the same seeds as those trained for tiles."""
    if method in SEARCHERS:
        return _searched(plan_of(task, seed, SEARCHERS[method]), budget)
    plan = plan_of(task, seed, SEARCHERS["random"], hardware_aware=method != DIGITAL)
    rows = plain_resnets(plan)[:budget]
    return [_candidate(row, evaluated(plan, row, index)) for index, row in enumerate(rows[::2] if method == DIGITAL else rows)]


def _searched(plan: Plan, budget: int) -> list[Candidate]:
    """As `mode: sync` runs it: before ask number i the searcher was told the first `tells_before(i)` results and no more."""
    searcher = plan.make_searcher()
    found: list[Candidate] = []
    trials: list[Trial] = []
    told = 0
    while len(trials) < budget:
        needed = searcher.tells_before(len(trials))
        searcher.tell(trials[told:needed])
        told = needed
        row = tuple(searcher.ask(1)[0].tolist())
        evaluation = evaluated(plan, row, len(trials))
        found.append(_candidate(row, evaluation))
        trials.append(Trial(ask_index=len(trials), genotype=row, outcome=evaluation.outcome, metrics=evaluation.metrics))
    return found


def _candidate(row: tuple[int, ...], evaluation: Evaluation) -> Candidate:
    metrics = {name: round(value, 12) for name, value in evaluation.metrics.items() if name in KEPT}
    return Candidate(genotype=row, metrics=metrics)


def points(problem: Problem, candidates: Sequence[Candidate]) -> np.ndarray:
    """`(N, 3)` minimised objectives; an accuracy variation below 0 is chance and counts as 0."""
    trials = [
        Trial(ask_index=0, genotype=item.genotype, outcome=Outcome.OK, metrics=item.metrics) for item in candidates if is_trained(item)
    ]
    points_N3 = np.array([problem.minimised(trial.metrics) for trial in trials]).reshape(-1, len(problem.objectives))
    points_N3[:, 1] = np.maximum(points_N3[:, 1], 0.0)
    return points_N3


def is_trained(candidate: Candidate) -> bool:
    """Whether training came to an end."""
    return "analog.accuracy_1d" in candidate.metrics


def read_runs(path: Path) -> Runs:
    """From a file; empty where there is none."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text())["runs"]
    return {
        task: {method: {int(seed): [_from_row(row) for row in rows] for seed, rows in seeds.items()} for method, seeds in methods.items()}
        for task, methods in content.items()
    }


def _from_row(row: Sequence[Any]) -> Candidate:
    metrics = {name: value for name, value in zip(KEPT, row[1:], strict=True) if value is not None}
    return Candidate(genotype=tuple(row[0]), metrics=metrics)


def write_runs(path: Path, runs: Runs, command: str) -> None:
    """To a file, a line for each seed of each method."""
    path.parent.mkdir(exist_ok=True)
    tasks = []
    for task, methods in runs.items():
        parts = []
        for method, seeds in methods.items():
            lines = [
                f"   {json.dumps(str(seed))}: {json.dumps([[item.genotype, *(item.metrics.get(name) for name in KEPT)] for item in found])}"
                for seed, found in sorted(seeds.items())
            ]
            parts.append(f"  {json.dumps(method)}: {{\n" + ",\n".join(lines) + "\n  }")
        tasks.append(f" {json.dumps(task)}: {{\n" + ",\n".join(parts) + "\n }")
    head = f'{{\n"command": {json.dumps(command)},\n"columns": {json.dumps(["genotype", *KEPT])},\n"runs": {{\n'
    path.write_text(head + ",\n".join(tasks) + "\n}}\n")
