"""Nodes that join a real cluster while a study runs and do not fit: nothing of the study is done there, and it goes on where it can."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_cluster import SmallCluster, check_sound, until, witnessed

from paretune.core.trial import Outcome
from paretune.platform.record.history import History
from paretune.platform.study.study import read_history
from paretune.testing.studies import front_json

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
REFUSED = "joined and does not fit"


@pytest.fixture
def other_torch(tmp_path: Path) -> Path:
    """What a node finds before all else: the mark of another torch."""
    found = tmp_path / "other-torch" / "torch-2.9.0.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.0\n")
    return found.parent


@pytest.fixture
def other_paretune(tmp_path: Path) -> Path:
    """A paretune whose workers cannot even load what they are sent."""
    found = tmp_path / "other-paretune" / "paretune"
    found.mkdir(parents=True)
    (found / "__init__.py").write_text('__version__ = "0.0.9"\n')
    return found.parent


def check_moved(folder: Path, history: History, *, trials: int) -> None:
    """Nothing lost, nothing done twice, nobody failed; whoever was lost had to move."""
    check_sound(folder, history, trials=trials)
    assert {outcome for record in history.search_records() for outcome in record.lost_to} <= {Outcome.PREEMPTED}


def done(folder: Path) -> int:
    return sum(words[0] == "done" for words in witnessed(folder))


def test_candidates_move_from_nodes_that_do_not_fit_and_the_front_is_that_of_one_machine(
    cluster: SmallCluster, start: object, other_torch: Path, other_paretune: Path, tmp_path: Path
) -> None:
    arguments = ("--trials", "12", "--workers", "2")
    driver, folder = start("joined", cluster.address, *arguments, "--work-s", "8"), tmp_path / "joined"  # type: ignore[operator]
    until(lambda: done(folder) >= 1, driver)
    cluster.add("torch", cpus=1, packages=other_torch)  # where the second candidate has been waiting to go
    cluster.add("paretune", cpus=1, packages=other_paretune)
    until(lambda: driver.said().count(REFUSED) >= 2, driver)
    assert driver.wait(300) == 0, driver.said()[-4000:]
    history = read_history(folder / "study")
    check_moved(folder, history, trials=12)
    said = driver.said()
    assert said.count(REFUSED) == 2  # each node once
    rows = [line.split() for line in said.splitlines() if line.startswith("  ")]
    assert [row[1:2] for row in rows if row[-1] == "2.9.0"] == [["2.9.0"]]  # in the table of the first
    assert [row[1:2] for row in rows if "0.0.9" in row] == [["0.0.9"]]
    assert any(record.lost_to for record in history.search_records())
    alone = start("alone", None, *arguments, "--work-s", "0.1")  # type: ignore[operator]
    assert alone.wait(300) == 0, alone.said()[-4000:]
    assert front_json(history) == front_json(read_history(tmp_path / "alone" / "study"))


def test_where_only_nodes_that_do_not_fit_are_left_the_study_waits_and_says_so(
    cluster: SmallCluster, start: object, other_paretune: Path, tmp_path: Path
) -> None:
    driver, folder = start("waiting", cluster.address, "--trials", "8", "--workers", "1", "--work-s", "2"), tmp_path / "waiting"  # type: ignore[operator]
    until(lambda: len(witnessed(folder)) >= 1, driver)
    cluster.kill("training")
    cluster.add("paretune", cpus=1, packages=other_paretune)
    until(lambda: "nodes there that do not fit: 1" in driver.said(), driver)
    assert "no node can train (1 CPU on one node): waiting for a node to join" in driver.said()
    attempts = sum(len(record.lost_to) for record in read_history(folder / "study").records.values())
    assert attempts <= 3  # the killed node, the one that does not fit, and who was on the way there
    cluster.add("good", cpus=1)
    assert driver.wait(300) == 0, driver.said()[-4000:]
    check_moved(folder, read_history(folder / "study"), trials=8)
    assert driver.said().count(REFUSED) == 1


def test_the_only_node_with_a_tag_does_not_fit(cluster: SmallCluster, start: object, other_torch: Path, tmp_path: Path) -> None:
    arguments = ("--trials", "8", "--workers", "1", "--work-s", "0.2")
    driver, folder = start("tag", cluster.address, *arguments), tmp_path / "tag"  # type: ignore[operator]
    until(lambda: done(folder) >= 1, driver)
    cluster.kill("edge")
    cluster.add("odd", tags={"edge_pi4": 1}, packages=other_torch)
    until(lambda: REFUSED in driver.said(), driver)
    waiting = done(folder)
    until(lambda: "no device of 'edge' is there" in driver.said(), driver)
    assert done(folder) == waiting
    cluster.add("good", tags={"edge_pi4": 1})
    assert driver.wait(300) == 0, driver.said()[-4000:]
    history = read_history(folder / "study")
    check_moved(folder, history, trials=8)
    assert driver.said().count(REFUSED) == 1
    alone = start("alone", None, *arguments)  # type: ignore[operator]
    assert alone.wait(300) == 0, alone.said()[-4000:]
    assert front_json(history) == front_json(read_history(tmp_path / "alone" / "study"))
