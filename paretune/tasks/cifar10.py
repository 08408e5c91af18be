"""CIFAR-10: 60,000 photographs of 32x32 pixels in ten classes, from the binary version of the data set.

The binary files (`cifar-10-binary.tar.gz`) hold plain records of 1 + 3,072 bytes. The Python version is pickled, and unpickling runs code
that a file brings along, so it is not read.

Source: Krizhevsky, Learning multiple layers of features from tiny images, University of Toronto, 2009.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.tasks.classification import Examples, ImageClassification, Limits, ProxyName, proportional_order
from paretune.tasks.data_files import checked_files, checked_folder, checked_labels
from paretune.tasks.recipe import Recipe

TRAINING_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
PYTHON_FILE = "data_batch_1"
WANTED = "data_batch_1.bin to data_batch_5.bin and test_batch.bin, the binary version of CIFAR-10 (cifar-10-binary.tar.gz)"
IMAGE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
"""Bytes of an image: its class, then red, green and blue, row by row."""
VALIDATION_SHARE = 10
"""One in so many of the images to learn from is kept for validation: 5,000 of 50,000."""


class Cifar10(ImageClassification):
    """Classify CIFAR-10's photographs; 45,000 images to learn from, 5,000 to validate, the official 10,000 to test.

    Images are not augmented. The validation images are a tenth of the official training images, each class in proportion.

    Args:
        folder: of the binary version, `cifar-10-batches-bin`; may hold `${env:NAME}`.
        train_limit: images to learn from, each class in proportion; 0 for all.
        validation_limit: images to validate on; 0 for all.
        test_limit: images to test on; 0 for all.
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

    name = "cifar10"
    input_shape: tuple[int, ...] = IMAGE
    num_classes = 10

    def __init__(
        self,
        *,
        folder: Path,
        train_limit: int = 0,
        validation_limit: int = 0,
        test_limit: int = 0,
        batch_size: int = 128,
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        label_smoothing: float = 0.05,
        warmup: float = 0.2,
        proxies: tuple[ProxyName, ...] = (),
    ) -> None:
        found = checked_folder(folder, wanted=WANTED)
        if (found / PYTHON_FILE).exists() and not (found / TRAINING_FILES[0]).exists():
            raise BadInput(f"folder: {found} holds the Python version of CIFAR-10, which is pickled and not read. It must hold {WANTED}")
        self._files = checked_files(found, [*TRAINING_FILES, TEST_FILE], wanted=WANTED)
        self._limits = Limits(train=train_limit, validation=validation_limit, test=test_limit)
        recipe = Recipe(
            batch_size=batch_size,
            learning_rate=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            warmup=warmup,
        )
        super().__init__(recipe=recipe, proxies=proxies)

    @cached_property
    def _data(self) -> Examples:
        """Raises BadInput where a file is cut or has another layout."""
        records = [read_records(path) for path in self._files]
        if len({len(part) for part in records}) > 1:
            counts = ", ".join(f"{len(part)} in {path.name}" for part, path in zip(records, self._files, strict=True))
            raise BadInput(f"{self._files[0].parent}: every file of CIFAR-10 has as many images as the others; found {counts}")
        images = np.concatenate(records)
        labels = checked_labels(images[:, 0], num_examples=len(images), num_classes=10, where=str(self._files[0].parent))
        num_train = len(images) - len(records[-1])
        keys = [f"cifar10:{index}" for index in range(len(images))]
        order = proportional_order(labels[:num_train], keys[:num_train])
        return self._limits.examples(
            images[:, 1:].reshape(-1, *IMAGE),
            labels,
            keys,
            training=order[num_train // VALIDATION_SHARE :],
            validation=order[: num_train // VALIDATION_SHARE],
            test=np.arange(num_train, len(images)),
        )


def read_records(path: Path) -> NDArray[np.uint8]:
    """`(images, 3073)` bytes of one file.

    Raises:
        BadInput: it does not hold whole records.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    if not data or len(data) % RECORD:
        raise BadInput(f"{path} has {len(data)} bytes; expected a multiple of {RECORD}, the bytes of an image. Is it cut? Get it again")
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD)
