"""Durable results of workers, one file a candidate, written before the worker reports.

So a candidate that finished survives a driver that dies before noting it: the study adopts the file when it goes on. Each file
names its candidate and carries the SHA-256 of what it holds. Files lie in 256 folders, `results/ab/abcd....json`.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from paretune.core.canonical import canonical_json
from paretune.core.errors import BadInput, StorageError
from paretune.core.files import make_folder, read_regular, sync_folder, write_durably

logger = logging.getLogger(__name__)

RESULTS_FOLDER = "results"
_ID = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{2}")


def result_path(folder: Path, candidate_id: str) -> Path:
    """Where the result of a candidate lies.

    Raises:
        BadInput: the id is not 64 lower-case hexadecimal digits, so it could name any file.
    """
    if not _ID.fullmatch(candidate_id):
        raise BadInput(f"{candidate_id[:80]!r} is no candidate id; expected 64 digits 0-9a-f")
    return folder / RESULTS_FOLDER / candidate_id[:2] / f"{candidate_id}.json"


def result_bytes(candidate_id: str, body: Mapping[str, Any]) -> bytes:
    """The content of a result file.

    Raises:
        BadInput: the body is no JSON (an object that JSON does not know, NaN, an infinity).
    """
    try:
        plain = json.loads(canonical_json(body))  # keys that are numbers become text, as they will be when read
        record = {"body": plain, "id": candidate_id, "sha256": _digest(candidate_id, plain)}
        return canonical_json(record).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"the result of candidate {candidate_id} cannot be recorded: {error}") from error


def write_result(folder: Path, candidate_id: str, body: Mapping[str, Any]) -> None:
    """Write the result of a candidate; it is on the disk when this returns. Writing the same again is fine.

    Raises:
        BadInput: the id or the body cannot be recorded.
        StorageError: the storage refuses, or there is another result already: the first one stands.
    """
    path, data = result_path(folder, candidate_id), result_bytes(candidate_id, body)
    if read_result(folder, candidate_id) is None:
        make_folder(path.parent)
        write_durably(path, data)
        return
    if read_regular(path) != data:
        raise StorageError(f"{path} holds another result of this candidate, so it was evaluated twice; the first result stands")
    try:
        sync_folder(path.parent)  # the first writer may have died just before it did
    except OSError as error:
        raise StorageError(f"cannot flush {path.parent}: {error.strerror}") from error


def read_result(folder: Path, candidate_id: str) -> Mapping[str, Any] | None:
    """The result of a candidate, or None where there is none.

    A damaged file is moved aside, to `<id>.damaged-N`, with a warning, and counts as absent: if the ledger knows the result the
    ledger's copy counts, else nobody was told of it.

    Raises:
        BadInput: the id is none.
        StorageError: the storage cannot be read, or a link, pipe or folder is in the place of the file.
    """
    path = result_path(folder, candidate_id)
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return None
    body = verified(data, candidate_id)
    if body is None:
        logger.warning("%s is damaged and counts as absent; moved aside as %s", path, _move_aside(path).name)
    return body


def list_results(folder: Path) -> Iterator[str]:
    """Ids of the candidates that have a result file, sorted; whether a file is sound shows when it is read.

    Raises:
        StorageError: the storage cannot be read.
    """
    root = folder / RESULTS_FOLDER
    for shard in _names(root):
        if _SHARD.fullmatch(shard):
            for name in _names(root / shard):
                stem, _, suffix = name.partition(".")
                if suffix == "json" and _ID.fullmatch(stem) and stem.startswith(shard):
                    yield stem


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"cannot read {folder}: {error.strerror}") from error


def _digest(candidate_id: str, body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json([candidate_id, body]).encode("ascii")).hexdigest()


def verified(data: bytes, candidate_id: str) -> Mapping[str, Any] | None:
    """The body of a result file, or None unless the file is byte for byte what was written for this candidate."""
    try:
        body = json.loads(data)["body"]
        sound = isinstance(body, dict) and result_bytes(candidate_id, body) == data
    except (ValueError, TypeError, KeyError, RecursionError, BadInput):
        return None
    return body if sound else None


def _move_aside(path: Path) -> Path:
    number = 1
    while os.path.lexists(target := path.with_name(f"{path.stem}.damaged-{number}")):
        number += 1
    with contextlib.suppress(OSError):  # another process moved it first, or the storage may only be read
        path.rename(target)
    return target
