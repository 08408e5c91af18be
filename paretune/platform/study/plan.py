"""A valid spec -> the objects of a study, and the checks that need them: who measures what, limits that can be met, enough members.

Nothing is trained and no device is used. Mistakes come as one `SpecError` with places in the file, like those of the spec itself.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.derived import DERIVED, DerivedMetric, with_derived_columns
from paretune.core.errors import BadInput, SpecError
from paretune.core.genotype import Genotypes
from paretune.core.metrics import Direction, Metric, si_name, unit_of
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.protocols import ScoringTask, Searcher, SearchSpace, StartingSearcher, Task
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.proxy_scores import ProxyScores
from paretune.platform.record.jobs import Evaluator
from paretune.platform.spec.checks import derived_problems, feature_problems, goal_problems, member_problems, metric_problems
from paretune.platform.spec.load import LoadedSpec
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.nodes import find
from paretune.platform.spec.options import option_values
from paretune.platform.study.builder import Builder
from paretune.platform.study.evaluation import Devices, EvaluationPlan
from paretune.platform.study.hardware import (
    HardwarePlan,
    all_metrics,
    candidate_costs,
    computed_metrics,
    plan_hardware,
    unused_targets,
)
from paretune.platform.study.judged_hardware import check_judged
from paretune.platform.study.starts import check_can_start, limit_notes, plan_start
from paretune.searchers import SEARCHERS
from paretune.searchers.rungs import Ladder
from paretune.spaces import SPACES
from paretune.tasks import TASKS

MANY_TIMES = 20
"""By so many times the budget every searcher that learns has begun to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a study consists of, before it runs."""

    spec: StudySpec
    space: SearchSpace
    """What candidates are: networks, on hardware designs where there is something to choose."""
    task: Task
    devices: Devices
    """Hardware that measures, by target name. Made here for its metrics; the device that measures lives in an actor."""
    costs: CandidateCosts
    """What is known before anything runs: free costs and computed hardware."""
    problem: Problem
    """Objectives and constraints, inner names and values."""
    metrics: Mapping[str, Metric]
    """All that is known of a finished candidate, by inner name with the target's prefix."""
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

    def make_evaluator(self, targets: tuple[str, ...]) -> Evaluator:
        """What evaluates candidates and awaits measurements on `targets`, without the derived metrics."""
        return self.evaluation.make(self.costs, self.problem, self.evaluated, targets)

    def free(self, genotypes_ND: Genotypes) -> dict[str, NDArray[np.float64]]:
        """`(N,)` of every metric that is known before anything runs, derived ones included, of N genotypes."""
        return _free(self.costs, self.derived, genotypes_ND)

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
    builder = Builder(loaded)
    spec = loaded.spec
    task = builder.create(TASKS, ("task",), spec.task, spec.task.name)
    hardware = plan_hardware(builder)
    bare_space = _space(builder, task, hardware)
    evaluation = None if task is None or bare_space is None else builder.evaluation(task, bare_space, hardware.devices)
    costs = None if evaluation is None else candidate_costs(builder, evaluation.space, hardware)
    all_there = task is not None and hardware.complete
    metrics = all_metrics(builder, task, hardware)
    derived = _derived(builder, metrics) if all_there else ()
    if all_there:
        builder.add(metric_problems(spec, metrics))
        builder.add(goal_problems(spec, metrics))
    problem = _problem(spec, costs)
    space = None if costs is None else costs.space
    searcher_options = _searcher_options(builder, bare_space if space is None else space, problem)
    start_SD = None if space is None else plan_start(builder, space)
    builder.add((feature_problems(searcher_options, metrics, scored=isinstance(task, ScoringTask)), []))
    ladder = _ladder(builder)
    if costs is not None:
        builder.add(member_problems(spec, costs, problem, thorough=thorough))
    if builder.problems or task is None or costs is None or evaluation is None or start_SD is None:
        raise SpecError(loaded.file, builder.problems)

    def make_searcher() -> Searcher:
        name = spec.searcher.name
        supplied: dict[str, Any] = {"costs": partial(_free, costs, derived)} if SEARCHERS.wants(name, "costs") else {}
        if SEARCHERS.wants(name, "scores") and isinstance(task, ScoringTask):
            supplied["scores"] = ProxyScores(task, costs.space, study_seed=spec.seed)
        searcher: Searcher = SEARCHERS.create(name, space, problem, seed=spec.seed, **supplied, **searcher_options)
        if isinstance(searcher, StartingSearcher) and len(start_SD):
            searcher.start_from(start_SD)
        return searcher

    return Plan(
        spec=spec,
        space=costs.space,
        task=task,
        devices=hardware.devices,
        costs=costs,
        problem=problem,
        metrics={**metrics, **computed_metrics(builder, costs)},
        derived=derived,
        ladder=ladder,
        make_searcher=make_searcher,
        evaluation=evaluation,
        notes=(*unused_targets(spec, hardware), *builder.notes, *limit_notes(start_SD, problem, partial(_free, costs, derived))),
    )


