"""Tasks over folders of the user: the contract on small files in the published layouts, the real data where it is, and every refusal."""

import pickle
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from paretune.core.errors import BadInput
from paretune.core.protocols import Fidelity
from paretune.core.trial import Outcome
from paretune.spaces import SPACES
from paretune.tasks import TASKS
from paretune.tasks.cifar10 import Cifar10
from paretune.tasks.classification import Classification
from paretune.tasks.digits import Digits
from paretune.tasks.mnist import Mnist
from paretune.tasks.speech_commands import SpeechCommands
from paretune.tasks.spoken_digits import SpokenDigits
from paretune.testing.task import check_task

WORDS = ("yes", "no", "up")
SPEAKERS = ("ann", "bob", "eve")


def write_mnist(folder: Path, *, num_train: int = 120, num_test: int = 30) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    labels = [np.arange(count, dtype=np.uint8) % 10 for count in (num_train, num_test)]
    images = [rng.integers(0, 256, (len(part), 28, 28), dtype=np.uint8) // (1 + part[:, None, None]) for part in labels]
    np.savez_compressed(folder / "mnist.npz", x_train=images[0], y_train=labels[0], x_test=images[1], y_test=labels[1])
    return folder


def write_cifar10(folder: Path, *, images_per_file: int = 20) -> Path:
    rng = np.random.default_rng(1)
    folder.mkdir(exist_ok=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = rng.integers(0, 256, (images_per_file, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(images_per_file) % 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def write_wav(path: Path, samples: np.ndarray, *, rate: int, channels: int = 1, width: int = 2) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def tone(frequency_hz: float, *, rate: int, seconds: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 300, int(rate * seconds))
    return (8_000 * np.sin(2 * np.pi * frequency_hz * np.arange(len(noise)) / rate) + noise).astype(np.int16)


def write_spoken_digits(folder: Path) -> Path:
    (folder / "recordings").mkdir(parents=True)
    for digit in range(10):
        for which, speaker in enumerate(SPEAKERS):
            for number in range(12):
                samples = tone(200 + 250 * digit, rate=8_000, seconds=0.2 + 0.03 * number, seed=1_000 * digit + 100 * which + number)
                write_wav(folder / "recordings" / f"{digit}_{speaker}_{number}.wav", samples, rate=8_000)
    return folder


def write_speech_commands(folder: Path) -> Path:
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for index, word in enumerate(WORDS):
        (folder / word).mkdir(parents=True)
        for number in range(12):
            name = f"{word}/{number:08x}_nohash_0.wav"
            write_wav(folder / name, tone(300 * (index + 1), rate=16_000, seconds=0.8, seed=100 * index + number), rate=16_000)
            if number < 6:
                lists["validation_list.txt" if number < 3 else "testing_list.txt"].append(name)
    (folder / "_background_noise_").mkdir()
    for name, lines in lists.items():
        # The published lists name words that a study may leave out, too.
        (folder / name).write_text("\n".join([*lines, "zero/0a0b0c0d_nohash_0.wav"]) + "\n")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_mnist(root / "mnist")
    write_cifar10(root / "cifar10")
    write_spoken_digits(root / "spoken_digits")
    write_speech_commands(root / "speech_commands")
    return root


def task_of(name: str, folder: Path, **options: object) -> Classification:
    more = {"words": WORDS} if name == "speech_commands" else {}
    small = {"bands": 12, "frames": 12} if name.startswith("sp") else {}
    return TASKS.create(name, folder=folder, **{"learning_rate": 0.05, "batch_size": 16, **more, **small, **options})  # type: ignore[return-value]


NAMES = ("mnist", "cifar10", "spoken_digits", "speech_commands")


@pytest.mark.parametrize("name", NAMES)
def test_tasks_over_folders_keep_the_contract(name: str, folders: Path, tmp_path: Path) -> None:
    check_task(lambda: task_of(name, folders / name), tmp_path, epochs=2)


@pytest.mark.parametrize("name", ["spoken_digits", "speech_commands"])
def test_sequences_of_features_keep_the_contract(name: str, folders: Path, tmp_path: Path) -> None:
    task = task_of(name, folders / name, layout="sequence")
    assert task.input_shape == (12, 12)

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv1d(12, 6, 3), nn.BatchNorm1d(6), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, task.num_classes)
        )

    check_task(lambda: task_of(name, folders / name, layout="sequence"), tmp_path, build=build, epochs=2)


@pytest.mark.parametrize(
    ("name", "sizes", "shape"),
    [
        ("mnist", (100, 20, 30), (1, 28, 28)),  # a sixth of 120 validates
        ("cifar10", (90, 10, 20), (3, 32, 32)),  # a tenth of 100
        ("spoken_digits", (60, 150, 150), (1, 12, 12)),  # ten digits of three speakers: 2, 5 and 5 recordings each
        ("speech_commands", (18, 9, 9), (1, 12, 12)),
    ],
)
def test_parts_are_disjoint_and_inputs_are_standardised_by_the_training_part(
    name: str, sizes: tuple[int, int, int], shape: tuple[int, ...], folders: Path
) -> None:
    task = task_of(name, folders / name)
    data = task._data
    parts = (data.training, data.validation, data.test)
    assert tuple(map(len, parts)) == sizes
    assert len(np.unique(np.concatenate(parts))) == sum(sizes)
    inputs = task._images(data.training).inputs
    assert tuple(inputs.shape[1:]) == shape == task.input_shape
    # Of each channel, or of each band: both are axis 1 without the channel of an image of features.
    by_channel = inputs.numpy().squeeze(1) if shape[0] == 1 and name.startswith("sp") else inputs.numpy()
    axes = tuple(axis for axis in range(by_channel.ndim) if axis != 1)
    assert by_channel.mean(axis=axes) == pytest.approx(0, abs=1e-4)
    assert by_channel.std(axis=axes) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_limits_leave_out_in_proportion_and_change_the_digest(name: str, folders: Path) -> None:
    whole = task_of(name, folders / name)
    limits = {"train_limit": whole.num_classes * 2, "validation_limit": whole.num_classes, "test_limit": whole.num_classes}
    small = task_of(name, folders / name, **limits)
    found = small._data
    assert np.bincount(found.labels[found.training]).tolist() == [2] * whole.num_classes
    assert np.bincount(found.labels[found.test]).tolist() == [1] * whole.num_classes
    assert small.digest() != whole.digest()
    assert small.digest() == task_of(name, folders / name, **limits).digest()
    assert task_of(name, folders / name, learning_rate=0.01, **limits).digest() == small.digest()


def test_digits_are_standardised_as_their_formula_says_to_the_last_bit() -> None:
    task = Digits()
    how, pixels = task.preprocessing, task._data.values[task._data.validation, 0]
    expected = ((pixels[:, None] / how["white"] - how["mean"]) / how["deviation"]).astype(np.float32)
    assert task._images(task._data.validation).inputs.numpy().tobytes() == expected.tobytes()


def test_proxies_and_scores_without_training_agree(folders: Path) -> None:
    task = task_of("mnist", folders / "mnist", proxies=("synflow", "naswot"))
    build: Callable[[], nn.Module] = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))  # noqa: E731
    _, result = task.train(build, seed=4, fidelity=Fidelity(epochs=1))
    scores = task.untrained_scores(build, seed=4)
    assert set(scores) == {"proxy.synflow", "proxy.naswot"}
    assert {name: result.metrics[name] for name in scores} == scores


