"""The road a new user takes, through real processes and a real local Ray: run, look, resume, export."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
TINY = ["budget.trials=4", "training.epochs=1", "final.epochs=1", "final.seeds=2", "searcher.population=2", "tracking.uri=none"]

pytestmark = pytest.mark.ray


def paretune(*words: str, folder: Path, timeout_s: float = 240.0) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "paretune", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the shipped study was run with a tiny budget."""
    folder = tmp_path_factory.mktemp("home")
    settings = [word for pair in TINY for word in ("--set", pair)]
    done = paretune("run", str(ROOT / "studies" / "digits.yaml"), *settings, folder=folder)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for next_step in ("report.html", "networks", "paretune resume digits"):
        assert next_step in done.stdout
    return folder


def results(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / "runs" / "digits" / "results").rglob("*.json")}


def test_run_leaves_a_report_and_networks_that_onnx_runtime_loads(home: Path) -> None:
    from onnxruntime import InferenceSession

    assert (home / "runs" / "digits" / "report.html").stat().st_size > 100_000
    networks = sorted((home / "runs" / "digits" / "networks").iterdir())
    assert networks
    for network in networks:
        assert InferenceSession(str(network / "network.onnx")).get_inputs()[0].shape[1:] == [1, 8, 8]


def test_an_exported_network_is_used_without_paretune(home: Path) -> None:
    network = sorted((home / "runs" / "digits" / "networks").iterdir())[0]
    command = [sys.executable, str(ROOT / "examples" / "use_network.py"), str(network)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    metrics = json.loads((network / "network.json").read_text())["metadata"]["metrics"]
    # The test set is a part of all digits, most of the others were learned.
    assert float(done.stdout.split()[0]) >= 100 * metrics["test.accuracy"] - 1


def test_status_json_is_json_and_counts_what_was_trained(home: Path) -> None:
    done = paretune("status", "digits", "--json", folder=home)
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    assert summary["status"] == "finished"
    assert summary["counts"]["finished"] == 4
    assert summary["counts"]["final"] == 2 * len(summary["front"])
    assert all("test.accuracy" in final["metrics"] for final in summary["finals"])


def test_second_run_of_the_same_name_is_refused_with_both_ways_on(home: Path) -> None:
    done = paretune("run", str(ROOT / "studies" / "digits.yaml"), folder=home)
    assert done.returncode == 2
    assert "paretune resume digits" in done.stderr
    assert "--name digits-2" in done.stderr
    assert "Traceback" not in done.stderr


def test_resume_with_a_larger_budget_trains_only_the_new_candidates(home: Path) -> None:
    before = results(home)
    done = paretune("resume", "digits", "--set", "budget.trials=5", folder=home)
    assert done.returncode == 0, done.stderr
    after = results(home)
    assert {name: after[name] for name in before} == before
    summary = json.loads(paretune("status", "digits", "--json", folder=home).stdout)
    assert summary["counts"]["finished"] == 5


def test_resume_with_another_space_is_refused_by_field(home: Path) -> None:
    done = paretune("resume", "digits", "--set", "space.stages=2", folder=home)
    assert done.returncode == 2
    assert "space.stages" in done.stderr
    assert "not allowed" in done.stderr
    assert "Traceback" not in done.stderr


def test_export_of_a_candidate_off_the_front_trains_it_first(home: Path) -> None:
    summary = json.loads(paretune("status", "digits", "--json", folder=home).stdout)
    front = {final["candidate"] for final in summary["finals"]}
    other = next(number for number in range(5) if number not in front)
    done = paretune("export", "digits", "--candidate", str(other), "--to", "taken-out", folder=home)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (home / "taken-out").iterdir()} == {"network.onnx", "network.safetensors", "network.json"}
    again = paretune("export", "digits", "--candidate", str(other), "--to", "taken-out", folder=home)
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_unknown_study_names_the_near_one(home: Path) -> None:
    done = paretune("status", "digts", folder=home)
    assert done.returncode == 2
    assert "Did you mean 'digits'?" in done.stderr


@pytest.mark.parametrize("moment", ["starting a local Ray", "of 64"])
def test_ctrl_c_names_the_resume_command_and_leaves_nothing_running(moment: str, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PARETUNE_TEST_MARK": mark}
    command = [sys.executable, "-m", "paretune", "run", str(ROOT / "studies" / "digits.yaml"), "--set", "training.epochs=1"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as run:
        assert run.stderr is not None
        next(line for line in run.stderr if moment in line)
        run.send_signal(signal.SIGINT)
        said = run.stderr.read()
        assert run.wait(timeout=30) == 130
    assert "Nothing is lost. Go on with: paretune resume digits" in said
    assert "Traceback" not in said
    assert orphans(mark) == []
    assert json.loads(paretune("status", "digits", "--json", folder=tmp_path).stdout)["status"] == "stopped"


def orphans(mark: str) -> list[int]:
    """What inherited the mark and still runs after a moment."""
    deadline_s = time.monotonic() + 10
    while (found := [pid for pid in psutil.pids() if _has_mark(pid, mark)]) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return found


def _has_mark(pid: int, mark: str) -> bool:
    try:
        return psutil.Process(pid).environ().get("PARETUNE_TEST_MARK") == mark and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def test_python_example_runs_as_it_is_printed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "digits.py")], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert (tmp_path / "runs" / "digits-python" / "report.html").exists()


def test_drop_in_example_searches_in_an_ordinary_tune_script(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "ray_tune_drop_in.py")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    configs = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(configs) == 20
    assert len({line.split("}")[0] for line in configs}) == 20  # no architecture twice
