"""Which stage of a study needs what of a cluster, and how many candidates may be in each at the same time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.hardware import HARDWARE
from paretune.platform.execution.demands import ClusterFacts, Demand, check_demands, training_slots, wanted_of
from paretune.platform.execution.device_resources import DeviceChoice, device_resources
from paretune.platform.record.parts import TRAINING
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.options import option_values


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRay:
    """The Ray that is started on this machine where no cluster is named: it stands for every node of the study."""

    num_cpus: int
    tags: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posts:
    """How a study is spread over a cluster."""

    slots: int
    """Candidates that are trained at the same time."""
    per_candidate: Mapping[str, float]
    """Ray resources of the training of one."""
    notes: tuple[str, ...]
    """What the user should know; one line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staffing:
    """What the stages of a study need."""

    training: Mapping[str, float]
    """Ray resources of one candidate."""
    or_cpu: bool
    """Whether it also trains without a GPU."""
    workers: int | None
    """Candidates to train at the same time; None is what there is room for."""
    devices: Mapping[str, DeviceChoice]
    """By target."""

    def local(self, processors: int) -> LocalRay:
        """A local Ray with room for everything, training as many candidates as the processors of this machine allow."""
        for_devices = sum(choice.resources.processors * choice.count for choice in self.devices.values())
        each = self.training.get("CPU", 0.0)
        slots = self.workers or max(1, math.floor((processors - for_devices) / each) if each > 0 else processors)
        tags = {choice.resources.tag: 0.0 for choice in self.devices.values() if choice.resources.tag}
        for choice in self.devices.values():
            if choice.resources.tag:
                tags[choice.resources.tag] += choice.count
        tags |= {name: slots * amount for name, amount in self.training.items() if name not in ("CPU", "GPU")}
        return LocalRay(num_cpus=math.ceil(slots * each) + for_devices, tags=tags)

    @property
    def device_demands(self) -> dict[str, Demand]:
        """What the devices of each target take."""
        return {
            name: Demand(name=name, resources=_resources(choice), labels=choice.resources.labels, count=choice.count)
            for name, choice in self.devices.items()
        }

    def posts(self, cluster: ClusterFacts) -> Posts:
        """How the study is spread over a cluster.

        Raises:
            BadInput: it lacks what a stage needs.
        """
        notes = []
        training = Demand(name=TRAINING, resources=self.training)
        without = Demand(name=TRAINING, resources={name: amount for name, amount in self.training.items() if name != "GPU"})
        if self.or_cpu and training != without and cluster.room(training) + cluster.room_later(training) == 0:
            notes.append("no node has a GPU: training on processors, as run.resources.training.or_cpu allows")
            training = without
        devices = list(self.device_demands.values())
        targets_take_gpus = wanted_of("GPU", devices) > 0 and not cluster.nodes_come
        if self.or_cpu and training != without and targets_take_gpus and wanted_of("GPU", [training, *devices]) > cluster.amount("GPU"):
            notes.append("targets take the GPUs: training on processors, as run.resources.training.or_cpu allows")
            training = without
        notes += check_demands([training, *devices], cluster)
        room = training_slots(training, cluster)
        slots = self.workers or _beside(room, training, devices, "CPU")
        if targets_take_gpus:
            slots = min(slots, _beside(room, training, devices, "GPU"))
        return Posts(slots=slots, per_candidate=dict(training.resources), notes=tuple(notes))


def plan_staffing(spec: StudySpec, targets: tuple[str, ...]) -> Staffing:
    """What the stages of a study need; `targets` are those that measure."""
    chosen = {name: spec.hardware[name] for name in targets}
    needed = device_resources(chosen)
    training = spec.run.resources.training
    resources: dict[str, float] = {"CPU": training.cpu, "GPU": training.gpu}
    if training.tag:
        resources[training.tag] = 1.0
    return Staffing(
        training={name: amount for name, amount in resources.items() if amount > 0},
        or_cpu=training.or_cpu,
        workers=spec.run.workers,
        devices={
            name: DeviceChoice(kind=item.kind, options=_values(item.kind, item.options), resources=needed[name], count=item.count)
            for name, item in chosen.items()
        },
    )


def _values(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return option_values(HARDWARE, kind, options)


def _resources(choice: DeviceChoice) -> dict[str, float]:
    needed = choice.resources
    tag = {needed.tag: 1.0} if needed.tag else {}
    return {"CPU": float(needed.processors), "GPU": needed.gpus, **tag}


def _beside(slots: int, training: Demand, devices: Sequence[Demand], name: str) -> int:
    """Slots for training that are left, at least one, once devices have their processors or GPUs."""
    each, taken = training.resources.get(name, 0.0), wanted_of(name, devices)
    return max(1, slots - math.ceil(taken / each)) if each > 0 and taken > 0 else slots
