"""Studies through the job server of a real Ray head with a token: submitted, followed, stopped, gone on with; refused without the token."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from paretune.core.errors import BadInput
from paretune.platform.clusters.jobs import job_address
from paretune.spaces.nasbench_macro import NasBenchMacro

pytestmark = pytest.mark.ray

SPEC = """\
version: 1
name: {name}
seed: 1
task: {{name: table, file: "{table}", metrics: {{accuracy: {{column: accuracy, unit: "%", goal: max}}}}}}
space: {{name: nasbench_macro}}
objectives:
  - {{metric: accuracy, goal: max, reference: 0.2}}
  - {{metric: parameters, goal: min, reference: 4e6}}
searcher: {{name: random}}
budget: {{trials: {trials}}}
training: {{epochs: 1}}
run: {{workers: 1, memory: 8GiB}}
tracking: {{uri: none}}
storage: {storage}
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of every network of a small space, so that a candidate costs nothing."""
    space = NasBenchMacro(input_shape=(3, 32, 32), num_classes=10)
    genotypes_ND = space.from_index(np.arange(space.size))
    columns = {decision.name: genotypes_ND[:, index] for index, decision in enumerate(space.decisions)}
    results = {"accuracy": 30.0 + 5.0 * (genotypes_ND > 0).sum(axis=1)}
    path = tmp_path_factory.mktemp("table") / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table({**columns, **results}), path)
    return path


def spec(head: Any, table: Path, name: str, trials: int) -> str:
    """A spec beside the head's files; its name there."""
    (head.folder / f"{name}.yaml").write_text(SPEC.format(name=name, table=table, trials=trials, storage=head.folder / "shared"))
    return f"{name}.yaml"


def test_a_submitted_study_runs_to_its_end_and_is_told_of(head: Any, table: Path) -> None:
    file = spec(head, table, "short", 4)
    done = head.paretune("submit", file, "--address", head.job_server, "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "study short is on http://127.0.0.1" in done.stdout
    assert "search: budget of 4 candidates spent" in done.stdout
    assert (head.folder / "shared" / "short" / "report.html").is_file()
    assert "search: budget of 4 candidates spent" in head.paretune("logs", "short", "--address", head.job_server).stdout
    told = json.loads(head.paretune("status", "short", "--address", head.job_server, "--json").stdout)
    assert [(item["id"], item["state"], item["exit_code"]) for item in told] == [("paretune-short-1", "SUCCEEDED", 0)]


def test_a_study_is_stopped_and_gone_on_with_by_another_job(head: Any, table: Path) -> None:
    file = spec(head, table, "long", 100_000)
    assert head.paretune("submit", file, "--address", head.job_server).returncode == 0
    again = head.paretune("submit", file, "--address", head.job_server)
    assert (again.returncode, "study 'long' is on" in again.stderr) == (75, True)
    ledger, end_s = head.folder / "shared" / "long" / "ledger.db", time.monotonic() + 60
    while time.monotonic() < end_s and not ledger.exists():
        time.sleep(0.5)
    stopped = head.paretune("stop", "long", "--address", head.job_server)
    assert "study long is stopped; go on: paretune submit SPEC --resume" in stopped.stdout
    assert "stopped by SIGTERM. Nothing is lost" in head.paretune("logs", "long", "--address", head.job_server).stdout
    resumed = head.paretune("submit", file, "--address", head.job_server, "--resume", "--set", "budget.trials=1", "--wait", "--ship-code")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "paretune-long-2" in resumed.stdout


def test_a_failed_study_ends_the_wait_with_its_exit_code(head: Any, table: Path) -> None:
    file = spec(head, table, "short-of-data", 4)
    (head.folder / "short-of-data.yaml").write_text((head.folder / file).read_text().replace("table.parquet", "gone.parquet"))
    done = head.paretune("submit", file, "--address", head.job_server, "--wait", "--no-check")
    assert done.returncode == 2, done.stdout
    assert "gone.parquet" in done.stdout


REFUSED = [
    ({"RAY_AUTH_TOKEN": "f" * 48}, "refuses the token of RAY_AUTH_TOKEN"),
    ({"RAY_AUTH_TOKEN": None}, "wants a token, and there is none here"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_nobody_submits_or_connects_without_the_token(changes: dict[str, str | None], words: str, head: Any, table: Path) -> None:
    submitted = head.paretune("submit", spec(head, table, "thief", 4), "--address", head.job_server, **changes)
    assert (submitted.returncode, submitted.stdout) == (2, "")
    assert words in submitted.stderr
    connected = head.paretune("run", spec(head, table, "thief", 4), "--address", head.gcs, **changes)
    assert connected.returncode == 2
    assert words in connected.stderr
    assert "Traceback" not in submitted.stderr + connected.stderr


def test_where_nothing_listens_the_words_are_clear_and_hold_no_password(head: Any) -> None:
    done = head.paretune("status", "--address", "http://me:hunter2@127.0.0.1:9")
    assert done.returncode == 2
    assert "no Ray job server answers at http://me:***@127.0.0.1:9" in done.stderr
    assert "hunter2" not in done.stderr


def test_a_storage_that_ends_with_the_job_is_refused(head: Any, table: Path) -> None:
    done = head.paretune("submit", spec(head, table, "lost", 4), "--address", head.job_server, "--set", "storage=runs")
    assert done.returncode == 2
    assert "--set storage=/shared/runs" in done.stderr


def test_a_study_that_was_never_submitted_is_named_with_those_that_were(head: Any, table: Path) -> None:
    done = head.paretune("logs", "shrt", "--address", head.job_server)
    assert done.returncode == 2
    assert "unknown submitted study 'shrt'" in done.stderr


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ray://head:10001", "Ray Client is not used"),
        ("head:8265", "would travel to head in clear"),
        ("http://head.example:8265", "--allow-network"),
        ("head", "expected HOST:PORT"),
        ("http://127.0.0.1:notaport", "--address"),
        ("ftp://127.0.0.1:8265", "expected HOST:PORT"),
    ],
)
def test_an_address_that_is_none_or_not_safe_is_refused(address: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        job_address(address)


def test_a_safe_address_becomes_a_url() -> None:
    assert job_address(None) == job_address("auto") == job_address("127.0.0.1:8265") == "http://127.0.0.1:8265"
    assert job_address("https://head.example/") == "https://head.example"
    assert job_address("head:8265", allow_network=True) == "http://head:8265"
