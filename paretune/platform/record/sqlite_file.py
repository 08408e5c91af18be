"""The ledger's file under SQLite: where it lies, how it is opened, and what SQLite's errors mean for paretune."""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from paretune.core.errors import BadInput, LedgerDamaged, ParetuneError, StorageError, StudyLocked
from paretune.core.files import space

LEDGER_FILE = "ledger.db"
REPAIRED_FILE = "ledger.db.repaired"
"""The valid part of a damaged ledger, complete, while a repair moves the damaged files; only the repair may go on then."""
LOG_SUFFIX = "-wal"
"""What SQLite adds to the file's name for its write-ahead log."""
PAGE_BYTES = 4096
BUSY_S = 10.0
"""How long to wait for another process's transaction."""
ADVICE = ". 'paretune resume NAME --repair' keeps every event before the damage and moves the damaged files aside"


def ledger_path(folder: Path) -> Path:
    """The ledger of a study, checked to be a file of its own.

    Raises:
        BadInput: there is no study.
        LedgerDamaged: a repair was interrupted.
        StorageError: something else is there, or the storage cannot be read.
    """
    path = folder / LEDGER_FILE
    if os.path.lexists(folder / REPAIRED_FILE):
        raise LedgerDamaged(f"{path}: its repair was interrupted; call 'paretune resume NAME --repair' again, it goes on where it was")
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{folder}: no study here ({LEDGER_FILE} is missing)") from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise StorageError(f"cannot read {path}: it is {'a symbolic link' if stat.S_ISLNK(mode) else 'not a regular file'}")
    return path


def file_identity(path: Path) -> tuple[int, int]:
    """Device and inode, which tell a file from another one put in its place."""
    status = path.lstat()
    return status.st_dev, status.st_ino


def connect(path: Path, mode: Literal["rw", "ro"], *, immutable: bool = False) -> sqlite3.Connection:
    """Open an existing file with SQLite; transactions are begun and ended by us."""
    uri = f"{path.absolute().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a ledger beside its writer, or on storage that may only be read."""
    try:
        return connect(path, "ro")
    except sqlite3.OperationalError as error:
        log = path.with_name(path.name + LOG_SUFFIX)
        settled = not log.exists() or log.stat().st_size == 0
        if not (settled and _primary_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)):
            raise
        # SQLite wants to make its index file even to read; without a log nobody writes, so the file can be read as it is.
        return connect(path, "ro", immutable=True)


@contextlib.contextmanager
def sqlite_errors(path: Path, need_bytes: int = 0) -> Iterator[None]:
    """Turn SQLite's errors into ours; `need_bytes` is how much was about to be written."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path, need_bytes) from error
    except UnicodeDecodeError as error:  # Python's sqlite3, when SQLite quotes damaged text in a message
        raise damaged(path, "it holds text that is not UTF-8") from error


def _translated(error: sqlite3.Error, path: Path, need_bytes: int) -> ParetuneError:
    code = _primary_code(error)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        reason = "the disk is full" if code == sqlite3.SQLITE_FULL else f"the storage failed ({getattr(error, 'sqlite_errorname', error)})"
        return StorageError(f"{path}: {reason}; {space(path.parent, need_bytes)}. Nothing acknowledged is lost: mend it, then resume")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StorageError(f"cannot open {path}: {error}; its folder must be writable for the user who runs the study")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StudyLocked(f"{path}: another process has been in the middle of a write for {BUSY_S:.0f} s. If it is stopped, end it")
    return damaged(path, str(error))


def _primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 where the error comes from Python's side, as for text that is not UTF-8."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def damaged(path: Path, reason: str) -> LedgerDamaged:
    """The error for a ledger that cannot be trusted, with what to do."""
    return LedgerDamaged(f"{path} is damaged: {reason}{ADVICE}")
