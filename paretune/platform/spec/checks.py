"""Checks of a spec against what its plugins really offer. Each gives (problems as (place, message), notes)."""

import math
from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.derived import DerivedMetric
from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes, num_choices
from paretune.core.metrics import PROXY_PREFIX, SI_UNITS, Direction, Metric, readable, si_name, unit_of
from paretune.core.objectives import Constraint, Problem
from paretune.core.protocols import SearchSpace
from paretune.core.rng import stream
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.nodes import Loc
from paretune.platform.spec.suggest import did_you_mean

Findings: TypeAlias = tuple[list[tuple[Loc, str]], list[str]]

NUM_SAMPLED = 1000
"""Architectures drawn to judge limits."""
NUM_BUILT = 32
"""Random members that are laid out (or built) besides the smallest and the largest."""
RARE = 0.01
"""Share of the sampled architectures below which a note says that few meet the limits."""


def metric_problems(spec: StudySpec, metrics: Mapping[str, Metric]) -> Findings:
    """Objectives and constraints on metrics that nothing measures or on targets that are not declared."""
    problems: list[tuple[Loc, str]] = []
    for section, items in (("objectives", spec.objectives), ("constraints", spec.constraints)):
        for index, item in enumerate(items):
            if item.metric not in metrics:
                problems.append(((section, index, "metric"), _unmeasured(item.shown_metric, spec, metrics)))
    return problems, []


def feature_problems(options: Mapping[str, object], metrics: Mapping[str, Metric], *, scored: bool) -> list[tuple[Loc, str]]:
    """Features of predictors that are not known before a candidate is trained.

    Args:
        options: of the searcher.
        metrics: all that is produced.
        scored: whether the task gives its proxies without training.
    """
    features = options.get("features", ())
    known = [name for name, metric in metrics.items() if metric.free or (scored and name.startswith(PROXY_PREFIX))]
    problems: list[tuple[Loc, str]] = []
    for index, name in enumerate(features if isinstance(features, list | tuple) else ()):
        if name not in known:
            proxy = str(name).startswith(PROXY_PREFIX)
            hint = f" Name it at the task: proxies: [{str(name).removeprefix(PROXY_PREFIX)}]." if proxy and scored else ""
            told = f"'{name}' is not known before a candidate is trained.{did_you_mean(str(name), known)}{hint} Known: {', '.join(known)}"
            problems.append((("searcher", "features", index), told))
    return problems


def derived_problems(spec: StudySpec, item: DerivedMetric, metrics: Mapping[str, Metric]) -> list[tuple[Loc, str]]:
    """A derived metric whose name is taken, or that reads what is not there before it."""
    name = item.metric.name
    loc: Loc = ("derived", name)
    problems: list[tuple[Loc, str]] = []
    if name in metrics:
        problems.append((loc, f"'{name}' is measured already; choose another name"))
    later = list(spec.derived)[list(spec.derived).index(name) :]
    for parameter, value in spec.derived[name].options.items():
        for index, given in enumerate(value if isinstance(value, list | tuple) else [value]):
            inner = si_name(given)[0] if parameter in item.inputs else None
            if inner is None or inner in metrics:
                continue
            at: Loc = (*loc, parameter, index) if isinstance(value, list | tuple) else (*loc, parameter)
            order = f"'{inner}' is worked out later; write it before '{name}'"
            problems.append((at, order if inner in later[1:] else _unmeasured(given, spec, metrics)))
    return problems


def _unmeasured(name: str, spec: StudySpec, metrics: Mapping[str, Metric]) -> str:
    target, dot, _ = name.partition(".")
    if dot and target not in spec.hardware and not any(known.startswith(f"{target}.") for known in metrics):
        declared = f"({', '.join(spec.hardware)})" if spec.hardware else "(there is none)"
        if not spec.hardware:
            return f"'{target}' is not in hardware {declared}. Example: hardware: {{{target}: {{kind: host}}}}"
        return f"'{target}' is not in hardware {declared}.{did_you_mean(target, spec.hardware, synonyms={})}"
    if not dot:
        for declared in spec.hardware:
            if si_name(f"{declared}.{name}")[0] in metrics:
                return f"nothing measures '{name}' by itself. Did you mean '{declared}.{name}'?"
    # Every unit of a metric is a name for it; the user's own suffix is tried first, so that ms stays ms.
    suffix = name.rpartition("_")[2]
    units = sorted(SI_UNITS, key=lambda unit: unit != suffix)
    known = [
        inner if not unit_of(inner) else f"{inner.rpartition('_')[0]}_{unit}"
        for inner in metrics
        for unit in ([unit for unit in units if SI_UNITS[unit][0] == unit_of(inner)] or [""])
    ]
    return f"nothing measures '{name}'.{did_you_mean(name, known, synonyms={})} Measured: {', '.join(metrics)}"


