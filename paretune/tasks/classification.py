"""What tasks share that classify a fixed set of examples: training, validation, proxies and the test; a task adds data and inputs."""

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.accuracy_devices import LabelledExamples, TaskExamples, TrainingHooks
from paretune.core.errors import BadInput
from paretune.core.metrics import PROXY_PREFIX, Direction, Metric
from paretune.core.protocols import Fidelity, TaskResult
from paretune.tasks.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from paretune.tasks.training import Images

ProxyName: TypeAlias = Literal["jacob_cov", "naswot", "synflow"]
Integers: TypeAlias = NDArray[np.int64]

CALIBRATED_WITH = 256
"""Training examples that set the ranges of converters; a range is three of their inputs' deviations, which so many tell well."""

ACCURACY = Metric(name="accuracy", unit="", direction=Direction.MAX, lower=0.0, upper=1.0, description="validation accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Labelled examples and their split."""

    values: NDArray[Any]
    """`(num_examples, ...)` as the files have them: pixels, decibels."""
    labels: Integers
    """`(num_examples,)` classes from 0."""
    training: Integers
    """Indices of the examples to learn from."""
    validation: Integers
    """Indices of the examples that candidates are compared on."""
    test: Integers
    """Indices of the examples that nothing else looks at."""


class Classification(ABC):
    """A task of `core.protocols.Task` over examples that fit into memory.

    Args:
        recipe: how networks are trained.
        proxies: scores of the untrained network that become metrics, `proxy.synflow` and so on.
    """

    name: str
    input_shape: tuple[int, ...]
    num_classes: int

    def __init__(self, *, recipe: Recipe, proxies: tuple[ProxyName, ...]) -> None:
        self._recipe, self._proxies = recipe, tuple(dict.fromkeys(proxies))
        self._hooks: TrainingHooks | None = None

    @cached_property
    @abstractmethod
    def _data(self) -> Examples:
        """The examples, read once."""

    @abstractmethod
    def _inputs(self, indices: Integers) -> NDArray[np.float32]:
        """`(len(indices), *input_shape)` inputs of some examples, standardised by the training examples alone."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `train` returns."""
        scores = (
            Metric(name=f"{PROXY_PREFIX}{name}", unit="", direction=Direction.MAX, description=f"{name} of the untrained network")
            for name in self._proxies
        )
        return ACCURACY, *scores

    def digest(self) -> str:
        """SHA-256 of examples, labels and split."""
        data = self._data
        found = hashlib.sha256()
        for array in (data.values, data.labels, data.training, data.validation, data.test):
            found.update(f"{array.dtype.str}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def train(
        self,
        build: "Callable[[], nn.Module]",
        *,
        seed: int,
        fidelity: Fidelity,
        checkpoint: Path | None = None,
        on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
    ) -> "tuple[nn.Module, TaskResult]":
        """Train a network from `build` and validate it; see `core.protocols.Task`."""
        from paretune.tasks.training import train_classifier  # torch takes a second to import; `paretune list` does without

        return train_classifier(
            build,
            training=self._images(self._data.training),
            validation=self._images(self._data.validation),
            recipe=self._recipe,
            seed=seed,
            epochs=fidelity.epochs,
            schedule_epochs=fidelity.schedule_epochs,
            data_digest=self.digest(),
            checkpoint=checkpoint,
            on_epoch=on_epoch,
            score=self._scores if self._proxies else None,
            hooks=self._hooks,
        )

    def trained_for(self, hooks: TrainingHooks) -> Self:
        """The same task, trained for some hardware; see `core.accuracy_devices.HookedTask`."""
        task = copy.copy(self)
        task._hooks = hooks
        return task

    def as_trained(self, network: "nn.Module") -> "nn.Module":
        """A network of the search space as `train` returns one; see `core.accuracy_devices.HookedTask`."""
        return network if self._hooks is None else self._hooks.rebuild(network)

    def examples(self) -> TaskExamples:
        """What networks are judged on; see `core.accuracy_devices.LabelledTask`."""
        data = self._data
        validation, test = (LabelledExamples(inputs=self._inputs(part), labels=data.labels[part]) for part in (data.validation, data.test))
        return TaskExamples(validation=validation, test=test, calibration=self._inputs(data.training[:CALIBRATED_WITH]))

    def untrained_scores(self, build: "Callable[[], nn.Module]", *, seed: int) -> Mapping[str, float]:
        """The proxies that `train` would give with this seed, without training; see `core.protocols.ScoringTask`."""
        from paretune.tasks.determinism import deterministic_torch
        from paretune.tasks.training import fresh_network

        with deterministic_torch():
            return self._scores(fresh_network(build, seed)) if self._proxies else {}

    def test(self, network: "nn.Module") -> Mapping[str, float]:
        """Accuracy on the examples that nothing else looks at."""
        from paretune.tasks.training import accuracy

        if self._hooks is not None:
            self._hooks.reseed(network, "test")
        return {"accuracy": accuracy(network, self._images(self._data.test))}

    def _scores(self, network: "nn.Module") -> Mapping[str, float]:
        """The proxies on one batch, the same for every network."""
        from paretune.tasks.proxies import proxy_scores

        batch = self._images(self._data.training[: self._recipe.batch_size]).inputs
        return {f"{PROXY_PREFIX}{name}": value for name, value in proxy_scores(network, batch, self._proxies).items()}

    def _images(self, indices: Integers) -> "Images":
        from torch import from_numpy

        from paretune.tasks.training import Images

        return Images(inputs=from_numpy(self._inputs(indices)), labels=from_numpy(self._data.labels[indices]))


class ImageClassification(Classification):
    """Images of bytes, standardised channel by channel: `(pixel / white - mean) / deviation`."""

    white = 255.0
    """Largest pixel value."""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How pixels become inputs; mean and deviation are the training images', of each channel; a constant one is left unscaled."""
        levels = np.arange(256) / self.white
        pixels_NCHW = self._data.values[self._data.training]
        # From counts of the 256 values: exact, and no copy of all images in floating point.
        shares_C256 = np.array([np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(pixels_NCHW, 1, 0)])
        shares_C256 = shares_C256 / shares_C256.sum(axis=1, keepdims=True)
        means_C = shares_C256 @ levels
        deviations_C = np.sqrt(np.sum(shares_C256 * (levels - means_C[:, None]) ** 2, axis=1))
        return {"white": self.white, "mean": means_C.tolist(), "deviation": np.where(deviations_C > 0, deviations_C, 1.0).tolist()}

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        """`(channels, 256)` input of each pixel value."""
        how, levels = self.preprocessing, np.arange(256)
        means_C, deviations_C = (np.asarray(how[name], dtype=np.float64).reshape(-1, 1) for name in ("mean", "deviation"))
        table: NDArray[np.float32] = ((levels / how["white"] - means_C) / deviations_C).astype(np.float32)
        return table

    def _inputs(self, indices: Integers) -> NDArray[np.float32]:
        pixels_NCHW = self._data.values[indices]
        return np.stack([table[pixels_NCHW[:, channel]] for channel, table in enumerate(self._table)], axis=1)


def proportional_order(labels: Integers, keys: list[str]) -> Integers:
    """An order of the examples, any stretch of which holds each class in proportion, as far as whole examples allow.

    Examples are ordered by their rank within their class (ranks are decided by a hash, so by no generator that a release could change)
    divided by how many examples the class has.

    Args:
        labels: `(num_examples,)` classes.
        keys: a name of each example that never changes; decides the ranks.
    """
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label), key=lambda index: digests[index])
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((labels, place))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many examples a split may have at most; 0 for all there are. Names of examples decide which are left out."""

    train: int
    validation: int
    test: int

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            limit = getattr(self, name)
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
                raise BadInput(f"{name}_limit: must be a whole number of examples, or 0 for all; got {limit!r}")

    def examples(
        self, values: NDArray[Any], labels: Integers, keys: list[str], *, training: Integers, validation: Integers, test: Integers
    ) -> Examples:
        """A split within the limits, each class in proportion. Values are kept whole: only indices are left out.

        Args:
            values: `(num_examples, ...)`.
            labels: `(num_examples,)`.
            keys: a name of each example that never changes.
            training: indices of all examples to learn from.
            validation: indices of all examples to validate on.
            test: indices of all examples to test on.

        Raises:
            BadInput: a split has fewer than two examples.
        """
        parts = {}
        for name, indices, limit in (
            ("train", training, self.train),
            ("validation", validation, self.validation),
            ("test", test, self.test),
        ):
            order = proportional_order(labels[indices], [keys[index] for index in indices])
            parts[name] = np.sort(indices[order[: limit or None]])
            if len(parts[name]) < 2:
                raise BadInput(
                    f"{name}: {len(parts[name])} examples are left; at least two are needed. Raise {name}_limit, or check the folder"
                )
        return Examples(values=values, labels=labels, training=parts["train"], validation=parts["validation"], test=parts["test"])
