"""The staged evaluator: quality at a fidelity and free costs on the resource that trains, then each measured cost on its own device.

What a stage found lies in the workspace of the job, so the next stage runs wherever its resource is, and nobody who trains waits for a
device. For the final networks the test belongs to the stages too, and the export to the last.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from paretune.core.accuracy_devices import AccuracyDevice, HookedTask, LabelledTask, RacingHardware, Split, TrainedHardware
from paretune.core.errors import CheckpointDamaged
from paretune.core.metrics import PROXY_PREFIX, Metric, checked_metrics
from paretune.core.objectives import Problem
from paretune.core.protocols import Fidelity, Measurement, PreparingTask, Task, TaskResult
from paretune.core.trial import Outcome
from paretune.networks.weights import read_weights, write_weights
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.racing import contest_of
from paretune.platform.execution.worker import discard_workspace, recall
from paretune.platform.record.jobs import Awaiting, Evaluation, Evaluator, Job, Purpose, StageEvaluator, json_values
from paretune.platform.record.parts import TRAINING, measuring, part_path, read_part, write_part

if TYPE_CHECKING:
    from torch import nn

TEST_PREFIX = "test."
"""Metrics on held-out data are named apart from those that the search may look at."""


class StagedEvaluator:
    """Trains and validates candidates, and measures them once they are trained; a `StageEvaluator`.

    Args:
        costs: what candidates are and what they cost before anything runs.
        task: trains and tests it.
        produced: every metric a search evaluation must contain, inner names with the target before the dot.
        targets: hardware that measures, by name.
        judging: those of the targets on which accuracy is judged: what they tell depends on the weights, and they export networks.
        baseline: the task without the hardware that `task` trains for; final networks are held against such a training.
        problem: objectives and limits, for hardware that races; None lets it judge everybody thoroughly.
    """

    def __init__(
        self,
        *,
        costs: CandidateCosts,
        task: Task,
        produced: Mapping[str, Metric],
        targets: tuple[str, ...],
        judging: Mapping[str, AccuracyDevice] = MappingProxyType({}),
        baseline: Task | None = None,
        problem: Problem | None = None,
    ) -> None:
        self._costs, self._task, self._produced, self._targets = costs, task, dict(produced), targets
        self._judging = {target: device for target, device in judging.items() if target in targets}
        self._baseline, self._problem = baseline if self._judging else None, problem
        self._at_checkpoint: Callable[[], None] = _go_on

    def at_checkpoints(self, call: Callable[[], None]) -> None:
        """See `record.jobs.CheckpointEvaluator`."""
        self._at_checkpoint = call

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every `ok` evaluation contains."""
        return tuple(self._produced.values())

    def evaluate(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        """Train and validate; for a final job also test. What is left to do without a device is done at once."""
        if read_part(workspace, TRAINING, job.id) is not None:
            with contextlib.suppress(CheckpointDamaged):  # then the training goes on from its last checkpoint
                return self.complete(job, workspace)
        network, part = self._trained(job, workspace)
        if not self._targets or part["outcome"] != Outcome.OK.value:
            return self._completed(job, workspace, part, lambda: network)
        part = {**part, "weights_sha256": write_weights(network, _weights(workspace))}
        write_part(workspace, TRAINING, job.id, part)
        return self._completed(job, workspace, part, lambda: network)

    def measure(self, job: Job, workspace: Path, target: str, device: TrainedHardware, facts: Mapping[str, Any]) -> None:
        """Measure the trained network on one target; see `record.jobs.StageEvaluator`."""
        if read_part(workspace, measuring(target), job.id) is not None:
            return
        part = self._training_part(job, workspace)
        network = self._restored(job, workspace, part)
        start_s = time.monotonic()
        if isinstance(device, AccuracyDevice):
            body = self._judged(job, workspace, target, device, network)
        else:
            body = self._measured(target, device.measure(network, (1, *self._task.input_shape)))
        write_part(workspace, measuring(target), job.id, {**body, "stage": {**_stage(time.monotonic() - start_s), **facts}})

    def complete(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        """The evaluation once every part is there; see `record.jobs.StageEvaluator`."""
        part = self._training_part(job, workspace)
        return self._completed(job, workspace, part, lambda: self._restored(job, workspace, part))

    def release(self, job: Job, workspace: Path) -> None:
        """Checkpoints may go; a final job's exported network stays."""
        for left in ("checkpoint", "trained", "parts") if job.purpose is Purpose.FINAL else ("",):
            discard_workspace(workspace / left)

    def _measured(self, target: str, found: Measurement) -> dict[str, Any]:
        """What a target found, fit to be recorded."""
        values = {f"{target}.{name}": value for name, value in found.values.items()}
        expected = {name: metric for name, metric in self._produced.items() if name.startswith(f"{target}.")}
        metrics = checked_metrics(values, expected, producer=f"hardware '{target}'")
        return {"metrics": metrics, "details": json_values(found.details)}

    def _judged(self, job: Job, workspace: Path, target: str, device: AccuracyDevice, network: "nn.Module") -> dict[str, Any]:
        """Accuracy on a target; of a final network also on the test examples, and that of the network it is held against."""
        assert isinstance(self._task, LabelledTask)  # else the plan was refused
        examples = self._task.examples()

        def judged(network: "nn.Module", split: Split) -> dict[str, Any]:
            return self._measured(target, device.judge(network, examples.split(split), calibration=examples.calibration))

        if self._problem is not None and isinstance(device, RacingHardware) and device.racing and _races(job):
            contest = contest_of(job, self._problem, self._training_part(job, workspace)["metrics"], target)
            found = device.judge_against(network, examples.validation, calibration=examples.calibration, contest=contest)
            return self._measured(target, found)
        body = judged(network, "validation")
        if job.purpose is Purpose.FINAL:
            body["test"] = {f"{TEST_PREFIX}{name}": value for name, value in judged(network, "test")["metrics"].items()}
            sha256 = self._training_part(job, workspace).get("baseline", {}).get("weights_sha256")
            if sha256 is not None:
                baseline = self._with_weights(self._costs.space.build(job.genotype), workspace, "baseline", sha256)
                body["baseline"] = judged(baseline, "validation")["details"]
        return body

    def _trained(self, job: Job, workspace: Path) -> tuple["nn.Module", dict[str, Any]]:
        """The trained network, and the part that the first stage leaves behind."""
        start_s = time.monotonic()
        network, result = self._train(self._task, job, workspace / "checkpoint")
        costs, computed = self._costs.of_candidate(job.genotype)
        details: dict[str, Any] = {"curve": [dict(record) for record in result.curve]}
        if computed:
            details["computed"] = computed
        tested: dict[str, float] = {}
        metrics: dict[str, float] = costs
        if result.outcome is Outcome.OK:
            metrics = self._checked(result, costs)
            tested = self._tested(network) if job.purpose is Purpose.FINAL else {}
        part = {"outcome": result.outcome.value, "metrics": metrics, "test": tested, "details": json_values(details)}
        if self._baseline is not None and job.purpose is Purpose.FINAL and result.outcome is Outcome.OK:
            part["baseline"] = self._baseline_part(self._baseline, job, workspace)
        return network, {**part, "stage": _stage(time.monotonic() - start_s)}

    def _train(self, task: Task, job: Job, checkpoint: Path) -> "tuple[nn.Module, TaskResult]":
        return task.train(
            lambda: self._costs.space.build(job.genotype),
            seed=job.seed,
            fidelity=Fidelity(epochs=job.epochs, schedule_epochs=job.schedule_epochs),
            checkpoint=checkpoint,
            on_epoch=lambda _epochs, _record: self._at_checkpoint(),
        )

    def _baseline_part(self, task: Task, job: Job, workspace: Path) -> dict[str, Any]:
        """The same architecture, trained from the same seed without the hardware."""
        network, result = self._train(task, job, workspace / "checkpoint" / "baseline")
        found: dict[str, Any] = {"outcome": result.outcome.value, "metrics": dict(result.metrics)}
        if result.outcome is Outcome.OK:
            found["weights_sha256"] = write_weights(network, _weights(workspace, "baseline"))
        return found

    def _checked(self, result: TaskResult, costs: Mapping[str, float]) -> dict[str, float]:
        """What is known once a network is trained, fit to be recorded.

        Raises:
            EvaluationError: the task returned something that is no metric.
        """
        prefixes = tuple(f"{target}." for target in self._targets)
        expected = {name: metric for name, metric in self._produced.items() if not name.startswith(prefixes)}
        return checked_metrics({**result.metrics, **costs}, expected, producer=f"task '{self._task.name}'")

    def _tested(self, network: "nn.Module") -> dict[str, float]:
        tested = {f"{TEST_PREFIX}{name}": value for name, value in self._task.test(network).items()}
        trained = (metric for metric in self._task.metrics if not metric.name.startswith(PROXY_PREFIX))
        expected = {f"{TEST_PREFIX}{metric.name}": metric for metric in trained}
        return checked_metrics(tested, expected, producer=f"the test of task '{self._task.name}'")

    def _completed(self, job: Job, workspace: Path, part: Mapping[str, Any], network: "Callable[[], nn.Module]") -> Evaluation | Awaiting:
        """The evaluation from its parts, or what is still awaited."""
        outcome, stages = Outcome(part["outcome"]), {TRAINING: part["stage"]}
        common: dict[str, Any] = {"duration_s": part["stage"]["busy_s"], "worker": part["stage"]["worker"]}
        if outcome is not Outcome.OK:
            details = {**part["details"], "stages": stages}
            return Evaluation(outcome=outcome, metrics=part["metrics"], details=details, message="training diverged", **common)
        parts = {target: read_part(workspace, measuring(target), job.id) or self._below(job, workspace, target) for target in self._targets}
        missing = tuple(target for target, found in parts.items() if found is None)
        if missing:
            return Awaiting(targets=missing)
        measured = {target: found for target, found in parts.items() if found is not None}
        hardware = {name: value for found in measured.values() for name, value in found["metrics"].items()}
        metrics = checked_metrics({**part["metrics"], **hardware}, self._produced, producer="the evaluation") | part["test"]
        for found in measured.values():
            metrics |= found.get("test", {})
        stages |= {target: found["stage"] for target, found in measured.items() if "stage" in found}
        details = {**part["details"], "measurements": {target: found["details"] for target, found in measured.items()}, "stages": stages}
        if "baseline" in part:
            judged = {target: found["baseline"] for target, found in measured.items() if "baseline" in found}
            details["baseline"] = {**part["baseline"], **({"measurements": judged} if judged else {})}
        if job.purpose is Purpose.FINAL:
            details["export"] = {"largest_difference": self._exported(job, workspace, metrics, network())}
        common["duration_s"] = round(sum(stage["busy_s"] for stage in stages.values()), 6)
        return Evaluation(outcome=Outcome.OK, metrics=metrics, details=details, **common)

    def _below(self, job: Job, workspace: Path, target: str) -> Mapping[str, Any] | None:
        """What was measured at the rung below, if that rung's result is there: where the architecture decides it, and not the training."""
        below = recall(workspace.parents[1], job.continues) if job.continues and target not in self._judging else None
        known = {} if below is None else below.details.get("measurements", {})
        if below is None or target not in known:
            return None
        metrics = {name: value for name, value in below.metrics.items() if name.startswith(f"{target}.")}
        return {"metrics": metrics, "details": known[target]}

    def _training_part(self, job: Job, workspace: Path) -> Mapping[str, Any]:
        part = read_part(workspace, TRAINING, job.id)
        if part is None:
            raise CheckpointDamaged(f"what the training of candidate {job.ask_index} left in {workspace} is gone")
        return part

    def _restored(self, job: Job, workspace: Path, part: Mapping[str, Any]) -> "nn.Module":
        """The trained network, built again; where its weights are damaged nothing counts as trained any more."""
        network = self._costs.space.build(job.genotype)
        if isinstance(self._task, HookedTask):
            network = self._task.as_trained(network)
        return self._with_weights(network, workspace, "weights", part["weights_sha256"])

    def _with_weights(self, network: "nn.Module", workspace: Path, name: str, sha256: str) -> "nn.Module":
        try:
            return read_weights(network, _weights(workspace, name), sha256=sha256)
        except CheckpointDamaged:
            part_path(workspace, TRAINING).unlink(missing_ok=True)
            raise

    def _exported(self, job: Job, workspace: Path, metrics: Mapping[str, float], network: "nn.Module") -> float:
        """Write the network of a final job; by how much ONNX Runtime differs."""
        from paretune.tasks.export import export_network  # torch and ONNX take two seconds to import; the driver does without

        metadata: dict[str, Any] = {
            "candidate": job.ask_index,
            "choices": dict(job.choices),
            "metrics": dict(metrics),
            "task": self._task.name,
            "space": self._costs.space.name,
            "seed": job.seed,
            "epochs": job.epochs,
        }
        if isinstance(self._task, PreparingTask):
            metadata["preprocessing"] = json_values(self._task.preprocessing)
        seen = {target: device.export(network) for target, device in self._judging.items()}
        if seen:
            metadata["hardware"] = {target: facts for target, (_, facts) in seen.items()}
            network = next(iter(seen.values()))[0]
        return export_network(network, (1, *self._task.input_shape), workspace / "network", metadata).largest_difference


def evaluate_here(evaluator: Evaluator, job: Job, workspace: Path, devices: Mapping[str, TrainedHardware]) -> Evaluation:
    """Evaluate a job in this process, which has every device at hand.

    Raises:
        DeviceError: a device gave no usable measurement.
    """
    found = evaluator.evaluate(job, workspace)
    while isinstance(found, Awaiting) and isinstance(evaluator, StageEvaluator):  # ends: each turn measures one target
        evaluator.measure(job, workspace, found.targets[0], devices[found.targets[0]], {})
        found = evaluator.complete(job, workspace)
    assert isinstance(found, Evaluation)  # nobody else awaits anything
    return found


def _races(job: Job) -> bool:
    """Whether a job need not be judged thoroughly: what it gives at a lower rung, or at last, is compared with more than a front."""
    return job.purpose is Purpose.SEARCH and job.is_full


def _go_on() -> None:
    """A checkpoint is durable, and nobody wants to know."""


def _weights(workspace: Path, name: str = "weights") -> Path:
    return workspace / "trained" / f"{name}.safetensors"


def _stage(busy_s: float) -> dict[str, Any]:
    """How long a stage held its resource, and who ran it."""
    return {"busy_s": round(busy_s, 6), "worker": f"{socket.gethostname()}:{os.getpid()}"}
