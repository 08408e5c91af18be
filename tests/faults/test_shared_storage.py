"""The head's disk is lost with the driver: another driver goes on from the shared storage, on a real Ray cluster."""

import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_cluster import Driver, SmallCluster, check_sound, small_cluster, until, witnessed

from paretune.platform.record.ledger_copy import read_copy
from paretune.platform.record.results import list_results
from paretune.platform.study.study import read_history
from paretune.testing.evaluators import HOLD
from paretune.testing.studies import front_json

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]
TRIALS = ("--trials", "12", "--workers", "2", "--work-s", "0.5")
Start = Callable[..., Driver]


@pytest.fixture(scope="module")
def cluster() -> Iterator[SmallCluster]:
    """A cluster that outlives its drivers, with room for two: a stopped driver keeps what its workers hold."""
    with small_cluster(cpus=4, tags={"edge_pi4": 2}) as made:
        yield made


@pytest.fixture
def start(start: Start) -> Start:
    """Starts drivers of twelve candidates."""
    return lambda folder, address, *arguments: start(folder, address, *TRIALS, *arguments)


def test_without_the_head_and_its_disk_the_study_goes_on_from_the_shared_storage(
    cluster: SmallCluster, start: Start, tmp_path: Path
) -> None:
    folder, shared = tmp_path / "headless", tmp_path / "shared"
    shared.mkdir()
    driver = start("headless", cluster.address, "--shared", str(shared))
    for done in (3, 7):
        until(lambda done=done: sum(words[0] == "done" for words in witnessed(folder)) >= done, driver)  # type: ignore[misc]
        driver.process.kill()
        driver.process.wait()
        assert not list((folder / "study").glob("work/*/*.json"))
        shutil.rmtree(folder / "study")
        finished = len(list(list_results(shared / "study")))
        assert finished >= done
        driver = start("headless", cluster.address, "--from", str(shared))
    second = start("second", cluster.address, "--from", str(shared), "--witness", str(folder / "witness"))  # at the same moment
    codes = {"headless": driver.wait(300), "second": second.wait(300)}
    assert sorted(codes.values()) == [0, 75], driver.said()[-4000:] + second.said()[-4000:]
    winner, loser = (driver, second) if codes["second"] else (second, driver)
    assert "study 'study' is being run by pid" in loser.said()
    history = read_history(winner.log.parent / "study")
    check_sound(folder, history, trials=12)
    assert history.num_sessions == 3
    assert len(read_copy(shared / "study").rows) == history.last_seq
    undisturbed = start("baseline", None)
    assert undisturbed.wait(300) == 0, undisturbed.said()[-4000:]
    baseline = read_history(tmp_path / "baseline" / "study")
    assert front_json(history) == front_json(baseline)
    assert [record.job for record in history.search_records()] == [record.job for record in baseline.search_records()]


def test_a_driver_that_was_stopped_and_replaced_from_elsewhere_writes_nothing_more(
    cluster: SmallCluster, start: Start, tmp_path: Path
) -> None:
    shared, folder = tmp_path / "shared", tmp_path / "first"
    shared.mkdir()
    driver = start("first", cluster.address, "--shared", str(shared))
    until(lambda: sum(words[0] == "done" for words in witnessed(folder)) >= 2, driver)
    hold = folder / "witness" / HOLD
    hold.touch()
    refused = start("other", cluster.address, "--from", str(shared))
    assert refused.wait(60) == 75
    assert not (tmp_path / "other" / "study").exists()
    driver.process.send_signal(signal.SIGSTOP)
    time.sleep(1.0)
    taken = start("other", cluster.address, "--from", str(shared), "--takeover")
    until(lambda: (tmp_path / "other" / "study" / "ledger.db").exists(), taken)
    hold.unlink()
    assert taken.wait(300) == 0, taken.said()[-4000:]
    driver.process.send_signal(signal.SIGCONT)
    assert driver.wait(120) == 75, driver.said()[-4000:]
    assert "was taken over" in driver.said()
    assert len(read_copy(shared / "study").rows) == read_history(tmp_path / "other" / "study").last_seq
