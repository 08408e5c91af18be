"""Checkpoints of a training: tensors in safetensors, the rest in JSON, both under SHA-256, two generations in one folder.

A generation is `epoch-000003.safetensors` and `epoch-000003.json`. The JSON file is written last and holds the digest of the other
and of itself, so a generation either is there completely or is passed over. Nothing is pickled: torch's own files run code, and
1,456 of 1,500 single-bit flips in one load without a word.
"""

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor, contiguous_format

from paretune.core.errors import CheckpointDamaged, StorageError
from paretune.core.files import TEMPORARY_PREFIX, read_regular, write_durably
from paretune.core.genotype import canonical_json, fingerprint

logger = logging.getLogger(__name__)

FORMAT = "paretune-checkpoint-1"
GENERATIONS = 2
NAME = re.compile(r"epoch-(\d{6})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A training after some epochs. The random state is not in it: every epoch seeds its own."""

    epochs_done: int
    tensors: Mapping[str, Tensor]
    """Weights, buffers and optimiser state by name."""
    curve: tuple[Mapping[str, float], ...]
    """One record for each epoch done."""
    run: Mapping[str, Any]
    """JSON: what decides the training (seed, length, recipe, data)."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write one more generation and keep only the one before it; when this returns, it survives a power cut.

    Raises:
        StorageError: the storage refuses; earlier generations are still there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the checkpoint folder {folder}: {error.strerror}") from error
    stem = folder / f"epoch-{checkpoint.epochs_done:06d}"
    # Clones, since safetensors refuses tensors that share memory, as tied weights do.
    data = save({name: tensor.detach().clone(memory_format=contiguous_format) for name, tensor in checkpoint.tensors.items()})
    content = {
        "format": FORMAT,
        "epochs_done": checkpoint.epochs_done,
        "curve": [dict(record) for record in checkpoint.curve],
        "run": dict(checkpoint.run),
        "tensors_sha256": hashlib.sha256(data).hexdigest(),
    }
    write_durably(stem.with_suffix(".safetensors"), data)
    write_durably(stem.with_suffix(".json"), canonical_json({"content": content, "sha256": fingerprint(content)}).encode("ascii"))
    # Generations beyond this one are damaged, else training would have gone on from them.
    _drop_old(folder, keep=[epoch for epoch in _generations(folder) if epoch <= checkpoint.epochs_done][:GENERATIONS])


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest intact generation; None where the folder holds none at all.

    Raises:
        CheckpointDamaged: there are generations, but none is intact.
    """
    epochs = _generations(folder)
    problems = []
    for epoch in epochs:
        try:
            return _load_generation(folder, epoch)
        except StorageError as error:
            logger.warning("checkpoint passed over: %s", error)
            problems.append(str(error))
    if problems:
        raise CheckpointDamaged("no checkpoint is intact: " + "; ".join(problems))
    return None


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, where: str) -> None:
    """Make sure that a checkpoint is of this network.

    Raises:
        CheckpointDamaged: names the first tensor that differs.
    """
    for name, tensor in expected.items():
        if name not in found:
            raise CheckpointDamaged(f"{where} is of another network: it has no tensor '{name}' ({_described(tensor)})")
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise CheckpointDamaged(
                f"{where} is of another network: '{name}' is {_described(found[name])}, this network has {_described(tensor)}"
            )
    for name in found:
        if name not in expected:
            raise CheckpointDamaged(f"{where} is of another network: this network has no tensor '{name}'")


def _load_generation(folder: Path, epoch: int) -> Checkpoint:
    """One generation, checked before it is used.

    Raises:
        StorageError: it is damaged or cannot be read.
    """
    path = folder / f"epoch-{epoch:06d}.json"
    content = _checked_content(path)
    tensors_path = path.with_suffix(".safetensors")
    try:
        data = read_regular(tensors_path)
    except FileNotFoundError as error:
        raise CheckpointDamaged(f"{tensors_path} is missing") from error
    if hashlib.sha256(data).hexdigest() != content["tensors_sha256"]:
        raise CheckpointDamaged(f"{tensors_path} is damaged: its SHA-256 is not the one in {path.name}")
    return Checkpoint(epochs_done=content["epochs_done"], tensors=load(data), curve=tuple(content["curve"]), run=content["run"])


def _checked_content(path: Path) -> Mapping[str, Any]:
    try:
        raw = read_regular(path)
        document = json.loads(raw)
        content: Mapping[str, Any] = document["content"]
        # The text must be the one text of its value, so that no flipped bit hides in a space or a spelling.
        intact = canonical_json(document).encode("ascii") == raw and document["sha256"] == fingerprint(content)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointDamaged(f"{path} is damaged: {error}") from error
    if not intact:
        raise CheckpointDamaged(f"{path} is damaged: its SHA-256 differs")
    if content.get("format") != FORMAT:
        raise CheckpointDamaged(f"{path} has the format {content.get('format')!r}; this version reads {FORMAT!r}")
    return content


def _generations(folder: Path) -> list[int]:
    """Epochs that the folder has a JSON file for, newest first."""
    if not folder.is_dir():
        return []
    matches = (NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted((int(match[1]) for match in matches if match), reverse=True)


def _drop_old(folder: Path, *, keep: list[int]) -> None:
    """Delete older generations and what crashes left; failing to is no loss."""
    kept = {f"epoch-{epoch:06d}" for epoch in keep}
    for path in folder.iterdir():
        ours = path.name.startswith(TEMPORARY_PREFIX) or (path.name.startswith("epoch-") and path.suffix in (".json", ".safetensors"))
        if ours and path.stem not in kept:
            with contextlib.suppress(OSError):
                path.unlink()


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
