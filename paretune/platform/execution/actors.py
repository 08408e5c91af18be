"""What lives on the cluster: the trainable that evaluates jobs and the actors that own measuring devices.

Both look at their node before their first job: it may have joined after the study had asked all others.
"""

import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune

from paretune.core.canonical import canonical_json
from paretune.core.errors import DeviceError, DevicesGone, StorageError
from paretune.core.trial import Outcome
from paretune.hardware import HARDWARE
from paretune.platform.execution.capacity import is_draining
from paretune.platform.execution.device_resources import DeviceChoice
from paretune.platform.execution.draining import DrainWatch
from paretune.platform.execution.losses import last_line, node_is_gone
from paretune.platform.execution.newcomers import Newcomers
from paretune.platform.execution.nodes import Expected, Misfit, misfit_here
from paretune.platform.execution.placement import avoiding
from paretune.platform.execution.pool import Seat
from paretune.platform.execution.stations import Answer, DeviceFault
from paretune.platform.execution.worker import NodeLeaving, Worker, WorkerLimits
from paretune.platform.record.jobs import Awaiting, CheckpointEvaluator, Evaluation, Evaluator, Job


class JobTrainable(tune.Trainable):
    """Evaluates one job a trial; reused for many trials. The result is durable before Tune hears of it."""

    _worker: Worker | None
    """None on a node that does not fit."""

    def setup(
        self,
        config: dict[str, Any],
        evaluator: Evaluator | None = None,
        folder: str = "",
        limits: WorkerLimits | None = None,
        expected: Expected | None = None,
    ) -> None:
        """Called once an actor."""
        assert evaluator is not None
        assert limits is not None
        self._job, self._worker = config["job"], None
        self._misfit = misfit_here(expected)
        if self._misfit is not None:
            return
        self._worker = Worker(evaluator, Path(folder), limits)
        self._drain = DrainWatch(is_draining)
        if isinstance(evaluator, CheckpointEvaluator):
            evaluator.at_checkpoints(self._leave_if_drained)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Another trial in the same actor; the worker wipes its slate before each job."""
        self._job = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        """Evaluate the job as far as this resource allows. Text only: Tune keeps statistics of every number it is told."""
        if self._misfit is not None:
            return {"done": True, "misfit": canonical_json(asdict(self._misfit))}
        assert self._worker is not None
        found = self._worker.run(Job.from_json(json.loads(self._job)))
        if isinstance(found, Awaiting):
            return {"done": True, "awaiting": canonical_json(list(found.targets))}
        return {"done": True, "evaluation": canonical_json(found.as_json())}

    def _leave_if_drained(self) -> None:
        """End the job where its node will go away: it goes on elsewhere from the checkpoint that is durable now.

        Raises:
            NodeLeaving: it is preempted.
        """
        if self._drain.leaving:
            raise NodeLeaving

    def cleanup(self) -> None:
        """Called when the actor ends."""
        if self._worker is not None:
            self._worker.close()


class DeviceActor:
    """Owns one device as long as it is needed: one candidate at a time, sessions and drivers loaded once."""

    def __init__(
        self, target: str, kind: str, options: Mapping[str, Any], evaluator: Evaluator, folder: str, expected: Expected | None = None
    ) -> None:
        self._target, self._misfit = target, misfit_here(expected)
        if self._misfit is None:
            self._device = HARDWARE.create(kind, **options)
            self._worker = Worker(evaluator, Path(folder), WorkerLimits())

    def ready(self) -> str | Misfit:
        """Where the actor is up, or why it is not to be used."""
        return self._misfit or socket.gethostname()

    def measure(self, job: str, facts: Mapping[str, Any]) -> Evaluation | Awaiting | DeviceFault:
        """Measure one trained candidate, and complete its evaluation where nothing else is awaited."""
        try:
            return self._worker.measure(Job.from_json(json.loads(job)), self._target, self._device, facts)
        except DeviceError as error:
            return DeviceFault(reason=str(error), gone=isinstance(error, DevicesGone))
        except StorageError as error:
            return Evaluation(outcome=Outcome.STORAGE_ERROR, message=str(error))


def start_device(target: str, choice: DeviceChoice, index: int, evaluator: Any, folder: Path, newcomers: Newcomers) -> Any:
    """The actor of one device, on no node that was refused; `evaluator` is an object reference, so that it travels once a node.

    It has resources of its own, so that training does not disturb what it measures, and those of its tag. It is not restarted by Ray:
    who waits for it decides, and a measurement is never made twice unseen.
    """
    needed = choice.resources
    placed = ray.remote(DeviceActor).options(
        num_cpus=needed.processors,
        num_gpus=needed.gpus,
        resources={needed.tag: 1} if needed.tag else None,
        label_selector={**needed.labels, **avoiding(newcomers.refused)} or None,
        max_restarts=0,
        max_task_retries=0,
    )
    return placed.remote(target, choice.kind, choice.options_of(index), evaluator, str(folder.absolute()), newcomers.expected)


class RayStaff:
    """The device actors of a study as `stations.Staff`.

    Args:
        choices: the devices by target.
        evaluator: completes evaluations where a device was the last stage.
        folder: of the study.
        newcomers: nodes that joined.
    """

    def __init__(self, choices: Mapping[str, DeviceChoice], evaluator: Evaluator, folder: Path, newcomers: Newcomers) -> None:
        self._choices, self._folder, self._newcomers = dict(choices), folder, newcomers
        self._evaluator = ray.put(evaluator) if choices else None
        self._calls: dict[Any, Seat] = {}

    def start(self, target: str, seat: Seat) -> None:
        """Create the actor; it comes up once a node has room for it."""
        seat.handle = start_device(target, self._choices[target], seat.index, self._evaluator, self._folder, self._newcomers)
        self._calls[seat.handle.ready.remote()] = seat

    def ask(self, seat: Seat, job: str, facts: Mapping[str, Any]) -> None:
        """Call the actor."""
        self._calls[seat.handle.measure.remote(job, dict(facts))] = seat

    def end(self, seat: Seat) -> None:
        """Kill the actor, whether it is up or not."""
        self._calls = {call: other for call, other in self._calls.items() if other is not seat}
        if seat.handle is not None:
            with contextlib.suppress(ray.exceptions.RayError, ConnectionError):  # a cluster that is gone has no actors
                ray.kill(seat.handle)
            seat.handle = None

    def answers(self, timeout_s: float) -> list[Answer]:
        """Calls that have returned, and actors that died in one."""
        if not self._calls:
            return []
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        return [self._answer(call) for call in ready]

    def _answer(self, call: Any) -> Answer:
        seat = self._calls.pop(call)
        try:
            value = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            return Answer(seat=seat, value=DeviceFault(reason=last_line(str(error)), gone=False))
        except ray.exceptions.RayError as error:
            misfit = self._newcomers.blame(error)
            if misfit is not None:
                return self._moved(seat, misfit)
            self.end(seat)
            return Answer(seat=seat, death=f"its process ended: {last_line(str(error))}", of_node=node_is_gone(error))
        return self._moved(seat, value) if isinstance(value, Misfit) else Answer(seat=seat, value=value)

    def _moved(self, seat: Seat, misfit: Misfit) -> Answer:
        """The node of an actor may not be used: another one is looked for, as if it had gone."""
        self._newcomers.refuse(misfit)
        self.end(seat)
        return Answer(seat=seat, death=misfit.message, of_node=True)
