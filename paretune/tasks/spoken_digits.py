"""Spoken digits: the Free Spoken Digit Dataset, 3,000 recordings of ten words by six speakers at 8 kHz. Keyword spotting for a laptop.

Source: Jackson et al., Free Spoken Digit Dataset, v1.0.9 or later, doi:10.5281/zenodo.1342401.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, did_you_mean
from paretune.tasks.classification import Integers, Limits, ProxyName
from paretune.tasks.data_files import checked_folder, checked_labels, read_npz, read_wav
from paretune.tasks.log_mel import LogMel
from paretune.tasks.recipe import Recipe
from paretune.tasks.recordings import Layout, Recordings, WordClassification

SAMPLE_RATE_HZ = 8_000
FILE = "fsdd_8khz.npz"
WANTED = f"recordings/DIGIT_SPEAKER_NUMBER.wav as in the repository free-spoken-digit-dataset, or {FILE} made of them"
NAME = re.compile(r"([0-9])_([a-z]+)_(\d+)\.wav")
LAYOUT = {"audio": ("i", 1), "offset": ("iu", 1), "label": ("iu", 1), "speaker": ("iu", 1), "speaker_names": ("U", 1), "index": ("iu", 1)}
NUM_TEST, NUM_VALIDATION = 5, 5
"""Of each digit of each speaker: recordings 0 to 4 are the official test, 5 to 9 validate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clips:
    """Recordings as the files have them."""

    samples: Sequence[NDArray[np.int16]]
    labels: Integers
    speakers: tuple[str, ...]
    """Of each recording."""
    numbers: Integers
    """Of each recording among those of its digit and speaker."""


