"""Predictors of all that a problem reads, fitted to what was told, on scales that suit them.

Legend: N genotypes, M objectives, C constraints.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from paretune.core.expectation import Expectation
from paretune.core.genotype import Genotypes
from paretune.core.objectives import Problem
from paretune.predictors.prediction import LEAST_EXAMPLES, JointPredictor, Prediction, Predictor
from paretune.predictors.selection import PredictorChoice, choose_predictor
from paretune.searchers.fidelities import Inputs
from paretune.searchers.known_costs import KnownCosts
from paretune.searchers.operators import FloatArray, IntArray
from paretune.searchers.told import Told

MANY_DECISIONS = 32
"""Decisions above which a space is searched with a few examples for each of them at best."""
FAR_OUT = 4.0
"""Distance of the worst value from the median, over that of the best, above which an objective has values that lie far out."""
TINIEST, LARGEST_LOGARITHM = 1e-300, 700.0
CERTAIN = 1e-9
"""Deviation of a known metric over its largest value: next to nothing, and still something to divide by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warp:
    """A rising map that keeps the best third of an objective as it is and draws in the others like a logarithm.

    One broken architecture with an error of 90 % would otherwise take all of a predictor's attention.
    """

    knee: float
    """Value from which on values are drawn in; infinite for none."""
    scale: float
    """Distance from the knee at which that begins to show."""

    @classmethod
    def of(cls, values_N: FloatArray) -> "Warp":
        """The warp whose knee is the quantile of 30 %."""
        best, knee = np.quantile(values_N, [0.05, 0.3])
        return cls(knee=float(knee), scale=max(float(knee - best), 1e-3 * float(np.std(values_N))) or 1.0)

    def __call__(self, values_N: FloatArray) -> FloatArray:
        """Values on the predictors' scale."""
        beyond_N = np.maximum(values_N - self.knee, 0)
        return np.minimum(values_N, self.knee) + self.scale * np.log1p(beyond_N / self.scale)

    def natural(self, warped_N: FloatArray) -> FloatArray:
        """The inverse; what is far beyond every value told is cut off before it overflows."""
        beyond_N = np.minimum(np.maximum(warped_N - self.knee, 0) / self.scale, 50.0)
        return np.minimum(warped_N, self.knee) + self.scale * np.expm1(beyond_N)


@dataclass(frozen=True, slots=True)
class Logarithm:
    """The natural logarithm of a positive objective: what many decisions multiply together becomes a sum."""

    def __call__(self, values_N: FloatArray) -> FloatArray:
        """Values on the predictors' scale; what is not positive lies below everything."""
        return np.asarray(np.log(np.maximum(values_N, TINIEST)))

    def natural(self, scaled_N: FloatArray) -> FloatArray:
        """The inverse; what is far beyond every value told is cut off before it overflows."""
        return np.asarray(np.exp(np.minimum(scaled_N, LARGEST_LOGARITHM)))


Scale: TypeAlias = Warp | Logarithm
STRAIGHT = Warp(knee=math.inf, scale=1.0)


