"""What candidates at a lower rung would reach after a full training, from their learning curves."""

from collections.abc import Mapping, Sequence

import numpy as np

from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Problem
from paretune.platform.record.jobs import Evaluation, Job
from paretune.predictors.learning_curves import LearningCurves


class CurveForecast:
    """Extrapolates every metric of the problem that the learning curve has; the others stay as they are.

    Args:
        problem: its objectives and constraints are what is compared.
        metrics: ranges and directions, by inner name.
        num_epochs: of a full training.
    """

    def __init__(self, *, problem: Problem, metrics: Mapping[str, Metric], num_epochs: int) -> None:
        self._metrics = {name: metrics[name] for name in problem.metrics if name in metrics}
        self._num_epochs = num_epochs
        self._finished: dict[int, Sequence[Mapping[str, float]]] = {}
        self._fitted: dict[str, tuple[int, LearningCurves]] = {}
        """By metric: of how many finished curves the extrapolation learned."""

    def finished(self, job: Job, evaluation: Evaluation) -> None:
        """Learn from the curve of a candidate that was trained fully."""
        curve = evaluation.details.get("curve", ())
        if len(curve) == self._num_epochs:
            self._finished[job.ask_index] = curve

    def metrics(self, job: Job, evaluation: Evaluation, *, known_before: int | None) -> Mapping[str, float]:
        """The metrics of a candidate as they would be after a full training."""
        curve = evaluation.details.get("curve", ())
        foreseen = dict(evaluation.metrics)
        for name in self._metrics:
            values = _series(curve, name)
            if name in foreseen and len(values) == job.epochs:
                forecast = self._learned(name, known_before).predict(np.array([values]))
                foreseen[name] = float(forecast.mean[0])
        return foreseen

    def _learned(self, name: str, known_before: int | None) -> LearningCurves:
        known = sorted(ask for ask in self._finished if known_before is None or ask < known_before)
        if name not in self._fitted or self._fitted[name][0] != len(known):
            metric = self._metrics[name]
            curves = [values for ask in known if len(values := _series(self._finished[ask], name)) == self._num_epochs]
            rising = metric.direction is Direction.MAX
            model = LearningCurves(num_epochs=self._num_epochs, lower=metric.lower, upper=metric.upper, rising=rising)
            self._fitted[name] = len(known), model.fit(np.array(curves).reshape(-1, self._num_epochs))
        return self._fitted[name][1]


def _series(curve: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """One metric over the epochs; empty where an epoch lacks it or it is no finite number."""
    values = [record.get(name) for record in curve]
    finite = [float(value) for value in values if isinstance(value, int | float) and np.isfinite(value)]
    return finite if len(finite) == len(values) else []