def goal_problems(spec: StudySpec, metrics: Mapping[str, Metric]) -> Findings:
    """References and limits outside what a metric can be, and references that contradict limits."""
    problems: list[tuple[Loc, str]] = []
    notes: list[str] = []
    for index, item in enumerate(spec.objectives):
        metric, loc = metrics.get(item.metric), ("objectives", index, "reference")
        if metric is None:
            continue
        best = metric.upper if item.goal == "max" else metric.lower
        if not metric.lower <= item.reference <= metric.upper:
            problems.append((loc, _outside(item.reference, metric)))
        elif item.reference == best:
            problems.append((loc, f"nothing can be better than {readable(metric.name, best)}; give the worst value that still counts"))
        if item.direction is not metric.direction:
            usual = "larger" if metric.direction is Direction.MAX else "smaller"
            notes.append(f"objectives[{index}].goal: {item.goal}, although {usual} is usually better for {item.shown_metric}")
        for number, limit in enumerate(spec.constraints):
            worst = limit.min if item.goal == "max" else limit.max
            if limit.metric == item.metric and worst is not None and (item.reference - worst) * (1 if item.goal == "max" else -1) > 0:
                shown = f"{readable(metric.name, item.reference)} is better than constraints[{number}] ({readable(metric.name, worst)})"
                problems.append((loc, f"{shown}, so networks that are allowed would count nothing. Write that limit or a worse value"))
    for index, limit in enumerate(spec.constraints):
        metric = metrics.get(limit.metric)
        if metric is not None:
            problems += _limit_problems(("constraints", index), metric, lower=limit.min, upper=limit.max)
    return problems, notes


def _limit_problems(loc: Loc, metric: Metric, *, lower: float | None, upper: float | None) -> list[tuple[Loc, str]]:
    problems: list[tuple[Loc, str]] = []
    for name, limit, sign in (("min", lower, ">="), ("max", upper, "<=")):
        if limit is None or metric.lower <= limit <= metric.upper:
            continue
        never_met = limit > metric.upper if name == "min" else limit < metric.lower
        if never_met and not _percent(limit, metric):
            told = f"{metric.name} {sign} {_shown(limit, metric)} can never be met ({metric.name} is {_range(metric)})"
        elif never_met or _percent(limit, metric):
            told = _outside(limit, metric)
        else:
            told = f"{metric.name} {sign} {_shown(limit, metric)} always holds ({metric.name} is {_range(metric)}); remove it"
        problems.append(((*loc, name), told))
    return problems


def _outside(value: float, metric: Metric) -> str:
    return f"{_shown(value, metric)} is outside {_range(metric)}{_percent(value, metric)}"


def _range(metric: Metric) -> str:
    lower, upper = (_shown(value, metric) for value in (metric.lower, metric.upper))
    if not math.isfinite(metric.upper):
        return f"at least {lower}"
    return f"{lower} to {upper}" if math.isfinite(metric.lower) else f"at most {upper}"


def _shown(value: float, metric: Metric) -> str:
    """With a unit where there is one, since people may have written another; shares as they are written."""
    return readable(metric.name, value) if unit_of(metric.name) else f"{value:g}"


def _percent(value: float, metric: Metric) -> str:
    """The hint for percents where a fraction is due."""
    return f". Did you mean {value / 100:g}?" if (metric.lower, metric.upper) == (0, 1) and 2 <= value <= 100 else ""


class Costs(Protocol):
    """What is known of candidates before anything runs."""

    @property
    def space(self) -> SearchSpace:
        """What candidates are."""
        ...

    @property
    def targets(self) -> Mapping[str, object]:
        """Computed hardware by name."""
        ...

    def values(self, genotypes_ND: Genotypes) -> Mapping[str, NDArray[np.float64]]:
        """`(N,)` of every metric."""
        ...

    def target_values(self, target: str, genotypes_ND: Genotypes) -> Mapping[str, NDArray[np.float64]]:
        """`(N,)` of every metric of one target."""
        ...


