"""A study whose tracking server is dead: the search does not notice, nothing is lost, and no secret is written anywhere."""

import base64
import os
import re
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import paretune
from paretune.core.trial import Outcome
from paretune.platform.cli.commands import main
from paretune.platform.mirror import sync
from paretune.platform.record.jobs import Evaluation, Job
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study.plan import build_plan
from paretune.testing.evaluators import FormulaEvaluator, FunctionEvaluator

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own use of SQLAlchemy, when the test reads it
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # connections that MLflow leaves to the garbage collector
]
CANARY = "c4nary"
SECRETS = {
    "TRACKING_PASSWORD": f"{CANARY}-tracking",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws",
    "HF_TOKEN": f"{CANARY}-token",
    "DATABASE_URL": f"postgresql://me:{CANARY}-database@db/x",
    "HTTPS_PROXY": f"http://me:{CANARY}-proxy@127.0.0.1:9",
}


def files_with(secret: bytes, *folders: Path) -> list[str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [str(path) for path in files if re.search(secret, path.read_bytes(), re.IGNORECASE)]


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_search_completes_without_its_server_and_is_brought_level_later(
    spec: dict[str, Any], formula: Callable[..., FormulaEvaluator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    dead = f"http://me:${{env:TRACKING_PASSWORD}}@127.0.0.1:{closed_port()}"
    values = {**spec, "tracking": {"uri": dead}}
    good, produced = formula(values), build_plan(spec_from_mapping(values)).metrics

    def evaluate(job: Job, workspace: Path) -> Evaluation:
        if job.ask_index == 5:
            raise RuntimeError(f"cannot fetch http://me:{CANARY}-exception@example.org/data")
        return Evaluation(outcome=Outcome.OK, metrics=good.truth(job.genotype))

    result = paretune.run(values, evaluator=FunctionEvaluator(evaluate, produced))
    finished = [record.job.id for record in result.history.arrivals()]
    assert len(finished) == 8
    assert result.mirror is not None
    assert (result.mirror.mirrored, result.mirror.waiting) == (0, 8)
    assert "does not answer" in result.mirror.message

    shown = CliRunner().invoke(main, ["status", "small", "--storage", spec["storage"]])
    assert "8 wait" in shown.stdout
    assert "later: paretune sync small" in shown.stdout

    store = f"sqlite:///{tmp_path}/mlflow.db"
    assert sync(result.folder, store, "small").waiting == 0
    assert sync(result.folder, store, "small").mirrored == 8  # again: nothing more is made
    client = pytest.importorskip("mlflow").MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    assert Counter(run.data.tags["paretune.key"] for run in runs) == Counter([*finished, "study"])

    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(main, ["report", "small", "--storage", spec["storage"]])
    assert files_with(CANARY.encode(), tmp_path) == []
    assert files_with(re.escape(base64.b64encode(f"me:{SECRETS['TRACKING_PASSWORD']}".encode())), tmp_path) == []
    assert os.environ["TRACKING_PASSWORD"] == SECRETS["TRACKING_PASSWORD"]
