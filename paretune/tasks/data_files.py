"""Data sets in folders of the user: files that are there, arrays of an npz, recordings in wav, all checked. Nothing is unpickled."""

import wave
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.environment import resolve_env
from paretune.core.errors import BadInput


def checked_folder(folder: Path, *, wanted: str) -> Path:
    """A folder that is there, with `${env:NAME}` resolved.

    Args:
        folder: as the user wrote it.
        wanted: what belongs into it, and where that is to be had.

    Raises:
        BadInput: it is no folder, or a variable is not set.
    """
    found = Path(resolve_env(str(folder)))
    if not found.is_dir():
        raise BadInput(f"folder: {found} is no folder. It must hold {wanted}")
    return found


def checked_files(folder: Path, names: Sequence[str], *, wanted: str) -> list[Path]:
    """Files of a folder.

    Raises:
        BadInput: naming every file that is missing.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise BadInput(f"folder: {folder} has no {', '.join(missing)}. It must hold {wanted}")
    return [folder / name for name in names]


def read_npz(path: Path, layout: Mapping[str, tuple[str, int]]) -> dict[str, NDArray[Any]]:
    """Arrays of an npz file by name.

    Args:
        path: the file.
        layout: name -> (kinds of numbers, as numpy's `dtype.kind`, and number of axes).

    Raises:
        BadInput: the file is cut or damaged, or an array is missing or of another form.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # numpy leaves a file that it cannot read open
            missing = [name for name in layout if name not in file.files]
            if missing:
                raise BadInput(f"{path} has no array {', '.join(missing)}; it has {', '.join(file.files) or 'none'}")
            arrays = {name: np.asarray(file[name]) for name in layout}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, TypeError) as error:
        # TypeError: a file with one array instead of an archive of several
        raise BadInput(f"{path} is damaged or no npz file: {error}. Get it again") from error
    for name, (kinds, axes) in layout.items():
        if arrays[name].dtype.kind not in kinds or arrays[name].ndim != axes:
            raise BadInput(f"{path}: array {name} is {arrays[name].dtype} {arrays[name].shape}; expected {axes} axes of kind {kinds}")
    return arrays


def checked_labels(labels: NDArray[Any], *, num_examples: int, num_classes: int, where: str) -> NDArray[np.int64]:
    """Classes of examples.

    Raises:
        BadInput: there are more or fewer than examples, or one is no class.
    """
    if len(labels) != num_examples:
        raise BadInput(f"{where}: {len(labels)} labels for {num_examples} examples")
    if len(labels) == 0 or int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        found = f"{labels.min()} to {labels.max()}" if len(labels) else "none"
        raise BadInput(f"{where}: labels must be 0 to {num_classes - 1}; found {found}")
    return labels.astype(np.int64)


def read_wav(path: Path, *, sample_rate_hz: int) -> NDArray[np.int16]:
    """`(num_samples,)` of a recording with one channel of 16 bits.

    Raises:
        BadInput: it is cut, damaged, empty, or has another form or sample rate.
    """
    try:
        with wave.open(str(path), "rb") as file:
            form = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            declared, data = file.getnframes(), file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise BadInput(f"{path} is damaged or no wav file: {error or 'it ends early'}") from error
    if form[2] != sample_rate_hz:
        raise BadInput(f"{path}: the sample rate is {form[2]} Hz; expected {sample_rate_hz} Hz. Convert the recordings")
    if form[:2] != (1, 16):
        raise BadInput(f"{path}: {form[0]} channels of {form[1]} bits; expected one of 16")
    if len(data) != 2 * declared or not declared:
        raise BadInput(f"{path} is cut: {len(data) // 2} samples of {declared}. Get it again")
    return np.frombuffer(data, dtype="<i2").astype(np.int16)
