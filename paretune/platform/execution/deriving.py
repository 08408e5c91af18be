"""Adds derived metrics to what any evaluator gives: the one place where a finished candidate gets them."""

from dataclasses import replace
from pathlib import Path

from paretune.core.derived import DerivedMetric, with_derived
from paretune.core.metrics import Metric
from paretune.core.trial import Outcome
from paretune.platform.record.jobs import Evaluation, Evaluator, Job


class DerivingEvaluator:
    """An evaluator whose candidates also carry derived metrics, so that ledger, searcher, MLflow and report have them alike.

    Args:
        evaluator: gives the metrics that derived ones read.
        derived: in the order in which they may read one another.
    """

    def __init__(self, evaluator: Evaluator, derived: tuple[DerivedMetric, ...]) -> None:
        self._evaluator, self._derived = evaluator, derived

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every `ok` evaluation contains."""
        return (*self._evaluator.metrics, *(item.metric for item in self._derived))

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:
        """Evaluate, then derive; of a candidate that did not end well, what its metrics allow.

        Raises:
            EvaluationError: a derived metric has no finite value for a candidate that ended well.
        """
        evaluation = self._evaluator.evaluate(job, workspace)
        if evaluation.outcome is not Outcome.OK:
            return evaluation
        return replace(evaluation, metrics=with_derived(evaluation.metrics, self._derived))

    def release(self, job: Job, workspace: Path) -> None:
        """As the evaluator inside."""
        self._evaluator.release(job, workspace)