def test_no_speaker_of_the_test_is_heard_before(folders: Path) -> None:
    task = task_of("spoken_digits", folders / "spoken_digits", split="speakers", test_speaker="eve", validation_speaker="ann")
    data, names = task._data, sorted(path.name for path in (folders / "spoken_digits" / "recordings").iterdir())
    heard = [{names[index].split("_")[1] for index in part} for part in (data.training, data.validation, data.test)]
    assert heard == [{"bob"}, {"ann"}, {"eve"}]


def test_recordings_as_wav_and_as_npz_are_one_task(folders: Path, tmp_path: Path) -> None:
    paths = sorted((folders / "spoken_digits" / "recordings").iterdir())
    clips = []
    for path in paths:
        with wave.open(str(path), "rb") as file:
            clips.append(np.frombuffer(file.readframes(file.getnframes()), dtype="<i2"))
    fields = [path.stem.split("_") for path in paths]
    np.savez(
        tmp_path / "fsdd_8khz.npz",
        audio=np.concatenate(clips),
        offset=np.concatenate([[0], np.cumsum([len(clip) for clip in clips])]),
        label=np.array([int(digit) for digit, _, _ in fields], dtype=np.uint8),
        speaker=np.array([SPEAKERS.index(speaker) for _, speaker, _ in fields], dtype=np.uint8),
        speaker_names=np.array(SPEAKERS),
        index=np.array([int(number) for _, _, number in fields], dtype=np.uint8),
    )
    assert task_of("spoken_digits", tmp_path).digest() == task_of("spoken_digits", folders / "spoken_digits").digest()


