"""The compose file for MLflow: what it starts exists with the options given, and nothing is open that need not be."""

import json
import re
import shlex
import subprocess
import sys
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
    (line,) = [line for line in services["mlflow"]["command"][-1].splitlines() if "mlflow server" in line]
    # In a process of its own: importing MLflow's command line warns, and here warnings are errors.
    program = (
        "import json, sys; from mlflow.cli import server; c = server.make_context('server', sys.argv[1:]); print(json.dumps(c.params))"
    )
    command = [sys.executable, "-W", "ignore", "-c", program, *shlex.split(line.strip())[3:]]
    params = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout.splitlines()[-1])
    assert {"app_name": "basic-auth", "artifacts_destination": "/artifacts"}.items() <= params.items()
    assert str(params["workers"]) == "1"
    assert params["allowed_hosts"] == "localhost:5000,127.0.0.1:5000"


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
