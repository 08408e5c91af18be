"""The hardware of a study: devices measure what was trained, models compute what costs before anything runs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from paretune.core.accuracy_devices import AccuracyDevice
from paretune.core.costs import ArchitectureCostModel, CostModel
from paretune.core.derived import DERIVED
from paretune.core.errors import BadInput
from paretune.core.metrics import Metric
from paretune.core.protocols import Device, SearchSpace, Task
from paretune.hardware import HARDWARE
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.candidate_costs import CandidateCosts, ComputedTarget, excess_metric, is_limited
from paretune.platform.execution.device_resources import ADDRESSES, REMOTE
from paretune.platform.spec.checks import sample
from paretune.platform.spec.model import OnMetric, StudySpec
from paretune.platform.spec.nodes import Loc
from paretune.platform.study.builder import Builder
from paretune.platform.study.evaluation import Devices

SOURCES: Mapping[str, str] = {
    "analytic": "computed from the layers",
    "lookup_table": "looked up for each layer",
    "predicted": "predicted",
    "measured": "measured earlier",
}
"""Source of an estimate -> words for the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwarePlan:
    """The hardware that a spec names, by target name."""

    devices: Devices
    models: Mapping[str, ComputedTarget]
    complete: bool
    """Whether every target of the spec could be made."""

    @property
    def metrics(self) -> dict[str, tuple[Metric, ...]]:
        """Target -> what it gives, without the target's name; computed ones are free."""
        computed = {
            name: tuple(replace(metric, free=True) for metric in (*model.metrics, *((excess_metric(),) if is_limited(model) else ())))
            for name, model in self.models.items()
        }
        return {**{name: device.metrics for name, device in self.devices.items()}, **computed}


def plan_hardware(builder: Builder) -> HardwarePlan:
    """Make the hardware of a spec; what is neither device nor cost model is a problem."""
    devices: dict[str, Device | AccuracyDevice] = {}
    models: dict[str, ComputedTarget] = {}
    spec = builder.loaded.spec
    for name, chosen in spec.hardware.items():
        made = builder.create(HARDWARE, ("hardware", name), chosen, chosen.kind)
        if isinstance(made, Device | AccuracyDevice):
            devices[name] = made
        elif isinstance(made, CostModel | ArchitectureCostModel):
            models[name] = made
        elif made is not None:
            told = f"'{chosen.kind}' is neither a device (measure, judge) nor a cost model (metrics, space, check, estimate)"
            builder.problems.append(builder.loaded.problem(("hardware", name), told))
    builder.add((place_problems(spec, models=tuple(models)), []))
    return HardwarePlan(devices=devices, models=models, complete=len(devices) + len(models) == len(spec.hardware))


def place_problems(spec: StudySpec, *, models: tuple[str, ...]) -> list[tuple[Loc, str]]:
    """What a spec says of places on a cluster that cannot be; `models` are the targets that compute."""
    problems: list[tuple[Loc, str]] = []
    for name, target in spec.hardware.items():
        addresses = target.options.get(ADDRESSES, ()) if target.kind == REMOTE else ()
        if name in models and (target.tag or target.labels or target.count > 1):
            field = "tag" if target.tag else "labels" if target.labels else "count"
            problems.append((("hardware", name, field), f"'{name}' computes its costs and has no device; remove it"))
        elif target.count > 1 and len(addresses) > 1 and len(addresses) != target.count:
            told = f"{target.count} devices, but {len(addresses)} addresses; give each device its own, or one that is right on each node"
            problems.append((("hardware", name, "count"), told))
    training = spec.run.resources.training.tag
    owners = [name for name, target in spec.hardware.items() if training is not None and target.tag == training]
    if owners:
        told = f"'{training}' belongs to the devices of '{owners[0]}', which keep it for ever; give training a tag of its own"
        problems.append((("run", "resources", "training", "tag"), told))
    return problems


def candidate_costs(builder: Builder, network: SearchSpace, hardware: HardwarePlan) -> CandidateCosts | None:
    """What candidates cost before anything runs; None where a target clashes with another one, which is told."""
    try:
        return CandidateCosts(network, hardware.models)
    except BadInput as error:
        builder.problems.append(builder.loaded.problem(("hardware",), str(error)))
        return None


def all_metrics(builder: Builder, task: Task | None, hardware: HardwarePlan) -> dict[str, Metric]:
    """Inner name -> metric of all that is produced; those of a target carry its name."""
    metrics = {metric.name: metric for metric in (*(task.metrics if task else ()), *FreeCosts().metrics)}
    for target, own in hardware.metrics.items():
        for metric in own:
            name = f"{target}.{metric.name}"
            if name in metrics:
                told = f"'{name}' is given by the task or by another metric already; choose another name for this target"
                builder.problems.append(builder.loaded.problem(("hardware", target), told))
            metrics[name] = replace(metric, name=name)
    return metrics


def computed_metrics(builder: Builder, costs: CandidateCosts) -> dict[str, Metric]:
    """The metrics of computed targets, with the source of their values in words."""
    words = {}
    for name, source in costs.sources(sample(costs.space, 1)).items():
        target = builder.loaded.spec.hardware[name.partition(".")[0]]
        words[name] = f"{SOURCES.get(source, source)} before training, {target.kind} model{f' of {target.target}' if target.target else ''}"
    return {name: replace(costs.metrics[name], source=told) for name, told in words.items()}


def unused_targets(spec: StudySpec, hardware: HardwarePlan) -> list[str]:
    """A note on each target that decides nothing."""
    items: tuple[OnMetric, ...] = (*spec.objectives, *spec.constraints)
    names = [name for chosen in spec.derived.values() for name in DERIVED.named_metrics(chosen.kind, chosen.options)]
    used = {name.partition(".")[0] for name in (*(item.metric for item in items), *names)}
    done = {name: "computed" if name in hardware.models else "measured" for name in spec.hardware}
    return [
        f"hardware.{name}: no objective or constraint uses it; it is {done[name]} for the record only"
        for name in spec.hardware
        if name not in used
    ]
