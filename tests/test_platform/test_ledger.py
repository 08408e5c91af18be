"""The ledger: what is appended is read, in order, whole or not at all; what does not belong is refused by name."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput, LedgerDamaged, StorageError
from paretune.platform.record.format import chained
from paretune.platform.record.ledger import Ledger, read_events

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def told(folder: Path) -> list[tuple[str, object]]:
    return [(event.kind, event.body) for event in read_events(folder) if event.kind != "opened"]


def make(folder: Path, count: int = 3) -> list[tuple[str, object]]:
    """A closed ledger of `count` events after its creation, and what it tells."""
    with Ledger.create(folder, {"name": "x"}) as ledger:
        for index in range(count):
            ledger.append([("finished", {"index": index, "metrics": {"accuracy": index / 7}})])
    return told(folder)


def alter(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "ledger.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_events_come_back_in_order_with_numbers_from_one_and_the_epoch_of_their_opening(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "s", {"seed": 7}) as ledger:
        ledger.append([("asked", {"index": 0}), ("asked", {"index": 1})])
    with Ledger.open(tmp_path / "s") as ledger:
        (event,) = ledger.append([("finished", {"index": 0, "accuracy": 0.1})])
    events = read_events(tmp_path / "s")
    assert [(e.seq, e.epoch, e.kind) for e in events] == [
        (1, 0, "created"),
        (2, 1, "opened"),
        (3, 1, "asked"),
        (4, 1, "asked"),
        (5, 2, "opened"),
        (6, 2, "finished"),
    ]
    assert events[0].body == {"seed": 7}
    assert events[5] == event
    assert events[1].body["pid"] == os.getpid()


@settings(max_examples=30, deadline=None)
@given(bodies=st.lists(st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=4), min_size=1, max_size=5))
def test_any_json_body_comes_back_equal(tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, object]]) -> None:
    folder = tmp_path_factory.mktemp("study") / "s"
    with Ledger.create(folder, {}) as ledger:
        returned = ledger.append([("any", body) for body in bodies])
    assert [event.body for event in returned] == bodies
    assert told(folder)[1:] == [("any", body) for body in bodies]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), object(), b"bytes"])
def test_a_body_that_is_no_json_is_refused_and_nothing_of_its_transaction_is_written(tmp_path: Path, bad: object) -> None:
    with Ledger.create(tmp_path / "s", {}) as ledger:
        with pytest.raises(BadInput, match="event 'finished' cannot be recorded"):
            ledger.append([("asked", {}), ("finished", {"accuracy": bad})])
        ledger.append([("asked", {"index": 1})])
    assert told(tmp_path / "s") == [("created", {}), ("asked", {"index": 1})]


def test_another_process_reads_while_one_writes_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "s", {}) as ledger:
        ledger.append([("asked", {"index": 0})])
        program = "import sys; from pathlib import Path; from paretune.platform.record.ledger import read_events\n"
        program += "for line in sys.stdin: print([e.seq for e in read_events(Path(sys.argv[1]), after=int(line))], flush=True)"
        reader = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "s")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with reader:
            assert reader.stdin is not None
            assert reader.stdout is not None
            for index, (after, seen) in enumerate([(0, [1, 2, 3]), (3, [4]), (2, [3, 4, 5]), (6, [])], start=1):
                reader.stdin.write(f"{after}\n")
                reader.stdin.flush()
                assert json.loads(reader.stdout.readline()) == seen
                ledger.append([("asked", {"index": index})])
            reader.stdin.close()
    assert [body for kind, body in told(tmp_path / "s") if kind == "asked"] == [{"index": i} for i in range(5)]


def test_a_reader_that_saw_more_than_there_is_now_is_told(tmp_path: Path) -> None:
    make(tmp_path / "s")
    with pytest.raises(LedgerDamaged, match="event 9, which was read before, is not there"):
        read_events(tmp_path / "s", after=9)


def test_appends_of_several_threads_are_all_there_once(tmp_path: Path) -> None:
    with Ledger.create(tmp_path / "s", {}) as ledger:
        threads = [
            threading.Thread(target=lambda k=k: [ledger.append([("asked", {"index": 10 * k + i})]) for i in range(10)]) for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(body["index"] for kind, body in told(tmp_path / "s") if kind == "asked") == list(range(40))


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE events SET body = replace(body, '0.14', '0.15') WHERE seq = 4", "event 4 has the wrong form"),  # replace() makes text
        ("UPDATE events SET body = CAST(replace(body, '0.14', '0.15') AS BLOB) WHERE seq = 4", "event 4 fails its checksum"),
        ("UPDATE events SET epoch = 2 WHERE seq = 4", "event 4 fails its checksum"),
        ("UPDATE events SET crc = crc + 1 WHERE seq = 5", "event 5 fails its checksum"),
        ("DELETE FROM events WHERE seq = 3", "event 3 is missing"),
        ("INSERT INTO events SELECT 0, epoch, body, crc FROM events WHERE seq = 3", "event 1 is missing"),
        ("DELETE FROM events", "it holds no event"),
        ("UPDATE meta SET value = 'other' WHERE key = 'ledger'", "name different ledgers"),
        ("PRAGMA application_id = 1", "no ledger of paretune"),
        ("PRAGMA user_version = 3", "schema is said to be 3 and '1'"),
        ("CREATE TABLE other(x)", "tables are not those of a ledger"),
        ("DROP TABLE meta", "no such table: meta"),
    ],
)
def test_an_altered_missing_or_added_row_is_found_by_readers_and_by_the_writer(tmp_path: Path, statement: str, reason: str) -> None:
    make(tmp_path / "s")
    alter(tmp_path / "s", statement)
    with pytest.raises(LedgerDamaged, match=reason):
        read_events(tmp_path / "s")
    with pytest.raises(LedgerDamaged, match=reason):
        Ledger.open(tmp_path / "s")


def test_swapped_rows_and_rows_of_another_ledger_are_found(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    alter(
        tmp_path / "a",
        "UPDATE events SET seq = 100 WHERE seq = 3",
        "UPDATE events SET seq = 3 WHERE seq = 4",
        "UPDATE events SET seq = 4 WHERE seq = 100",
    )
    with pytest.raises(LedgerDamaged, match="event 3 fails its checksum"):
        read_events(tmp_path / "a")
    make(tmp_path / "c")
    alter(
        tmp_path / "c",
        f"ATTACH '{tmp_path / 'b' / 'ledger.db'}' AS b",
        "DELETE FROM events WHERE seq = 4",
        "INSERT INTO events SELECT * FROM b.events WHERE seq = 4",
    )
    with pytest.raises(LedgerDamaged, match="event 4 fails its checksum"):
        read_events(tmp_path / "c")


def test_a_record_of_an_older_epoch_after_a_newer_opening_does_not_count(tmp_path: Path) -> None:
    # The writer's check makes such a row impossible; here it is put in by hand with a right checksum.
    make(tmp_path / "s")
    Ledger.open(tmp_path / "s").close()
    with closing(sqlite3.connect(tmp_path / "s" / "ledger.db", isolation_level=None)) as connection:
        seq, crc = connection.execute("SELECT seq, crc FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        body = b'{"body":{"index":99},"kind":"finished"}'
        connection.execute("INSERT INTO events VALUES(?, 1, ?, ?)", (seq + 1, body, chained(crc, seq + 1, 1, body)))
    with Ledger.open(tmp_path / "s") as ledger:
        ledger.append([("asked", {"index": 3})])
    indices = [event.body.get("index") for event in read_events(tmp_path / "s")]
    assert 99 not in indices
    assert indices[-1] == 3


def test_a_ledger_of_a_newer_program_is_refused_with_both_versions(tmp_path: Path) -> None:
    make(tmp_path / "s")
    alter(
        tmp_path / "s",
        "PRAGMA user_version = 3",
        "UPDATE meta SET value = '3' WHERE key = 'schema'",
        "UPDATE meta SET value = '0.6' WHERE key = 'paretune'",
        "ALTER TABLE events ADD COLUMN later",
    )
    for read in (read_events, Ledger.open):
        with pytest.raises(BadInput, match=r"written by paretune 0\.6 \(ledger schema 3\); this is \S+ \(schema 1\)"):
            read(tmp_path / "s")


def test_a_second_study_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "s")
    with pytest.raises(BadInput, match="a study is here already; resume it, or choose another name"):
        Ledger.create(tmp_path / "s", {})


def test_the_log_of_a_ledger_that_was_deleted_does_not_get_into_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with Ledger.create(folder, {"old": True}) as ledger:
        ledger.append([("asked", {"index": 0})])
        log = (folder / "ledger.db-wal").read_bytes()
    (folder / "ledger.db").unlink()
    (folder / "ledger.db-wal").write_bytes(log)
    with Ledger.create(folder, {"new": True}):
        pass
    assert told(folder) == [("created", {"new": True})]
    assert (folder / "ledger.damaged-1.db-wal").read_bytes() == log


def test_the_study_folder_is_closed_to_other_users(tmp_path: Path) -> None:
    make(tmp_path / "s")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


def test_reading_needs_no_writable_folder_when_nobody_writes(tmp_path: Path) -> None:
    expected = make(tmp_path / "s")
    (tmp_path / "s").chmod(0o500)
    try:
        assert told(tmp_path / "s") == expected
    finally:
        (tmp_path / "s").chmod(0o700)


def test_a_forked_child_cannot_append(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from paretune.core.errors import StudyLocked
from paretune.platform.record.ledger import Ledger
with Ledger.create(Path(sys.argv[1]), {}) as ledger:
    child = os.fork()
    if child == 0:
        try:
            ledger.append([("asked", {"by": "child"})])
        except StudyLocked:
            sys.exit(75)  # leaves through the context manager, which must not close what the parent uses
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    ledger.append([("asked", {"by": "parent"})])
"""
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "s")], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "75"
    assert told(tmp_path / "s") == [("created", {}), ("asked", {"by": "parent"})]


def test_a_closed_ledger_refuses_to_write(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "s", {})
    ledger.close()
    ledger.close()
    with pytest.raises(StorageError, match="was closed"):
        ledger.append([("asked", {})])


def test_importing_the_ledger_imports_nothing_heavy() -> None:
    modules = "paretune.platform.record.ledger, paretune.platform.record.results"
    program = f"import sys, {modules}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "torch", "ray", "mlflow", "pydantic", "sklearn", "rich", "click", "ruamel"} & set(loaded)
