"""P5: one driver writes; a second is refused by name; a driver that wakes up after being replaced can write nothing."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paretune.core.errors import StudyLocked
from paretune.platform.record.ledger import Ledger, read_events
from paretune.platform.record.lock import StudyLock, read_owner, this_process

RACES = 50
DRIVER = """
import sys
from pathlib import Path
from paretune.core.errors import ParetuneError
from paretune.platform.record.ledger import Ledger
folder = Path(sys.argv[1])
{setup}
try:
    with Ledger.open(folder) as ledger:
        print("open", ledger.epoch, flush=True)
        for line in sys.stdin:
            ledger.append([("asked", {{"by": "driver", "line": line.strip()}})])
            print("appended", flush=True)
except ParetuneError as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(error.exit_code)
"""
RACER = """
import sys, time
from pathlib import Path
from paretune.core.errors import BadInput, StudyLocked
from paretune.platform.record.ledger import Ledger
{setup}
for line in sys.stdin:
    folder, start_s, how = line.split()
    while time.monotonic() < float(start_s):
        pass
    try:
        ledger = Ledger.create(Path(folder), {{}}) if how == "create" else Ledger.open(Path(folder))
    except (StudyLocked, BadInput) as error:
        print(type(error).__name__, error, flush=True)
        sys.stdin.readline()
    else:
        print("won", flush=True)
        sys.stdin.readline()
        ledger.close()
    print("closed", flush=True)
