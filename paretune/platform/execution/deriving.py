"""Adds derived metrics to what any evaluator gives: the one place where a finished candidate gets them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.derived import DerivedMetric, with_derived
from paretune.core.metrics import Metric
from paretune.core.protocols import Device
from paretune.core.trial import Outcome
from paretune.platform.record.jobs import Awaiting, CheckpointEvaluator, Evaluation, Evaluator, Job, StageEvaluator


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

    def evaluate(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        """Evaluate, then derive; of a candidate that did not end well, what its metrics allow.

        Raises:
            EvaluationError: a derived metric has no finite value for a candidate that ended well.
        """
        return self._derive(self._evaluator.evaluate(job, workspace))

    def measure(self, job: Job, workspace: Path, target: str, device: Device, facts: Mapping[str, Any]) -> None:
        """As the evaluator inside."""
        self._stages.measure(job, workspace, target, device, facts)

    def complete(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        """As the evaluator inside, then derive."""
        return self._derive(self._stages.complete(job, workspace))

    def at_checkpoints(self, call: Callable[[], None]) -> None:
        """As the evaluator inside, where it has checkpoints."""
        if isinstance(self._evaluator, CheckpointEvaluator):
            self._evaluator.at_checkpoints(call)

    def release(self, job: Job, workspace: Path) -> None:
        """As the evaluator inside."""
        self._evaluator.release(job, workspace)

    @property
    def _stages(self) -> StageEvaluator:
        assert isinstance(self._evaluator, StageEvaluator)  # nobody else awaits anything
        return self._evaluator

    def _derive(self, found: Evaluation | Awaiting) -> Evaluation | Awaiting:
        if isinstance(found, Awaiting) or found.outcome is not Outcome.OK:
            return found
        return replace(found, metrics=with_derived(found.metrics, self._derived))
