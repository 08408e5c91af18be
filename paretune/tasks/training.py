"""Train image classifiers deterministically: the same seed gives the same bits, at once or across any number of interruptions.

Nothing random is carried from one epoch to the next: each epoch's order and torch seed follow from the candidate's seed and the
epoch's number.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from paretune.core.accuracy_devices import TrainingHooks
from paretune.core.errors import BadInput, CheckpointDamaged
from paretune.core.protocols import TaskResult
from paretune.core.rng import derive_seed, stream
from paretune.core.trial import Outcome
from paretune.networks.evaluation import evaluating
from paretune.tasks.checkpoint import Checkpoint, check_tensors, load_checkpoint, save_checkpoint
from paretune.tasks.determinism import deterministic_torch
from paretune.tasks.recipe import Recipe

logger = logging.getLogger(__name__)

EVALUATED_AT_ONCE = 512
"""Examples that a network is evaluated on together, so that the memory for its maps does not grow with the data set."""

OnEpoch = Callable[[int, Mapping[str, float]], None]
Score = Callable[[nn.Module], Mapping[str, float]]
MODEL, MOMENTUM = "model.", "momentum."


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """One split of a data set."""

    inputs: Tensor
    """`(num_images, channels, height, width)` or `(num_recordings, features, time steps)` float32, as the network takes them."""
    labels: Tensor
    """`(num_images,)` int64 classes."""


class DivergenceError(Exception):
    """The loss is no longer a number, or far worse than guessing. Ends a training, never leaves this module."""


def train_classifier(
    build: Callable[[], nn.Module],
    *,
    training: Images,
    validation: Images,
    recipe: Recipe,
    seed: int,
    epochs: int,
    data_digest: str,
    schedule_epochs: int = 0,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
    score: Score | None = None,
    hooks: TrainingHooks | None = None,
) -> tuple[nn.Module, TaskResult]:
    """Train a network from `build` and validate it after every epoch.

    Args:
        build: makes the network; called once, after torch has been seeded.
        training: what it learns from.
        validation: what its accuracy is measured on.
        recipe: optimiser and schedule.
        seed: decides initial weights and order of the data.
        epochs: passes over the training images.
        data_digest: identifies the data, so that a checkpoint is never continued on others.
        schedule_epochs: passes after which the schedule ends, at least `epochs`; 0 ends it with the last one. A checkpoint is continued
            with the same schedule and as many or more epochs.
        checkpoint: folder for a checkpoint an epoch; training goes on from the one that is there.
        on_epoch: called with the number of epochs done and the epoch's record, after its checkpoint is durable.
        score: metrics of the network before it is trained; must leave it as it is.
        hooks: what training for some hardware adds.

    Raises:
        CheckpointDamaged: the checkpoint is of another network or training.
        StorageError: a checkpoint cannot be written.
    """
    if epochs < 1:
        raise BadInput(f"epochs: must be at least 1; got {epochs}")
    schedule_epochs = schedule_epochs or epochs
    if schedule_epochs < epochs:
        raise BadInput(f"schedule_epochs: must be at least epochs ({epochs}), or 0; got {schedule_epochs}")
    run = {"seed": seed, "epochs": schedule_epochs, "recipe": asdict(recipe), "data": data_digest}
    if hooks is not None:
        run["hooks"] = dict(hooks.identity)
        checkpoint = checkpoint if hooks.resumable else None
    with deterministic_torch():
        network = fresh_network(build, seed)
        scores = {} if score is None else score(network)
        if hooks is not None:
            network = hooks.prepare(network, seed=derive_seed(seed, "hooks"))
        trainer = _Trainer(network, images=training, recipe=recipe, seed=seed, epochs=schedule_epochs, hooks=hooks)
        curve = _resume(trainer, checkpoint, run, epochs) if checkpoint is not None else []
        try:
            for epoch in range(len(curve), epochs):
                record = trainer.run_epoch(epoch) | trainer.validate(validation)
                curve.append({"epoch": float(epoch + 1), **record})
                if checkpoint is not None:
                    save_checkpoint(checkpoint, Checkpoint(epochs_done=epoch + 1, tensors=trainer.tensors(), curve=tuple(curve), run=run))
                if on_epoch is not None:
                    on_epoch(epoch + 1, curve[-1])
        except DivergenceError as reason:
            logger.info("training diverged in epoch %d: %s", len(curve) + 1, reason)
            return _finished(network, hooks), TaskResult(outcome=Outcome.DIVERGED, metrics={}, curve=tuple(curve))
        metrics = {"accuracy": curve[-1]["accuracy"], **scores}
        return _finished(network, hooks), TaskResult(outcome=Outcome.OK, metrics=metrics, curve=tuple(curve))


def fresh_network(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """The network of a candidate before its training; seeds torch."""
    torch.manual_seed(derive_seed(seed, "weights"))
    # Channels last is a third faster on CPUs: it is what oneDNN's kernels want anyway.
    network: nn.Module = build().to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    return network


def accuracy(network: nn.Module, images: Images) -> float:
    """Part of the images that the network classifies rightly, in evaluation mode."""
    with deterministic_torch(), evaluating(network):
        return _accuracy(_outputs(network, images.inputs), images.labels)


class _Trainer:
    """A network in training and its optimiser: all that changes from epoch to epoch."""

    def __init__(self, network: nn.Module, *, images: Images, recipe: Recipe, seed: int, epochs: int, hooks: TrainingHooks | None) -> None:
        self._hooks = hooks
        self._network, self._recipe, self._seed, self._epochs = network, recipe, seed, epochs
        self._inputs, self._labels = images.inputs, images.labels
        self._loss_limit = recipe.explosion * math.log(int(images.labels.max()) + 1)
        special = None if hooks is None else hooks.optimiser(network, learning_rate=recipe.learning_rate)
        self._optimiser = special or torch.optim.SGD(
            network.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )
        if hooks is not None:
            self._optimiser.register_step_post_hook(lambda *_: hooks.after_step(network))

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """One pass over the training images; gives the mean loss.

        Raises:
            DivergenceError: at the first batch whose loss shows it.
        """
        torch.manual_seed(derive_seed(self._seed, "epoch", epoch))
        if self._hooks is not None:
            self._hooks.reseed(self._network, "epoch", epoch)
        order = torch.from_numpy(stream(self._seed, index=epoch, purpose="training.order").permutation(len(self._labels)))
        batches = _batches(order, self._recipe.batch_size)
        num_steps = self._epochs * len(batches)
        self._network.train()
        total = 0.0
        for step, batch in enumerate(batches, start=epoch * len(batches)):
            loss = self._step(batch, self._recipe.learning_rate_at(step, num_steps))
            if not loss <= self._loss_limit:  # also where it is NaN
                raise DivergenceError(f"training loss {loss:.3g} in step {step + 1} of {num_steps}")
            total += loss * len(batch)
        return {"train_loss": total / len(order)}

    def validate(self, images: Images) -> dict[str, float]:
        """Loss and accuracy on a split, the same whatever ran before.

        Raises:
            DivergenceError: the network gives something that is no number.
        """
        if self._hooks is not None:
            self._hooks.reseed(self._network, "validation")
        return _validate(self._network, images)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, buffers and momentum by name."""
        momentum = {
            MOMENTUM + name: self._optimiser.state[parameter]["momentum_buffer"]
            for name, parameter in self._network.named_parameters()
            if self._optimiser.state[parameter].get("momentum_buffer") is not None
        }
        return {MODEL + name: tensor for name, tensor in self._network.state_dict().items()} | momentum

    def load_tensors(self, found: Mapping[str, Tensor], *, where: str) -> None:
        """Go on from the tensors of a checkpoint.

        Raises:
            CheckpointDamaged: they are of another network.
        """
        expected = {MODEL + name: tensor for name, tensor in self._network.state_dict().items()}
        momentum = {MOMENTUM + name: parameter for name, parameter in self._network.named_parameters() if MOMENTUM + name in found}
        check_tensors(found, expected | momentum, where=where)
        self._network.load_state_dict({name: found[MODEL + name] for name in self._network.state_dict()})
        for name, parameter in momentum.items():
            # empty_like keeps the memory layout of an uninterrupted run: another one could round differently.
            self._optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter, requires_grad=False).copy_(found[name])

    def _step(self, batch: Tensor, learning_rate: float) -> float:
        """One step of the optimiser; gives the loss before it."""
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        inputs = _channels_last(self._inputs[batch])
        loss = cross_entropy(self._network(inputs), self._labels[batch], label_smoothing=self._recipe.label_smoothing)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.item())


