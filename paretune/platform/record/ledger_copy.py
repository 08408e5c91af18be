"""A copy of a study's ledger on storage that outlives its head: the same rows as text, appended and flushed with every event.

SQLite's write-ahead log is not for network file systems, so the ledger itself lies on the head's own disk. The copy asks no more of the
storage than to append, to flush, and to make a file only where there is none:

    ledger-copy/segment-000001.txt    paretune-ledger 1 after 0 0 <name of the ledger>
                                      <seq> <epoch> <crc> <event as canonical JSON>
    ledger-copy/segment-000002.txt    paretune-ledger 1 after 57 <crc of row 57> <name of the ledger>

Each opening begins a segment of its own, which says after which row it goes on; what the segment before it holds beyond that row was
written by a process that had been replaced, or cut off by a crash, and does not count. A process that finds a newer segment writes no more.
"""

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import BadInput, LedgerDamaged, StorageError, StudyLocked, StudyTakenOver
from paretune.core.files import make_folder, read_regular, space, sync_folder
from paretune.platform.record.format import Row, chained, read_identity, verified_rows
from paretune.platform.record.lock import StudyLock
from paretune.platform.record.sqlite_file import connect_to_read, file_identity

COPY_FOLDER = "ledger-copy"
VERSION = 1
BOOKKEEPING = ("opened", "staffed")
"""Events of a session that has asked for nothing yet; a ledger that has nothing else on top says nothing new."""
_SEGMENT = re.compile(r"segment-(\d{6})\.txt")
_HEAD = re.compile(rb"paretune-ledger (\d+) after (\d+) (\d+) ([0-9a-f]{32})")
_LINE = re.compile(rb"(\d+) (\d+) (\d+) (\{.*\})")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedRows:
    """What a copy holds."""

    rows: tuple[Row, ...]
    damage: str = ""
    """What is wrong behind the last row; empty where nothing is, or where a crash cut the end off."""
    newest: int = 0
    """Number of the newest segment; 0 where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A ledger against a copy."""

    common: int
    """Rows that both have."""
    here: tuple[Row, ...]
    """Rows that only the ledger has."""
    there: int
    """Rows that only the copy has."""

    @property
    def is_behind(self) -> bool:
        """Whether the ledger knows nothing that the copy does not know, and the copy something that the ledger does not."""
        return self.there > 0 and all(_kind(row) in BOOKKEEPING for row in self.here)

    @property
    def is_apart(self) -> bool:
        """Whether both went on, each in its way."""
        return self.there > 0 and not self.is_behind


def has_copy(shared: Path) -> bool:
    """Whether the copy of a ledger lies in a folder."""
    return bool(_segments(shared))


def read_copy(shared: Path) -> CopiedRows:
    """The rows of a copy, each checked against the one before it.

    Args:
        shared: the study's folder on the shared storage.

    Raises:
        BadInput: a newer program wrote it.
        StorageError: the storage cannot be read.
    """
    rows: list[Row] = []
    damage, ledger = "", b""
    segments = _segments(shared)
    for _, path in segments:
        head, *lines = read_regular(path).split(b"\n")
        found = _HEAD.fullmatch(head)
        if found is None and not lines:
            continue  # the process that began it was killed before it said anything
        if found is None or (ledger and found[4] != ledger):
            damage = damage or f"{path.name} does not begin as a segment of this ledger"
            continue
        if int(found[1]) > VERSION:
            raise BadInput(f"{path}: written by a newer paretune. Upgrade: pip install -U paretune")
        after, crc, ledger = int(found[2]), int(found[3]), found[4]
        if after > len(rows) or crc != (rows[after - 1][3] if after else 0):
            damage = damage or f"{path.name} goes on after event {after}, which is missing"
            continue
        del rows[after:]
        damage = _take(rows, lines, path.name)
    return CopiedRows(rows=tuple(rows), damage=damage, newest=segments[-1][0] if segments else 0)


def _take(rows: list[Row], lines: Sequence[bytes], name: str) -> str:
    """Add the rows of a segment; what is wrong with the first one that does not follow, unless it is the torn end."""
    for index, line in enumerate(lines):
        found = _LINE.fullmatch(line)
        seq, crc = len(rows) + 1, rows[-1][3] if rows else 0
        if found is None or int(found[1]) != seq or chained(crc, seq, int(found[2]), found[4]) != int(found[3]):
            return "" if index == len(lines) - 1 else f"event {seq} in {name} fails its checksum"
        rows.append((seq, int(found[2]), found[4], int(found[3])))
    return ""


def sound_rows(copied: CopiedRows, shared: Path) -> tuple[Row, ...]:
    """The rows of a copy in which everything is well.

    Raises:
        LedgerDamaged: something is not.
    """
    if copied.damage:
        raise _damaged(shared / COPY_FOLDER, f"{copied.damage}; {len(copied.rows):,} events before it are sound")
    return copied.rows


def compare(connection: sqlite3.Connection, path: Path, copied: Sequence[Row]) -> Comparison:
    """Hold the ledger at `path` against the rows of a copy.

    Raises:
        LedgerDamaged: the ledger fails its checksums.
    """
    common = 0
    here: list[Row] = []
    for row in verified_rows(connection, path):
        if not here and row[0] <= len(copied) and row[3] == copied[row[0] - 1][3]:
            common = row[0]
        else:
            here.append(row)
    return Comparison(common=common, here=tuple(here), there=len(copied) - common)


