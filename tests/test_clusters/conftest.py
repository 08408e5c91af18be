"""Cluster files with mistakes planted, and a real Ray head with a token."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner, Result

from paretune.platform.cli.commands import main

ROOT = Path(__file__).parents[2]
SHIPPED = ("cluster.yaml", "deploy/gcp.yaml", "deploy/azure.yaml", "deploy/on-premises.yaml")
MEMORY = 80_000_000


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """Writes the shipped AWS file with one change; its path."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        values = yaml.safe_load((ROOT / "cluster.yaml").read_text())
        change(values)
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write


@pytest.fixture
def paretune(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in this process, in the repository's folder."""
    monkeypatch.chdir(ROOT)
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [int(item.getsockname()[1]) for item in sockets]
    for item in sockets:
        item.close()
    return ports


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A Ray head of its own on the loopback interface."""

    folder: Path
    gcs: str
    """HOST:PORT of the head."""
    job_server: str
    """HOST:PORT of the job server."""
    token: str

    def environment(self, **changes: str | None) -> dict[str, str]:
        """What a user's shell has; None takes a variable away."""
        own = {"RAY_AUTH_TOKEN": self.token, "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **changes}
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = f"{Path(sys.executable).parent}:{plain.get('PATH', '')}"
        return {name: value for name, value in {**plain, "PATH": path, **own}.items() if value is not None}

    def paretune(self, *words: str, timeout_s: float = 100, **changes: str | None) -> "subprocess.CompletedProcess[str]":
        """Run a command as a user does."""
        command = [sys.executable, "-m", "paretune", *words]
        environment = self.environment(**changes)
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)

    def start_node(self, *options: str, **changes: str | None) -> None:
        """Another raylet on this machine, which is another node to Ray."""
        command = ["ray", "start", f"--address={self.gcs}", f"--object-store-memory={MEMORY}", "--disable-usage-stats", *options]
        self.run_ray(command, **changes)

    def run_ray(self, command: list[str], **changes: str | None) -> None:
        """Run Ray's own command with the token switched on."""
        environment = self.environment(**{"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", **changes})
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=100)


def end_all_of(folder: Path) -> None:
    """Kill the processes of the Ray whose files lie in a folder; `ray stop` would end everybody's."""
    for _ in range(3):
        for process in psutil.process_iter(["cmdline"]):
            if process.pid != os.getpid() and any(str(folder / "ray") in word for word in process.info["cmdline"] or ()):
                process.kill()
        time.sleep(0.2)


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A head with two processors, a job server and a token."""
    folder = Path(f"/tmp/pt-{secrets.token_hex(3)}")  # short: Ray's socket names must fit in 107 letters
    folder.mkdir()
    gcs, dashboard = free_ports(2)
    made = Head(folder=folder, gcs=f"127.0.0.1:{gcs}", job_server=f"127.0.0.1:{dashboard}", token=secrets.token_hex(24))
    try:
        made.run_ray(
            [
                *("ray", "start", "--head", f"--port={gcs}", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--temp-dir={folder / 'ray'}"),
                *(
                    f"--dashboard-port={dashboard}",
                    "--dashboard-host=127.0.0.1",
                    f"--object-store-memory={MEMORY}",
                    "--disable-usage-stats",
                ),
            ]
        )
        yield made
    finally:
        end_all_of(folder)
        subprocess.run(["rm", "-rf", str(folder)], check=False)
