"""MLflow as a team uses it: a real server on a real PostgreSQL, with users and passwords, and the registry."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from paretune.core.errors import BadInput, TemporaryError
from paretune.platform.mirror import mirror_state, start_mirror, sync
from paretune.platform.mirror.address import shown, without_secrets
from paretune.platform.mirror.ui import study_url
from paretune.platform.mirror.view import VIEW_CHARACTERS, View, shared_views
from paretune.platform.record.history import History, Record
from paretune.platform.record.ledger import read_events
from paretune.platform.record.summary import best_seed
from paretune.platform.report import write_figures
from paretune.platform.study.register import register_candidate

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from team_server import mlflow_server, postgres, postgres_programs

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own, when the tests read it
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # connections that MLflow leaves to the garbage collector
]
MlflowClient = pytest.importorskip("mlflow").MlflowClient


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Address of a PostgreSQL of our own, with its password."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg2", reason="needs psycopg2-binary")
    with postgres(durable=False) as uri:
        yield uri


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(database, tmp_path_factory.mktemp("server")) as url:
        yield url


def history_of(folder: Path) -> History:
    return History.fold(read_events(folder))


def put_networks(folder: Path, finals: list[Record]) -> None:
    """Final trainings leave their networks behind; here each doubles its input and adds the candidate's number."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    for record in finals:
        values = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in (("two", 2), ("n", record.job.ask_index))]
        nodes = [helper.make_node("Mul", ["input", "two"], ["doubled"]), helper.make_node("Add", ["doubled", "n"], ["output"])]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("input", "output")]
        graph = helper.make_graph(nodes, "doubling", ends[:1], ends[1:], values)
        target = folder / "work" / record.job.id / "network"
        target.mkdir(parents=True)
        onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), target / "network.onnx")
        (target / "network.safetensors").write_bytes(b"weights")
        (target / "network.json").write_text("{}")


def runs_of(client: Any, name: str) -> dict[str, Any]:
    """The runs of an experiment by key; each key has one."""
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], max_results=5000)
    assert set(Counter(run.data.tags["paretune.key"] for run in runs).values()) == {1}
    return {run.data.tags["paretune.key"]: run for run in runs}


def artifacts(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    """Paths of all files of a run."""
    found = client.list_artifacts(run_id, folder)
    below = (artifacts(client, run_id, item.path) for item in found if item.is_dir)
    return {item.path for item in found if not item.is_dir}.union(*below)


def test_a_study_on_postgres_survives_a_killed_mirror_and_goes_on_in_its_runs(sample_study: Any, server: str, monkeypatch: Any) -> None:
    study = sample_study("team").search(30)
    mirror = start_mirror(study.folder, server)
    deadline = time.monotonic() + 120
    while mirror_state(study.folder).mirrored < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    mirror.kill()  # several runs are under way at this moment, over several connections
    assert mirror.state().waiting > 0
    front = history_of(study.folder).front()[:2]
    study.retrain(front, seeds=2)
    finals = history_of(study.folder).finals()
    put_networks(study.folder, [record for group in finals.values() for record in group])
    assert write_figures(study.folder)
    assert sync(study.folder, server, timeout_s=200).waiting == 0
    client = MlflowClient(server)
    before = runs_of(client, "team")
    assert len(before) == 1 + 30 + 4
    pages = {"figures/pareto-front.html", "figures/parallel-coordinates.html"}
    assert artifacts(client, before["study"].info.run_id) == {"spec.yaml", "candidates.json", *pages}
    best = {best_seed(history_of(study.folder).problem, group).job.id for group in finals.values()}  # type: ignore[union-attr]
    files = {key: artifacts(client, run.info.run_id) for key, run in before.items() if key != "study"}
    assert {key for key, found in files.items() if found} == best
    assert all(files[key] == {"network/network.onnx", "network/network.safetensors", "network/network.json"} for key in best)
    study.search(5)
    assert sync(study.folder, server, timeout_s=200).waiting == 0
    after = runs_of(client, "team")
    assert len(after) == len(before) + 5
    assert {key: run.info.run_id for key, run in before.items()}.items() <= {key: run.info.run_id for key, run in after.items()}.items()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)  # `load_table` asks the default server
    check_table(client, after, history_of(study.folder))


