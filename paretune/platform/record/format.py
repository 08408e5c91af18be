"""How a ledger is laid out: rows chained by checksum, and what is accepted when they are read.

Row n holds `seq = n`, the epoch of its writer, the event as canonical JSON and a CRC-32 over the CRC of row n-1, its own numbers
and its JSON. So an altered, missing, added or reordered row is found, and a row of another ledger too, because the first row
holds the ledger's random name. What these checksums cannot find is a tail that is missing altogether: the rows before it are valid.

Nothing but this program may open `ledger.db` in the process that writes it: closing any other descriptor of the file (a copy, a
hash) drops SQLite's locks there.
"""

import contextlib
import json
import secrets
import sqlite3
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from paretune import __version__
from paretune.core.canonical import canonical_json
from paretune.core.errors import BadInput
from paretune.core.files import write_durably
from paretune.platform.record.sqlite_file import PAGE_BYTES, connect_to_read, damaged, ledger_path, sqlite_errors

APPLICATION_ID = 0x70617265
"""`pare`, so that `file` and SQLite tools can tell a ledger."""
SCHEMA = 1
"""Version of the layout below; it rises with every change that an older program could misread."""
FETCH_ROWS = 1000
MIN_SEQ = -(2**63)
"""Where reading starts, so that a row with a number below 1 is found too."""
TABLES = {
    "meta": "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "events": "CREATE TABLE events(seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL)",
}
"""Later schemas keep `meta` with its rows `paretune` and `schema`, so that older programs can say who wrote the ledger."""

Row: TypeAlias = tuple[int, int, bytes, int]
"""`(seq, epoch, body, crc)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened in a study."""

    seq: int
    """Number of the event from 1, without gaps: the only order there is."""
    epoch: int
    """Number of the opening under which it was written; 0 for the creation."""
    kind: str
    """`created`, `opened`, or a name the study gives."""
    body: Mapping[str, Any]
    """JSON values."""


def encode(kind: str, body: Mapping[str, Any], identity: Mapping[str, str] | None = None) -> bytes:
    """The JSON of an event; the first of a ledger carries the ledger's identity.

    Raises:
        BadInput: the body is no JSON (an object that JSON does not know, NaN, an infinity).
    """
    record: dict[str, Any] = {"kind": kind, "body": body}
    if identity is not None:
        record["ledger"] = identity
    try:
        return canonical_json(record).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(
            f"event '{kind}' cannot be recorded: {error}. Its body must be made of finite numbers, text, lists and objects"
        ) from error


def decode(row: Row) -> Event:
    """The event of a row whose checksum was verified."""
    record = json.loads(row[2])
    return Event(seq=row[0], epoch=row[1], kind=record["kind"], body=record["body"])


def chained(previous_crc: int, seq: int, epoch: int, body: bytes) -> int:
    """Checksum of a row, given that of the row before it (0 before the first)."""
    return zlib.crc32(body, zlib.crc32(struct.pack("<qq", seq, epoch), previous_crc))


