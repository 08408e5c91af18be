"""Speech Commands: single spoken words of one second at 16 kHz, a folder for each word, with the official validation and test lists.

Source: Warden, Speech Commands: a dataset for limited-vocabulary speech recognition, arXiv:1804.03209, 2018.
"""

from pathlib import Path

import numpy as np

from paretune.core.errors import BadInput, did_you_mean
from paretune.tasks.classification import Examples, Limits, ProxyName
from paretune.tasks.data_files import checked_files, checked_folder, read_wav
from paretune.tasks.log_mel import LogMel
from paretune.tasks.recipe import Recipe
from paretune.tasks.recordings import Layout, Recordings, WordClassification

SAMPLE_RATE_HZ = 16_000
VALIDATION_LIST, TEST_LIST = "validation_list.txt", "testing_list.txt"
WANTED = f"a folder of wav files for each word, {VALIDATION_LIST} and {TEST_LIST}: speech_commands_v0.02.tar.gz, unpacked"
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The ten commands of the paper's challenge."""


class SpeechCommands(WordClassification):
    """Classify the words of Speech Commands by log-mel features; speakers of one part are in no other, as the official lists have it.

    Words that are not chosen, silence and background noise are left out.

    Args:
        folder: of the unpacked data set; may hold `${env:NAME}`.
        words: the classes, in their order; empty for every word that has a folder, in the order of the alphabet.
        layout: `image` for spaces of 2-D convolutions, `sequence` for those over features and time (`speech`).
        bands: mel bands; spaces of square images need as many as frames.
        frames: time steps.
        duration_s: of a recording; shorter ones get silence.
        train_limit: recordings to learn from, each word in proportion; 0 for all. Only chosen recordings are read.
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

    name = "speech_commands"

    def __init__(
        self,
        *,
        folder: Path,
        words: tuple[str, ...] = WORDS,
        layout: Layout = "image",
        bands: int = 32,
        frames: int = 32,
        duration_s: float = 1.0,
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
        self._lists = checked_files(self._folder, [VALIDATION_LIST, TEST_LIST], wanted=WANTED)
        self._words = _checked_words(self._folder, words)
        self.num_classes = len(self._words)
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
        names = [f"{word}/{path.name}" for word in self._words for path in sorted((self._folder / word).glob("*.wav"))]
        there = set(names)
        validation, test = (self._listed(path, there) for path in self._lists)
        both = sorted(validation & test)
        if both:
            raise BadInput(f"folder: {both[0]} is in both {VALIDATION_LIST} and {TEST_LIST}")
        labels = np.array([self._words.index(name.partition("/")[0]) for name in names], dtype=np.int64)
        split = self._limits.examples(
            np.arange(len(names)),
            labels,
            names,
            training=np.array([i for i, name in enumerate(names) if name not in validation and name not in test], dtype=np.int64),
            validation=np.array([i for i, name in enumerate(names) if name in validation], dtype=np.int64),
            test=np.array([i for i, name in enumerate(names) if name in test], dtype=np.int64),
        )
        # Only what a split has is read: a tenth of the data set is there in a tenth of the time.
        used = np.unique(np.concatenate([split.training, split.validation, split.test]))
        samples = (read_wav(self._folder / names[index], sample_rate_hz=SAMPLE_RATE_HZ) for index in used)
        training, validating, testing = (np.searchsorted(used, part) for part in (split.training, split.validation, split.test))
        kept = Examples(values=used, labels=labels[used], training=training, validation=validating, test=testing)
        return Recordings(samples=samples, split=kept)

    def _listed(self, path: Path, there: set[str]) -> set[str]:
        """The recordings of the chosen words in a list.

        Raises:
            BadInput: one of them is not there.
        """
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        chosen = {line for line in lines if line.partition("/")[0] in self._words}
        missing = sorted(chosen - there)
        if missing:
            raise BadInput(f"{path} lists {missing[0]}, which is not there ({len(missing)} such lines). Unpack the data set again")
        return chosen


def _checked_words(folder: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """The chosen words.

    Raises:
        BadInput: fewer than two, one twice, or one without a folder.
    """
    known = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(("_", ".")))
    chosen = tuple(words) or tuple(known)
    for index, word in enumerate(chosen):
        if word not in known:
            raise BadInput(f"words: {folder} has no folder '{word}'.{did_you_mean(word, known)} It must hold {WANTED}")
        if word in chosen[:index]:
            raise BadInput(f"words: '{word}' is listed twice")
    if len(chosen) < 2:
        raise BadInput(f"words: at least two are needed; got {', '.join(chosen) or 'none'}. The folder must hold {WANTED}")
    return chosen