def check_table(client: Any, runs: dict[str, Any], history: History) -> None:
    """What MLflow gives back as a table is what the ledger has, each candidate once."""
    parent = runs["study"].info
    table = client.load_table(parent.experiment_id, "candidates.json", run_ids=[parent.run_id])
    records = [record for record in history.search_records() if record.evaluation]
    assert list(table["candidate"]) == [record.job.ask_index for record in records]
    assert list(table["front"]) == [record in history.front() for record in records]
    latencies = [record.metrics.get("host.latency_s", np.nan) * 1000 for record in records]
    np.testing.assert_allclose(table["host.latency_ms"].astype(float), latencies)
    assert list(table["activation"]) == [record.choices["activation"] for record in records]


def test_a_chosen_network_is_registered_once_and_runs_when_loaded_from_the_registry(
    sample_study: Any, server: str, monkeypatch: Any
) -> None:
    import mlflow

    study = sample_study("shelf").search(12)
    front = history_of(study.folder).front()
    study.retrain(front[:1], seeds=1)
    chosen, other = front[0].job.ask_index, front[-1].job.ask_index
    put_networks(study.folder, history_of(study.folder).finals()[chosen])
    with pytest.raises(BadInput, match=f"does not know the final training of candidate {chosen}.*paretune sync shelf"):
        register_candidate(study.folder, chosen, tracking_uri=server)
    assert sync(study.folder, server, timeout_s=200).waiting == 0
    with pytest.raises(BadInput, match=f"candidate {other} .* Those that have one: {chosen}"):
        register_candidate(study.folder, other, tracking_uri=server)
    with pytest.raises(BadInput, match="model 'a/b'"):
        register_candidate(study.folder, chosen, tracking_uri=server, name="a/b")
    made = register_candidate(study.folder, chosen, tracking_uri=server, name="doorbell")
    again = register_candidate(study.folder, chosen, tracking_uri=server, name="doorbell")
    assert (made.uri, made.is_new, again.uri, again.is_new) == ("models:/doorbell/1", True, "models:/doorbell/1", False)
    client = MlflowClient(server)
    assert client.get_model_version("doorbell", "1").tags["paretune.candidate"] == str(chosen)
    assert not [path for path in artifacts(client, made.run_id) if path.endswith((".pkl", ".pickle", ".pt"))]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    model = mlflow.pyfunc.load_model(made.uri, dst_path=str(study.folder))
    inputs = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    np.testing.assert_allclose(model.predict(inputs)["output"], 2 * inputs + chosen)


def test_no_message_and_no_file_shows_the_password_of_a_database(sample_study: Any, database: str, monkeypatch: Any) -> None:
    password = database.partition("://mlflow:")[2].partition("@")[0]
    study = sample_study("secret").search(2)
    address = database.replace(f":{password}@", "@") + "?password=${env:CANARY}"
    monkeypatch.setenv("CANARY", password)
    assert sync(study.folder, address, timeout_s=200).waiting == 0  # straight into the database, without a server
    monkeypatch.setenv("CANARY", "wrong-canary")
    mirror = start_mirror(study.folder, address)
    deadline = time.monotonic() + 90
    while b"password authentication failed" not in (study.folder / "mirror.log").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    mirror.kill()  # MLflow itself would try to connect for minutes
    written = b"".join(path.read_bytes() for path in study.folder.rglob("*") if path.is_file())
    assert password.encode() not in written
    assert b"wrong-canary" not in written