class SpokenDigits(WordClassification):
    """Classify spoken digits by log-mel features; 2,400 recordings to learn from, 300 to validate, the official 300 to test.

    Args:
        folder: holds `recordings/*.wav` as published, or `fsdd_8khz.npz`; may hold `${env:NAME}`.
        layout: `image` for spaces of 2-D convolutions, `sequence` for those over features and time (`speech`).
        bands: mel bands; spaces of square images need as many as frames.
        frames: time steps.
        duration_s: of a recording; longer ones lose their ends, shorter ones get silence.
        split: `recordings`, every speaker in every part, or `speakers`, where test and validation have a speaker each whom the network
            never heard.
        test_speaker: with `split: speakers`.
        validation_speaker: with `split: speakers`.
        train_limit: recordings to learn from, each digit in proportion; 0 for all.
        validation_limit: recordings to validate on; 0 for all.
        test_limit: recordings to test on; 0 for all.
        batch_size: recordings of a step.
        learning_rate: peak of the schedule.
        momentum: Nesterov momentum.
        weight_decay: of all parameters.
        label_smoothing: probability that is spread over all classes.
        warmup: part of all steps in which the learning rate rises.
        proxies: scores of the untrained network that become metrics, `proxy.synflow` and so on.

    Raises:
        BadInput: an option cannot be used.
    """

    name = "spoken_digits"
    num_classes = 10

    def __init__(
        self,
        *,
        folder: Path,
        layout: Layout = "image",
        bands: int = 32,
        frames: int = 32,
        duration_s: float = 0.8,
        split: Literal["recordings", "speakers"] = "recordings",
        test_speaker: str = "theo",
        validation_speaker: str = "lucas",
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
        self._folder = checked_folder(folder, wanted=WANTED)
        if not (self._folder / FILE).is_file() and not (self._folder / "recordings").is_dir():
            raise BadInput(f"folder: {self._folder} has neither recordings nor {FILE}. It must hold {WANTED}")
        if split not in ("recordings", "speakers"):
            raise BadInput(f"split: must be recordings or speakers; got {split!r}")
        if split == "speakers" and test_speaker == validation_speaker:
            raise BadInput(f"validation_speaker: must be another than test_speaker; got {test_speaker!r} for both")
        self._held_out = (test_speaker, validation_speaker) if split == "speakers" else ()
        self._limits = Limits(train=train_limit, validation=validation_limit, test=test_limit)
        recipe = Recipe(
            batch_size=batch_size,
            learning_rate=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            label_smoothing=label_smoothing,
            warmup=warmup,
        )
        log_mel = LogMel(sample_rate_hz=SAMPLE_RATE_HZ, bands=bands, frames=frames, duration_s=duration_s)
        super().__init__(recipe=recipe, proxies=proxies, log_mel=log_mel, layout=layout)

    def _recordings(self) -> Recordings:
        clips = _from_npz(self._folder / FILE) if (self._folder / FILE).is_file() else _from_wav(self._folder / "recordings")
        test, validation = self._held_out_masks(clips)
        names = [f"{label}_{who}_{number}" for label, who, number in zip(clips.labels, clips.speakers, clips.numbers, strict=True)]
        split = self._limits.examples(
            np.arange(len(names)),
            clips.labels,
            names,
            training=np.flatnonzero(~test & ~validation),
            validation=np.flatnonzero(validation),
            test=np.flatnonzero(test),
        )
        return Recordings(samples=clips.samples, split=split)

    def _held_out_masks(self, clips: _Clips) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which recordings are for the test, and which for validation.

        Raises:
            BadInput: a speaker is not there.
        """
        if not self._held_out:
            return clips.numbers < NUM_TEST, (clips.numbers >= NUM_TEST) & (clips.numbers < NUM_TEST + NUM_VALIDATION)
        known = sorted(set(clips.speakers))
        for option, who in zip(("test_speaker", "validation_speaker"), self._held_out, strict=True):
            if who not in known:
                raise BadInput(f"{option}: no recording is by '{who}'.{did_you_mean(who, known)} (speakers: {', '.join(known)})")
        test, validation = (np.array(clips.speakers) == who for who in self._held_out)
        return test, validation


def _from_npz(path: Path) -> _Clips:
    """Raises BadInput where the file has another layout."""
    arrays = read_npz(path, LAYOUT)
    offsets, names = arrays["offset"].astype(np.int64), arrays["speaker_names"]
    num_clips = len(offsets) - 1
    if arrays["audio"].dtype != np.int16 or num_clips < 1 or offsets[0] != 0 or offsets[-1] != len(arrays["audio"]):
        raise BadInput(f"{path}: offset must run from 0 to the end of audio, {len(arrays['audio'])} samples of int16. Is it cut?")
    if np.diff(offsets).min() < 1:
        raise BadInput(f"{path}: recording {int(np.argmin(np.diff(offsets)))} is empty")
    speakers = checked_labels(arrays["speaker"], num_examples=num_clips, num_classes=len(names), where=f"{path}: speaker")
    labels = checked_labels(arrays["label"], num_examples=num_clips, num_classes=10, where=f"{path}: label")
    if len(arrays["index"]) != num_clips:
        raise BadInput(f"{path}: {len(arrays['index'])} numbers for {num_clips} recordings")
    return _Clips(
        samples=np.split(arrays["audio"], offsets[1:-1]),
        labels=labels,
        speakers=tuple(str(names[index]) for index in speakers),
        numbers=arrays["index"].astype(np.int64),
    )


def _from_wav(folder: Path) -> _Clips:
    """Raises BadInput where a file has another name or form."""
    paths = sorted(folder.glob("*.wav"))
    if not paths:
        raise BadInput(f"folder: {folder} holds no wav files. Its parent must hold {WANTED}")
    matches = [NAME.fullmatch(path.name) for path in paths]
    strange = [path.name for path, match in zip(paths, matches, strict=True) if match is None]
    if strange:
        raise BadInput(f"folder: {folder / strange[0]} is not named DIGIT_SPEAKER_NUMBER.wav ({len(strange)} such files)")
    named = [match.groups() for match in matches if match is not None]
    return _Clips(
        samples=[read_wav(path, sample_rate_hz=SAMPLE_RATE_HZ) for path in paths],
        labels=np.array([int(digit) for digit, _, _ in named], dtype=np.int64),
        speakers=tuple(speaker for _, speaker, _ in named),
        numbers=np.array([int(number) for _, _, number in named], dtype=np.int64),
    )
