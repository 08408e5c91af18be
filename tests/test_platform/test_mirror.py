"""The MLflow mirror against real MLflow: SQLite stores, a real server, and real kills."""

import contextlib
import http.server
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from paretune.core.trial import Outcome
from paretune.platform.mirror import mirror_state, start_mirror, sync
from paretune.platform.mirror.__main__ import remember_missing
from paretune.platform.mirror.lock import ProcessLock
from paretune.platform.mirror.names import entity_name, metric_name
from paretune.platform.mirror.state import MIRROR_FILE
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Evaluation
from paretune.platform.record.ledger import read_events
from paretune.platform.report import write_report

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own use of SQLAlchemy, when the tests read it
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # connections that MLflow leaves to the garbage collector
]
MlflowClient = pytest.importorskip("mlflow").MlflowClient


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def history_of(folder: Path) -> History:
    return History.fold(read_events(folder))


def assert_equals_ledger(tracking_uri: str, folder: Path, experiment: str) -> dict[str, Any]:
    """Every finished candidate is one run with its values; returns the runs by key."""
    client = MlflowClient(tracking_uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=5000)
    history = history_of(folder)
    finished = {record.job.id: record for record in history.records.values() if record.evaluation and not record.screened}
    assert Counter(run.data.tags["paretune.key"] for run in runs) == Counter([*finished, "study"])
    by_key = {run.data.tags["paretune.key"]: run for run in runs}
    front = {record.job.id for record in history.front()}
    for key, record in finished.items():
        run = by_key[key]
        assert run.data.tags["mlflow.parentRunId"] == by_key["study"].info.run_id
        assert run.data.tags["paretune.outcome"] == record.outcome
        assert run.data.params == {name: str(choice) for name, choice in record.choices.items() if name != "activation"}
        assert run.data.tags["paretune.choice.activation"] == record.choices["activation"]  # no number: no axis of a plot
        wanted = {metric_name(name): value * (1000 if name.endswith("_s") else 1) for name, value in record.metrics.items()}
        assert {name: value for name, value in run.data.metrics.items() if not name.startswith("curve.")} == pytest.approx(wanted)
        assert run.info.status == ("FINISHED" if record.outcome is Outcome.OK else "FAILED")
        if record.job.purpose == "search":
            assert run.data.tags["paretune.front"] == str(key in front).lower()
    return by_key


@pytest.mark.parametrize("name", ["a//b", "../x", "x\n", "Größe", "..", "", " a ", "a" * 300, "😀", "stage1.width", "a b-c_d.e"])
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    _validate_param_name(entity_name(name))
    _validate_metric_name(entity_name(name))


def test_names_that_mlflow_takes_stay_and_others_stay_apart() -> None:
    assert entity_name("stage1.block2.kernel") == "stage1.block2.kernel"
    assert len({entity_name(name) for name in ("a/b", "a_b", "a:b", "a\nb", "a\tb")}) == 5


def test_metrics_are_named_with_the_unit_of_their_values() -> None:
    assert [metric_name(name) for name in ("host.latency_s", "energy_j", "peak_memory_bytes", "accuracy")] == [
        "host.latency_ms",
        "energy_mj",
        "peak_memory_bytes",
        "accuracy",
    ]


def test_modules_that_are_not_installed_are_looked_for_once_and_the_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("paretune_no_such_module", "colorsys", "json")
    for name in names[:2]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    remember_missing(names)
    assert sys.modules.pop("paretune_no_such_module", "not remembered") is None
    assert "colorsys" not in sys.modules  # installed: whoever needs it imports it
    assert sys.modules["json"] is json


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, which take 5 s to make."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """URI of an empty SQLite store of this test's own."""
    return f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}"


DRIVER = """
import sys, time
from pathlib import Path
from paretune.platform.mirror import start_mirror
mirrors = [start_mirror(Path(folder), sys.argv[1], "both") for folder in sys.argv[2:]]
print(*(mirror.pid for mirror in mirrors), flush=True)
time.sleep(600)
"""


