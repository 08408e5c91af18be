"""What a study keeps on storage that all its nodes see, and how a machine that never saw the study goes on from there.

STORAGE/NAME/ledger.db                    the ledger, on the head's own disk
STORAGE/NAME/{results,work,errors}        links to the folders below
SHARED/NAME/{results,work,errors}         what workers write
SHARED/NAME/ledger-copy                   see `ledger_copy`
SHARED/NAME/LOCK                          who runs the study, on whichever machine
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import BadInput, LedgerDamaged, StorageError, UnknownName
from paretune.core.files import make_folder, sync_folder
from paretune.platform.record.format import Row, write_ledger
from paretune.platform.record.ledger_copy import LedgerCopy, compare, has_copy, identity_of, read_copy, sound_rows
from paretune.platform.record.lock import StudyLock
from paretune.platform.record.repair import move_aside
from paretune.platform.record.sqlite_file import LEDGER_FILE, connect_to_read, ledger_path, sqlite_errors

LINKED = ("results", "work", "errors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was made of a copy."""

    events: int
    """Events in the ledger now; 0 where the ledger was here already and is at least as new."""
    dropped: str
    """Damage at which the copy was cut; empty where it was sound."""
    moved: tuple[Path, ...]
    """The older ledger that was here, where it is now."""


def link_shared(folder: Path, shared: Path) -> None:
    """Let a study's folder lead to what lies on the shared storage.

    Raises:
        BadInput: results lie in the study's folder itself.
        StorageError: the storage refuses.
    """
    for name in LINKED:
        target, link = (shared / name).absolute(), folder / name
        make_folder(target)
        try:
            if link.is_symlink() and link.readlink() != target:
                link.unlink()
            if not link.is_symlink():
                if link.is_dir():
                    link.rmdir()
                link.symlink_to(target, target_is_directory=True)
                sync_folder(folder)
        except OSError as error:
            if link.is_dir():
                raise BadInput(f"shared: the study's {name} lie in {link}; it began without shared storage and ends without it") from error
            raise StorageError(f"cannot link {link} to {target}: {error.strerror}") from error


def find_shared(storage: Path, name: str | None) -> Path:
    """The folder of a study that can be gone on with from a storage: one with the copy of a ledger, or with the ledger itself.

    Args:
        storage: holds folders of studies, or is the folder of one.
        name: of the study; None is the only one there.

    Raises:
        BadInput: there is none, or there are several and no name.
        UnknownName: none has this name.
    """
    if not storage.is_dir():
        raise BadInput(f"--from {storage}: no such folder. Is the shared storage mounted here?")
    if _is_study(storage):
        if name not in (None, storage.name):
            raise UnknownName("study", str(name), [storage.name])
        return storage
    found = {path.name: path for path in sorted(storage.iterdir()) if _is_study(path)}
    if not found:
        raise BadInput(
            f"--from {storage}: no study there, neither the copy of a ledger (NAME/ledger-copy) nor a ledger (NAME/{LEDGER_FILE})"
        )
    if name is None and len(found) > 1:
        raise BadInput(f"--from {storage}: {len(found)} studies there: {', '.join(found)}. Name one: paretune resume NAME --from {storage}")
    if name is not None and name not in found:
        raise UnknownName("study", name, list(found))
    return found[name or next(iter(found))]


def _is_study(folder: Path) -> bool:
    return has_copy(folder) or (folder / LEDGER_FILE).is_file()


def restore(shared: Path, folder: Path, *, takeover: bool = False, repair: bool = False) -> Restored:
    """Make a study's ledger from its copy, unless the one that is here is as new; nothing is deleted.

    Killed at any moment, it can simply be called again.

    Args:
        shared: the study's folder on the shared storage.
        folder: of the study here, which need not exist.
        takeover: take the study from a process that still holds it.
        repair: keep what is sound of a damaged copy.

    Raises:
        BadInput: another study is here, or this one went on here and there.
        StudyLocked: a process runs the study, here or on another machine.
        LedgerDamaged: the copy is damaged and is not to be repaired, or nothing of it can be kept.
        StorageError: the storage refuses.
    """
    with _locked(shared, takeover=takeover) as lock:
        copied = read_copy(shared)
        if not copied.rows:
            reason = copied.damage or "it was cut off in its first event"
            raise LedgerDamaged(f"{shared}: nothing of the ledger's copy is sound ({reason}), so the study cannot go on from it")
        _check_name(copied.rows, shared)
        rows = copied.rows if repair else sound_rows(copied, shared)
        make_folder(folder, 0o700)
        with _locked(folder, takeover=takeover):
            moved = _make_room(folder, shared, rows)
            if moved is not None:
                write_ledger(folder / LEDGER_FILE, identity_of(rows), rows)
        if copied.damage:  # from now on the copy ends where it is sound; a ledger that goes further adds the rest when it is opened
            LedgerCopy(shared=shared, lock=lock, copied=copied).begin_with((), identity_of(rows)["ledger"])
        return Restored(events=0 if moved is None else len(rows), dropped=copied.damage, moved=moved or ())


def _check_name(rows: tuple[Row, ...], shared: Path) -> None:
    name = json.loads(rows[0][2])["body"].get("name", shared.name)
    if name != shared.name:
        raise BadInput(f"{shared}: holds study '{name}', so the folder must be called that: mv {shared} {shared.with_name(name)}")


@contextlib.contextmanager
def _locked(folder: Path, *, takeover: bool) -> Iterator[StudyLock]:
    lock = StudyLock.acquire(folder, takeover=takeover)
    try:
        yield lock
    finally:
        lock.release()


def _make_room(folder: Path, shared: Path, rows: tuple[Row, ...]) -> tuple[Path, ...] | None:
    """Move an older ledger aside; None where the one that is here is as new as the copy."""
    if not os.path.lexists(folder / LEDGER_FILE):
        return move_aside(folder)
    path = ledger_path(folder)
    with sqlite_errors(path), contextlib.closing(connect_to_read(path)) as connection:
        connection.execute("BEGIN")
        found = compare(connection, path, rows)
    if found.there == 0:
        return None
    if found.common == 0:
        raise BadInput(f"{folder}: another study of this name is here. Choose another folder for this one: --storage DIR")
    if found.is_apart:
        raise BadInput(
            f"study '{folder.name}' went on in two places after event {found.common}: {folder} has {len(found.here)} events of its own and "
            f"{shared} has {found.there}. Nothing is overwritten; move the folder away whose events are not to count"
        )
    return move_aside(folder)