class LedgerCopy:
    """The copy of an open ledger; this process holds its lock.

    Example of a call sequence::

        copy = LedgerCopy.join(shared)    -> locked, read
        copy.check(path)                  -> the ledger is not older than it
        copy.begin(connection, path)      -> a segment of our own, holding what was missing
        copy.append(rows)                 -> on the disk when it returns
    """

    def __init__(self, *, shared: Path, lock: StudyLock, copied: CopiedRows) -> None:
        self._shared, self._lock, self._copied = shared, lock, copied
        self._descriptor: int | None = None
        self._path, self._next = _segment(shared, copied.newest + 1), _segment(shared, copied.newest + 2)
        self._identity = (0, 0)

    @classmethod
    def join(cls, shared: Path, *, takeover: bool = False) -> "LedgerCopy":
        """Lock a study's folder on the shared storage and read the copy there, if there is one.

        Raises:
            StudyLocked: another process runs the study, perhaps on another machine.
            LedgerDamaged: the copy is damaged.
            StorageError: the storage refuses.
        """
        make_folder(shared, 0o700)
        lock = StudyLock.acquire(shared, takeover=takeover)
        try:
            copied = read_copy(shared)
            sound_rows(copied, shared)
            return cls(shared=shared, lock=lock, copied=copied)
        except BaseException:
            lock.release()
            raise

    @property
    def is_empty(self) -> bool:
        """Whether there is no copy yet."""
        return not self._copied.rows

    def check(self, path: Path) -> None:
        """Refuse the ledger at `path` where the copy is ahead of it: the study went on elsewhere.

        Raises:
            BadInput: with the command that goes on from the copy.
        """
        with contextlib.closing(connect_to_read(path)) as connection:
            found = compare(connection, path, self._copied.rows)
        if found.there:
            name, events = path.parent.name, f"{found.there} event{'s' if found.there > 1 else ''}"
            raise BadInput(
                f"study '{name}' went on elsewhere: its copy in {self._shared} has {events} that the one in {path.parent} has not. "
                f"Go on from there: paretune resume {name} --from {self._shared.parent}"
            )

    def begin(self, connection: sqlite3.Connection, path: Path) -> None:
        """Begin a segment with what the copy lacks of the ledger at `path`.

        Raises:
            StudyLocked: another process began one at the same moment, on a storage whose locks do not hold.
            StorageError: the storage refuses.
        """
        name = read_identity(connection, path)["ledger"]
        self.begin_with(list(verified_rows(connection, path, after=len(self._copied.rows))), name)

    def begin_with(self, rows: Sequence[Row], ledger: str) -> None:
        """Begin a segment with these rows, which follow the copied ones; `ledger` is the name of the ledger. Raises like `begin`."""
        known = self._copied.rows
        head = f"paretune-ledger {VERSION} after {len(known)} {known[-1][3] if known else 0} {ledger}\n"
        try:
            make_folder(self._path.parent, 0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
            self._write(head.encode("ascii") + _text(rows))
            sync_folder(self._path.parent)
            self._identity = file_identity(self._path)
        except FileExistsError as error:
            raise StudyLocked(f"study '{self._shared.name}' was opened by another process at the same moment; try again") from error
        except OSError as error:
            raise self._refused(error, len(head)) from error
        self._copied = CopiedRows(rows=())  # they are needed no more

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows; they are on the disk when this returns.

        Raises:
            StudyTakenOver: another process has opened the copy since.
            StorageError: the storage refuses, or was removed.
        """
        data = _text(rows)
        try:
            if os.path.lexists(self._next):
                raise StudyTakenOver(f"study '{self._shared.name}' was taken over by another process; this one may write nothing more")
            if file_identity(self._path) != self._identity:
                raise StorageError(f"{self._path} was replaced by another file while the study ran")
            self._write(data)
        except OSError as error:
            raise self._refused(error, len(data)) from error

    def close(self) -> None:
        """Give the lock back; more than once is fine."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._lock.release()

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
        os.fsync(self._descriptor)

    def _refused(self, error: OSError, need_bytes: int) -> StorageError:
        return StorageError(f"cannot write the ledger's copy {self._path}: {error.strerror}; {space(self._shared, need_bytes)}")


def identity_of(rows: Sequence[Row]) -> dict[str, str]:
    """The identity that the first event, which the checksums cover, gives a ledger."""
    identity: dict[str, str] = json.loads(rows[0][2])["ledger"]
    return identity


def _text(rows: Iterable[Row]) -> bytes:
    return b"".join(b"%d %d %d %s\n" % (seq, epoch, crc, body) for seq, epoch, body, crc in rows)


def _kind(row: Row) -> str:
    return str(json.loads(row[2])["kind"])


def _segment(shared: Path, number: int) -> Path:
    return shared / COPY_FOLDER / f"segment-{number:06d}.txt"


def _segments(shared: Path) -> list[tuple[int, Path]]:
    """Number and path of each segment, the oldest first."""
    folder = shared / COPY_FOLDER
    try:
        found = [(name, entry) for entry in folder.iterdir() if (name := _SEGMENT.fullmatch(entry.name))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"cannot read {folder}: {error.strerror}") from error
    return sorted((int(name[1]), entry) for name, entry in found)


def _damaged(path: Path, reason: str) -> LedgerDamaged:
    advice = "'paretune resume NAME --from STORAGE --repair' keeps every event before the damage"
    return LedgerDamaged(f"{path} is damaged: {reason}. {advice}")