def _resume(trainer: _Trainer, folder: Path, run: Mapping[str, Any], epochs: int) -> list[Mapping[str, float]]:
    """Put the trainer where its newest intact checkpoint was; gives the curve so far.

    Raises:
        CheckpointDamaged: the checkpoint is of another network or training, or of more than `epochs`.
    """
    try:
        found = load_checkpoint(folder)
    except CheckpointDamaged as error:
        logger.warning("%s; training starts over, which gives the same result later", error)
        return []
    if found is None:
        return []
    for name, value in run.items():
        if found.run.get(name) != value:
            raise CheckpointDamaged(f"{folder} is of another training: {name} is {found.run.get(name)!r} there and {value!r} here")
    if found.epochs_done > epochs:
        raise CheckpointDamaged(f"{folder} is of a training that is further: {found.epochs_done} epochs there, {epochs} asked for")
    trainer.load_tensors(found.tensors, where=str(folder))
    return list(found.curve)


def _batches(order: Tensor, batch_size: int) -> list[Tensor]:
    """Index batches; a last one of a single image joins the one before it, since batch norm needs two."""
    batches = list(torch.split(order, batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _validate(network: nn.Module, images: Images) -> dict[str, float]:
    """Loss and accuracy on a split.

    Raises:
        DivergenceError: the network gives something that is no number.
    """
    with evaluating(network):
        outputs = _outputs(network, _channels_last(images.inputs))
        loss = float(cross_entropy(outputs, images.labels).item())
    if not math.isfinite(loss):
        raise DivergenceError(f"validation loss {loss}")
    return {"validation_loss": loss, "accuracy": _accuracy(outputs, images.labels)}


def _channels_last(inputs: Tensor) -> Tensor:
    """Images in the layout of the network's weights; sequences as they are."""
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs.contiguous()


def _outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """`(num_images, classes)`, a part of the images at a time."""
    return torch.cat([network(part) for part in torch.split(inputs, EVALUATED_AT_ONCE)])


def _accuracy(outputs: Tensor, labels: Tensor) -> float:
    return int((outputs.argmax(dim=1) == labels).sum()) / len(labels)


def _finished(network: nn.Module, hooks: TrainingHooks | None) -> nn.Module:
    """The network as others expect one: evaluation mode, no gradients, the usual memory layout."""
    network.zero_grad(set_to_none=True)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:  # one by one: modules that simulate hardware may know no `to` for all
            # A clone, since with one channel both layouts count as contiguous, and the kernel that is chosen by strides rounds otherwise.
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    network.eval()
    return network if hooks is None else hooks.finish(network)