def read_identity(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """Name, schema and program of a ledger, after checking that this program can read it.

    Raises:
        BadInput: a newer program wrote it.
        LedgerDamaged: it is no ledger, or its frame is altered.
    """
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
        raise damaged(path, "it is no ledger of paretune")
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    identity = dict(connection.execute("SELECT key, value FROM meta"))
    if identity.get("schema") != str(schema):
        raise damaged(path, f"its schema is said to be {schema} and {identity.get('schema')!r}")
    if schema > SCHEMA:
        raise BadInput(
            f"{path}: written by paretune {identity.get('paretune')} (ledger schema {schema}); "
            f"this is {__version__} (schema {SCHEMA}). Upgrade: pip install -U paretune"
        )
    if set(connection.execute("SELECT name, sql FROM sqlite_schema")) != set(TABLES.items()) or schema != SCHEMA:
        raise damaged(path, "its tables are not those of a ledger")
    return identity


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Let SQLite check that its pages are used once each, so that writing cannot destroy what reading still finds.

    Raises:
        LedgerDamaged: they are not.
    """
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, " ".join(str(verdict).split()))


def stored_rows(connection: sqlite3.Connection, first_seq: int = MIN_SEQ) -> Iterator[tuple[Any, ...]]:
    """The rows as they lie there, unchecked, from `first_seq` on."""
    cursor = connection.execute("SELECT seq, epoch, body, crc FROM events WHERE seq >= ? ORDER BY seq", (first_seq,))
    while batch := cursor.fetchmany(FETCH_ROWS):
        yield from batch


def verified_rows(connection: sqlite3.Connection, path: Path, *, after: int = 0) -> Iterator[Row]:
    """The rows after a seq, each checked against the one before it.

    Raises:
        LedgerDamaged: at the first row that does not follow, or if row `after` is not there.
    """
    rows = stored_rows(connection, after or MIN_SEQ)
    crc = 0
    if after:
        start = next(rows, None)
        if start is None or start[0] != after or type(start[3]) is not int:
            raise damaged(path, f"event {after}, which was read before, is not there")
        crc = start[3]
    expected = after
    for row in rows:
        expected += 1
        crc = _checked(row, path, expected, crc)
        yield row
    if expected == 0:
        raise damaged(path, "it holds no event")


def _checked(row: tuple[Any, ...], path: Path, expected: int, crc: int) -> int:
    seq, epoch, body, stored = row
    if seq != expected:
        raise damaged(path, f"event {expected} is missing")
    if not (type(epoch) is int and type(body) is bytes and type(stored) is int):
        raise damaged(path, f"event {seq} has the wrong form")
    if chained(crc, seq, epoch, body) != stored:
        raise damaged(path, f"event {seq} fails its checksum")
    return stored


def check_first(row: Row, identity: Mapping[str, str], path: Path) -> None:
    """Compare the identity in the first event, which the checksums cover, with that of the frame.

    Raises:
        LedgerDamaged: they differ.
    """
    if json.loads(row[2]).get("ledger") != identity:
        raise damaged(path, "its frame and its first event name different ledgers")


def read_events(folder: Path, *, after: int = 0) -> list[Event]:
    """The events of a study in order, also while another process writes them; an event seen here is on the disk.

    Args:
        folder: the study's folder.
        after: leave out the events up to this seq, which must have been read before; 0 reads and verifies everything.

    Raises:
        BadInput: there is no study, or a newer program wrote it.
        LedgerDamaged: an event fails its checksum or is missing.
        StorageError: the storage cannot be read.
    """
    path = ledger_path(folder)
    with sqlite_errors(path), contextlib.closing(connect_to_read(path)) as connection:
        connection.execute("BEGIN")  # one snapshot
        identity = read_identity(connection, path)
        events: list[Event] = []
        newest = 0
        for row in verified_rows(connection, path, after=after):
            if row[0] == 1:
                check_first(row, identity, path)
            # The writer's epoch check makes this impossible; a reader must not depend on it.
            if row[1] >= newest:
                newest = row[1]
                events.append(decode(row))
    return events


def new_identity() -> dict[str, str]:
    """Identity of a ledger that is being made; its random name makes the checksums of no two ledgers alike."""
    return {"ledger": secrets.token_hex(16), "paretune": __version__, "schema": str(SCHEMA)}


def write_ledger(path: Path, identity: Mapping[str, str], rows: Iterable[Row]) -> None:
    """Make a ledger file of given rows, all or nothing; replaces a file at `path`.

    Raises:
        StorageError: the storage refuses.
    """
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA}")
        connection.execute("BEGIN")
        for statement in TABLES.values():
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES(?, ?)", identity.items())
        connection.executemany("INSERT INTO events VALUES(?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        image = bytearray(connection.serialize())
    image[18:20] = b"\x02\x02"  # the header's word for "uses a write-ahead log", see sqlite.org/fileformat2.html 1.3.3
    write_durably(path, bytes(image))
