"""What hardware must offer that changes what a trained network computes, and what training that knows of it needs: analog tiles, for one.

Accuracy is judged on such hardware, on the examples of the task; `core.protocols.Device` measures what does not depend on the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paretune.core.contest import Contest
from paretune.core.metrics import Metric
from paretune.core.protocols import Device, Measurement, Task
from paretune.core.workload import WorkloadBatch

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Split: TypeAlias = Literal["validation", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledExamples:
    """Examples with the right answers, as a network takes them."""

    inputs: NDArray[np.float32]
    """`(num_examples, *input_shape)`."""
    labels: NDArray[np.int64]
    """`(num_examples,)` classes from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskExamples:
    """What hardware needs of a task's data; plain arrays, which travel to where the hardware is."""

    validation: LabelledExamples
    """Candidates are compared on these."""
    test: LabelledExamples
    """For the final networks only."""
    calibration: NDArray[np.float32]
    """`(num_examples, *input_shape)` of the training examples, for converters whose range was not learned."""

    def split(self, name: Split) -> LabelledExamples:
        """The examples of one split."""
        return self.validation if name == "validation" else self.test


@runtime_checkable
class LabelledTask(Protocol):
    """What a task adds whose networks can be judged on hardware."""

    def examples(self) -> TaskExamples:
        """The examples that networks are judged on; the same at every call."""
        ...


@runtime_checkable
class AccuracyDevice(Protocol):
    """Hardware that runs a trained network with errors of its own. All candidates are judged on the same examples and the same errors."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `judge` returns, without the target's prefix."""
        ...

    def check(self, workloads: WorkloadBatch) -> None:
        """Whether networks fit, from their layers alone.

        Raises:
            BadInput: a layer does not fit; begins with the option that decides it, where there is one.
        """
        ...

    def judge(self, network: "nn.Module", examples: LabelledExamples, *, calibration: NDArray[np.float32]) -> Measurement:
        """Judge one trained network; it stays as it is. The same network and examples give the same result in any process.

        Raises:
            DeviceError: the hardware cannot run the network.
            BadInput: a layer does not fit.
        """
        ...

    def export(self, network: "nn.Module") -> "tuple[nn.Module, Mapping[str, Any]]":
        """The network as other programs read it (plain torch layers), and what the hardware makes of it, as JSON values."""
        ...


@runtime_checkable
class RacingHardware(AccuracyDevice, Protocol):
    """What hardware adds that judges in repeats and can leave out those that decide nothing."""

    @property
    def racing(self) -> bool:
        """Whether its options ask for it."""
        ...

    def judge_against(
        self, network: "nn.Module", examples: LabelledExamples, *, calibration: NDArray[np.float32], contest: Contest
    ) -> Measurement:
        """As `judge`, but stop as soon as the repeats so far decide the contest; what ran is the beginning of what `judge` runs.

        Raises:
            DeviceError: the hardware cannot run the network.
            BadInput: a layer does not fit.
        """
        ...


TrainedHardware: TypeAlias = Device | AccuracyDevice
"""Hardware that runs trained networks: it measures them, or judges their accuracy."""


class TrainingHooks(Protocol):
    """What training for some hardware adds to a task's own recipe; travels to the workers.

    Example of a call sequence, for one training::

        network = hooks.prepare(network, seed=7)      # before its optimiser is made
        optimiser = hooks.optimiser(network, learning_rate=0.1) or torch.optim.SGD(...)
        hooks.reseed(network, "epoch", 0)             # before each epoch, and before each evaluation
        hooks.after_step(network)                     # after each step of the optimiser
        network = hooks.finish(network)
    """

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON: all that decides the training, so that a checkpoint is never continued with other hooks."""
        ...

    @property
    def resumable(self) -> bool:
        """Whether all that training changes is in the network's state dict; otherwise an interrupted training starts over."""
        ...

    def prepare(self, network: "nn.Module", *, seed: int) -> "nn.Module":
        """The network as it is trained."""
        ...

    def finish(self, network: "nn.Module") -> "nn.Module":
        """The trained network as others judge and restore it; what only training needs may go."""
        ...

    def rebuild(self, network: "nn.Module") -> "nn.Module":
        """A network of the search space as `finish` leaves one: the state dict of such a one fits it."""
        ...

    def reseed(self, network: "nn.Module", *place: int | str) -> None:
        """Start the network's random draws at a named place, so that an interrupted training goes on with the same ones."""
        ...

    def optimiser(self, network: "nn.Module", *, learning_rate: float) -> "Optimizer | None":
        """What takes the steps where the hardware itself does; None for the recipe's own. The recipe sets the rate of its groups."""
        ...

    def after_step(self, network: "nn.Module") -> None:
        """Called after each step of the optimiser."""
        ...


@runtime_checkable
class TrainableHardware(Protocol):
    """What hardware adds that networks can be trained for."""

    def training_hooks(self, *, in_memory: bool) -> TrainingHooks:
        """What training for this hardware adds to a recipe.

        Args:
            in_memory: the hardware itself takes the steps; otherwise a computer does, with the hardware's errors.

        Raises:
            BadInput: it cannot.
        """
        ...


@runtime_checkable
class HookedTask(Protocol):
    """What a task adds whose training can be for some hardware."""

    def trained_for(self, hooks: TrainingHooks) -> Task:
        """The same task, whose `train` and `test` use the hooks."""
        ...

    def as_trained(self, network: "nn.Module") -> "nn.Module":
        """A network of the search space as `train` returns one: the state dict of such a one fits it."""
        ...
