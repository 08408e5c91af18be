"""The copy of a ledger on shared storage: what it holds at any moment, what is made of it elsewhere, and who may go on."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paretune.core.errors import BadInput, LedgerDamaged, StorageError, StudyLocked, StudyTakenOver, UnknownName
from paretune.platform.record.ledger import Ledger, read_events
from paretune.platform.record.ledger_copy import COPY_FOLDER, LedgerCopy, read_copy
from paretune.platform.record.shared import find_shared, link_shared, restore

RACES = 8
RACER = """
import sys, time
from pathlib import Path
from paretune.core.errors import StudyLocked
from paretune.platform.record.ledger import Ledger
from paretune.platform.record.shared import restore
for line in sys.stdin:
    shared, folder, start_s = line.split()
    while time.monotonic() < float(start_s):
        pass
    try:
        restore(Path(shared), Path(folder))
        ledger = Ledger.open(Path(folder), shared=Path(shared))
    except StudyLocked:
        print("refused", flush=True)
    else:
        print("open", flush=True)
        sys.stdin.readline()
        ledger.close()
        print("closed", flush=True)
"""


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """The study's folder on the shared storage."""
    return tmp_path / "shared" / "x"


@pytest.fixture
def begun(tmp_path: Path, shared: Path) -> Path:
    """The folder of a study on the first head, closed after three events of its own."""
    folder = tmp_path / "head" / "x"
    with Ledger.create(folder, {"name": "x"}, shared=shared) as ledger:
        ledger.append([("asked", {"number": 1})])
        ledger.append([("asked", {"number": 2}), ("finished", {"number": 1})])
    return folder


def told(folder: Path) -> list[tuple[str, object]]:
    return [(event.kind, event.body.get("number")) for event in read_events(folder) if event.kind not in ("created", "opened")]


def segment(shared: Path, number: int) -> Path:
    return shared / COPY_FOLDER / f"segment-{number:06d}.txt"


def test_every_event_is_in_the_copy_when_append_returns(tmp_path: Path, shared: Path) -> None:
    with Ledger.create(tmp_path / "x", {"name": "x"}, shared=shared) as ledger:
        for number in range(5):
            ledger.append([("asked", {"number": number}), ("started", {"text": "a line\nand ü"})])
            copied = read_copy(shared)
            assert (copied.damage, len(copied.rows)) == ("", 2 + 2 * (number + 1))
    assert [row[0] for row in copied.rows] == [event.seq for event in read_events(tmp_path / "x")]


def test_another_machine_goes_on_from_the_copy_with_the_same_events(begun: Path, shared: Path, tmp_path: Path) -> None:
    before = read_events(begun)
    shutil.rmtree(begun)
    other = tmp_path / "other" / "x"
    assert restore(shared, other).events == len(before)
    assert read_events(other) == before
    with Ledger.open(other, shared=shared) as ledger:
        ledger.append([("asked", {"number": 3})])
    third = tmp_path / "third" / "x"
    restore(shared, third)
    assert told(third) == [("asked", 1), ("asked", 2), ("finished", 1), ("asked", 3)]
    assert [event.epoch for event in read_events(third) if event.kind == "opened"] == [1, 2]


def test_a_copy_that_lags_behind_is_brought_level_when_the_study_is_opened(begun: Path, shared: Path) -> None:
    with Ledger.open(begun) as ledger:  # as if the process died before it reached the copy
        ledger.append([("asked", {"number": 9})])
    assert len(read_copy(shared).rows) < len(read_events(begun))
    with Ledger.open(begun, shared=shared):
        pass
    assert len(read_copy(shared).rows) == len(read_events(begun))


def test_a_copy_cut_at_any_byte_gives_the_whole_events_before(begun: Path, shared: Path, tmp_path: Path) -> None:
    whole = segment(shared, 1).read_bytes()
    rows = read_copy(shared).rows
    for length in range(len(whole)):
        segment(shared, 1).write_bytes(whole[:length])
        found = read_copy(shared)
        assert not found.damage
        assert found.rows == rows[: len(found.rows)]
        assert len(found.rows) >= whole[:length].count(b"\n") - 1
    segment(shared, 1).write_bytes(whole[: whole.index(b"\n") + 20])
    with pytest.raises(LedgerDamaged, match="it was cut off in its first event"):
        restore(shared, tmp_path / "other" / "x")
    assert not (tmp_path / "other").exists()


