"""What a worker does with a job, whatever executor it runs under: evaluate, classify what went wrong, write the result durably."""

import contextlib
import fcntl
import math
import os
import resource
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paretune.core.errors import CheckpointDamaged, DeviceError, EvaluationError, StorageError
from paretune.core.files import write_durably
from paretune.core.metrics import Direction, Metric, checked_metrics
from paretune.core.protocols import Device
from paretune.core.trial import Outcome
from paretune.platform.execution.guard import Guard
from paretune.platform.execution.slate import Slate
from paretune.platform.record.jobs import MESSAGE_BYTES, Awaiting, Evaluation, Evaluator, Job, StageEvaluator, json_values
from paretune.platform.record.redaction import plain
from paretune.platform.record.results import read_result, result_bytes, result_path, write_result

TRACEBACK_BYTES = 2**18
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Cannot allocate memory")


LEAVING = "its node is being drained; it goes on elsewhere from its last checkpoint"


class NodeLeaving(BaseException):
    """The node of this worker will go away. No `Exception`, so that a task that catches everything lets it through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What one job may use."""

    timeout_s: float | None = None
    """Time for one attempt; then the worker is killed from outside. None is no limit."""
    memory_bytes: int | None = None
    """Data segment of the worker process. None is no limit."""


class Worker:
    """Runs jobs one after another in this process.

    Args:
        evaluator: what evaluates a job.
        folder: the study's folder, on storage that driver and workers share.
        limits: time and memory for each job.
    """

    def __init__(self, evaluator: Evaluator, folder: Path, limits: WorkerLimits) -> None:
        assert folder.is_absolute()  # a worker's working folder is its own
        self._evaluator, self._folder, self._limits = evaluator, folder, limits
        self._guard = Guard() if limits.timeout_s is not None else None
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        if limits.memory_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        self._slate: Slate | None = None

    def run(self, job: Job) -> Evaluation | Awaiting:
        """Evaluate a job as far as the resources at hand allow.

        Its result, or what the first stage found, is durable on return, unless the outcome says nothing of the architecture or is a crash.

        Raises:
            StorageError: the study's folder is gone or refuses the result.
        """
        known = recall(self._folder, job.id)
        if known is not None:
            return known
        if self._slate is None:
            self._slate = Slate.capture()
        self._slate.restore(seed=job.seed)
        workspace = workspace_path(self._folder, job.id)
        with _claimed(workspace):
            return recall(self._folder, job.id) or self._run_claimed(job, workspace)

    def measure(self, job: Job, target: str, device: Device, facts: Mapping[str, Any] | None = None) -> Evaluation | Awaiting:
        """Measure a trained job on a device at hand, and complete its evaluation where this was the last stage.

        Args:
            job: for which `run` returned an `Awaiting`, here or elsewhere.
            target: name of the device, one that was awaited.
            device: measures.
            facts: who measures, for the record; JSON.

        Raises:
            DeviceError: the device gave no usable measurement.
            StorageError: the study's folder is gone or refuses the result.
        """
        evaluator, workspace = self._evaluator, workspace_path(self._folder, job.id)
        assert isinstance(evaluator, StageEvaluator)
        known = recall(self._folder, job.id)
        if known is not None:
            return known

        def stage() -> Evaluation | Awaiting:
            evaluator.measure(job, workspace, target, device, facts or {})
            return Awaiting(targets=())

        with _claimed(workspace / "parts" / f"claim-{target}"):
            found = self._staged(job, stage)
        with _claimed(workspace):
            known = recall(self._folder, job.id)
            if known is None and isinstance(found, Awaiting):
                found = self._staged(job, lambda: evaluator.complete(job, workspace))
            return known or self._settled(job, workspace, found)

    def _adopt(self, job: Job, workspace: Path) -> None:
        """Take over what the job that this one continues left in its workspace; what is there already is newer."""
        below = workspace_path(self._folder, job.continues)
        for left in sorted(below.iterdir()) if below.is_dir() else []:
            if not (workspace / left.name).exists():
                left.rename(workspace / left.name)

    def _run_claimed(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        if job.continues:
            self._adopt(job, workspace)
        self._watch(job)
        start_s = time.monotonic()
        found = self._evaluate(job, workspace)
        if isinstance(found, Evaluation) and not found.worker:
            found = replace(found, duration_s=round(time.monotonic() - start_s, 6), worker=self._name)
        if self._guard is not None:
            self._guard.clear()
        return self._settled(job, workspace, found)

    def _settled(self, job: Job, workspace: Path, found: Evaluation | Awaiting) -> Evaluation | Awaiting:
        """What was found, durable where it is the job's result."""
        if isinstance(found, Evaluation) and found.outcome.teaches and found.outcome is not Outcome.CRASHED:  # a crash is tried again
            write_result(self._folder, job.id, found.as_json())
            if job.continues:
                discard_workspace(workspace_path(self._folder, job.continues))
            if job.is_full or found.outcome is not Outcome.OK:  # else the next rung goes on from its checkpoint
                self._evaluator.release(job, workspace)
        return found

    def close(self) -> None:
        """End the guard process."""
        if self._guard is not None:
            self._guard.close()

    def _watch(self, job: Job) -> None:
        if self._guard is None or self._limits.timeout_s is None:
            return
        message = f"still running after {self._limits.timeout_s:g} s; ended"
        late = Evaluation(outcome=Outcome.TIMEOUT, message=message, duration_s=self._limits.timeout_s, worker=self._name)
        text = result_bytes(job.id, late.as_json()).decode("ascii")
        self._guard.watch(deadline_s=self._limits.timeout_s, path=result_path(self._folder, job.id), text=text)

    def _evaluate(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        try:
            return checked_evaluation(self._evaluator.evaluate(job, workspace), self._evaluator)
        except KeyboardInterrupt:
            raise
        except NodeLeaving:
            return Evaluation(outcome=Outcome.PREEMPTED, message=LEAVING)
        except BaseException as error:  # SystemExit too: user code may call sys.exit
            return self._failed(job, error)

    def _staged(self, job: Job, stage: Callable[[], Evaluation | Awaiting]) -> Evaluation | Awaiting:
        """What a stage on a device gave."""
        try:
            return checked_evaluation(stage(), self._evaluator)
        except (DeviceError, KeyboardInterrupt):
            raise
        except CheckpointDamaged as error:  # the next attempt trains from the last checkpoint that is sound
            return Evaluation(outcome=Outcome.STORAGE_ERROR, message=_told(str(error)))
        except BaseException as error:
            return self._failed(job, error)

    def _failed(self, job: Job, error: BaseException) -> Evaluation:
        outcome = classify(error)
        message = f"{type(error).__name__}: {shown(error)}"
        if outcome is Outcome.OOM and self._limits.memory_bytes is not None:
            message += f" (limit {self._limits.memory_bytes / 2**20:,.0f} MiB)"
        if outcome is Outcome.USER_ERROR and not isinstance(error, EvaluationError):
            message = f"traceback in errors/{job.id}.txt\n{message}"
            self._keep_traceback(job, error)
        return Evaluation(outcome=outcome, message=_told(message))

    def _keep_traceback(self, job: Job, error: BaseException) -> None:
        folder = self._folder / "errors"
        folder.mkdir(exist_ok=True)
        lines = traceback.TracebackException.from_exception(error, limit=50, max_group_depth=2).format()
        text = plain("".join(line[:MESSAGE_BYTES] for line in lines)).encode("utf-8", "backslashreplace")
        write_durably(folder / f"{job.id}.txt", text[:TRACEBACK_BYTES])


def checked_evaluation(evaluation: object, evaluator: Evaluator) -> Evaluation | Awaiting:
    """What an evaluator returned, fit to be recorded: every promised metric a finite number, everything else JSON.

    Raises:
        EvaluationError: naming what is wrong.
    """
    producer = f"evaluator {type(evaluator).__name__}"
    if isinstance(evaluation, Awaiting) and isinstance(evaluator, StageEvaluator):
        return evaluation
    if not isinstance(evaluation, Evaluation):
        raise EvaluationError(f"{producer} returned {type(evaluation).__name__}; expected an Evaluation")
    raw = dict(evaluation.metrics)
    expected = {metric.name: metric for metric in evaluator.metrics}
    if evaluation.outcome is not Outcome.OK:  # what diverged may hold what it diverged to
        expected, raw = {}, {name: value for name, value in raw.items() if isinstance(value, float) and math.isfinite(value)}
    extra = {name: Metric(name=name, unit="", direction=Direction.MIN) for name in raw if name not in expected}
    metrics = checked_metrics(raw, {**expected, **extra}, producer=producer)
    return replace(evaluation, metrics=metrics, details=json_values(evaluation.details), message=_told(evaluation.message))


def workspace_path(folder: Path, job_id: str) -> Path:
    """The folder that holds a job's checkpoints and scratch, in the study's folder."""
    return folder / "work" / job_id


@contextlib.contextmanager
def _claimed(workspace: Path) -> Iterator[None]:
    """Make a job's workspace and hold it: a worker whose driver died may still be at the job when the next driver hands it out."""
    try:
        workspace.parent.mkdir(exist_ok=True)  # never the study's folder: where that is gone, nothing is to be made anew
        workspace.mkdir(exist_ok=True)
        descriptor = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"cannot make {workspace}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def recall(folder: Path, job_id: str) -> Evaluation | None:
    """The durable result of a job, or None."""
    body: Mapping[str, object] | None = read_result(folder, job_id)
    return None if body is None else Evaluation.from_json(body)


def discard_workspace(workspace: Path) -> None:
    """Remove a job's checkpoints and scratch."""
    shutil.rmtree(workspace, ignore_errors=True)


def classify(error: BaseException) -> Outcome:
    """Which class of failure an exception is."""
    text = shown(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(mark in text for mark in OUT_OF_MEMORY):
        return Outcome.OOM
    if isinstance(error, DeviceError):
        return Outcome.DEVICE_ERROR
    if isinstance(error, StorageError) and not isinstance(error, CheckpointDamaged):
        return Outcome.STORAGE_ERROR
    if isinstance(error, SystemExit):
        return Outcome.CRASHED
    return Outcome.USER_ERROR


def shown(error: BaseException) -> str:
    """The message of an exception, also of one whose `__str__` fails."""
    try:
        return str(error)[:MESSAGE_BYTES]
    except Exception as failure:  # any class: the user wrote __str__
        return f"<message could not be printed: {type(failure).__name__}>"


def _told(message: str) -> str:
    """A message fit to be recorded: short, without passwords of URLs and terminal escapes."""
    message = plain(message)
    encoded = message.encode("utf-8", "backslashreplace")
    return encoded[: MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "..." if len(encoded) > MESSAGE_BYTES else message