def test_two_studies_on_a_new_store_are_mirrored_even_though_their_driver_was_killed(sample_study: Any, tmp_path: Path) -> None:
    first, second = sample_study("first").search(8).screen(2), sample_study("second", seed=8).search(5)
    first.retrain(history_of(first.folder).front()[:2], seeds=2)
    write_report(first.folder)
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    command = [sys.executable, "-c", DRIVER, uri, str(first.folder), str(second.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        driver.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids))
    assert [mirror_state(study.folder).waiting for study in (first, second)] == [0, 0]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("both")
    assert experiment.artifact_location.startswith((tmp_path / "new" / "mlartifacts").as_uri())
    parents = {
        run.data.tags["paretune.study"]: run for run in client.search_runs([experiment.experiment_id], "tags.paretune.key = 'study'")
    }
    assert set(parents) == {"first", "second"}
    assert parents["first"].info.status == "FINISHED"
    assert parents["first"].data.tags["paretune.screened"] == "2"
    assert {item.path for item in client.list_artifacts(parents["first"].info.run_id)} == {"report.html", "spec.yaml", "candidates.json"}
    runs = client.search_runs([experiment.experiment_id], f"tags.paretune.study_id = '{parents['first'].data.tags['paretune.study_id']}'")
    assert len(runs) == 1 + 8 + 4
    curve = client.get_metric_history(next(run.info.run_id for run in runs if "curve.loss" in run.data.metrics), "curve.loss")
    assert [point.step for point in curve] in ([*range(1, 7)], [*range(1, 21)])


def test_the_front_moves_and_runs_of_lost_answers_are_found_again(sample_study: Any, store: str) -> None:
    study, uri = sample_study("digits").search(6), store
    assert sync(study.folder, uri).waiting == 0
    before = assert_equals_ledger(uri, study.folder, "digits")
    assert before["study"].info.status == "KILLED"  # ended before its search did; it may be resumed
    first, second = (record.job.id for record in history_of(study.folder).arrivals()[:2])
    # A crash between the server's answer and the note of it, for one candidate and the study; and for another candidate a
    # request that timed out, was looked for in vain, made again, and then carried out after all.
    with contextlib.closing(sqlite3.connect(study.folder / MIRROR_FILE, isolation_level=None)) as memory:
        memory.execute("UPDATE runs SET state = 'sending', run_id = NULL WHERE key IN (?, 'study')", (first,))
        memory.execute("UPDATE runs SET doubtful = 1 WHERE key = ?", (second,))
    twin, client = before[second], MlflowClient(uri)
    client.create_run(twin.info.experiment_id, tags={name: value for name, value in twin.data.tags.items() if name.startswith("paretune")})
    metrics = {"accuracy": 0.999, "host.latency_s": 1e-5, "parameters": 10.0}  # better than everything, so it is the front
    details = {"curve": [{"loss": 1.0, "note": "no number"}, "no record"]}
    study.finish(study.ask(), Evaluation(outcome=Outcome.OK, metrics=metrics, details=details))
    state = sync(study.folder, uri)
    assert (state.mirrored, state.waiting, state.message) == (7, 0, "")
    after = assert_equals_ledger(uri, study.folder, "digits")
    assert {key: run.info.run_id for key, run in before.items()}.items() <= {key: run.info.run_id for key, run in after.items()}.items()
    points = client.get_metric_history(after["study"].info.run_id, "hypervolume")
    assert [point.step for point in points] == [1, 2, 3, 4, 5, 6, 7]
    assert points[-1].value == pytest.approx((0.999 - 0.8) * (0.002 - 1e-5))  # one point: its box to the reference point


def test_kills_at_random_moments_leave_one_run_for_each_candidate(sample_study: Any, store: str) -> None:
    study, uri = sample_study("digits").search(120), store
    moments = random.Random(int(os.environ.get("PARETUNE_KILL_SEED", "1")))
    kills = 0
    for goal in (1, 10, 20):
        mirror = start_mirror(study.folder, uri)
        wait_until(lambda goal=goal: (study.folder / MIRROR_FILE).exists() and mirror_state(study.folder).mirrored >= goal)
        time.sleep(moments.uniform(0.0, 0.2))
        kills += mirror.running() and mirror.state().waiting > 0
        mirror.kill()
    assert kills >= 2, "the mirror was too fast for the test to mean anything"
    assert sync(study.folder, uri).waiting == 0
    assert_equals_ledger(uri, study.folder, "digits")


