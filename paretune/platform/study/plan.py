"""A valid spec -> the objects of a study, and the checks that need them: who measures what, limits that can be met, enough members.

Nothing is trained and no device is used. Mistakes come as one `SpecError` with places in the file, like those of the spec itself.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import CostModel
from paretune.core.derived import DERIVED, DerivedMetric, with_derived_columns
from paretune.core.errors import BadInput, BadOptions, SpecError, SpecProblem
from paretune.core.genotype import Genotypes
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.protocols import Device, ScoringTask, Searcher, SearchSpace, Task
from paretune.core.registry import Registry
from paretune.hardware import HARDWARE
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.proxy_scores import ProxyScores
from paretune.platform.record.jobs import Evaluator
from paretune.platform.spec.checks import derived_problems, feature_problems, goal_problems, member_problems, metric_problems
from paretune.platform.spec.load import LoadedSpec
from paretune.platform.spec.model import OnMetric, PluginSpec, StudySpec
from paretune.platform.spec.nodes import Loc, MapNode, dotted, find
from paretune.platform.spec.options import option_values
from paretune.platform.study.evaluation import EvaluationPlan, plan_evaluation
from paretune.searchers import SEARCHERS
from paretune.searchers.rungs import Ladder
from paretune.spaces import SPACES
from paretune.tasks import TASKS

if TYPE_CHECKING:
    from paretune.platform.execution.evaluator import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a study consists of, before it runs."""

    spec: StudySpec
    space: SearchSpace
    task: Task
    targets: Mapping[str, Device | CostModel]
    """Hardware by target name. Made here for its metrics; the device that measures lives in an actor."""
    problem: Problem
    """Objectives and constraints, inner names and values."""
    metrics: Mapping[str, Metric]
    """All that is known of a finished candidate, by inner name with the target's prefix."""
    free_costs: FreeCosts
    """What is known before anything runs."""
    ladder: Ladder | None
    """Epochs of the rungs of a search at several fidelities; None where every candidate is trained fully."""
    derived: tuple[DerivedMetric, ...]
    """Metrics worked out from others, in the order of the spec."""
    make_searcher: Callable[[], Searcher]
    """A fresh searcher for this study."""
    evaluation: EvaluationPlan
    """How candidates are evaluated."""
    notes: tuple[str, ...] = ()
    """What the user should know although nothing is wrong; one line each."""

    def make_evaluator(self, targets: tuple[str, ...], measure: "Measure") -> Evaluator:
        """What evaluates candidates, without the derived metrics.

        Args:
            targets: hardware to measure on.
            measure: how.
        """
        return self.evaluation.make(self.evaluated, targets, measure)

    def free(self, genotypes_ND: Genotypes) -> dict[str, NDArray[np.float64]]:
        """`(N,)` of every metric that is known before anything runs, derived ones included, of N genotypes."""
        return _free(self.space, self.free_costs, self.derived, genotypes_ND)

    @property
    def evaluated(self) -> dict[str, Metric]:
        """The metrics that an evaluation itself gives: all but the derived ones."""
        names = {item.metric.name for item in self.derived}
        return {name: metric for name, metric in self.metrics.items() if name not in names}


