"""What the mirror remembers between its lives: which candidate is which run, in `mirror.db` beside the ledger."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from paretune.platform.record.format import read_identity
from paretune.platform.record.ledger import read_events
from paretune.platform.record.sqlite_file import connect_to_read, ledger_path, sqlite_errors

MIRROR_FILE = "mirror.db"
TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs(
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL,          -- sending: a run may exist; created: it does; done: it is complete; refused: MLflow will not have it
    run_id TEXT,
    start_ms INTEGER NOT NULL,
    front TEXT NOT NULL,          -- the tag as it was written last
    doubtful INTEGER NOT NULL     -- whether a request to create it was lost, so that there may be two
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorState:
    """How far the mirror is."""

    mirrored: int
    """Candidates and final trainings whose runs are complete."""
    waiting: int
    """Finished ones that are not in MLflow yet."""
    refused: int = 0
    """Those that MLflow would not have; the next mirror of the study tries them again."""
    message: str
    """What keeps it, for people; empty when nothing does."""


@dataclass(slots=True, kw_only=True)
class RunRow:
    """One run as the mirror remembers it."""

    key: str
    state: str
    run_id: str | None
    start_ms: int
    front: str
    doubtful: bool


class Memory:
    """`mirror.db`, open for writing; one process at a time, see `process_lock`."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / MIRROR_FILE, isolation_level=None, timeout=10.0)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(TABLES)
        found = self._connection.execute("SELECT key, state, run_id, start_ms, front, doubtful FROM runs")
        self.rows = {
            key: RunRow(key=key, state=state, run_id=run_id, start_ms=start_ms, front=front, doubtful=bool(doubtful))
            for key, state, run_id, start_ms, front, doubtful in found
        }

    def get(self, key: str) -> str | None:
        """A remembered value."""
        found = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def put(self, key: str, value: str) -> None:
        """Remember a value."""
        if self.get(key) != value:
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value))

    def announce(self, rows: Iterable[RunRow]) -> None:
        """Remember rows so that they survive a power cut: a run that exists and is forgotten would be made twice.

        What is saved later may be lost; the run is then found by its tag.
        """
        self._connection.execute("PRAGMA synchronous=FULL")
        self.save(rows)
        self._connection.execute("PRAGMA synchronous=NORMAL")

    def save(self, rows: Iterable[RunRow]) -> None:
        """Remember rows, all or none, also if this process is killed."""
        values = [(row.key, row.state, row.run_id, row.start_ms, row.front, int(row.doubtful)) for row in rows]
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO runs VALUES(?, ?, ?, ?, ?, ?)", values)
        self.rows |= {row.key: row for row in rows}

    def doubt_everything(self) -> None:
        """Another server, or one that lost its data: every run must be looked for before it is made again."""
        with self._transaction():
            self._connection.execute("UPDATE runs SET state = 'sending', run_id = NULL")
            self._connection.execute("DELETE FROM meta WHERE key <> 'target'")
        for row in self.rows.values():
            row.state, row.run_id = "sending", None

    def forget_refusals(self) -> None:
        """What MLflow refused in an earlier life is tried again: the reason may have gone."""
        with self._transaction():
            self._connection.execute("UPDATE runs SET state = 'sending' WHERE state = 'refused'")
        for row in self.rows.values():
            row.state = "sending" if row.state == "refused" else row.state

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def study_id(folder: Path) -> str:
    """The random name of a study's ledger: what tells it apart from other studies of the same name on a server.

    Raises:
        BadInput: there is no study.
        StorageError: the ledger cannot be read.
    """
    path = ledger_path(folder)
    with sqlite_errors(path), contextlib.closing(connect_to_read(path)) as connection:
        return read_identity(connection, path)["ledger"]


def mirror_state(folder: Path) -> MirrorState:
    """How far the mirror of a study is, from its memory and the ledger.

    Raises:
        BadInput: there is no study.
        StorageError: the ledger cannot be read.
    """
    num_finished = sum(event.kind == "finished" for event in read_events(folder))
    path = folder / MIRROR_FILE
    if not path.exists():
        return MirrorState(mirrored=0, waiting=num_finished, message="never mirrored")
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)) as connection:
        try:
            settled = dict(connection.execute("SELECT state, count(*) FROM runs WHERE key <> 'study' GROUP BY state"))
            message = connection.execute("SELECT value FROM meta WHERE key = 'message'").fetchone()
        except sqlite3.OperationalError:  # it was killed before its first write
            return MirrorState(mirrored=0, waiting=num_finished, message="never mirrored")
    done, refused = settled.get("done", 0), settled.get("refused", 0)
    return MirrorState(mirrored=done, waiting=max(num_finished - done - refused, 0), refused=refused, message=message[0] if message else "")
