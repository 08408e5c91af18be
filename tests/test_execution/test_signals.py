"""A real driver process with its local Ray: asked to stop, hurried, killed, started twice. Nothing it started may outlive it."""

import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

FAULTS = Path(__file__).parents[1] / "faults"
sys.path.insert(0, str(FAULTS))

from ray_kills import environment, uninterrupted_front  # noqa: E402 - a command of another folder

from paretune.platform.study.study import read_history  # noqa: E402
from paretune.testing.studies import front_json  # noqa: E402

TRIALS = 60
MARK = "PARETUNE_TEST_MARK"

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


class Driver:
    """One run of `study_driver.py`; everything that it starts inherits a mark."""

    def __init__(self, storage: Path) -> None:
        self.mark, self.witness = uuid.uuid4().hex, storage / "witness"
        self.witness.mkdir(exist_ok=True)
        self._began = self.num_started()
        command = [sys.executable, str(FAULTS / "study_driver.py"), str(storage), "study", "--trials", str(TRIALS), "--work-s", "0.2"]
        self.process = subprocess.Popen(
            [*command, "--witness", str(self.witness)],
            env={**environment(), MARK: self.mark},
            cwd=storage,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` may have it ignored
        )

    def num_started(self) -> int:
        return sum(file.read_text().count("start ") for file in self.witness.iterdir())

    def wait_for_work(self) -> None:
        deadline_s = time.monotonic() + 120
        while self.num_started() <= self._began + 3:
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

    def ended(self, *, within_s: float) -> tuple[int, str]:
        """Exit code and everything it said."""
        out, _ = self.process.communicate(timeout=within_s)
        return self.process.returncode, out

    def orphans(self, *, within_s: float = 10.0) -> list[str]:
        """Command lines of what carries the mark and still runs after a moment."""
        deadline_s = time.monotonic() + within_s
        while (found := self._marked()) and time.monotonic() < deadline_s:
            time.sleep(0.2)
        return found

    def _marked(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline())[:120])
            except psutil.Error:
                continue
        return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_asked_to_stop_ends_with_all_its_processes(number: signal.Signals, tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.wait_for_work()
    driver.process.send_signal(number)
    code, said = driver.ended(within_s=30)
    assert (code, said) == (128 + number, f"Interrupted: stopped by {number.name}\n")
    assert driver.orphans() == []
    history = read_history(tmp_path / "study")
    assert 0 < len(history.arrivals()) < TRIALS


def test_a_study_hurried_and_started_twice_and_killed_goes_on_to_the_uninterrupted_front(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.wait_for_work()
    second = Driver(tmp_path)  # while the first one runs
    code, said = second.ended(within_s=60)
    assert code == 75
    assert f"study 'study' is being run by pid {driver.process.pid} on host" in said
    assert driver.process.poll() is None

    driver.process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    driver.process.send_signal(signal.SIGINT)
    asked_s = time.monotonic()
    code, _ = driver.ended(within_s=30)
    assert code == 130
    assert time.monotonic() - asked_s < 2 + 3  # two seconds, and a busy machine
    assert driver.orphans() == []

    driver = Driver(tmp_path)
    driver.wait_for_work()
    driver.process.kill()
    driver.process.communicate()
    assert driver.orphans() == []  # Ray's processes end with their driver, workers with Ray, guards with their workers

    driver = Driver(tmp_path)
    code, said = driver.ended(within_s=300)
    assert (code, said) == (0, "")
    assert driver.orphans() == []
    done = [line.split()[1] for file in driver.witness.iterdir() for line in file.read_text().splitlines() if line.startswith("done")]
    assert len(done) == len(set(done)) == TRIALS
    assert front_json(read_history(tmp_path / "study")) == uninterrupted_front(tmp_path / "baseline", TRIALS)
    assert not list((tmp_path / "study" / "work").iterdir())


AFTER_RAY = """
import os, signal, sys
from paretune.platform.execution.cluster import ray_cluster
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with ray_cluster(address=None, num_cpus=1):
    pass
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_after_ray_has_ended_is_handled_as_before_it_started() -> None:
    """Ray leaves SIGTERM at the system's default: a study that writes its report died of it without a word."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AFTER_RAY], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 7, ended.stderr
