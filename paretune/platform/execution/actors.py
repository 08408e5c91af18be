"""What lives on the cluster: the trainable that evaluates jobs and the actors that own measuring devices."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from paretune.core.accuracy_devices import Split, TaskExamples
from paretune.core.canonical import canonical_json
from paretune.core.errors import DeviceError
from paretune.core.protocols import Measurement
from paretune.hardware import HARDWARE
from paretune.platform.execution.device_resources import DeviceResources
from paretune.platform.execution.measure import measure_here
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.jobs import Evaluator, Job

if TYPE_CHECKING:
    from torch import nn

MEASURE_TIMEOUT_S = 300.0


class JobTrainable(tune.Trainable):
    """Evaluates one job a trial; reused for many trials. The result is durable before Tune hears of it."""

    def setup(
        self, config: dict[str, Any], evaluator: Evaluator | None = None, folder: str = "", limits: WorkerLimits | None = None
    ) -> None:
        """Called once an actor."""
        assert evaluator is not None
        assert limits is not None
        self._job = config["job"]
        self._worker = Worker(evaluator, Path(folder), limits)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Another trial in the same actor; the worker wipes its slate before each job."""
        self._job = new_config["job"]
        return True

    def step(self) -> dict[str, Any]:
        """Evaluate the job. Text only: Tune keeps statistics of every number it is told."""
        evaluation = self._worker.run(Job.from_json(json.loads(self._job)))
        return {"done": True, "evaluation": canonical_json(evaluation.as_json())}

    def cleanup(self) -> None:
        """Called when the actor ends."""
        self._worker.close()


class DeviceActor:
    """Owns one device for the whole study: one network at a time, sessions and drivers loaded once."""

    def __init__(self, kind: str, options: Mapping[str, Any]) -> None:
        self._device = HARDWARE.create(kind, **options)

    def ready(self) -> bool:
        """Whether the actor is up."""
        return True

    def measure(
        self, network: "nn.Module", example_shape: tuple[int, ...], examples: TaskExamples | None = None, split: Split = "validation"
    ) -> Measurement:
        """Measure one network, see `core.protocols.Device`; or judge it, see `core.accuracy_devices.AccuracyDevice`."""
        return measure_here(self._device, examples, network, example_shape, split)


class ActorDevices:
    """Calls the device actors from a worker.

    Args:
        handles: of the actors, by target.
        examples: that networks are judged on, by those targets that do; from `share`.
    """

    def __init__(self, handles: Mapping[str, Any], examples: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._handles, self._examples = dict(handles), dict(examples)

    def __call__(self, target: str, network: "nn.Module", example_shape: tuple[int, ...], *, split: Split = "validation") -> Measurement:
        """Measure on the device called `target`.

        Raises:
            DeviceError: the device gave no usable measurement, died or did not answer in time.
        """
        try:
            asked = self._handles[target].measure.remote(network, example_shape, self._examples.get(target), split)
            measurement: Measurement = ray.get(asked, timeout=MEASURE_TIMEOUT_S)
        except ray.exceptions.GetTimeoutError as error:
            raise DeviceError(f"'{target}' did not answer within {MEASURE_TIMEOUT_S:g} s") from error
        except ray.exceptions.RayActorError as error:
            raise DeviceError(f"the actor of '{target}' died: {error}") from error
        return measurement


def start_device(kind: str, options: Mapping[str, Any], resources: DeviceResources) -> Any:
    """A device actor with resources of its own, so that training does not disturb what it measures."""
    placed = ray.remote(DeviceActor).options(num_cpus=resources.processors, num_gpus=resources.gpus, max_restarts=-1, max_task_retries=1)
    return placed.remote(kind, dict(options))


def share(examples: TaskExamples) -> Any:
    """Examples in the object store: they travel to each node once; what an actor is started with would be lost where it starts anew."""
    return ray.put(examples)