def suited_scale(values_N: FloatArray, *, num_decisions: int) -> Scale:
    """The scale on which an objective is learned.

    With few decisions a warp. With many a single one seldom breaks an architecture: drawing in two thirds of so few examples would cost
    more than it saves (the rank correlation near the front of the made-up mobile problem is 0.81 to 0.96 with the warp and 0.97 to 0.99
    without). They are learned as they are, or as logarithms where all are positive, unless some do lie far out.

    Args:
        values_N: the objective, minimised.
        num_decisions: of the space.
    """
    if num_decisions <= MANY_DECISIONS:
        return Warp.of(values_N)
    scale = Logarithm() if (values_N > 0).all() else STRAIGHT
    least, middle, most = np.quantile(scale(values_N), [0.0, 0.5, 1.0])
    return scale if most - middle <= FAR_OUT * (middle - least) else Warp.of(values_N)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricModel:
    """One metric's predictor: minimised where it is an objective, on a scale that suits it."""

    sign: float
    """-1.0 for an objective to maximise."""
    warp: Scale
    """From the signed metric to the predictor's scale."""
    predictor: Predictor
    """Fitted."""
    name: str
    """Of the predictor: `kind` or `kind:encoding`."""
    rows: IntArray
    """`(K,)` what it was fitted to, as indices among everything told."""
    targets: FloatArray
    """`(K,)` their values on the predictor's scale."""
    shown: str = ""
    """What people are told instead of `name`; empty for that."""

    def scaled(self, metric: float) -> float:
        """A value of the metric on the predictor's scale; infinite values stay."""
        value = self.sign * metric
        return float(self.warp(np.array([value]))[0]) if math.isfinite(value) else value

    def limits(self, lower: float, upper: float) -> tuple[float, float]:
        """Limits of the metric on the predictor's scale."""
        return (self.scaled(lower), self.scaled(upper)) if self.sign > 0 else (self.scaled(upper), self.scaled(lower))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownObjective:
    """An objective that is computed: as it is, on no scale but its own."""

    sign: float
    """-1.0 for an objective to maximise."""
    metric: str
    """Which."""
    costs: KnownCosts
    """Computes it."""
    reference: float
    """Its part of the reference point."""
    warp: Scale = STRAIGHT
    """Leaves it as it is."""

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """The value, with next to no deviation."""
        values_N = self.sign * self.costs.of(genotypes_ND)[self.metric]
        largest = max(float(np.abs(values_N).max(initial=0.0)), abs(self.reference)) or 1.0
        return Prediction(mean=values_N, deviation=np.full(len(values_N), CERTAIN * largest))


