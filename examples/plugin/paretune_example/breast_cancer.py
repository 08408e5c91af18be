"""Benign or malignant: the 569 biopsies with 30 measurements each that come with scikit-learn.

Source: Street, Wolberg & Mangasarian, Nuclear feature extraction for breast tumor diagnosis, IS&T/SPIE 1905, 1993.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Fidelity, TaskResult
from paretune.tasks.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn

    from paretune.tasks.training import Images

PARTS = 5
"""Every fifth row is for testing, the next one for validation, three for training."""


class BreastCancer:
    """Classify biopsies: 341 to learn from, 114 to validate, 114 to test.

    Args:
        learning_rate: peak of the schedule.
    """

    name = "breast_cancer"
    metrics = (Metric(name="accuracy", unit="", direction=Direction.MAX, lower=0.0, upper=1.0, description="validation accuracy"),)
    input_shape = (30, 1, 1)  # 30 channels of one pixel: convolutions could read it too
    num_classes = 2

    def __init__(self, *, learning_rate: float = 0.1) -> None:
        self._recipe = Recipe(batch_size=32, learning_rate=learning_rate, momentum=0.9, weight_decay=1e-3, label_smoothing=0.0, warmup=0.1)

    def digest(self) -> str:
        """SHA-256 of the data and its split."""
        rows, labels = self._data
        return hashlib.sha256(rows.astype("<f8").tobytes() + labels.astype("<i8").tobytes() + bytes([PARTS])).hexdigest()

    def train(
        self,
        build: "Callable[[], nn.Module]",
        *,
        seed: int,
        fidelity: Fidelity,
        checkpoint: Path | None = None,
        on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,
    ) -> "tuple[nn.Module, TaskResult]":
        """Train with paretune's own loop: seeded, a checkpoint an epoch, NaN noticed."""
        from paretune.tasks.training import train_classifier

        return train_classifier(
            build,
            training=self._part(2, 3, 4),
            validation=self._part(1),
            recipe=self._recipe,
            seed=seed,
            epochs=fidelity.epochs,
            schedule_epochs=fidelity.schedule_epochs,
            data_digest=self.digest(),
            checkpoint=checkpoint,
            on_epoch=on_epoch,
        )

    def test(self, network: "nn.Module") -> Mapping[str, float]:
        """Accuracy on the rows that nothing else looks at."""
        from paretune.tasks.training import accuracy

        return {"accuracy": accuracy(network, self._part(0))}

    @cached_property
    def _data(self) -> tuple[Any, Any]:
        from sklearn.datasets import load_breast_cancer

        rows, labels = load_breast_cancer(return_X_y=True)
        return rows, labels

    def _part(self, *parts: int) -> "Images":
        from torch import from_numpy

        from paretune.tasks.training import Images

        rows, labels = self._data
        part = np.arange(len(rows)) % PARTS
        known = rows[part >= 2]  # mean and deviation come from the training rows alone
        inputs = ((rows - known.mean(axis=0)) / known.std(axis=0)).astype(np.float32)[:, :, None, None]
        chosen = np.isin(part, parts)
        return Images(inputs=from_numpy(inputs[chosen]), labels=from_numpy(labels[chosen].astype(np.int64)))