def build_plan(loaded: LoadedSpec, *, thorough: bool = False) -> Plan:
    """Build the objects of a study and check what the spec alone cannot show.

    Args:
        loaded: the spec.
        thorough: also build torch networks of the sampled members (imports torch, takes seconds).

    Raises:
        SpecError: every mistake found, sorted by line.
    """
    builder = _Builder(loaded)
    spec = loaded.spec
    task = builder.create(TASKS, ("task",), spec.task, spec.task.name)
    targets = {name: builder.create(HARDWARE, ("hardware", name), target, target.kind) for name, target in spec.hardware.items()}
    for name, hardware in targets.items():
        if hardware is not None and not isinstance(hardware, Device):
            told = f"'{spec.hardware[name].kind}' computes costs and does not measure; a target must have measure()"
            builder.problems.append(loaded.problem(("hardware", name), told))
    space = None
    if task is not None:
        supplied = {"input_shape": task.input_shape, "num_classes": task.num_classes}
        space = builder.create(SPACES, ("space",), spec.space, spec.space.name, **supplied)
    evaluation = builder.evaluation(task, space) if task is not None and space is not None else None
    space = evaluation.space if evaluation is not None else None
    free_costs = FreeCosts()
    metrics = _all_metrics(task, targets, free_costs)
    derived = _derived(builder, metrics) if task is not None and all(targets.values()) else ()
    if task is not None and all(targets.values()):
        builder.add(metric_problems(spec, metrics))
        builder.add(goal_problems(spec, metrics))
    problem = Problem(
        objectives=tuple(Objective(metric=item.metric, direction=item.direction, reference=item.reference) for item in spec.objectives),
        constraints=tuple(_constraint(item.metric, lower=item.min, upper=item.max) for item in spec.constraints),
    )
    searcher_options = _searcher_options(builder, space, problem)
    builder.add((feature_problems(searcher_options, metrics, scored=isinstance(task, ScoringTask)), []))
    ladder = _ladder(builder)
    if space is not None:
        builder.add(member_problems(spec, space, free_costs, problem, thorough=thorough))
    if builder.problems or task is None or space is None or evaluation is None:
        raise SpecError(loaded.file, builder.problems)

    def make_searcher() -> Searcher:
        name = spec.searcher.name
        supplied: dict[str, Any] = {"costs": partial(_free, space, free_costs, derived)} if SEARCHERS.wants(name, "costs") else {}
        if SEARCHERS.wants(name, "scores") and isinstance(task, ScoringTask):
            supplied["scores"] = ProxyScores(task, space, study_seed=spec.seed)
        searcher: Searcher = SEARCHERS.create(name, space, problem, seed=spec.seed, **supplied, **searcher_options)
        return searcher

    notes = [*_unused_targets(spec), *builder.notes]
    return Plan(
        spec=spec,
        space=space,
        task=task,
        targets=targets,
        problem=problem,
        metrics=metrics,
        free_costs=free_costs,
        derived=derived,
        ladder=ladder,
        make_searcher=make_searcher,
        evaluation=evaluation,
        notes=tuple(notes),
    )


def _free(
    space: SearchSpace, model: FreeCosts, derived: tuple[DerivedMetric, ...], genotypes_ND: Genotypes
) -> dict[str, NDArray[np.float64]]:
    estimates = model.estimate(space.workloads(genotypes_ND), {})
    return with_derived_columns({name: estimate.values for name, estimate in estimates.items()}, derived)


class _Builder:
    """Makes plugins and gathers what goes wrong, with places."""

    def __init__(self, loaded: LoadedSpec) -> None:
        self.loaded = loaded
        self.problems: list[SpecProblem] = []
        self.notes: list[str] = []

    def add(self, found: tuple[list[tuple[Loc, str]], list[str]]) -> None:
        """Keep findings; one on a section is dropped where a field of the section is known to be wrong."""
        problems, notes = found
        for loc, message in problems:
            if not any(problem.path.startswith(f"{dotted(loc)}.") for problem in self.problems):
                self.problems.append(self.loaded.problem(loc, message))
        self.notes += notes

    def create(self, registry: Registry, loc: Loc, chosen: PluginSpec, name: str, *positional: object, **supplied: object) -> Any:
        """A plugin, or None where it refuses its options; the reason is kept."""
        try:
            return registry.create(name, *positional, **option_values(registry, name, chosen.options), **supplied)
        except BadInput as error:
            self.refuse(loc, chosen, error)
            return None

    def evaluation(self, task: Task, space: SearchSpace) -> EvaluationPlan | None:
        """How candidates are evaluated, or None where the task does not fit the space; the reasons are kept."""
        try:
            found = plan_evaluation(self.loaded.spec, task, space)
        except BadInput as error:
            self.refuse(("task",), self.loaded.spec.task, error)
            return None
        self.add((list(found.problems), list(found.notes)))
        return found

    def refuse(self, loc: Loc, chosen: PluginSpec, error: BadInput) -> None:
        """Keep a plugin's refusal at the options it names (`option: message`, or `BadOptions`), or at the plugin."""
        if isinstance(error, BadOptions):
            self.problems += [self.loaded.problem((*loc, *way), told) for way, told in error.problems]
            return
        message = str(error)
        named = re.match(r"(\w+): (.*)", message, re.DOTALL)
        if named is None or named[1] not in chosen.options:
            self.problems.append(self.loaded.problem(loc, message))
            return
        option, told = named[1], named[2]
        value = chosen.options[option]
        is_percent = isinstance(value, int | float) and 1 < value <= 100 and re.search(r"\b0 (and|to) 1\b", told)
        hint = f". Did you mean {value / 100:g}?" if is_percent else ""
        _, node, _ = find(self.loaded.root, loc)
        written = isinstance(node, MapNode) and option in node.entries
        problem = self.loaded.problem((*loc, option) if written else loc, f"{told}{hint}" if written else message)
        self.problems.append(problem)


