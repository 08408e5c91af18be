"""A damaged ledger opens at its last good event or is refused by name; never a wrong value, never another error. And its repair."""

import json
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from paretune.core.errors import BadInput, LedgerDamaged, StorageError
from paretune.platform.record.ledger import Event, Ledger, read_events, repair

SEED = 20_260_000
FLIPS = 1000
CUTS = 500
REPAIRED_SHARE = 4

Told = list[tuple[str, object]]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: thousands of flushes to a real disk would only cost time here."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="paretune-test-") as folder:
        yield Path(folder)


def tell(events: list[Event]) -> Told:
    return [(event.kind, event.body) for event in events]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], Told]:
    """Bytes of a ledger and its log, part of the events in each, and what they tell."""
    folder = tmp_path_factory.mktemp("sound") / "s"
    with Ledger.create(folder, {"seed": 1, "spec": "x" * 300}) as ledger:
        _append(ledger, range(40))
    with Ledger.open(folder) as ledger:
        _append(ledger, range(40, 52))
        files = {name: (folder / name).read_bytes() for name in ("ledger.db", "ledger.db-wal")}
        events = tell(read_events(folder))
    assert len(events) == 55  # created, two opened, 52 finished
    assert len(files["ledger.db-wal"]) > 13 * 4096
    return files, events


def _append(ledger: Ledger, indices: range) -> None:
    for index in indices:
        ledger.append([("finished", {"index": index, "metrics": {"accuracy": index / 7, "latency_s": index * 1e-4}, "note": "n" * 100})])


