"""Studies in stages on several real Ray nodes: nodes die, are drained, lack a tag, lose their head. PARETUNE_FAULTS=full kills 30 nodes."""

import collections
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_cluster import SmallCluster, check_sound, environment, until, witnessed

from paretune.core.trial import Outcome
from paretune.platform.record.history import History
from paretune.platform.study.study import read_history
from paretune.testing.evaluators import HOLD
from paretune.testing.studies import front_json

FULL = os.environ.get("PARETUNE_FAULTS") == "full"
ROOT = Path(__file__).parents[2]
KILLS = 30 if FULL else 4
pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600 if FULL else 600)]


def command_line(folder: Path, name: str, *arguments: str) -> History:
    """`paretune run` on a study that really trains, and really measures in the actor of a device."""
    spec = {
        "version": 1,
        "name": name,
        "seed": 3,
        "task": {"name": "digits"},
        "space": {"name": "digits_conv", "stages": 1},
        "hardware": {"pi4": {"kind": "host", "tag": "edge_pi4", "max_relative_iqr": 10.0, "max_attempts": 1, "max_drift": 100.0}},
        "objectives": [
            {"metric": "accuracy", "goal": "max", "reference": 0.1},
            {"metric": "parameters", "goal": "min", "reference": 100000},
        ],
        "constraints": [{"metric": "pi4.latency_ms", "max": 10000}],
        "searcher": {"name": "nsga2", "population": 2},
        "budget": {"trials": 4},
        "training": {"epochs": 1},
        "run": {"workers": 2, "trial_timeout": "10m"},
        "tracking": {"uri": "none"},
        "storage": str(folder),
    }
    (folder / f"{name}.json").write_text(json.dumps(spec))  # JSON is YAML
    command = [sys.executable, "-m", "paretune", "run", f"{name}.json", "--quiet", *arguments]
    ended = subprocess.run(command, cwd=folder, env={**environment(), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=500)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return read_history(folder / name)


def test_a_study_on_four_nodes_gives_what_one_machine_gives(cluster: SmallCluster, tmp_path: Path) -> None:
    cluster.add("another", cpus=1)
    spread, alone = command_line(tmp_path, "spread", "--address", cluster.address), command_line(tmp_path, "alone")
    for ask, one, other in zip(range(4), spread.search_records(), alone.search_records(), strict=True):
        assert (one.job.ask_index, one.outcome) == (ask, Outcome.OK)
        assert one.job == other.job
        assert dict(one.metrics) | {"pi4.latency_s": 0.0} == dict(other.metrics) | {"pi4.latency_s": 0.0}  # time never repeats
    assert one.evaluation is not None
    stages = one.evaluation.details["stages"]
    assert stages["pi4"]["device"] == "pi4"
    assert stages["pi4"]["worker"] != stages["training"]["worker"]
    assert spread.stations == {"training": 2, "pi4": 1}


def test_killed_nodes_lose_and_repeat_nothing_and_cost_no_retries(cluster: SmallCluster, start: object, tmp_path: Path) -> None:
    trials, chance, folder = 4 * KILLS, random.Random(7), tmp_path / "killed"
    driver = start("killed", cluster.address, "--trials", str(trials), "--workers", "1", "--work-s", "1")  # type: ignore[operator]
    for number in range(KILLS):
        begun = len(witnessed(folder))
        until(lambda begun=begun: len(witnessed(folder)) > begun + 2, driver)  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 1.0))
        name, kind = [("training", {"cpus": 1}), ("edge", {"tags": {"edge_pi4": 1}})][number % 2]
        cluster.kill(name)
        cluster.add(name, **kind)  # type: ignore[arg-type]
    assert driver.wait(1200 if FULL else 300) == 0, driver.said()[-4000:]
    history = read_history(folder / "study")
    check_sound(folder, history, trials=trials)
    lost = collections.Counter(outcome for record in history.records.values() for outcome in record.lost_to)
    assert set(lost) <= {Outcome.PREEMPTED}
    assert lost[Outcome.PREEMPTED] > 0