class Surrogate:
    """A model of each metric that objectives and constraints read; what is known is computed.

    Failed candidates count with the worst value seen, so that their like is avoided.
    """

    def __init__(self, problem: Problem, models: Mapping[str, MetricModel], inputs: Inputs, known: KnownCosts | None = None) -> None:
        self._problem, self.models, self.inputs, self.known = problem, models, inputs, known
        self.objectives: list[MetricModel | KnownObjective] = [
            KnownObjective(metric=objective.metric, sign=objective.sign, costs=known, reference=objective.reference)
            if known is not None and objective.metric in known.names
            else models[objective.metric]
            for objective in problem.objectives
        ]
        self.constraints = [models[constraint.metric] for constraint in problem.constraints if constraint.metric in models]
        self.limits = [
            models[constraint.metric].limits(constraint.lower, constraint.upper)
            for constraint in problem.constraints
            if constraint.metric in models
        ]

    def points(self, points_NM: FloatArray) -> FloatArray:
        """`(N, M)` minimised objectives on the predictors' scale."""
        columns = [model.warp(points_NM[:, column]) for column, model in enumerate(self.objectives)]
        return np.stack(columns, axis=1)

    def predicted_objectives(self, genotypes_ND: Genotypes) -> tuple[FloatArray, FloatArray]:
        """`(N, M)` means and deviations, on the predictors' scale."""
        return self._stacked(self.objectives, genotypes_ND)

    def predicted_constraints(self, genotypes_ND: Genotypes) -> tuple[FloatArray, FloatArray]:
        """`(N, C)` means and deviations, on the predictors' scale; without the known ones."""
        return self._stacked(self.constraints, genotypes_ND)

    def expectations(self, genotypes_ND: Genotypes) -> list[dict[str, Expectation]]:
        """For each candidate and metric what is expected of a full training, in the metric's own unit."""
        found: list[dict[str, Expectation]] = [{} for _ in genotypes_ND]
        for metric, model in self.models.items() if len(genotypes_ND) else ():
            predicted = model.predictor.predict(self.inputs.full(genotypes_ND, model.name))
            steps_N5 = predicted.mean[:, np.newaxis] + predicted.deviation[:, np.newaxis] * np.arange(-2, 3)
            bounds_N5 = np.sort(model.sign * model.warp.natural(steps_N5), axis=1)
            for expected, bounds in zip(found, bounds_N5.tolist(), strict=True):
                expected[metric] = Expectation(predictor=model.shown or model.name, bounds=tuple(bounds))
        return found

    def covariances(self, genotypes_ND: Genotypes) -> list[FloatArray | None]:
        """For each objective the `(N, N)` covariance of predictions, None where its predictor has none."""
        return [
            model.predictor.covariance(self.inputs.full(genotypes_ND, model.name))
            if isinstance(model, MetricModel) and isinstance(model.predictor, JointPredictor)
            else None
            for model in self.objectives
        ]

    def _stacked(self, models: Sequence[MetricModel | KnownObjective], genotypes_ND: Genotypes) -> tuple[FloatArray, FloatArray]:
        if not models:
            return np.zeros((len(genotypes_ND), 0)), np.zeros((len(genotypes_ND), 0))
        predictions = [
            model.predict(genotypes_ND)
            if isinstance(model, KnownObjective)
            else model.predictor.predict(self.inputs.full(genotypes_ND, model.name))
            for model in models
        ]
        return np.stack([item.mean for item in predictions], axis=1), np.stack([item.deviation for item in predictions], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What a predictor learns one metric from."""

    rows: IntArray
    """`(K,)` indices among everything told."""
    values: FloatArray
    """`(K,)` signed values, smaller is better where the metric is an objective."""
    sign: float
    """-1.0 for an objective to maximise."""


def examples(told: Told, problem: Problem, metric: str, *, full_only: bool = False) -> Examples:
    """Where one metric is known; failed candidates count with the worst value seen.

    Args:
        told: everything told.
        problem: says whether the metric is an objective.
        metric: which.
        full_only: leave out what was trained for fewer epochs than others.
    """
    signs = {objective.metric: objective.sign for objective in problem.objectives}
    sign = signs.get(metric, 1.0)
    values_N = sign * told.metric(metric)
    known_N = np.isfinite(values_N)
    if metric in signs and known_N.any():
        values_N = np.where(told.failed & ~known_N, values_N[known_N].max(), values_N)
        known_N = np.isfinite(values_N)
    rows = np.flatnonzero(known_N & ~told.partial if full_only else known_N)
    return Examples(rows=rows, values=values_N[rows], sign=sign)


def chosen_predictors(
    told: Told, problem: Problem, inputs: Inputs, names: Sequence[str], *, seed: int, known: Sequence[str] = ()
) -> dict[str, PredictorChoice] | None:
    """The best predictor of each metric that is not `known`; None while there is too little to fit one for every objective."""
    chosen, usable = {}, inputs.usable(names)
    for metric in [metric for metric in problem.metrics if metric not in known]:
        seen = examples(told, problem, metric, full_only=inputs.is_blind(usable[0]))
        if len(seen.rows) >= LEAST_EXAMPLES:
            genotypes_ND, targets_N = inputs.of(told, usable[0])[seen.rows], _warp(problem, metric, told, seen.values)(seen.values)
            groups_N = inputs.rungs(told)[seen.rows]
            chosen[metric] = choose_predictor(usable, inputs.space(usable[0]), genotypes_ND, targets_N, seed=seed, groups_N=groups_N)
    return chosen if all(objective.metric in chosen or objective.metric in known for objective in problem.objectives) else None


def fitted_surrogate(
    told: Told, problem: Problem, inputs: Inputs, predictors: Mapping[tuple[str, str], Predictor], known: KnownCosts | None = None
) -> Surrogate:
    """Models fitted to everything told.

    Args:
        told: everything told.
        problem: objectives and constraints.
        inputs: what the predictors read.
        predictors: by the metric that each predicts, and its own name.
        known: what needs no predictor.
    """
    models = {}
    for (metric, name), predictor in predictors.items():
        seen = examples(told, problem, metric, full_only=inputs.is_blind(name))
        warp = _warp(problem, metric, told, seen.values)
        predictor.fit(inputs.of(told, name)[seen.rows], warp(seen.values))
        models[metric] = MetricModel(sign=seen.sign, warp=warp, predictor=predictor, name=name, rows=seen.rows, targets=warp(seen.values))
    return Surrogate(problem, models, inputs, known)


def _warp(problem: Problem, metric: str, told: Told, values_N: FloatArray) -> Scale:
    is_objective = any(objective.metric == metric for objective in problem.objectives)
    return suited_scale(values_N, num_decisions=told.genotypes.shape[1]) if is_objective else STRAIGHT
