"""Durable parts of an evaluation that takes several stages, each written by whoever ran the stage, in the workspace of the job.

A part names its job and carries the SHA-256 of what it holds, like a result: what a rung below left behind, or what a disk damaged,
counts as absent and its stage is run again. Layout of a workspace: `parts/training.json`, `parts/on-TARGET.json`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.core.files import make_folder, read_regular, write_durably
from paretune.platform.record.results import result_bytes, verified

TRAINING = "training"
"""The part of the stage that trains, and the tag of the resource that it holds."""


def measuring(target: str) -> str:
    """The part of the stage that measures on a target."""
    return f"on-{target}"


def part_path(workspace: Path, part: str) -> Path:
    """Where a part lies."""
    return workspace / "parts" / f"{part}.json"


def write_part(workspace: Path, part: str, job_id: str, body: Mapping[str, Any]) -> None:
    """Write a part; it is on the disk when this returns.

    Raises:
        BadInput: the body is no JSON.
        StorageError: the storage refuses.
    """
    path = part_path(workspace, part)
    make_folder(path.parent)
    write_durably(path, result_bytes(job_id, body))


def read_part(workspace: Path, part: str, job_id: str) -> Mapping[str, Any] | None:
    """A part of this job's evaluation; None where it is not there, is another job's or is damaged."""
    try:
        return verified(read_regular(part_path(workspace, part)), job_id)
    except FileNotFoundError:
        return None