@pytest.mark.parametrize(
    ("uri", "safe"),
    [
        ("postgresql+psycopg2://me:p%40ss@db:5432/mlflow?sslmode=require&password=other", "postgresql+psycopg2://db:5432/mlflow"),
        ("http://me:p%40ss@mlflow.example:5000/base", "http://mlflow.example:5000/base"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_its_secrets(uri: str, safe: str) -> None:
    assert shown(uri) == safe
    said = without_secrets(f"cannot open {uri} with 'p@ss', p%40ss or other", uri)
    assert not any(secret in said for secret in ("p@ss", "p%40ss") if secret in uri or "p%40ss" in uri)
    assert "other" not in said or "other" not in uri


def test_a_server_with_users_takes_runs_from_those_who_log_in_and_names_what_is_missing(
    sample_study: Any, database: str, tmp_path: Path
) -> None:
    pytest.importorskip("flask_wtf", reason="MLflow's login needs Flask-WTF: pip install 'mlflow[auth]'")
    study, password = sample_study("users").search(2), "a long/pass@word"
    settings = {
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "not secret: this server lives for one test",
        "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"),
    }
    lines = ["[mlflow]", "default_permission = READ", f"database_uri = sqlite:///{tmp_path}/auth.db", "admin_username = admin"]
    lines += ["authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
    (tmp_path / "auth.ini").write_text("\n".join(lines))
    with mlflow_server(database, tmp_path, "--app-name", "basic-auth", **settings) as url:
        state = sync(study.folder, url, timeout_s=20)
        assert (state.mirrored, state.waiting) == (0, 2)
        assert "refuses the login (HTTP 401): set MLFLOW_TRACKING_USERNAME" in state.message
        with pytest.raises(TemporaryError, match=r"refuses the login \(HTTP 401\)"):
            study_url(url, study.folder)
        state = sync(study.folder, url.replace("http://", f"http://admin:{quote(password, safe='')}@"), timeout_s=200)
        assert (state.mirrored, state.waiting, state.message) == (2, 0, "")
    written = b"".join(path.read_bytes() for path in study.folder.rglob("*") if path.is_file())
    assert b"pass@word" not in written
    assert b"pass%40word" not in written


def test_a_server_refuses_to_be_called_by_a_foreign_name_and_the_mirror_says_what_to_allow(
    sample_study: Any, server: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    foreign = server.replace("127.0.0.1", "2130706433")  # the same address, written as one number: no name that the server knows
    state = sync(sample_study("named").search(1).folder, foreign, timeout_s=20)
    assert state.waiting == 1
    assert "refuses to be called by this name (HTTP 403): start 'mlflow server' with it in --allowed-hosts" in state.message


def test_views_name_what_the_ui_has_and_fit_into_a_tag(sample_study: Any, server: str) -> None:
    study = sample_study("views", num_objectives=3).search(30)
    assert sync(study.folder, server, timeout_s=200).waiting == 0
    client = MlflowClient(server)
    runs = runs_of(client, "views")
    tags = client.get_experiment(runs["study"].info.experiment_id).tags
    identity = runs["study"].data.tags["paretune.study_id"]
    views = shared_views(study.header, identity)
    assert {name: tags.get(name) for name in views} == views
    num_front = len(history_of(study.folder).front())
    for name, text in views.items():
        view = json.loads(text)
        assert len(text) <= VIEW_CHARACTERS
        order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
        found = client.search_runs([runs["study"].info.experiment_id], view["searchFilter"], max_results=1000, order_by=[order])
        assert len(found) == (num_front if "front" in name else 30)
        accuracies = [run.data.metrics["accuracy"] for run in found if "accuracy" in run.data.metrics]
        assert accuracies == sorted(accuracies, reverse=True)
        assert "accuracy" in found[0].data.metrics  # those that failed have none and come last
        known = {f"metrics.`{key}`" for run in found for key in run.data.metrics} | {f"params.`{key}`" for key in found[0].data.params}
        assert set(view["selectedColumns"]) <= known | {f"tags.`{key}`" for key in found[0].data.tags}
        parallel = view["compareRunCharts"][0]
        assert all(float(run.data.params[axis]) >= 0 for run in found for axis in parallel["selectedParams"])
    assert "viewStateShareKey=paretune-front-" in study_url(server, study.folder, View.CHARTS)
    assert "compareRunsMode=CHART" in study_url(server, study.folder, View.CHARTS)


def test_a_view_of_a_very_long_study_is_cut_to_what_a_tag_holds(sample_study: Any) -> None:
    from dataclasses import replace

    from paretune.core.genotype import Decision

    header = sample_study("long").header
    decisions = tuple(Decision(name=f"stage{number}.{'x' * 180}", choices=(1, 2), ordinal=True) for number in range(40))
    for text in shared_views(replace(header, decisions=decisions), "0123456789abcdef").values():
        view = json.loads(text)
        assert len(text) <= VIEW_CHARACTERS
        assert 0 < len(view["compareRunCharts"][0]["selectedParams"]) < 12
