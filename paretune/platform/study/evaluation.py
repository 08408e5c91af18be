"""How the candidates of a study are evaluated: trained and measured, or looked up in a table. The one place that tells them apart."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from paretune.core.accuracy_devices import AccuracyDevice, HookedTask, TrainableHardware, TrainedHardware
from paretune.core.errors import BadInput
from paretune.core.metrics import Metric
from paretune.core.objectives import Problem
from paretune.core.protocols import SearchSpace, Task
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.evaluator import StagedEvaluator
from paretune.platform.execution.table_evaluator import TableEvaluator
from paretune.platform.record.jobs import Evaluator
from paretune.platform.spec.checks import Findings
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.nodes import Loc
from paretune.searchers.rungs import Ladder
from paretune.spaces.restricted import restricted
from paretune.tasks.table import TableTask

Make: TypeAlias = Callable[[CandidateCosts, Problem, Mapping[str, Metric], tuple[str, ...]], Evaluator]
Devices: TypeAlias = Mapping[str, TrainedHardware]
"""Hardware that runs trained networks, by target name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """How candidates are evaluated."""

    space: SearchSpace
    """The networks that can be evaluated."""
    make: "Make"
    """`(costs of candidates, objectives and limits, metrics of a search evaluation, hardware that measures)` -> the evaluator."""
    trains: bool
    """Whether networks are trained, so that they can be exported."""
    num_final_seeds: int
    """Final evaluations of each member of the front."""
    problems: tuple[tuple[Loc, str], ...] = ()
    notes: tuple[str, ...] = ()


def plan_evaluation(spec: StudySpec, task: Task, space: SearchSpace, *, devices: Devices) -> EvaluationPlan:
    """Decide how candidates are evaluated, and check what depends on it.

    Raises:
        BadOptions: a table does not fit the space.
    """
    return _looked_up(spec, task, space, devices) if isinstance(task, TableTask) else _trained(spec, task, space, devices)


def _trained(spec: StudySpec, task: Task, space: SearchSpace, devices: Devices) -> EvaluationPlan:
    aware = devices.get(spec.training.hardware_aware or "")
    own = task
    if isinstance(aware, TrainableHardware) and isinstance(task, HookedTask):  # else it is told as a mistake (`judged_hardware`)
        with contextlib.suppress(BadInput):  # as above
            own = task.trained_for(aware.training_hooks(in_memory=spec.training.analog_update))
    judging = {target: device for target, device in devices.items() if isinstance(device, AccuracyDevice)}

    def make(costs: CandidateCosts, problem: Problem, produced: Mapping[str, Metric], targets: tuple[str, ...]) -> Evaluator:
        return StagedEvaluator(
            costs=costs,
            task=own,
            produced=produced,
            targets=targets,
            judging=judging,
            baseline=None if own is task else task,
            problem=problem,
        )

    return EvaluationPlan(space=space, make=make, trains=True, num_final_seeds=spec.final.seeds if spec.final else 0)


def _looked_up(spec: StudySpec, task: TableTask, space: SearchSpace, devices: Devices) -> EvaluationPlan:
    table = task.table(space)
    known_space = restricted(space, table.genotypes)
    notes = []
    if known_space is not space:
        meant = ". Every genotype stands for the nearest of them" if len(table) < space.size // 100 else ""
        notes.append(f"task: the table has {len(table):,} of the space's {space.size:,} architectures; only those are searched{meant}")
    problems, more = _rung_findings(spec, task)
    notes += more
    seeds = 0 if spec.final is None else min(spec.final.seeds, table.num_tests)
    if spec.final is not None and 0 < seeds < spec.final.seeds:
        known = "1 run" if seeds == 1 else f"{seeds} runs"
        notes.append(f"final.seeds: {spec.final.seeds}, but the table has {known} of each architecture to report; each is looked up once")

    def make(costs: CandidateCosts, problem: Problem, produced: Mapping[str, Metric], targets: tuple[str, ...]) -> Evaluator:  # noqa: ARG001 - nothing is measured
        return TableEvaluator(table=table, costs=costs, produced=produced)

    return EvaluationPlan(
        space=known_space,
        make=make,
        trains=False,
        num_final_seeds=seeds,
        problems=(*_table_problems(spec, task, tuple(devices)), *problems),
        notes=tuple(notes),
    )


def _table_problems(spec: StudySpec, task: TableTask, devices: tuple[str, ...]) -> list[tuple[Loc, str]]:
    """What a table cannot do."""
    told = "task 'table' looks results up and measures nothing; remove this target, or name one that computes costs"
    problems: list[tuple[Loc, str]] = [(("hardware", device), told) for device in devices]
    computed = {metric.name for metric in FreeCosts().metrics}
    for metric in task.metrics:
        if metric.name in computed:
            told = f"'{metric.name}' is computed from the architecture already; give the table's another name"
            problems.append((("task", "metrics", metric.name), told))
    known = task.fidelities
    if known and spec.training.epochs not in known:
        problems.append((("training", "epochs"), f"the table has results after {_listed(known)} epochs, not after {spec.training.epochs}"))
    if spec.final is not None and not task.tested:
        problems.append(
            (("final",), "no metric of the table has a test; name its columns (metrics: {...: {test: ...}}) or leave final out")
        )
    tests = task.test_fidelities
    if spec.final is not None and tests and spec.final.epochs not in tests:
        problems.append((("final", "epochs"), f"the table has tests after {_listed(tests)} epochs, not after {spec.final.epochs}"))
    return problems


def _rung_findings(spec: StudySpec, task: TableTask) -> Findings:
    """Rungs of which the table knows nothing, or nothing new."""
    known = task.fidelities
    if spec.fidelity is None:
        return [], []
    if not known:
        told = "the table has one result of each architecture, the same at every rung; leave fidelity out"
        return [(("fidelity",), f'{told}, or name columns by epochs: column: {{"12": ..., "200": ...}}')], []
    try:
        rungs = Ladder(min_epochs=spec.fidelity.min_epochs, max_epochs=spec.training.epochs, eta=spec.fidelity.eta).epochs
    except BadInput:
        return [], []  # told with the ladder
    if rungs[0] < known[0]:
        told = f"the table has results after {_listed(known)} epochs, none for a rung after {rungs[0]}"
        return [(("fidelity", "min_epochs"), f"{told}; at least {known[0]}")], []
    seen = {rung: max(epochs for epochs in known if epochs <= rung) for rung in rungs}
    told = ", ".join(f"the rung after {rung} epochs sees those after {epochs}" for rung, epochs in seen.items() if rung != epochs)
    return [], [f"fidelity: the table has results after {_listed(known)} epochs; {told}"] if told else []


def _listed(epochs: tuple[int, ...]) -> str:
    return " or ".join(map(str, epochs))
