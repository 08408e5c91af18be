"""Checks of hardware on which accuracy is judged, and of training for it, before anything runs."""

from paretune.core.accuracy_devices import AccuracyDevice, HookedTask, LabelledTask, RacingHardware, TrainableHardware
from paretune.core.errors import BadInput
from paretune.core.protocols import SearchSpace, Task
from paretune.platform.spec.checks import NUM_SAMPLED, sample
from paretune.platform.spec.suggest import did_you_mean
from paretune.platform.study.builder import Builder
from paretune.platform.study.hardware import HardwarePlan
from paretune.tasks.table import TableTask


def check_judged(builder: Builder, task: Task, space: SearchSpace | None, hardware: HardwarePlan) -> None:
    """Tell what such hardware cannot do with this task and space."""
    _check_training(builder, task, hardware)
    judging = {target: device for target, device in hardware.devices.items() if isinstance(device, AccuracyDevice)}
    for target, device in judging.items():
        if not isinstance(task, LabelledTask | TableTask):  # a table refuses every target that measures, elsewhere
            told = f"judges networks on labelled examples, and task '{task.name}' gives none (examples); remove this target"
            builder.problems.append(builder.loaded.problem(("hardware", target), told))
        if space is None:
            continue
        try:
            device.check(space.workloads(sample(space, NUM_SAMPLED)))
        except BadInput as error:
            builder.refuse(("hardware", target), builder.loaded.spec.hardware[target], error)
        if isinstance(device, RacingHardware) and device.racing:
            _note_what_cannot_be_raced_for(builder, target, hardware)


def _note_what_cannot_be_raced_for(builder: Builder, target: str, hardware: HardwarePlan) -> None:
    """Other targets measure when they are free, so what they give is not known for certain while this one judges."""
    names = [item.metric for item in builder.loaded.spec.objectives]
    others = [name for name in names if (owner := name.partition(".")[0]) in hardware.devices and owner != target]
    if others:
        told = f"objective '{others[0]}' is measured elsewhere, so racing stops only what misses a limit"
        builder.notes.append(f"hardware.{target}: {told}")


def _check_training(builder: Builder, task: Task, hardware: HardwarePlan) -> None:
    """`training.hardware_aware` must name hardware that networks can be trained for, and a task that knows how."""
    spec = builder.loaded.spec
    target = spec.training.hardware_aware
    if target is None:
        if spec.training.analog_update:
            told = "needs the target whose devices train: hardware_aware: NAME"
            builder.problems.append(builder.loaded.problem(("training", "analog_update"), told))
        return
    able = [name for name, device in hardware.devices.items() if isinstance(device, TrainableHardware)]
    told = ""
    if target not in spec.hardware:
        known = ", ".join(spec.hardware) or "there is none"
        told = f"'{target}' is not in hardware ({known}).{did_you_mean(target, spec.hardware, synonyms={})}"
    elif target in hardware.models or (target in hardware.devices and target not in able):
        told = f"networks cannot be trained for '{target}' (kind {spec.hardware[target].kind}); name one of kind analog"
    elif not isinstance(task, HookedTask):
        told = f"task '{task.name}' cannot train for hardware (trained_for); leave it out"
    if told:
        builder.problems.append(builder.loaded.problem(("training", "hardware_aware"), told))
        return
    device = hardware.devices.get(target)
    try:
        resumable = not isinstance(device, TrainableHardware) or device.training_hooks(in_memory=spec.training.analog_update).resumable
    except BadInput as error:
        builder.problems.append(builder.loaded.problem(("training", "analog_update"), str(error)))
        return
    if not resumable and spec.fidelity is not None:
        told = "such a training cannot be interrupted and go on; leave the rungs (fidelity) out"
        builder.problems.append(builder.loaded.problem(("training", "analog_update"), told))