def test_no_flipped_bit_changes_an_event_unseen(begun: Path, shared: Path, tmp_path: Path) -> None:
    whole, rows = segment(shared, 1).read_bytes(), read_copy(shared).rows
    last = whole[:-1].rindex(b"\n") + 1
    for place in range(0, last, 7):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        segment(shared, 1).write_bytes(flipped)
        try:
            found = read_copy(shared)
        except BadInput:  # the number of the form: a newer program's
            continue
        if found.rows != rows:
            assert found.damage
            assert found.rows == rows[: len(found.rows)]
            with pytest.raises(LedgerDamaged):
                restore(shared, tmp_path / "other" / "x")


def test_a_repair_keeps_what_is_before_the_damage_and_the_study_goes_on_from_there(begun: Path, shared: Path, tmp_path: Path) -> None:
    data = segment(shared, 1).read_bytes()
    segment(shared, 1).write_bytes(data.replace(b'"number":2', b'"number":7'))
    other = tmp_path / "other" / "x"
    with pytest.raises(LedgerDamaged, match=r"3 events before it are sound.*--repair"):
        restore(shared, other)
    made = restore(shared, other, repair=True)
    assert (made.events, told(other)) == (3, [("asked", 1)])
    assert "event 4 in segment-000001.txt fails its checksum" in made.dropped
    with Ledger.open(other, shared=shared) as ledger:
        ledger.append([("asked", {"number": 5})])
    restore(shared, tmp_path / "third" / "x")
    assert told(tmp_path / "third" / "x") == [("asked", 1), ("asked", 5)]


def test_a_damaged_copy_is_made_anew_from_the_whole_ledger_that_is_here(begun: Path, shared: Path, tmp_path: Path) -> None:
    data, before = segment(shared, 1).read_bytes(), told(begun)
    segment(shared, 1).write_bytes(data.replace(b'"number":2', b'"number":7'))
    with pytest.raises(LedgerDamaged, match="--repair"):
        Ledger.open(begun, shared=shared)
    made = restore(shared, begun, repair=True)
    assert (made.events, made.moved) == (0, ())
    assert "event 4" in made.dropped
    Ledger.open(begun, shared=shared).close()
    assert told(begun) == before
    restore(shared, tmp_path / "other" / "x")
    assert told(tmp_path / "other" / "x") == before


def test_a_ledger_here_that_is_newer_than_the_copy_stays(begun: Path, shared: Path) -> None:
    with Ledger.open(begun) as ledger:
        ledger.append([("asked", {"number": 9})])
    before = read_events(begun)
    assert restore(shared, begun).events == 0
    assert read_events(begun) == before