def test_a_node_that_is_lost_for_good_leaves_its_candidates_to_the_one_that_is_left(
    cluster: SmallCluster, start: object, tmp_path: Path
) -> None:
    folder = tmp_path / "fewer"
    cluster.add("another", cpus=1)
    driver = start("fewer", cluster.address, "--trials", "8", "--workers", "2", "--work-s", "1")  # type: ignore[operator]
    until(lambda: sum(words[0] == "done" for words in witnessed(folder)) >= 2, driver)
    cluster.kill("another")
    assert driver.wait(300) == 0, driver.said()[-4000:]
    check_sound(folder, read_history(folder / "study"), trials=8)


def test_a_drained_node_is_left_at_a_checkpoint(cluster: SmallCluster, start: object, tmp_path: Path) -> None:
    folder = tmp_path / "drained"
    driver = start("drained", cluster.address, "--trials", "4", "--workers", "1", "--work-s", "5")  # type: ignore[operator]
    until(lambda: sum(words[0] == "step" for words in witnessed(folder)) >= 2, driver)
    hold = folder / "witness" / HOLD
    hold.touch()
    cluster.add("other", cpus=1)
    drained = cluster.drain("training", deadline_s=120)
    hold.unlink()
    assert drained.returncode == 0, drained.stderr
    assert driver.wait(300) == 0, driver.said()[-4000:]
    history = read_history(folder / "study")
    check_sound(folder, history, trials=4)
    assert [record.lost_to for record in history.search_records() if record.lost_to] == [(Outcome.PREEMPTED,)]


def test_a_tag_that_no_node_has_is_refused_by_name(cluster: SmallCluster, start: object, tmp_path: Path) -> None:
    driver = start("tagless", cluster.address, "--trials", "4", "--tag", "edge_pi5")  # type: ignore[operator]
    assert driver.wait(120) == 2
    assert "edge needs 1 edge_pi5 on one node; no node has 'edge_pi5'. Did you mean 'edge_pi4'?" in driver.said()
    assert not (tmp_path / "tagless" / "study").exists()  # nothing half made


def test_devices_that_do_not_come_back_pause_the_search_and_a_resume_measures_what_is_trained(
    cluster: SmallCluster, start: object, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    arguments = ("--trials", "8", "--workers", "1", "--work-s", "0.2", "--device-wait-s", "5")
    driver = start("gone", cluster.address, *arguments)  # type: ignore[operator]
    until(lambda: sum(words[0] == "done" for words in witnessed(folder)) >= 2, driver)
    cluster.kill("edge")
    assert driver.wait(120) == 75, driver.said()[-4000:]
    assert "nothing can be measured on 'edge': its device is gone" in driver.said()
    paused = read_history(folder / "study")
    assert all(record.outcome in (None, Outcome.OK) for record in paused.records.values())
    cluster.add("edge", tags={"edge_pi4": 1})
    assert start("gone", cluster.address, *arguments).wait(300) == 0  # type: ignore[operator]
    history = read_history(folder / "study")
    check_sound(folder, history, trials=8)
    undisturbed = start("baseline", None, *arguments)  # type: ignore[operator]
    assert undisturbed.wait(300) == 0
    assert front_json(history) == front_json(read_history(tmp_path / "baseline" / "study"))


def test_without_its_head_the_driver_ends_and_a_new_head_goes_on(cluster: SmallCluster, start: object, tmp_path: Path) -> None:
    folder = tmp_path / "headless"
    driver = start("headless", cluster.address, "--trials", "4", "--workers", "1", "--work-s", "10")  # type: ignore[operator]
    until(lambda: sum(words[0] == "step" for words in witnessed(folder)) >= 7, driver)  # the second is being trained
    cluster.kill_gcs()  # the last test of this cluster
    killed_s = time.monotonic()
    assert driver.wait(90) == 75, driver.said()[-4000:]
    assert time.monotonic() - killed_s < 90
    assert "the Ray cluster went away" in driver.said()
    assert start("headless", None, "--trials", "4", "--work-s", "1").wait(300) == 0  # type: ignore[operator]
    history = read_history(folder / "study")
    check_sound(folder, history, trials=4)  # nor was it taken for out of time while its worker had no head to ask
