"""Storage that is missing, removed, replaced, read-only or of the wrong kind under a ledger: named, without an error of SQLite's."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from paretune.core.errors import BadInput, ParetuneError, StorageError
from paretune.platform.record.ledger import Ledger, read_events, repair

UNPRIVILEGED = """
import os, sys
from pathlib import Path
from paretune.platform.record.ledger import Ledger, read_events
folder = Path(sys.argv[1])
import importlib.metadata  # what is imported later must be readable by the other user
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for action in (lambda: Ledger.create(folder.parent / "new", {}), lambda: Ledger.open(folder), lambda: read_events(folder)):
    try:
        action()
        print("none")
    except BaseException as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize("action", [Ledger.open, read_events])
def test_a_folder_without_a_study_is_named(tmp_path: Path, action: Callable[[Path], object]) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadInput, match=re.escape(f"{folder}: no study here")):
            action(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for action in (lambda: Ledger.create(file, {}), lambda: Ledger.open(file), lambda: read_events(file), lambda: repair(file)):
        with pytest.raises(BadInput, match=r"is not a folder|no study here|no such folder"):
            action()
    with pytest.raises((BadInput, StorageError), match="file"):
        Ledger.create(file / "below", {})


def test_a_loop_of_links_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for action in (lambda: Ledger.create(loop, {}), lambda: Ledger.open(loop), lambda: read_events(loop), lambda: repair(loop)):
        with pytest.raises(ParetuneError, match="loop") as caught:
            action()
        assert isinstance(caught.value, BadInput | StorageError)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["ledger.db", "LOCK"])
def test_a_link_pipe_or_folder_in_the_place_of_a_file_is_refused_and_not_followed(tmp_path: Path, kind: str, name: str) -> None:
    folder, elsewhere = tmp_path / "s", tmp_path / "elsewhere"
    Ledger.create(folder, {}).close()
    (folder / name).rename(elsewhere)
    before = elsewhere.read_bytes()
    if kind == "link":
        (folder / name).symlink_to(elsewhere)
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).mkdir()
    with pytest.raises(StorageError, match=r"symbolic link|regular file|directory"):
        Ledger.open(folder)
    assert elsewhere.read_bytes() == before


def test_a_read_only_folder_is_named_for_writers_and_can_be_read() -> None:
    home = Path(tempfile.mkdtemp())  # tmp_path is closed to the user whose rights the program takes
    folder = home / "s"
    try:
        Ledger.create(folder, {}).close()
        (folder / "LOCK").unlink()
        folder.chmod(0o555)
        home.chmod(0o555)
        program = subprocess.run([sys.executable, "-c", UNPRIVILEGED, str(folder)], capture_output=True, text=True, timeout=60, check=True)
        create, resume, read = program.stdout.splitlines()
        assert re.match(rf"StorageError cannot make the folder {home / 'new'}: Permission denied", create)
        assert re.match(rf"StorageError cannot lock the study in {folder}: LOCK: Permission denied", resume)
        assert read == "none"
    finally:
        home.chmod(0o700)
        folder.chmod(0o700)
        shutil.rmtree(home)


def test_storage_that_is_removed_during_the_run_is_noticed_by_the_next_append(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with Ledger.create(folder, {}) as ledger:
        shutil.rmtree(folder)
        with pytest.raises(StorageError, match=r"ledger\.db is gone .*the storage was removed while the study ran"):
            ledger.append([("asked", {})])
        with pytest.raises(StorageError, match=r"nothing more is written after an earlier error: .* is gone"):
            ledger.append([("asked", {})])
    assert not folder.exists()


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
def test_a_file_of_the_ledger_that_is_removed_or_replaced_is_noticed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "s"
    with Ledger.create(folder, {}) as ledger:
        (folder / name).rename(folder / "away")
        with pytest.raises(StorageError, match=f"{name} is gone"):
            ledger.append([("asked", {})])
    shutil.rmtree(folder)
    with Ledger.create(folder, {}) as ledger:
        shutil.copy(folder / name, folder / "copy")
        (folder / "copy").rename(folder / name)
        with pytest.raises(StorageError, match=f"{name} was replaced by another file"):
            ledger.append([("asked", {})])


def test_a_driver_whose_folder_was_replaced_leaves_the_new_study_alone(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    old = Ledger.create(folder, {"old": True})
    folder.rename(tmp_path / "away")
    new = Ledger.create(folder, {"new": True})
    new.append([("asked", {"index": 0})])
    with pytest.raises(StorageError, match="was replaced"):
        old.append([("asked", {"index": 99})])
    old.close()  # SQLite would delete the log at this path if it took the file for its own
    assert (folder / "ledger.db-wal").exists()
    new.append([("asked", {"index": 1})])
    new.close()
    assert [event.body for event in read_events(folder) if event.kind != "opened"] == [{"new": True}, {"index": 0}, {"index": 1}]
    assert [event.body for event in read_events(tmp_path / "away") if event.kind != "opened"] == [{"old": True}]


def test_a_ledger_that_was_put_back_to_an_older_state_under_the_writer_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with Ledger.create(folder, {}) as ledger:
        ledger.append([("asked", {"index": 0})])
        ledger._connection.execute("DELETE FROM events WHERE seq = 3")
        with pytest.raises(StorageError, match="it ends before event 3, which was written"):
            ledger.append([("asked", {"index": 1})])