def test_mnist_and_spoken_digits_are_learnt_from_the_real_data(data_folder: Path) -> None:
    mnist = Mnist(folder=data_folder / "mnist", train_limit=1_000, validation_limit=500, test_limit=500, learning_rate=0.1)
    build: Callable[[], nn.Module] = lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))  # noqa: E731
    network, result = mnist.train(build, seed=0, fidelity=Fidelity(epochs=6))
    assert result.metrics["accuracy"] > 0.8
    assert mnist.test(network)["accuracy"] > 0.8
    assert mnist._data.values.shape == (70_000, 1, 28, 28)
    # Figures of the data set over all 60,000 training images: 0.1307 and 0.3081; these are of 1,000 of them.
    assert mnist.preprocessing["mean"][0] == pytest.approx(0.1307, abs=0.004)
    assert mnist.preprocessing["deviation"][0] == pytest.approx(0.3081, abs=0.004)

    spoken = SpokenDigits(folder=data_folder / "fsdd", bands=16, frames=16, learning_rate=0.05)
    assert [len(part) for part in (spoken._data.training, spoken._data.validation, spoken._data.test)] == [2_400, 300, 300]
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))  # noqa: E731
    network, result = spoken.train(build, seed=0, fidelity=Fidelity(epochs=6))
    assert result.metrics["accuracy"] > 0.8
    assert spoken.test(network)["accuracy"] > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_empty_folder_says_what_belongs_there(name: str, tmp_path: Path) -> None:
    published = {"mnist": "mnist.npz", "cifar10": "data_batch_1.bin", "spoken_digits": "recordings", "speech_commands": "testing_list.txt"}
    with pytest.raises(BadInput, match=rf"nowhere is no folder. It must hold .*{published[name]}"):
        TASKS.create(name, folder=tmp_path / "nowhere")
    with pytest.raises(BadInput, match=rf"folder: .*{published[name]}.*It must hold"):
        TASKS.create(name, folder=tmp_path)
    with pytest.raises(BadInput, match="environment variable NO_SUCH_FOLDER is not set"):
        TASKS.create(name, folder=Path("${env:NO_SUCH_FOLDER}/data"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mnist", {"train_limit": -1}, "train_limit: must be a whole number of examples, or 0 for all; got -1"),
        ("cifar10", {"test_limit": 1.5}, "test_limit: must be"),
        ("spoken_digits", {"bands": 1}, "bands: must be a whole number of at least 2"),
        ("spoken_digits", {"bands": 200, "frames": 200}, "bands: 200 are too many for windows of 64 samples"),
        ("spoken_digits", {"frames": 2_000}, "frames: 2000 in 0.8 s leave 3 samples a step"),
        ("spoken_digits", {"duration_s": float("nan")}, "duration_s: must be 0.1 to 10 s"),
        ("spoken_digits", {"layout": "images"}, "layout: must be image or sequence"),
        ("spoken_digits", {"split": "speaker"}, "split: must be recordings or speakers"),
        ("spoken_digits", {"split": "speakers", "test_speaker": "lucas"}, "validation_speaker: must be another than test_speaker"),
        ("speech_commands", {"words": ("yes", "nein")}, "words: .* has no folder 'nein'"),
        ("speech_commands", {"words": ("yes", "yes")}, "words: 'yes' is listed twice"),
        ("speech_commands", {"words": ("yes",)}, "words: at least two are needed"),
    ],
)
def test_unusable_options_are_refused(name: str, options: dict[str, object], message: str, folders: Path) -> None:
    with pytest.raises(BadInput, match=message):
        task_of(name, folders / name, **options)