def _searcher_options(builder: _Builder, space: SearchSpace | None, problem: Problem) -> dict[str, Any]:
    """The searcher's options, tried out on the space."""
    spec = builder.loaded.spec
    options = option_values(SEARCHERS, spec.searcher.name, spec.searcher.options)
    if space is not None:
        made = builder.create(SEARCHERS, ("searcher",), spec.searcher, spec.searcher.name, space, problem, seed=spec.seed)
        if isinstance(choice := getattr(made, "choice", None), str):
            builder.notes.append(f"searcher: {choice}")
    population, trials = options.get("population"), spec.budget.trials
    if isinstance(population, int) and trials is not None and population > trials:
        message = f"population {population} needs at least {population} trials; budget.trials is {trials}"
        loc: Loc = ("searcher", "population")
        _, _, followed = find(builder.loaded.root, loc)
        builder.problems.append(builder.loaded.problem(loc if followed == len(loc) else ("searcher",), message))
    return options


def _all_metrics(task: Task | None, targets: Mapping[str, Any], free_costs: FreeCosts) -> dict[str, Metric]:
    """Inner name -> metric of all that is produced; those of a target carry its name."""
    metrics = {metric.name: metric for metric in (*(task.metrics if task else ()), *free_costs.metrics)}
    for target, hardware in targets.items():
        for metric in hardware.metrics if hardware else ():
            metrics[f"{target}.{metric.name}"] = replace(metric, name=f"{target}.{metric.name}")
    return metrics


def _derived(builder: _Builder, metrics: dict[str, Metric]) -> tuple[DerivedMetric, ...]:
    """Every derived metric that can be worked out, also put among `metrics`; a broken one is told once and not where it is used."""
    found = []
    for name, chosen in builder.loaded.spec.derived.items():
        item = builder.create(DERIVED, ("derived", name), chosen, chosen.kind, name)
        if item is None:
            metrics.setdefault(name, Metric(name=name, unit="", direction=Direction.MAX))
            continue
        builder.add((derived_problems(builder.loaded.spec, item, metrics), []))
        free = all(source in metrics and metrics[source].free for source in item.sources)
        metrics[name] = replace(item.metric, free=free)
        found.append(replace(item, metric=metrics[name]))
    return tuple(found)


def _ladder(builder: _Builder) -> Ladder | None:
    """The rungs of the spec's fidelity section; a mistake is told at the field that it names."""
    fidelity = builder.loaded.spec.fidelity
    if fidelity is None:
        return None
    try:
        return Ladder(min_epochs=fidelity.min_epochs, max_epochs=builder.loaded.spec.training.epochs, eta=fidelity.eta)
    except BadInput as error:
        field, _, message = str(error).partition(": ")
        _, _, followed = find(builder.loaded.root, ("fidelity", field))
        builder.problems.append(builder.loaded.problem(("fidelity", field) if followed == 2 else ("fidelity",), message))
        return None


def _constraint(metric: str, *, lower: float | None, upper: float | None) -> Constraint:
    return Constraint(metric=metric, lower=-math.inf if lower is None else lower, upper=math.inf if upper is None else upper)


def _unused_targets(spec: StudySpec) -> list[str]:
    items: tuple[OnMetric, ...] = (*spec.objectives, *spec.constraints)
    names = [name for chosen in spec.derived.values() for name in DERIVED.named_metrics(chosen.kind, chosen.options)]
    used = {name.partition(".")[0] for name in (*(item.metric for item in items), *names)}
    return [
        f"hardware.{name}: no objective or constraint uses it; it is measured for the record only"
        for name in spec.hardware
        if name not in used
    ]
