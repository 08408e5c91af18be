"""What tasks share that classify spoken words: log-mel features as images or as sequences, and the digest of the audio."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.tasks.classification import Classification, Examples, Integers, ProxyName
from paretune.tasks.log_mel import LogMel
from paretune.tasks.recipe import Recipe

READ_AT_ONCE = 64
"""Recordings whose samples are in memory together."""

Layout: TypeAlias = Literal["image", "sequence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recordings:
    """Samples of spoken words with their split; `split.values` is not used."""

    samples: Iterable[NDArray[np.int16]]
    """Read once, in the order of the split."""
    split: Examples


class WordClassification(Classification):
    """Spoken words as log-mel features, standardised band by band. Digests are of the audio, since features round differently elsewhere.

    Args:
        recipe: how networks are trained.
        proxies: scores of the untrained network that become metrics.
        log_mel: the features.
        layout: `image` gives one channel of bands x frames, `sequence` bands as features over time steps.

    Raises:
        BadInput: the layout is unknown.
    """

    def __init__(self, *, recipe: Recipe, proxies: tuple[ProxyName, ...], log_mel: LogMel, layout: Layout) -> None:
        if layout not in ("image", "sequence"):
            raise BadInput(f"layout: must be image or sequence; got {layout!r}")
        self._log_mel = log_mel
        shape = (log_mel.bands, log_mel.frames)
        self.input_shape = (1, *shape) if layout == "image" else shape
        super().__init__(recipe=recipe, proxies=proxies)

    @abstractmethod
    def _recordings(self) -> Recordings:
        """All recordings that the splits need."""

    @cached_property
    def _read(self) -> tuple[Examples, str]:
        """Features with their split, and the digest."""
        found = self._recordings()
        digest = hashlib.sha256(repr((self._log_mel, self.input_shape)).encode())
        samples, features = iter(found.samples), []
        while batch := list(islice(samples, READ_AT_ONCE)):
            for item in batch:
                digest.update(f"{len(item)}:".encode())
                digest.update(item.astype("<i2").tobytes())
            features.append(self._log_mel.features(batch))
        split = found.split
        for array in (split.labels, split.training, split.validation, split.test):
            digest.update(f"{len(array)}:".encode())
            digest.update(array.astype("<i8").tobytes())
        examples = Examples(
            values=np.concatenate(features),
            labels=split.labels,
            training=split.training,
            validation=split.validation,
            test=split.test,
        )
        return examples, digest.hexdigest()

    @cached_property
    def _data(self) -> Examples:
        return self._read[0]

    def digest(self) -> str:
        """SHA-256 of the audio, the labels, the split and how features are computed."""
        return self._read[1]

    @cached_property
    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`(bands, 1)` mean and deviation of each band over the training recordings; a band that never changes is left unscaled."""
        known = self._data.values[self._data.training].astype(np.float64)
        deviations = known.std(axis=(0, 2))[:, None]
        return known.mean(axis=(0, 2))[:, None], np.where(deviations > 0, deviations, 1.0)

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How a recording becomes an input: log-mel features, then `(feature - mean) / deviation` of each band."""
        means, deviations = self._scale
        return {"log_mel": asdict(self._log_mel), "mean": means[:, 0].tolist(), "deviation": deviations[:, 0].tolist()}

    def _inputs(self, indices: Integers) -> NDArray[np.float32]:
        means, deviations = self._scale
        inputs: NDArray[np.float32] = ((self._data.values[indices] - means) / deviations).astype(np.float32)
        return inputs.reshape(len(indices), *self.input_shape)
