"""MNIST: 70,000 handwritten digits of 28x28 pixels, in the npz file that Keras publishes.

Source: LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, Proceedings of the IEEE 86(11), 1998.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from paretune.core.errors import BadInput
from paretune.tasks.classification import Examples, ImageClassification, Limits, ProxyName, proportional_order
from paretune.tasks.data_files import checked_files, checked_folder, checked_labels, read_npz
from paretune.tasks.recipe import Recipe

FILE = "mnist.npz"
WANTED = f"{FILE} with x_train, y_train, x_test, y_test, as Keras publishes it"
VALIDATION_SHARE = 6
"""One in so many of the images to learn from is kept for validation: 10,000 of 60,000."""
LAYOUT = {"x_train": ("u", 3), "y_train": ("iu", 1), "x_test": ("u", 3), "y_test": ("iu", 1)}


class Mnist(ImageClassification):
    """Classify MNIST's 28x28 digits; 50,000 images to learn from, 10,000 to validate, the official 10,000 to test.

    The validation images are a sixth of the official training images, each digit in proportion.

    Args:
        folder: holds `mnist.npz`; may hold `${env:NAME}`.
        train_limit: images to learn from, each digit in proportion; 0 for all.
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

    name = "mnist"
    input_shape: tuple[int, ...] = (1, 28, 28)
    num_classes = 10

    def __init__(
        self,
        *,
        folder: Path,
        train_limit: int = 0,
        validation_limit: int = 0,
        test_limit: int = 0,
        batch_size: int = 64,
        learning_rate: float = 0.2,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        label_smoothing: float = 0.05,
        warmup: float = 0.2,
        proxies: tuple[ProxyName, ...] = (),
    ) -> None:
        (self._file,) = checked_files(checked_folder(folder, wanted=WANTED), [FILE], wanted=WANTED)
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
        """Raises BadInput where the file has another layout."""
        arrays = read_npz(self._file, LAYOUT)
        for name in ("x_train", "x_test"):
            if arrays[name].dtype != np.uint8 or arrays[name].shape[1:] != self.input_shape[1:]:
                raise BadInput(f"{self._file}: {name} is {arrays[name].dtype} {arrays[name].shape}; expected uint8 (images, 28, 28)")
        labels = [
            checked_labels(arrays[f"y_{part}"], num_examples=len(arrays[f"x_{part}"]), num_classes=10, where=f"{self._file}: y_{part}")
            for part in ("train", "test")
        ]
        num_train, num_test = map(len, labels)
        keys = [*(f"mnist:{index}" for index in range(num_train)), *(f"mnist-test:{index}" for index in range(num_test))]
        order = proportional_order(labels[0], keys[:num_train])
        return self._limits.examples(
            np.concatenate([arrays["x_train"], arrays["x_test"]])[:, None],
            np.concatenate(labels),
            keys,
            training=order[num_train // VALIDATION_SHARE :],
            validation=order[: num_train // VALIDATION_SHARE],
            test=np.arange(num_train, num_train + num_test),
        )