def test_an_older_ledger_here_is_moved_aside(begun: Path, shared: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "x"
    restore(shared, other)
    with Ledger.open(other, shared=shared) as ledger:
        ledger.append([("asked", {"number": 3})])
    with pytest.raises(BadInput, match=r"went on elsewhere.* has 2 events .*paretune resume x --from"):
        Ledger.open(begun, shared=shared)
    made = restore(shared, begun)
    assert made.moved[0].name == "ledger.damaged-1.db"
    assert told(begun)[-1] == ("asked", 3)


def test_a_study_that_went_on_in_two_places_is_refused(begun: Path, shared: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "x"
    restore(shared, other)
    for folder, place in ((begun, None), (other, shared)):
        with Ledger.open(folder, shared=place) as ledger:
            ledger.append([("asked", {"number": 3})])
    with pytest.raises(BadInput, match="went on in two places after event 5"):
        restore(shared, begun)
    assert told(begun)[-1] == ("asked", 3)


def test_another_study_of_the_name_is_not_touched(begun: Path, shared: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "x"
    Ledger.create(other, {"name": "x"}).close()
    with pytest.raises(BadInput, match="another study of this name is here"):
        restore(shared, other)
    with pytest.raises(BadInput, match="the copy of another study is here"):
        Ledger.create(tmp_path / "third" / "x", {"name": "x"}, shared=shared)


def test_a_second_machine_is_refused_while_the_first_one_runs_the_study(begun: Path, shared: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "x"
    with Ledger.open(begun, shared=shared), pytest.raises(StudyLocked, match="is being run by pid"):
        restore(shared, other)
    assert not other.exists()


def test_a_machine_whose_study_was_taken_over_writes_nothing_more(begun: Path, shared: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "x"
    with Ledger.open(begun, shared=shared) as old:
        restore(shared, other, takeover=True)
        with Ledger.open(other, shared=shared, takeover=True) as new:
            with pytest.raises(StudyTakenOver):
                old.append([("asked", {"number": 8})])
            new.append([("asked", {"number": 3})])
    restore(shared, tmp_path / "third" / "x")
    assert told(tmp_path / "third" / "x") == [("asked", 1), ("asked", 2), ("finished", 1), ("asked", 3)]


def test_where_locks_do_not_hold_a_segment_is_still_begun_by_one_only(begun: Path, shared: Path) -> None:
    one = LedgerCopy.join(shared)
    (shared / "LOCK").unlink()  # a storage that forgets locks
    other = LedgerCopy.join(shared)
    one.begin_with((), "0" * 32)
    with pytest.raises(StudyLocked, match="at the same moment"):
        other.begin_with((), "0" * 32)
    one.close()
    other.close()


def test_of_two_machines_that_go_on_at_once_exactly_one_does(begun: Path, shared: Path, tmp_path: Path) -> None:
    command, pipe = [sys.executable, "-c", RACER], subprocess.PIPE
    racers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) for _ in range(2)]
    try:
        for race in range(RACES):
            start_s = time.monotonic() + (1.0 if race else 3.0)
            for number, racer in enumerate(racers):
                assert racer.stdin is not None
                racer.stdin.write(f"{shared} {tmp_path / f'race-{race}-{number}' / 'x'} {start_s}\n")
            said = [racer.stdout.readline().strip() for racer in racers if racer.stdout is not None]
            assert sorted(said) == ["open", "refused"]
            winner = racers[said.index("open")]
            assert winner.stdin is not None
            assert winner.stdout is not None
            winner.stdin.write("\n")
            assert winner.stdout.readline().strip() == "closed"
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert [event.kind for event in read_events(begun)] == ["created", "opened", "asked", "asked", "finished"]
    assert len(read_copy(shared).rows) == 5 + RACES


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), lambda path: shutil.rmtree(path.parents[1])])
def test_a_shared_storage_that_goes_away_stops_the_study_before_it_acknowledges(
    begun: Path, shared: Path, harm: Callable[[Path], None]
) -> None:
    with Ledger.open(begun, shared=shared) as ledger:
        harm(segment(shared, 2))
        with pytest.raises(StorageError):
            ledger.append([("asked", {"number": 3})])
        with pytest.raises(StorageError, match="nothing more is written"):
            ledger.append([("asked", {"number": 4})])


def test_the_study_is_found_by_name_alone_or_named_among_several(begun: Path, shared: Path, tmp_path: Path) -> None:
    storage = shared.parent
    assert find_shared(storage, None) == find_shared(storage, "x") == find_shared(shared, None) == shared
    with pytest.raises(UnknownName, match="unknown study 'y'"):
        find_shared(storage, "y")
    Ledger.create(tmp_path / "head" / "other", {"name": "other"}, shared=storage / "other").close()
    with pytest.raises(BadInput, match=r"2 studies there: other, x. Name one: paretune resume NAME --from"):
        find_shared(storage, None)
    with pytest.raises(BadInput, match="no study there"):
        find_shared(tmp_path, None)
    with pytest.raises(BadInput, match="Is the shared storage mounted here"):
        find_shared(tmp_path / "nowhere", None)
    shared.rename(storage / "y")
    with pytest.raises(BadInput, match="holds study 'x', so the folder must be called that"):
        restore(storage / "y", tmp_path / "other" / "y")


def test_results_are_reached_through_the_study_wherever_the_storage_is_mounted(begun: Path, shared: Path, tmp_path: Path) -> None:
    link_shared(begun, shared)
    (shared / "results" / "found").touch()
    assert (begun / "results" / "found").exists()
    elsewhere = tmp_path / "mounted" / "x"
    shutil.move(shared, elsewhere)
    link_shared(begun, elsewhere)
    assert (begun / "results" / "found").exists()
    (begun / "work").unlink()
    (begun / "work" / "job").mkdir(parents=True)
    with pytest.raises(BadInput, match="it began without shared storage"):
        link_shared(begun, elsewhere)