"""


class Program:
    """A Python process that answers lines with lines."""

    def __init__(self, text: str, *arguments: object, setup: str = "") -> None:
        command = [sys.executable, "-c", text.format(setup=setup), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.kill()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        return self.process.wait(timeout=30)


def race(tmp_path: Path, how: str, rounds: int, *, setup: str = "") -> list[list[str]]:
    """What three processes say that start or open one study at the same moment, again and again."""
    racers = [Program(RACER, setup=setup) for _ in range(3)]
    answers = []
    try:
        for number in range(rounds):
            folder = tmp_path / (f"study-{number}" if how == "create" else "study")
            for racer in racers:
                racer.say(f"{folder} {time.monotonic() + 0.005} {how}")
            answers.append([racer.hear() for racer in racers])
            for racer in racers:
                racer.say("close")
            assert [racer.hear() for racer in racers] == ["closed"] * 3
    finally:
        for racer in racers:
            racer.end()
    return answers


def test_p5_of_drivers_that_resume_at_once_exactly_one_wins(tmp_path: Path) -> None:
    Ledger.create(tmp_path / "study", {}).close()
    for answers in race(tmp_path, "open", RACES):
        assert answers.count("won") == 1
        for answer in answers:
            assert answer == "won" or re.match(r"StudyLocked study 'study' is being run by (pid \d+ on host|another process)", answer)
    epochs = [event.epoch for event in read_events(tmp_path / "study")]
    assert epochs == list(range(RACES + 2))  # created, opened here, and once for each race


def test_p5_of_drivers_that_start_one_study_at_once_exactly_one_wins(tmp_path: Path) -> None:
    for number, answers in enumerate(race(tmp_path, "create", RACES)):
        assert answers.count("won") == 1
        assert [event.kind for event in read_events(tmp_path / f"study-{number}")] == ["created", "opened"]


def test_the_race_finds_a_lock_that_does_not_lock(tmp_path: Path) -> None:
    Ledger.create(tmp_path / "study", {}).close()
    setup = "import paretune.platform.record.lock as lock; lock._try_lock = lambda descriptor, path: True"
    assert any(answers.count("won") > 1 for answers in race(tmp_path, "open", 20, setup=setup))


def test_p5_a_second_driver_is_refused_with_pid_host_time_and_what_to_do(tmp_path: Path) -> None:
    Ledger.create(tmp_path / "kws", {}).close()
    driver = Program(DRIVER, tmp_path / "kws")
    try:
        assert driver.hear() == "open 2"
        expected = (
            rf"^study 'kws' is being run by pid {driver.process.pid} on host \S+ since \d\d:\d\d\. Wait, or take over with --takeover$"
        )
        with pytest.raises(StudyLocked, match=expected):
            Ledger.open(tmp_path / "kws")
        owner = read_owner(tmp_path / "kws")
        assert owner is not None
        assert owner.pid == driver.process.pid
    finally:
        driver.end()


def test_p5_a_stopped_driver_is_taken_over_and_can_write_nothing_when_it_wakes_up(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    Ledger.create(folder, {}).close()
    for _ in range(5):
        zombie = Program(DRIVER, folder)
        try:
            assert zombie.hear().startswith("open")
            zombie.say("alive")
            assert zombie.hear() == "appended"
            os.kill(zombie.process.pid, signal.SIGSTOP)
            zombie.say("dead")
            with pytest.raises(StudyLocked):
                Ledger.open(folder)
            with Ledger.open(folder, takeover=True) as ledger:
                os.kill(zombie.process.pid, signal.SIGCONT)
                assert zombie.hear().startswith("StudyTakenOver study 'study' was taken over by another process")
                assert zombie.process.wait(timeout=30) == 75
                ledger.append([("asked", {"by": "successor"})])
                with pytest.raises(StudyLocked):
                    Ledger.open(folder)
        finally:
            zombie.end()
    lines = [event.body.get("line", event.body["by"]) for event in read_events(folder) if event.kind == "asked"]
    assert lines == ["alive", "successor"] * 5


def test_p5_a_driver_stopped_inside_a_transaction_is_not_taken_over_but_named(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    Ledger.create(folder, {}).close()
    setup = "def stop(self, bodies):\n    self._connection.execute('BEGIN IMMEDIATE')\n    print('inside', flush=True)\n"
    setup += "    sys.stdin.readline()\nLedger._commit = stop"
    driver = Program(DRIVER, folder, setup=setup)
    try:
        driver.hear()
        driver.say("go")
        assert driver.hear() == "inside"
        text = "import sys; from pathlib import Path; import paretune.platform.record.sqlite_file as s; s.BUSY_S = 0.2\n"
        text += "from paretune.platform.record.ledger import Ledger\ntry: Ledger.open(Path(sys.argv[1]), takeover=True)\n"
        text += "except Exception as error: print(type(error).__name__, error)"
        second = subprocess.run([sys.executable, "-c", text, str(folder)], capture_output=True, text=True, timeout=60, check=True)
        assert re.match(rf"StudyLocked pid {driver.process.pid} on host .* end it: kill -9 {driver.process.pid}", second.stdout)
    finally:
        driver.end()
    Ledger.open(folder).close()


def test_p5_kill_9_frees_the_study_although_a_forked_child_lives_on(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    Ledger.create(folder, {}).close()
    fork = "import os, time\nat_open = Ledger.open(folder)\n"
    fork += "if os.fork() == 0:\n    print(os.getpid(), flush=True)\ntime.sleep(300)"  # the child itself says that it runs
    driver = Program(DRIVER, folder, setup=fork)
    child = int(driver.hear())
    driver.end()
    try:
        os.kill(child, 0)  # it lives
        with Ledger.open(folder) as ledger:
            assert ledger.epoch == 3
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_that_does_hold_the_lock_is_told_apart_from_a_living_driver(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    Ledger.create(folder, {}).close()
    fork = "import os, time\nfrom paretune.platform.record.lock import _held\n"
    fork += "at_open = Ledger.open(folder)\n_held.clear()\nchild = os.fork()\n"
    fork += "if child == 0:\n    time.sleep(300)\n    os._exit(0)\nprint(child, flush=True)\ntime.sleep(300)"
    driver = Program(DRIVER, folder, setup=fork)
    child = int(driver.hear())
    driver.end()
    try:
        with pytest.raises(StudyLocked, match=r"that process is gone, but a process it started still holds .*LOCK"):
            Ledger.open(folder)
        Ledger.open(folder, takeover=True).close()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff\xfe", b"[" * 4000, b'{"since_s": 1e300}'])
def test_an_unreadable_owner_record_is_no_reason_to_fail(tmp_path: Path, record: bytes) -> None:
    (tmp_path / "LOCK").write_bytes(record)
    assert read_owner(tmp_path) is None
    with (tmp_path / "LOCK").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StudyLocked, match="is being run by another process"):
            StudyLock.acquire(tmp_path)


def test_an_owner_record_cannot_steer_the_terminal(tmp_path: Path) -> None:
    lock = StudyLock.acquire(tmp_path)
    record = json.loads((tmp_path / "LOCK").read_text())
    (tmp_path / "LOCK").write_text(json.dumps({**record, "host": "a\x1b[2J\nb\u202e"}))
    owner = read_owner(tmp_path)
    assert owner is not None
    assert owner.host == "a[2Jb"
    lock.release()


def test_the_owner_record_tells_who_holds_the_lock_and_a_released_lock_is_free(tmp_path: Path) -> None:
    lock = StudyLock.acquire(tmp_path)
    owner = read_owner(tmp_path)
    assert owner == lock.owner
    assert owner is not None
    assert (owner.pid, owner.started) == (os.getpid(), this_process().started)
    lock.release()
    lock.release()
    StudyLock.acquire(tmp_path).release()