def member_problems(spec: StudySpec, costs: Costs, problem: Problem, *, thorough: bool) -> Findings:
    """Architectures that cannot be laid out or computed, limits that no sampled one meets, spaces smaller than the budget."""
    space = costs.space
    try:
        sampled_ND = sample(space, NUM_SAMPLED)
        space.workloads(sampled_ND[: NUM_BUILT + 2])
        if thorough:
            for genotype in sampled_ND[: NUM_BUILT + 2]:
                space.build([int(gene) for gene in genotype])
    except (BadInput, ValueError, ArithmeticError, RuntimeError) as error:
        return [(("space",), f"a member of the space cannot be built: {error}")], []
    refused: list[tuple[Loc, str]] = [
        (("hardware", target), told) for target in costs.targets if (told := _refusal(costs, target, sampled_ND))
    ]
    if refused:
        return refused, []
    problems, notes = _limit_findings(spec, problem, costs.values(sampled_ND))
    trials = spec.budget.trials
    if space.size == 1:
        notes.append("space has 1 architecture; it will be tried once")
    elif trials is not None and space.size < trials:
        notes.append(f"space has {space.size:,} architectures, budget.trials is {trials:,}; all {space.size:,} will be tried once")
    return problems, notes


def _refusal(costs: Costs, target: str, sampled_ND: Genotypes) -> str:
    """Why a target cannot compute the sampled members; empty where it can."""
    try:
        costs.target_values(target, sampled_ND)
    except BadInput as error:
        return f"cannot compute every member of the space: {error}"
    except (ValueError, ArithmeticError, RuntimeError, LookupError, TypeError, AttributeError) as error:  # somebody's own model
        return f"its cost model fails on a member of the space: {type(error).__name__}: {error}"
    return ""


def _limit_findings(spec: StudySpec, problem: Problem, values: Mapping[str, NDArray[np.float64]]) -> Findings:
    """Limits that no sampled member meets, or few; those that the hardware implies stand behind those of the spec."""
    problems: list[tuple[Loc, str]] = []
    free = [(index, limit) for index, limit in enumerate(problem.constraints) if limit.metric in values]
    for index, limit in free:
        if not _met(limit, values[limit.metric]).any():
            problems.append(_unmet(spec, index, limit, values[limit.metric]))
    if not free or problems:
        return problems, []
    share = float(np.mean(np.all([_met(limit, values[limit.metric]) for _, limit in free], axis=0)))
    names = ", ".join(limit.metric for _, limit in free)
    if share == 0:
        return [(("constraints",), f"none of {NUM_SAMPLED:,} sampled architectures meets all of the limits on {names}")], []
    if share < RARE:
        return [], [f"constraints: only {100 * share:.1f} % of the sampled architectures meet the limits on {names}"]
    return [], []


def _unmet(spec: StudySpec, index: int, limit: Constraint, values_N: NDArray[np.float64]) -> tuple[Loc, str]:
    if index < len(spec.constraints):
        return ("constraints", index), _none_meets(limit, values_N)
    target = limit.metric.partition(".")[0]
    least = f"{100 * values_N.min():,.3g} %"
    if len(np.unique(values_N)) == 1:
        return ("hardware", target), f"the design does not fit: it exceeds the resources by {least} of what there is"
    return (
        "hardware",
        target,
    ), f"none of {NUM_SAMPLED:,} sampled designs fits; the nearest exceeds the resources by {least} of what there is"


def sample(space: SearchSpace, count: int) -> Genotypes:
    """`(about count, D)` valid canonical genotypes: first choices, last choices, then random ones. The same at every call."""
    choices_D = num_choices(space.decisions)
    ends = np.stack([np.zeros_like(choices_D), choices_D - 1]).astype(GENE)
    random_ND = stream(0, index=0, purpose="plan.sample").integers(0, choices_D, size=(count, len(choices_D))).astype(GENE)
    genotypes_ND = space.canonical(np.concatenate([ends, random_ND]))
    valid_ND: Genotypes = genotypes_ND[space.valid(genotypes_ND)]
    if not len(valid_ND):
        raise BadInput(f"none of {count:,} random members of the space is valid")
    return valid_ND


def _met(limit: Constraint, values_N: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((values_N <= limit.upper) & (values_N >= limit.lower))


def _none_meets(limit: Constraint, values_N: NDArray[np.float64]) -> str:
    is_upper = math.isfinite(limit.upper) and not (values_N <= limit.upper).any()
    sign, bound = ("<=", limit.upper) if is_upper else (">=", limit.lower)
    extreme = f"smallest: {readable(limit.metric, values_N.min())}" if is_upper else f"largest: {readable(limit.metric, values_N.max())}"
    return f"none of {NUM_SAMPLED:,} sampled architectures has {limit.metric} {sign} {readable(limit.metric, bound)} ({extreme})"