def put(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def judge(folder: Path, truth: Told, read: Callable[[], list[Event]]) -> str:
    """`whole`, `prefix` or `refused`; a wrong value and any other error fail the test."""
    try:
        events = tell(read())
    except StorageError as error:
        return "refused" if str(folder) in str(error) else f"refused without a name: {error}"
    assert events == truth[: len(events)]
    return "whole" if len(events) == len(truth) else "prefix"


def open_and_read(folder: Path) -> list[Event]:
    with Ledger.open(folder) as ledger:
        events = read_events(folder)
        assert events[-1].epoch == ledger.epoch
    return events[:-1]


def repair_and_read(folder: Path) -> list[Event]:
    report = repair(folder)
    if report.kept == 0:
        assert not (folder / "ledger.db").exists()
        with pytest.raises(BadInput, match="no study here"):
            read_events(folder)
        return []
    events = read_events(folder)
    assert len(events) == report.kept
    return events


def flips(files: dict[str, bytes]) -> Iterator[dict[str, bytes]]:
    random_source = random.Random(SEED)
    total = sum(map(len, files.values()))
    for _ in range(FLIPS):
        position, bit = random_source.randrange(total), 1 << random_source.randrange(8)
        damaged = {}
        for name, data in files.items():
            changed = bytearray(data)
            if 0 <= position < len(data):
                changed[position] ^= bit
            position -= len(data)
            damaged[name] = bytes(changed)
        yield damaged


def cuts(files: dict[str, bytes], name: str) -> Iterator[dict[str, bytes]]:
    """The file cut at every byte of its last 64, and at others of its last three pages, chosen by the seed."""
    size = len(files[name])
    lengths = sorted({*range(size - 64, size), *random.Random(SEED).sample(range(size - 3 * 4096, size), CUTS - 64)})
    for length in lengths:
        yield {**files, name: files[name][:length]}


def judge_all(tmp_path: Path, all_damaged: Iterator[dict[str, bytes]], truth: Told) -> tuple[Counter[str], Counter[str]]:
    """How many were read whole, as a prefix, or refused, by a reader, and by a writer; each fourth is also repaired."""
    read, opened = Counter[str](), Counter[str]()
    folder = tmp_path / "s"
    for number, damaged in enumerate(all_damaged):
        put(folder, damaged)
        read[judge(folder, truth, lambda: read_events(folder))] += 1
        put(folder, damaged)
        verdict = judge(folder, truth, lambda: open_and_read(folder))
        opened[verdict] += 1
        if verdict == "refused":
            assert {name: (folder / name).read_bytes() for name in damaged} == damaged  # left as it was found
        if number % REPAIRED_SHARE == 0:
            put(folder, damaged)
            assert judge(folder, truth, lambda: repair_and_read(folder)) != "refused"
    return read, opened


def test_of_1000_flipped_bits_none_gives_a_wrong_value_or_another_error(scratch: Path, sound: tuple[dict[str, bytes], Told]) -> None:
    files, truth = sound
    read, opened = judge_all(scratch, flips(files), truth)
    print(f"{FLIPS} flipped bits (seed {SEED}): read {dict(read)}, opened {dict(opened)}")
    assert {*read, *opened} == {"whole", "prefix", "refused"}
    assert read.total() == opened.total() == FLIPS
    # A writer loses at most the last of the 13 transactions in the log without noticing: there a flip looks like a crash.
    assert opened["refused"] > FLIPS // 2
    assert opened["prefix"] < FLIPS // 10


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
def test_cut_in_its_last_pages_it_opens_at_the_last_good_event_or_is_refused(
    scratch: Path, sound: tuple[dict[str, bytes], Told], name: str
) -> None:
    files, truth = sound
    if name == "ledger.db":  # fold the log, which would else replace what is cut
        put(scratch / "folded", files)
        Ledger.open(scratch / "folded").close()
        files = {"ledger.db": (scratch / "folded" / "ledger.db").read_bytes()}
        truth = tell(read_events(scratch / "folded"))
    read, opened = judge_all(scratch, cuts(files, name), truth)
    print(f"{read.total()} cuts of {name} (seed {SEED}): read {dict(read)}, opened {dict(opened)}")
    if name == "ledger.db-wal":
        assert set(read) == set(opened) == {"prefix"}  # it ends at its last whole transaction, as after a crash
    else:
        assert read == opened
        assert set(opened) <= {"refused", "whole"}
        assert opened["whole"] <= 2  # bytes that are missing read as 0, so one that was 0 is not missed


def test_without_checksums_flipped_bits_would_give_wrong_values(scratch: Path, sound: tuple[dict[str, bytes], Told]) -> None:
    # Shows that the test above can fail: SQLite alone does not notice.
    files, truth = sound
    wrong = 0
    for number, damaged in enumerate(flips(files)):
        if number % 10 == 0:
            put(scratch / "s", damaged)
            try:
                with closing(sqlite3.connect(scratch / "s" / "ledger.db")) as connection:
                    rows = [json.loads(row[0]) for row in connection.execute("SELECT body FROM events ORDER BY seq")]
            except (sqlite3.Error, ValueError):
                continue
            wrong += any(row.get("body") != body for row, (_, body) in zip(rows, truth, strict=False))
    assert wrong > 0


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"no database at all", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_ledger_is_refused_by_name_and_repair_puts_it_aside(tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "s", {"ledger.db": content})
    for read in (read_events, Ledger.open):
        with pytest.raises(LedgerDamaged, match=r"s/ledger\.db is damaged: .*'paretune resume NAME --repair'"):
            read(tmp_path / "s")
    report = repair(tmp_path / "s")
    assert report.kept == 0
    assert report.moved[0].read_bytes() == content
    Ledger.create(tmp_path / "s", {}).close()


def test_repair_keeps_the_events_before_the_damage_and_every_damaged_file(tmp_path: Path, sound: tuple[dict[str, bytes], Told]) -> None:
    files, truth = sound
    folder = tmp_path / "s"
    data = bytearray(files["ledger.db"])
    data[data.index(b'"index":20,') + 9] ^= 1
    files = {**files, "ledger.db": bytes(data)}
    put(folder, files)
    with pytest.raises(LedgerDamaged, match="event 23 fails its checksum"):  # created, opened, then index 0 is event 3
        Ledger.open(folder)
    report = repair(folder)
    assert (report.kept, report.reason) == (22, f"{folder / 'ledger.db'} is damaged: event 23 fails its checksum")
    assert {path.name: path.read_bytes() for path in report.moved if path.suffix != ".db-shm"} == {
        "ledger.damaged-1.db": files["ledger.db"],
        "ledger.damaged-1.db-wal": files["ledger.db-wal"],
    }
    assert tell(read_events(folder)) == truth[:22]
    with Ledger.open(folder) as ledger:
        ledger.append([("finished", {"index": 20})])
    assert [event.seq for event in read_events(folder)] == list(range(1, 25))


def test_damage_that_sqlite_cannot_even_describe_is_refused_by_name(tmp_path: Path, sound: tuple[dict[str, bytes], Told]) -> None:
    # SQLite quotes the table's name in its message, which then is no UTF-8: Python's sqlite3 raises UnicodeDecodeError for it.
    files, _ = sound
    data = bytearray(files["ledger.db"])
    data[data.index(b"tableeventsevents") + len("tableevent")] ^= 0x80
    put(tmp_path / "s", {"ledger.db": bytes(data)})
    for read in (read_events, Ledger.open):
        with pytest.raises(LedgerDamaged, match=r"s/ledger\.db is damaged"):
            read(tmp_path / "s")
    assert repair(tmp_path / "s").kept == 0


def test_repair_leaves_a_sound_ledger_alone(tmp_path: Path, sound: tuple[dict[str, bytes], Told]) -> None:
    files, truth = sound
    put(tmp_path / "s", files)
    report = repair(tmp_path / "s")
    assert (report.kept, report.reason, report.moved) == (len(truth), "", ())
    assert (tmp_path / "s" / "ledger.db").read_bytes() == files["ledger.db"]


def test_an_altered_frame_is_made_anew_from_the_first_event(tmp_path: Path, sound: tuple[dict[str, bytes], Told]) -> None:
    files, truth = sound
    put(tmp_path / "s", files)
    with closing(sqlite3.connect(tmp_path / "s" / "ledger.db", isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = 'other' WHERE key = 'ledger'")
    with pytest.raises(LedgerDamaged, match="its frame and its first event name different ledgers"):
        Ledger.open(tmp_path / "s")
    assert repair(tmp_path / "s").kept == len(truth)
    assert tell(open_and_read(tmp_path / "s")) == truth


def test_while_a_repair_is_unfinished_nothing_else_opens_the_ledger(tmp_path: Path, sound: tuple[dict[str, bytes], Told]) -> None:
    files, truth = sound
    put(tmp_path / "s", files)
    Ledger.open(tmp_path / "s").close()
    shutil.copy(tmp_path / "s" / "ledger.db", tmp_path / "s" / "ledger.db.repaired")
    for read in (read_events, Ledger.open):
        with pytest.raises(LedgerDamaged, match="its repair was interrupted; call 'paretune resume NAME --repair' again"):
            read(tmp_path / "s")
    assert repair(tmp_path / "s").kept == len(truth) + 1
    assert tell(read_events(tmp_path / "s"))[:-1] == truth