def _space(builder: Builder, task: Task | None, hardware: HardwarePlan) -> SearchSpace | None:
    """The networks that the spec names; None where task or space have mistakes."""
    if task is None:
        return None
    chosen = builder.loaded.spec.space
    supplied = {"input_shape": task.input_shape, "num_classes": task.num_classes}
    space: SearchSpace | None = builder.create(SPACES, ("space",), chosen, chosen.name, **supplied)
    check_judged(builder, task, space, hardware)
    return space


def _problem(spec: StudySpec, costs: CandidateCosts | None) -> Problem:
    """Objectives, the constraints of the spec, then those that the hardware's resources imply."""
    implied = () if costs is None else costs.constraints
    return Problem(
        objectives=tuple(Objective(metric=item.metric, direction=item.direction, reference=item.reference) for item in spec.objectives),
        constraints=(*(_constraint(item.metric, lower=item.min, upper=item.max) for item in spec.constraints), *implied),
    )


def _free(costs: CandidateCosts, derived: tuple[DerivedMetric, ...], genotypes_ND: Genotypes) -> dict[str, NDArray[np.float64]]:
    return with_derived_columns(costs.values(genotypes_ND), derived)


def _searcher_options(builder: Builder, space: SearchSpace | None, problem: Problem) -> dict[str, Any]:
    """The searcher's options, tried out on the space."""
    spec = builder.loaded.spec
    options = option_values(SEARCHERS, spec.searcher.name, spec.searcher.options)
    population, trials, loc = options.get("population"), spec.budget.trials, ("searcher", "population")
    written = find(builder.loaded.root, loc)[2] == len(loc)
    if written and isinstance(population, int) and trials is not None and population > trials:
        builder.add(([(loc, f"population {population} needs at least {population} trials; budget.trials is {trials}")], []))
    if space is not None:
        made = builder.create(SEARCHERS, ("searcher",), spec.searcher, spec.searcher.name, space, problem, seed=spec.seed)
        check_can_start(builder, made)
        if isinstance(choice := getattr(made, "choice", None), str):
            builder.notes.append(f"searcher: {choice}")
        if made is not None and trials is not None and _learns_too_late(made, trials):
            builder.notes.append(f"searcher: with {trials} trials all candidates are drawn at random, before the first result is looked at")
    return options


def _learns_too_late(searcher: Searcher, trials: int) -> bool:
    """Whether a searcher that learns would ask everything before its first result."""
    return searcher.tells_before(trials - 1) == 0 < searcher.tells_before(MANY_TIMES * (trials + 50))


def _derived(builder: Builder, metrics: dict[str, Metric]) -> tuple[DerivedMetric, ...]:
    """Every derived metric that can be worked out, also put among `metrics`; a broken one is told once and not where it is used."""
    found = []
    for name, chosen in builder.loaded.spec.derived.items():
        inner, loc = si_name(name)[0], ("derived", name)
        if unit_of(inner):
            builder.add(([(loc, f"'{name}' ends like a unit, but a derived metric is a plain number; choose another name")], []))
        item = None if unit_of(inner) else builder.create(DERIVED, loc, chosen, chosen.kind, name)
        if item is None:
            metrics.setdefault(inner, Metric(name=inner, unit=unit_of(inner), direction=Direction.MAX))
            continue
        builder.add((derived_problems(builder.loaded.spec, item, metrics), []))
        free = all(source in metrics and metrics[source].free for source in item.sources)
        metrics[name] = replace(item.metric, free=free)
        found.append(replace(item, metric=metrics[name]))
    return tuple(found)


def _ladder(builder: Builder) -> Ladder | None:
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
