"""The ledger of a study: the single writer of what happened, durable on return.

SQLite in WAL mode with `synchronous=FULL`. One process writes, guarded by the lock and, since a lock can be taken over from a
stopped process, by an epoch that rises with every opening and is checked inside each transaction.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from paretune import __version__
from paretune.core.errors import BadInput, ParetuneError, StorageError, StudyLocked, StudyTakenOver
from paretune.core.files import make_folder, sync_folder
from paretune.platform.record.format import (
    Event,
    Row,
    chained,
    decode,
    encode,
    new_identity,
    read_events,
    verified_rows,
    write_ledger,
)
from paretune.platform.record.ledger_copy import LedgerCopy
from paretune.platform.record.lock import Owner, StudyLock
from paretune.platform.record.repair import RepairReport, move_aside, repair
from paretune.platform.record.sqlite_file import (
    LEDGER_FILE,
    LOG_SUFFIX,
    PAGE_BYTES,
    connect,
    damaged,
    file_identity,
    ledger_path,
    sqlite_errors,
)
from paretune.platform.record.verify import Checked, verify

__all__ = ["Event", "Ledger", "RepairReport", "read_events", "repair"]

LOG_PAGES = 1000
"""Pages of the write-ahead log after which SQLite folds it into the ledger, about 4 MB."""


class Ledger:
    """The open ledger of a study; a context manager.

    Example of a call sequence::

        with Ledger.create(folder, header) as ledger:      -> created, opened
            ledger.append([("asked", {...})])              -> on the disk when it returns
        with Ledger.open(folder) as ledger:                -> opened, one epoch later
            ledger.append([("finished", {...}), ("asked", {...})])  -> both or none

    After an error of the storage the object refuses to go on: what the disk holds is only known after opening again.
    """

    def __init__(
        self, *, path: Path, lock: StudyLock, connection: sqlite3.Connection, epoch: int, last_seq: int, copy: LedgerCopy | None
    ) -> None:
        self.path = path
        self.epoch = epoch
        """Number of this opening."""
        self._lock, self._connection, self._last_seq, self._copy = lock, connection, last_seq, copy
        self._process = os.getpid()
        self._mutex = threading.Lock()
        self._refusal: ParetuneError | None = None
        self._files = {file: file_identity(file) for file in (path, path.with_name(path.name + LOG_SUFFIX))}

    @classmethod
    def create(cls, folder: Path, header: Mapping[str, Any], *, shared: Path | None = None) -> "Ledger":
        """Make the ledger of a new study, in a folder that is made too and closed to other users, and open it.

        The first event is `created` with the header as its body.

        Args:
            folder: the study's folder.
            header: JSON.
            shared: the study's folder on shared storage, where a copy is kept; None keeps none.

        Raises:
            BadInput: the folder has a ledger already or cannot be one, there is a copy of another, or the header is no JSON.
            StudyLocked: another process is making one.
            StorageError: the storage refuses.
        """
        identity = new_identity()
        body = encode("created", header, identity)
        _make_private(folder)
        with contextlib.ExitStack() as held:
            lock = StudyLock.acquire(folder)
            held.callback(lock.release)
            path = folder / LEDGER_FILE
            if os.path.lexists(path):
                raise BadInput(f"{folder}: a study is here already; resume it, or choose another name")
            copy = _joined(shared, held, takeover=False)
            if copy is not None and not copy.is_empty:
                raise BadInput(
                    f"{shared}: the copy of another study is here; go on with it (paretune resume --from), or choose another name"
                )
            move_aside(folder)  # SQLite would replay the log of a ledger that was removed
            write_ledger(path, identity, [(1, 0, body, chained(0, 1, 0, body))])
            ledger = cls._open_locked(folder, lock, copy)
            held.pop_all()
            return ledger

    @classmethod
    def open(cls, folder: Path, *, takeover: bool = False, shared: Path | None = None) -> "Ledger":
        """Lock the study, verify every event, and begin a new epoch with an `opened` event.

        Args:
            folder: the study's folder.
            takeover: take the study from the process that runs it; what that one appends afterwards is refused.
            shared: as in `create`; what the copy lacks is added first.

        Raises:
            BadInput: there is no study, a newer program wrote it, or it went on elsewhere, from its copy.
            StudyLocked: another process runs it; the message says which.
            LedgerDamaged: an event fails its checksum or is missing.
            StorageError: the storage refuses.
        """
        ledger_path(folder)
        with contextlib.ExitStack() as held:
            lock = StudyLock.acquire(folder, takeover=takeover)
            held.callback(lock.release)
            ledger = cls._open_locked(folder, lock, _joined(shared, held, takeover=takeover))
            held.pop_all()
            return ledger

    @classmethod
    def _open_locked(cls, folder: Path, lock: StudyLock, copy: LedgerCopy | None) -> "Ledger":
        path = ledger_path(folder)
        with sqlite_errors(path, need_bytes=3 * PAGE_BYTES):
            checked = verify(path)
            if copy is not None:
                copy.check(path)
            connection = connect(path, "rw")
            try:
                _prepare(connection, path)
                epoch, last_seq = _begin_epoch(connection, path, lock, checked)
                # A flush that failed earlier may have left log pages in memory only; folding writes them anew and flushes that.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                _sync(folder)
                if copy is not None:
                    copy.begin(connection, path)
                return cls(path=path, lock=lock, connection=connection, epoch=epoch, last_seq=last_seq, copy=copy)
            except BaseException:
                connection.close()
                raise

    def append(self, events: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Event, ...]:
        """Record events `(kind, body)` in one transaction: when this returns they are all on the disk, when it raises none counts.

        (After a storage error an event may still turn out to be there when the ledger is opened again.)

        Raises:
            BadInput: a body is no JSON; nothing is written and the ledger stays usable.
            StudyTakenOver: another process has opened the ledger since.
            StorageError: the storage is full, fails, or was removed or replaced.
        """
        bodies = [encode(kind, body) for kind, body in events]
        if os.getpid() != self._process:
            raise StudyLocked(f"{self.path} is open in process {self._process}; a forked child may not write to it")
        with self._mutex:
            if self._refusal is not None:
                raise type(self._refusal)(f"nothing more is written after an earlier error: {self._refusal}")
            if not bodies:
                return ()
            try:
                self._check_in_place()
                with sqlite_errors(self.path, need_bytes=sum(map(len, bodies)) + 2 * PAGE_BYTES):
                    rows = self._commit(bodies)
                if self._copy is not None:
                    self._copy.append(rows)
                self._check_in_place()
            except ParetuneError as error:
                self._refusal = error
                self._close_connection()
                raise
        return tuple(decode(row) for row in rows)

    def close(self) -> None:
        """Fold the log into the ledger and give the lock back; more than once is fine."""
        if os.getpid() == self._process:
            with self._mutex:
                self._refusal = self._refusal or StorageError(f"{self.path} was closed")
                self._close_connection()
        if self._copy is not None:
            self._copy.close()
        self._lock.release()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _commit(self, bodies: Sequence[bytes]) -> list[Row]:
        with _transaction(self._connection):
            last = self._connection.execute("SELECT seq, epoch, crc FROM events ORDER BY seq DESC LIMIT 1").fetchone()
            if last is None or last[0] < self._last_seq or last[1] < self.epoch:
                raise damaged(self.path, f"it ends before event {self._last_seq}, which was written")
            if last[1] > self.epoch:
                raise StudyTakenOver(f"study '{self.path.parent.name}' was taken over by another process; this one may write nothing more")
            rows = _following(last[0], last[2], self.epoch, bodies)
            self._connection.executemany("INSERT INTO events VALUES(?, ?, ?, ?)", rows)
        self._last_seq = rows[-1][0]
        return rows

    def _check_in_place(self) -> None:
        """Notice storage that was removed or replaced: SQLite would go on writing to a file that no one can find."""
        for file, identity in self._files.items():
            try:
                there = file_identity(file)
            except OSError as error:
                raise StorageError(f"{file} is gone ({error.strerror}): the storage was removed while the study ran") from error
            if there != identity:
                raise StorageError(f"{file} was replaced by another file while the study ran")

    def _close_connection(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def _joined(shared: Path | None, held: contextlib.ExitStack, *, takeover: bool) -> LedgerCopy | None:
    """The copy of the ledger, locked, where one is kept."""
    if shared is None:
        return None
    copy = LedgerCopy.join(shared, takeover=takeover)
    held.callback(copy.close)
    return copy


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise StorageError(f"cannot open {path}: its file system does not support SQLite's write-ahead log")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-256")  # KiB: the writer appends and never reads back
    connection.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")


def _begin_epoch(connection: sqlite3.Connection, path: Path, lock: StudyLock, checked: Checked) -> tuple[int, int]:
    """Append `opened` after what was verified and what a driver that is being taken over wrote since; `(epoch, last seq)`."""
    try:
        with _transaction(connection):
            seq, crc, newest = checked.seq, checked.crc, checked.newest_epoch
            for row in verified_rows(connection, path, after=seq):
                seq, crc, newest = row[0], row[3], max(newest, row[1])
            body = encode("opened", {**asdict(lock.owner), "paretune": __version__})
            connection.executemany("INSERT INTO events VALUES(?, ?, ?, ?)", _following(seq, crc, newest + 1, [body]))
    except sqlite3.OperationalError as error:
        if lock.replaced is not None and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_BUSY:
            raise StudyLocked(_stopped_in_transaction(lock.replaced)) from error
        raise
    return newest + 1, seq + 1


def _stopped_in_transaction(owner: Owner) -> str:
    return f"{owner.describe()} is in the middle of a write, so its study cannot be taken over; end it: kill -9 {owner.pid}"


def _following(seq: int, crc: int, epoch: int, bodies: Sequence[bytes]) -> list[Row]:
    """Rows for new events after the row with a given seq and checksum."""
    rows: list[Row] = []
    for body in bodies:
        seq += 1
        crc = chained(crc, seq, epoch, body)
        rows.append((seq, epoch, body, crc))
    return rows


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _make_private(folder: Path) -> None:
    """The study's folder, made if need be and closed to other users."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise BadInput(f"{folder}: is not a folder, so no study can be made there")
    make_folder(folder, 0o700)
    try:
        folder.chmod(0o700)
    except OSError as error:
        raise StorageError(f"cannot close {folder} to other users: {error.strerror}") from error


def _sync(folder: Path) -> None:
    try:
        sync_folder(folder)
    except OSError as error:
        raise StorageError(f"cannot flush {folder}: {error.strerror}") from error