def test_unknown_speakers_and_splits_too_small_are_refused_when_data_is_read(folders: Path) -> None:
    with pytest.raises(BadInput, match=r"test_speaker: no recording is by 'theo'.*\(speakers: ann, bob, eve\)"):
        task_of("spoken_digits", folders / "spoken_digits", split="speakers").digest()
    with pytest.raises(BadInput, match=r"train: 1 examples are left; at least two are needed\. Raise train_limit"):
        task_of("mnist", folders / "mnist", train_limit=1).digest()


def test_damaged_mnist_is_refused(tmp_path: Path) -> None:
    file = write_mnist(tmp_path) / "mnist.npz"
    whole = file.read_bytes()
    arrays = dict(np.load(file))
    for damaged in (whole[: len(whole) // 2], b"", b"PK\x03\x04 no archive", pickle.dumps({"x_train": 1})):
        file.write_bytes(damaged)
        with pytest.raises(BadInput, match=r"mnist.npz is damaged or no npz file"):
            Mnist(folder=tmp_path).digest()
    for change, message in (
        ({"x_train": arrays["x_train"][:, :27]}, r"x_train is uint8 \(120, 27, 28\); expected uint8 \(images, 28, 28\)"),
        ({"x_test": arrays["x_test"].astype(float)}, "array x_test is float64"),
        ({"y_train": arrays["y_train"][:-1]}, "y_train: 119 labels for 120 examples"),
        ({"y_test": arrays["y_test"] + 1}, "y_test: labels must be 0 to 9; found 1 to 10"),
    ):
        np.savez(file, **{**arrays, **change})
        with pytest.raises(BadInput, match=message):
            Mnist(folder=tmp_path).digest()
    np.savez(file, x_train=arrays["x_train"])
    with pytest.raises(BadInput, match=r"has no array y_train, x_test, y_test; it has x_train"):
        Mnist(folder=tmp_path).digest()
    np.save(file.with_suffix(".npy"), arrays["x_train"])
    file.with_suffix(".npy").replace(file)
    with pytest.raises(BadInput, match="damaged or no npz file"):
        Mnist(folder=tmp_path).digest()


def test_damaged_or_pickled_cifar10_is_refused(tmp_path: Path) -> None:
    file = write_cifar10(tmp_path) / "data_batch_3.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(BadInput, match=r"data_batch_3.bin has 61459 bytes; expected a multiple of 3073"):
        Cifar10(folder=tmp_path).digest()
    file.write_bytes(whole[: 19 * 3073])
    with pytest.raises(BadInput, match=r"as many images as the others; found .*19 in data_batch_3.bin"):
        Cifar10(folder=tmp_path).digest()
    file.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(BadInput, match="labels must be 0 to 9; found 0 to 10"):
        Cifar10(folder=tmp_path).digest()
    file.unlink()
    with pytest.raises(BadInput, match=r"has no data_batch_3.bin. It must hold"):
        Cifar10(folder=tmp_path)
    python_version = tmp_path / "python"
    python_version.mkdir()
    (python_version / "data_batch_1").write_bytes(pickle.dumps({}))
    with pytest.raises(BadInput, match="holds the Python version of CIFAR-10, which is pickled and not read"):
        Cifar10(folder=python_version)


@pytest.mark.parametrize("name", ["spoken_digits", "speech_commands"])
def test_damaged_recordings_are_refused(name: str, tmp_path: Path) -> None:
    folder = {"spoken_digits": write_spoken_digits, "speech_commands": write_speech_commands}[name](tmp_path)
    path = sorted(folder.rglob("*.wav"))[4]
    whole, rate = path.read_bytes(), 8_000 if name == "spoken_digits" else 16_000
    samples = np.ones(4_000, dtype=np.int16)

    def refused(message: str) -> None:
        with pytest.raises(BadInput, match=message):
            task_of(name, folder).digest()

    path.write_bytes(whole[:-100])
    refused("is cut: [0-9]+ samples of [0-9]+")
    path.write_bytes(whole[:20])
    refused("is damaged or no wav file")
    write_wav(path, samples, rate=11_025)
    refused(rf"the sample rate is 11025 Hz; expected {rate} Hz")
    write_wav(path, samples, rate=rate, channels=2)
    refused("2 channels of 16 bits; expected one of 16")
    write_wav(path, samples[:0], rate=rate)
    refused("is cut: 0 samples of 0")
    path.write_bytes(whole)
    assert task_of(name, folder).digest()


def test_lists_and_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_speech_commands(tmp_path / "commands")
    (folder / "yes" / "00000001_nohash_0.wav").unlink()
    with pytest.raises(BadInput, match=r"validation_list.txt lists yes/00000001_nohash_0.wav, which is not there \(1 such lines\)"):
        task_of("speech_commands", folder).digest()
    (folder / "validation_list.txt").write_text((folder / "testing_list.txt").read_text())
    with pytest.raises(BadInput, match=r"no/00000003_nohash_0.wav is in both validation_list.txt and testing_list.txt"):
        task_of("speech_commands", folder).digest()
    folder = write_spoken_digits(tmp_path / "spoken")
    (folder / "recordings" / "0_ann_0.wav").rename(folder / "recordings" / "zero_ann_0.wav")
    with pytest.raises(BadInput, match=r"zero_ann_0.wav is not named DIGIT_SPEAKER_NUMBER.wav"):
        SpokenDigits(folder=folder).digest()
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in ("validation_list.txt", "testing_list.txt"):
        (empty / name).write_text("")
    with pytest.raises(BadInput, match="words: at least two are needed; got none"):
        SpeechCommands(folder=empty, words=())


@pytest.mark.parametrize(
    ("space", "options", "layout"),
    [
        ("digits_conv", {"stages": 2, "widths": (8,), "depths": (1,)}, "image"),
        ("resnet_analog", {"main_blocks": (1,), "residual_blocks": (1,), "branches": (1,)}, "image"),
        ("speech", {}, "sequence"),
    ],
)
def test_networks_of_the_spaces_train_on_words(space: str, options: dict[str, object], layout: str, folders: Path) -> None:
    task = task_of("speech_commands", folders / "speech_commands", layout=layout, proxies=("synflow",))
    found = SPACES.create(space, input_shape=task.input_shape, num_classes=task.num_classes, **options)
    genotype = [len(decision.choices) // 2 for decision in found.decisions]
    network, result = task.train(lambda: found.build(genotype), seed=1, fidelity=Fidelity(epochs=2))
    assert result.outcome is Outcome.OK
    assert 0 <= task.test(network)["accuracy"] <= 1
    assert np.isfinite(result.metrics["proxy.synflow"])
