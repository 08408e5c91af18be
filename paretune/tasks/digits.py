"""Handwritten digits: the 1,797 images of 8x8 pixels that come with scikit-learn, with one split for ever.

Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.metrics import PROXY_PREFIX, Direction, Metric
from paretune.core.protocols import Fidelity, TaskResult
from paretune.tasks.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from paretune.tasks.training import Images

NUM_TEST = 360
NUM_VALIDATION = 360
ACCURACY = Metric(name="accuracy", unit="", direction=Direction.MAX, lower=0.0, upper=1.0, description="validation accuracy")
WHITE = 16.0
"""Largest pixel value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitsData:
    """The images and their split."""

    pixels: NDArray[np.uint8]
    """`(1797, 8, 8)`, 0 to 16."""
    labels: NDArray[np.int64]
    """`(1797,)` digits."""
    training: NDArray[np.int64]
    """Indices of 1,077 images."""
    validation: NDArray[np.int64]
    """Indices of 360 images."""
    test: NDArray[np.int64]
    """Indices of 360 images."""


class Digits:
    """Classify scikit-learn's 8x8 digits; 1,077 images to learn from, 360 to validate, 360 to test.

    The defaults bring a network of 15 convolutions to about 99 % validation accuracy in 10 epochs, in 2 to 3 s on one slow core.

    Args:
        batch_size: images of a step.
        learning_rate: peak of the schedule.
        momentum: Nesterov momentum.
        weight_decay: of all parameters.
        label_smoothing: probability that is spread over all classes.
        warmup: part of all steps in which the learning rate rises.
        proxies: scores of the untrained network that become metrics, `proxy.synflow` and so on.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "digits"
    input_shape: tuple[int, ...] = (1, 8, 8)
    num_classes = 10

    def __init__(
        self,
        *,
        batch_size: int = 64,
        learning_rate: float = 0.2,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        label_smoothing: float = 0.05,
        warmup: float = 0.2,
        proxies: tuple[Literal["jacob_cov", "naswot", "synflow"], ...] = (),
    ) -> None:
        self._proxies = tuple(dict.fromkeys(proxies))
        self._recipe = Recipe(
            batch_size=batch_size,
            learning_rate=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            warmup=warmup,
        )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `train` returns."""
        scores = (
            Metric(name=f"{PROXY_PREFIX}{name}", unit="", direction=Direction.MAX, description=f"{name} of the untrained network")
            for name in self._proxies
        )
        return ACCURACY, *scores

    @property
    def preprocessing(self) -> Mapping[str, float]:
        """How pixels become inputs: `(pixel / white - mean) / deviation`; mean and deviation are the training images'."""
        pixels = self._data.pixels[self._data.training] / WHITE
        return {"white": WHITE, "mean": float(pixels.mean()), "deviation": float(pixels.std())}

    def digest(self) -> str:
        """SHA-256 of pixels, labels and split."""
        data = self._data
        arrays = (data.pixels, data.labels, data.training, data.validation, data.test)
        return hashlib.sha256(b"".join(array.astype("<i8").tobytes() for array in arrays)).hexdigest()

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
        )

    def untrained_scores(self, build: "Callable[[], nn.Module]", *, seed: int) -> Mapping[str, float]:
        """The proxies that `train` would give with this seed, without training; see `core.protocols.ScoringTask`."""
        from paretune.tasks.determinism import deterministic_torch
        from paretune.tasks.training import fresh_network

        with deterministic_torch():
            return self._scores(fresh_network(build, seed)) if self._proxies else {}

    def _scores(self, network: "nn.Module") -> Mapping[str, float]:
        """The proxies on one batch, the same for every network."""
        from paretune.tasks.proxies import proxy_scores

        batch = self._images(self._data.training[: self._recipe.batch_size]).inputs
        return {f"{PROXY_PREFIX}{name}": value for name, value in proxy_scores(network, batch, self._proxies).items()}

    def test(self, network: "nn.Module") -> Mapping[str, float]:
        """Accuracy on the 360 images that nothing else looks at."""
        from paretune.tasks.training import accuracy

        return {"accuracy": accuracy(network, self._images(self._data.test))}

    def _images(self, indices: NDArray[np.int64]) -> "Images":
        from torch import from_numpy

        from paretune.tasks.training import Images

        how = self.preprocessing
        inputs = (self._data.pixels[indices, None] / how["white"] - how["mean"]) / how["deviation"]
        return Images(inputs=from_numpy(inputs.astype(np.float32)), labels=from_numpy(self._data.labels[indices]))

    @cached_property
    def _data(self) -> DigitsData:
        from sklearn.datasets import load_digits  # takes a second to import

        images, labels = load_digits(return_X_y=True)
        return split_digits(images.reshape(-1, 8, 8).astype(np.uint8), labels.astype(np.int64))


def split_digits(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> DigitsData:
    """The fixed split, each part with the digits in the proportions of the whole.

    Images are ordered by their rank within their digit (ranks are decided by a hash, so by no generator that a release could change)
    divided by how many images the digit has; any stretch of that order holds each digit in proportion.
    """
    key = [hashlib.sha256(f"digits:{index}".encode()).digest() for index in range(len(labels))]
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label), key=lambda index: key[index])
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.lexsort((labels, place))
    return DigitsData(
        pixels=pixels,
        labels=labels,
        test=np.sort(order[:NUM_TEST]),
        validation=np.sort(order[NUM_TEST : NUM_TEST + NUM_VALIDATION]),
        training=np.sort(order[NUM_TEST + NUM_VALIDATION :]),
    )
