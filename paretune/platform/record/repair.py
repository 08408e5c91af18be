"""Save what is valid of a damaged ledger; nothing is ever deleted."""

import contextlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import BadInput, LedgerDamaged, StorageError
from paretune.core.files import sync_folder
from paretune.platform.record.format import (
    SCHEMA,
    Row,
    check_first,
    check_pages,
    read_identity,
    verified_rows,
    write_ledger,
)
from paretune.platform.record.lock import StudyLock
from paretune.platform.record.sqlite_file import ADVICE, LEDGER_FILE, LOG_SUFFIX, REPAIRED_FILE, connect_to_read, ledger_path, sqlite_errors
from paretune.platform.record.write_ahead_log import check_log

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair did."""

    kept: int
    """Events in the ledger now; 0 means that there is no ledger any more and the study must be created anew."""
    reason: str
    """What was wrong; empty for a ledger without damage, which is left alone."""
    moved: tuple[Path, ...]
    """The damaged files, where they are now."""


def repair(folder: Path) -> RepairReport:
    """Keep the events before the first damaged one and move the damaged files aside, as `ledger.damaged-1.db`.

    Killed at any moment, it can simply be called again. Finished candidates after the damage are not lost: their results lie in
    `results/` and are adopted when the study goes on.

    Raises:
        BadInput: there is no study, or a newer program wrote its ledger.
        StudyLocked: a process runs the study.
        StorageError: the storage refuses.
    """
    path, repaired = folder / LEDGER_FILE, folder / REPAIRED_FILE
    lock = StudyLock.acquire(folder)
    try:
        if os.path.lexists(repaired):
            rows, reason = _valid_prefix(repaired)
            reason = reason or "a repair that was interrupted"
        else:
            rows, reason = _valid_prefix(ledger_path(folder))
            if not reason:
                return RepairReport(kept=len(rows), reason="", moved=())
            if rows:
                write_ledger(repaired, _identity_of(rows, path), rows)
        moved = move_aside(folder)
        if rows:
            _install(repaired, path)
    finally:
        lock.release()
    logger.info("%s: %s; kept %d events, moved %s", path, reason, len(rows), ", ".join(str(item) for item in moved) or "nothing")
    return RepairReport(kept=len(rows), reason=reason, moved=moved)


def move_aside(folder: Path) -> tuple[Path, ...]:
    """Rename the ledger's files, those of them that are there, to the next free `ledger.damaged-N.db...`; returns the new names.

    The database goes first: without it the study counts as missing, whereas without its log it might look like a shorter ledger.

    Raises:
        StorageError: the storage refuses.
    """
    path = folder / LEDGER_FILE
    moved = []
    try:
        target = _free_name(folder, whole=os.path.lexists(path))
        for suffix in ("", LOG_SUFFIX, "-journal", "-shm"):
            source = path.with_name(path.name + suffix)
            if os.path.lexists(source):
                moved.append(source.rename(target.with_name(target.name + suffix)))
        if moved:
            sync_folder(folder)
    except OSError as error:
        raise StorageError(f"cannot move the files of {path} aside: {error.strerror}") from error
    return tuple(moved)


def _free_name(folder: Path, *, whole: bool) -> Path:
    """Name for the database; where it was moved already by an interrupted repair, its log must follow to the same name."""
    number = 1
    while os.path.lexists(folder / f"ledger.damaged-{number}.db"):
        number += 1
    last = folder / f"ledger.damaged-{number - 1}.db"
    follows = not whole and number > 1 and not os.path.lexists(last.with_name(last.name + LOG_SUFFIX))
    return last if follows else folder / f"ledger.damaged-{number}.db"


def _install(repaired: Path, path: Path) -> None:
    try:
        repaired.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot put {repaired} in the place of {path}: {error.strerror}") from error


def _valid_prefix(path: Path) -> tuple[list[Row], str]:
    """The rows before the first bad one, and what is bad; an empty reason where everything is well."""
    rows: list[Row] = []
    reasons: list[str] = []

    def attempt(step: Callable[[], None]) -> None:
        try:
            with sqlite_errors(path):
                step()
        except LedgerDamaged as error:
            reasons.append(str(error).removesuffix(ADVICE))

    def read() -> None:
        with contextlib.closing(connect_to_read(path)) as connection:
            connection.execute("BEGIN")
            attempt(lambda: check_pages(connection, path))
            identity: dict[str, str] = {}
            attempt(lambda: identity.update(read_identity(connection, path)))
            attempt(lambda: rows.extend(verified_rows(connection, path)))
            if rows and not reasons:
                attempt(lambda: check_first(rows[0], identity, path))

    attempt(lambda: check_log(path))
    attempt(read)
    return rows, reasons[0] if reasons else ""


def _identity_of(rows: list[Row], path: Path) -> dict[str, str]:
    """The identity that the first event, which the checksums cover, gives the ledger."""
    identity: dict[str, str] = json.loads(rows[0][2])["ledger"]
    if identity["schema"] != str(SCHEMA):
        raise BadInput(
            f"{path}: written by paretune {identity['paretune']} (ledger schema {identity['schema']}); repair it with that version"
        )
    return identity
