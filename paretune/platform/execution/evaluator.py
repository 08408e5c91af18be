"""The staged evaluator: quality at a fidelity, free costs, measured costs; for the final networks also the test and the export."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from paretune.core.accuracy_devices import AccuracyDevice, Split
from paretune.core.metrics import PROXY_PREFIX, Metric, checked_metrics
from paretune.core.protocols import Fidelity, Task, TaskResult
from paretune.core.trial import Outcome
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.measure import Measure
from paretune.platform.execution.worker import discard_workspace, recall
from paretune.platform.record.jobs import Evaluation, Job, Purpose

if TYPE_CHECKING:
    from torch import nn

TEST_PREFIX = "test."
"""Metrics on held-out data are named apart from those that the search may look at."""


class StagedEvaluator:
    """Trains, validates and measures one candidate at a time.

    Args:
        costs: what candidates are and what they cost before anything runs.
        task: trains and tests it.
        produced: every metric a search evaluation must contain, inner names with the target before the dot.
        targets: hardware that measures, by name.
        measure: how it measures, wherever it is.
        judging: those of the targets on which accuracy is judged: what they tell depends on the weights, and they export networks.
        baseline: the task without the hardware that `task` trains for; final networks are held against such a training.
    """

    def __init__(
        self,
        *,
        costs: CandidateCosts,
        task: Task,
        produced: Mapping[str, Metric],
        targets: tuple[str, ...],
        measure: Measure,
        judging: Mapping[str, AccuracyDevice] = MappingProxyType({}),
        baseline: Task | None = None,
    ) -> None:
        self._costs, self._task, self._produced = costs, task, dict(produced)
        self._targets, self._measure = targets, measure
        self._judging = {target: device for target, device in judging.items() if target in targets}
        self._baseline = baseline

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every `ok` evaluation contains."""
        return tuple(self._produced.values())

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:
        """Train, validate, measure; for a final job also test and export."""
        network, result = self._trained(self._task, job, workspace / "checkpoint")
        costs, computed = self._costs.of_candidate(job.genotype)
        details: dict[str, Any] = {"curve": [dict(record) for record in result.curve]}
        if computed:
            details["computed"] = computed
        if result.outcome is not Outcome.OK:
            return Evaluation(outcome=result.outcome, metrics=costs, details=details, message="training diverged")
        hardware, details["measurements"] = self._measured(job, network, workspace)
        raw = {**result.metrics, **costs, **hardware}
        metrics = checked_metrics(raw, self._produced, producer=f"task '{self._task.name}' or its hardware")
        evaluation = Evaluation(outcome=Outcome.OK, metrics=metrics, details=details)
        return self._finalise(evaluation, job, network, workspace) if job.purpose is Purpose.FINAL else evaluation

    def _trained(self, task: Task, job: Job, checkpoint: Path) -> "tuple[nn.Module, TaskResult]":
        return task.train(
            lambda: self._costs.space.build(job.genotype),
            seed=job.seed,
            fidelity=Fidelity(epochs=job.epochs, schedule_epochs=job.schedule_epochs),
            checkpoint=checkpoint,
        )

    def _measured(self, job: Job, network: "nn.Module", workspace: Path) -> tuple[dict[str, float], dict[str, Any]]:
        """The metrics of every target, and how they were measured: at the rung below, where the architecture alone decides them."""
        weightless = tuple(target for target in self._targets if target not in self._judging)
        known = self._measured_below(job, workspace, weightless)
        if known is None:
            return self._measure_now(network, self._targets)
        values, details = self._measure_now(network, tuple(self._judging))
        return {**known[0], **values}, {**known[1], **details}

    def _measure_now(
        self, network: "nn.Module", targets: tuple[str, ...], split: Split = "validation"
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """The metrics of targets, and how they were measured."""
        shape = (1, *self._task.input_shape)
        measured = {
            target: self._measure(target, network, shape, split=split) if target in self._judging else self._measure(target, network, shape)
            for target in targets
        }
        values = {f"{target}.{name}": value for target, found in measured.items() for name, value in found.values.items()}
        return values, {target: dict(found.details) for target, found in measured.items()}

    def _measured_below(self, job: Job, workspace: Path, targets: tuple[str, ...]) -> tuple[dict[str, float], dict[str, Any]] | None:
        """What targets measured at the rung below, if that rung's result is there."""
        below = recall(workspace.parents[1], job.continues) if job.continues and targets else None
        known = {} if below is None else below.details.get("measurements", {})
        if below is None or any(target not in known for target in targets):
            return None
        prefixes = tuple(f"{target}." for target in targets)
        values = {name: value for name, value in below.metrics.items() if name.startswith(prefixes)}
        return values, {target: known[target] for target in targets}

    def release(self, job: Job, workspace: Path) -> None:
        """Checkpoints may go; a final job's exported network stays."""
        discard_workspace(workspace / "checkpoint" if job.purpose is Purpose.FINAL else workspace)

    def _finalise(self, evaluation: Evaluation, job: Job, network: "nn.Module", workspace: Path) -> Evaluation:
        from paretune.tasks.export import export_network  # torch and ONNX take two seconds to import; the driver does without

        metrics = {**evaluation.metrics, **self._tested(network)}
        metadata: dict[str, Any] = {
            "candidate": job.ask_index,
            "choices": dict(job.choices),
            "metrics": metrics,
            "task": self._task.name,
            "space": self._costs.space.name,
            "seed": job.seed,
            "epochs": job.epochs,
        }
        details = dict(evaluation.details)
        if self._baseline is not None:
            details["baseline"] = self._baseline_of(job, workspace)
        seen = {target: device.export(network) for target, device in self._judging.items()}
        if seen:
            metadata["hardware"] = {target: facts for target, (_, facts) in seen.items()}
            network = next(iter(seen.values()))[0]
        exported = export_network(network, (1, *self._task.input_shape), workspace / "network", metadata)
        details["export"] = {"largest_difference": exported.largest_difference}
        return replace(evaluation, metrics=metrics, details=details)

    def _tested(self, network: "nn.Module") -> dict[str, float]:
        """Metrics on held-out data: those of the task, and of the hardware on which accuracy is judged."""
        judged, _ = self._measure_now(network, tuple(self._judging), "test")
        tested = {f"{TEST_PREFIX}{name}": value for name, value in {**self._task.test(network), **judged}.items()}
        trained = [metric for metric in self._task.metrics if not metric.name.startswith(PROXY_PREFIX)]
        expected = {f"{TEST_PREFIX}{metric.name}": metric for metric in (*trained, *(self._produced[name] for name in judged))}
        return checked_metrics(tested, expected, producer=f"the test of task '{self._task.name}'")

    def _baseline_of(self, job: Job, workspace: Path) -> dict[str, Any]:
        """The same architecture, trained from the same seed without the hardware, and judged on it like the network."""
        assert self._baseline is not None
        network, result = self._trained(self._baseline, job, workspace / "checkpoint" / "baseline")
        if result.outcome is not Outcome.OK:
            return {"outcome": result.outcome.value}
        _, measurements = self._measure_now(network, tuple(self._judging))
        return {"outcome": result.outcome.value, "metrics": dict(result.metrics), "measurements": measurements}
