"""The compose file for MLflow: what it starts exists with the options given, and nothing is open that need not be."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    return found


def test_the_server_is_started_with_options_that_mlflow_has(services: dict[str, Any]) -> None:
    from mlflow.cli import server

    (line,) = [line for line in services["mlflow"]["command"][-1].splitlines() if "mlflow server" in line]
    words = shlex.split(line.strip())[3:]
    context = server.make_context("server", words, resilient_parsing=True)
    assert {"app_name": "basic-auth", "workers": 1, "artifacts_destination": "/artifacts"}.items() <= context.params.items()
    assert context.params["allowed_hosts"] == "localhost:5000,127.0.0.1:5000"


def test_the_image_has_the_mlflow_that_paretune_is_tested_with(services: dict[str, Any]) -> None:
    pinned = re.search(r"^mlflow==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert f"mlflow[auth]=={pinned[1]}" in services["mlflow"]["build"]["dockerfile_inline"]


def test_only_loopback_reaches_the_server_and_nobody_the_database(services: dict[str, Any]) -> None:
    assert services["mlflow"]["ports"] == ["127.0.0.1:5000:5000"]
    assert "ports" not in services["database"]
    assert services["database"]["networks"] == ["inside"]


def test_no_password_stands_in_the_file(services: dict[str, Any]) -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    assert services["database"]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres"
    passwords = re.findall(r"://\w+:([^@\s]+)@", text)
    assert passwords
    assert all(item.startswith("$") for item in passwords)
