"""Studies through the job server of a real Ray head with a token: submitted, followed, stopped, gone on with; refused without the token."""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from paretune.core.errors import BadInput
from paretune.platform.cli.commands import main
from paretune.platform.clusters.jobs import job_address

Command = Callable[..., Result]
pytestmark = pytest.mark.ray


@pytest.fixture
def command(head: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in this process as a user on a machine that has the head's token."""
    monkeypatch.chdir(head.folder)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # commands set it; what is set here is undone after the test
    for name in [name for name in os.environ if name.startswith("RAY_AUTH")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    monkeypatch.setenv("PARETUNE_ADDRESS", head.job_server)
    monkeypatch.setenv("HOME", str(head.folder))
    return lambda *words: CliRunner().invoke(main, words, catch_exceptions=False)


def test_a_submitted_study_runs_to_its_end_and_is_told_of(head: Any, small_study: Any, command: Command) -> None:
    done = command("submit", small_study(head, "short", 4), "--wait")
    assert done.exit_code == 0, done.output
    assert "study short is on http://127.0.0.1" in done.stdout
    assert "search: budget of 4 candidates spent" in done.stdout
    assert (head.folder / "shared" / "short" / "report.html").is_file()
    assert "search: budget of 4 candidates spent" in command("logs", "short").stdout
    told = json.loads(command("status", "short", "--address", head.job_server, "--json").stdout)
    assert [(item["id"], item["state"], item["exit_code"]) for item in told] == [("paretune-short-1", "SUCCEEDED", 0)]
    unknown = command("logs", "shrt")
    assert (unknown.exit_code, "unknown submitted study 'shrt'. Did you mean 'short'?" in unknown.stderr) == (2, True)


def test_a_study_is_stopped_and_gone_on_with_by_another_job_with_this_code(head: Any, small_study: Any, command: Command) -> None:
    file = small_study(head, "long", 100_000)
    assert command("submit", file).exit_code == 0
    again = command("submit", file)
    assert (again.exit_code, "study 'long' is on" in again.stderr) == (75, True)
    ledger, end_s = head.folder / "shared" / "long" / "ledger.db", time.monotonic() + 100
    while time.monotonic() < end_s and not ledger.exists():
        time.sleep(0.5)
    assert "study long is stopped; go on: paretune submit SPEC --resume" in command("stop", "long").stdout
    assert "stopped by SIGTERM. Nothing is lost" in command("logs", "long").stdout
    resumed = command("submit", file, "--resume", "--set", "budget.trials=1", "--wait", "--ship-code")
    assert resumed.exit_code == 0, resumed.output
    assert "paretune-long-2" in resumed.stdout


def test_a_failed_study_ends_the_wait_with_its_exit_code(head: Any, small_study: Any, command: Command) -> None:
    file = small_study(head, "short-of-data", 4, head.folder / "gone.parquet")
    done = command("submit", file, "--wait", "--no-check")
    assert done.exit_code == 2, done.output
    assert "gone.parquet" in done.stdout


@pytest.mark.parametrize(
    ("token", "words"), [("f" * 48, "refuses the token of RAY_AUTH_TOKEN"), (None, "wants a token, and there is none here")]
)
def test_nobody_submits_or_connects_without_the_token(
    token: str | None, words: str, head: Any, small_study: Any, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = small_study(head, "thief", 4)
    if token is None:
        monkeypatch.delenv("RAY_AUTH_TOKEN")
    else:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    submitted, connected = command("submit", file), command("run", file, "--address", head.gcs)
    assert (submitted.exit_code, submitted.stdout, connected.exit_code, connected.stdout) == (2, "", 2, "")
    assert words in submitted.stderr
    assert words in connected.stderr
    assert not (head.folder / "shared" / "thief").exists()


def test_where_nothing_listens_the_words_are_clear_and_hold_no_password(command: Command) -> None:
    done = command("status", "--address", "http://me:hunter2@127.0.0.1:9")
    assert done.exit_code == 2
    assert "no Ray job server answers at http://me:***@127.0.0.1:9" in done.stderr
    assert "hunter2" not in done.output


def test_a_storage_that_ends_with_the_job_is_refused(head: Any, small_study: Any, command: Command) -> None:
    done = command("submit", small_study(head, "lost", 4), "--set", "storage=runs")
    assert done.exit_code == 2
    assert "--set storage=/shared/runs" in done.stderr


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
