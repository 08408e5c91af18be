"""The staged evaluator: quality at a fidelity, free costs, measured costs; for the final networks also the test and the export."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.core.metrics import PROXY_PREFIX, Metric, checked_metrics
from paretune.core.protocols import Fidelity, Measurement, Task
from paretune.core.trial import Outcome
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.worker import discard_workspace, recall
from paretune.platform.record.jobs import Evaluation, Job, Purpose

if TYPE_CHECKING:
    from torch import nn

    Measure = Callable[[str, nn.Module, tuple[int, ...]], Measurement]

TEST_PREFIX = "test."
"""Metrics on held-out data are named apart from those that the search may look at."""


class StagedEvaluator:
    """Trains, validates and measures one candidate at a time.

    Args:
        costs: what candidates are and what they cost before anything runs.
        task: trains and tests it.
        produced: every metric a search evaluation must contain, inner names with the target before the dot.
        targets: hardware that measures, by name.
        measure: `(target, network, example shape)` -> measurement, wherever that hardware is.
    """

    def __init__(
        self, *, costs: CandidateCosts, task: Task, produced: Mapping[str, Metric], targets: tuple[str, ...], measure: "Measure"
    ) -> None:
        self._costs, self._task, self._produced = costs, task, dict(produced)
        self._targets, self._measure = targets, measure

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every `ok` evaluation contains."""
        return tuple(self._produced.values())

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:
        """Train, validate, measure; for a final job also test and export."""
        network, result = self._task.train(
            lambda: self._costs.space.build(job.genotype),
            seed=job.seed,
            fidelity=Fidelity(epochs=job.epochs, schedule_epochs=job.schedule_epochs),
            checkpoint=workspace / "checkpoint",
        )
        costs, computed = self._costs.of_candidate(job.genotype)
        details: dict[str, Any] = {"curve": [dict(record) for record in result.curve]}
        if computed:
            details["computed"] = computed
        if result.outcome is not Outcome.OK:
            return Evaluation(outcome=result.outcome, metrics=costs, details=details, message="training diverged")
        hardware, details["measurements"] = self._measured_below(job, workspace) or self._measure_now(network)
        raw = {**result.metrics, **costs, **hardware}
        metrics = checked_metrics(raw, self._produced, producer=f"task '{self._task.name}' or its hardware")
        evaluation = Evaluation(outcome=Outcome.OK, metrics=metrics, details=details)
        return self._finalise(evaluation, job, network, workspace) if job.purpose is Purpose.FINAL else evaluation

    def _measure_now(self, network: "nn.Module") -> tuple[dict[str, float], dict[str, Any]]:
        """The metrics of every target, and how they were measured."""
        measured = {target: self._measure(target, network, (1, *self._task.input_shape)) for target in self._targets}
        values = {f"{target}.{name}": value for target, found in measured.items() for name, value in found.values.items()}
        return values, {target: dict(found.details) for target, found in measured.items()}

    def _measured_below(self, job: Job, workspace: Path) -> tuple[dict[str, float], dict[str, Any]] | None:
        """What was measured at the rung below, if that rung's result is there: the architecture decides it, and not the training."""
        below = recall(workspace.parents[1], job.continues) if job.continues and self._targets else None
        known = {} if below is None else below.details.get("measurements", {})
        if below is None or any(target not in known for target in self._targets):
            return None
        prefixes = tuple(f"{target}." for target in self._targets)
        return {name: value for name, value in below.metrics.items() if name.startswith(prefixes)}, dict(known)

    def release(self, job: Job, workspace: Path) -> None:
        """Checkpoints may go; a final job's exported network stays."""
        discard_workspace(workspace / "checkpoint" if job.purpose is Purpose.FINAL else workspace)

    def _finalise(self, evaluation: Evaluation, job: Job, network: "nn.Module", workspace: Path) -> Evaluation:
        from paretune.tasks.export import export_network  # torch and ONNX take two seconds to import; the driver does without

        tested = {f"{TEST_PREFIX}{name}": value for name, value in self._task.test(network).items()}
        trained = (metric for metric in self._task.metrics if not metric.name.startswith(PROXY_PREFIX))
        expected = {f"{TEST_PREFIX}{metric.name}": metric for metric in trained}
        metrics = {**evaluation.metrics, **checked_metrics(tested, expected, producer=f"the test of task '{self._task.name}'")}
        metadata = {
            "candidate": job.ask_index,
            "choices": dict(job.choices),
            "metrics": metrics,
            "task": self._task.name,
            "space": self._costs.space.name,
            "seed": job.seed,
            "epochs": job.epochs,
        }
        exported = export_network(network, (1, *self._task.input_shape), workspace / "network", metadata)
        details = {**evaluation.details, "export": {"largest_difference": exported.largest_difference}}
        return replace(evaluation, metrics=metrics, details=details)