def test_a_second_mirror_of_a_study_is_refused(sample_study: Any, tmp_path: Path) -> None:
    study = sample_study("digits").search(1)
    lock = ProcessLock(study.folder)
    assert lock.try_acquire()
    command = [sys.executable, "-m", "paretune.platform.mirror", str(study.folder), "--deadline", "0.1"]
    environment = {**os.environ, "PARETUNE_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, "another mirror" in result.stderr) == (75, True)
    assert not (tmp_path / "mlflow.db").exists()
    lock.release()


def test_candidates_of_an_experiment_in_the_trash_come_once_it_is_restored(sample_study: Any, store: str) -> None:
    study, client = sample_study("digits").search(3), MlflowClient(store)
    mirror = start_mirror(study.folder, store)
    wait_until(lambda: mirror.state().mirrored == 3)
    experiment = client.get_experiment_by_name("digits").experiment_id
    client.delete_experiment(experiment)
    study.search(4)
    wait_until(lambda: "was deleted" in mirror.state().message)
    state = mirror.finish(2.0)
    assert (state.mirrored, state.waiting, state.refused) == (3, 4, 0)
    later = sync(study.folder, store, timeout_s=10.0)  # in a new life
    assert later.waiting == 4
    assert "restore" in later.message, later.message
    client.restore_experiment(experiment)
    assert sync(study.folder, store).waiting == 0
    assert_equals_ledger(store, study.folder, "digits")


def test_what_was_refused_is_tried_again_in_the_next_life(sample_study: Any, store: str) -> None:
    study = sample_study("digits").search(2)
    assert sync(study.folder, store).waiting == 0
    candidate = history_of(study.folder).arrivals()[0].job.id
    with contextlib.closing(sqlite3.connect(study.folder / MIRROR_FILE, isolation_level=None)) as memory:
        memory.execute("UPDATE runs SET state = 'refused' WHERE key = ?", (candidate,))
    assert (mirror_state(study.folder).mirrored, mirror_state(study.folder).refused) == (1, 1)
    state = sync(study.folder, store)
    assert (state.mirrored, state.refused) == (2, 0)
    assert_equals_ledger(store, study.folder, "digits")


class _Moody(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status and body that the test chose."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.logins.append(self.headers.get("Authorization"))
        status, body = server.mood
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def moody_server() -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Moody) as server:
        server.mood, server.logins = (500, b"broken"), []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_failing_server_is_named_once_and_no_password_is_written(sample_study: Any, moody_server: Any, monkeypatch: Any) -> None:
    study = sample_study("digits").search(2)
    monkeypatch.setenv("CANARY", "s3cret-canary")
    mirror = start_mirror(study.folder, f"http://me:${{env:CANARY}}@127.0.0.1:{moody_server.server_port}")
    wait_until(lambda: "HTTP 500" in mirror.state().message)
    moody_server.mood = (401, b"who are you")
    wait_until(lambda: "MLFLOW_TRACKING_USERNAME" in mirror.state().message)
    moody_server.mood = (200, b"<html>a proxy's page</html>")
    wait_until(lambda: "no JSON" in mirror.state().message)
    state = mirror.finish(0.5)
    assert (state.mirrored, state.waiting) == (0, 2)
    assert not mirror.running()
    log = (study.folder / "mirror.log").read_text()
    assert log.count("HTTP 500") == log.count("refuses the login") == 1
    written = b"".join(path.read_bytes() for path in study.folder.iterdir() if path.is_file())
    assert b"s3cret" not in written
    assert "Basic bWU6czNjcmV0LWNhbmFyeQ==" in moody_server.logins  # base64 of me:s3cret-canary


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_server(port: int, store: str, folder: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    wait_until(lambda: answers(port), 90)
    return server


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def end_server(server: "subprocess.Popen[bytes]") -> None:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def test_a_server_that_dies_and_comes_back_gets_every_candidate_once(sample_study: Any, store: str, tmp_path: Path) -> None:
    study, port = sample_study("digits").search(3), free_port()
    server = start_server(port, store, tmp_path)
    try:
        mirror = start_mirror(study.folder, f"http://127.0.0.1:{port}")
        wait_until(lambda: mirror_state(study.folder).mirrored == 3, 90)
        study.search(20)
        wait_until(lambda: mirror_state(study.folder).mirrored >= 5)
        end_server(server)
        study.search(6)
        wait_until(lambda: "does not answer" in mirror.state().message)
        server = start_server(port, store, tmp_path)
        state = mirror.finish(90)
        assert (state.mirrored, state.waiting, state.message) == (29, 0, "")
        assert_equals_ledger(f"http://127.0.0.1:{port}", study.folder, "digits")
    finally:
        end_server(server)
