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

import numpy as np
import psutil
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from click.testing import CliRunner, Result

from paretune.platform.cli.commands import main
from paretune.spaces.nasbench_macro import NasBenchMacro

ROOT = Path(__file__).parents[2]
MEMORY = 80_000_000
START_TIMEOUT_S = 400
"""Of a command on a machine that others keep busy; on a free one they take seconds."""


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

    def paretune(self, *words: str, timeout_s: float = START_TIMEOUT_S, **changes: str | None) -> "subprocess.CompletedProcess[str]":
        """Run a command as a user does."""
        command = [sys.executable, "-m", "paretune", *words]
        environment = self.environment(**changes)
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)

    def start(self, *options: str, **changes: str | None) -> None:
        """Start the head."""
        names = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port", "metrics-export-port")
        ports = [f"--{name}={port}" for name, port in zip(names, free_ports(4), strict=True)]  # other heads may have Ray's usual ones
        port, folder = self.gcs.rpartition(":")[2], self.folder / "ray"
        fixed = ("--head", f"--port={port}", "--node-ip-address=127.0.0.1", f"--temp-dir={folder}", f"--object-store-memory={MEMORY}")
        self.run_ray(["ray", "start", *fixed, *ports, "--disable-usage-stats", *options], **changes)

    def start_node(self, *options: str, **changes: str | None) -> None:
        """Another raylet on this machine, which is another node to Ray."""
        command = ["ray", "start", f"--address={self.gcs}", f"--object-store-memory={MEMORY}", "--disable-usage-stats", *options]
        self.run_ray(command, **changes)

    def end_nodes(self) -> None:
        """Kill every raylet but the head's own."""
        raylets = [item for item in psutil.process_iter(["cmdline", "create_time"]) if self._is_raylet(item.info["cmdline"] or [])]
        for process in sorted(raylets, key=lambda item: item.info["create_time"])[1:]:
            process.kill()

    def end(self) -> None:
        """Kill all of it; `ray stop` would end everybody's Ray."""
        for _ in range(3):
            for process in psutil.process_iter(["cmdline"]):
                if process.pid != os.getpid() and any(str(self.folder / "ray") in word for word in process.info["cmdline"] or ()):
                    process.kill()
            time.sleep(0.2)

    def _is_raylet(self, words: list[str]) -> bool:
        return words[:1] != [] and words[0].endswith("/raylet") and any(str(self.folder / "ray") in word for word in words)

    def run_ray(self, command: list[str], **changes: str | None) -> None:
        """Run Ray's own command with the token switched on."""
        own = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": str(START_TIMEOUT_S), **changes}
        ended = subprocess.run(command, env=self.environment(**own), capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False)
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


@pytest.fixture(scope="session")
def ray_of_its_own() -> Iterator[Callable[[str], Head]]:
    """Makes Rays that share nothing with others on this machine; they end with the tests."""
    made: list[Head] = []

    def make(name: str) -> Head:
        gcs, dashboard = free_ports(2)
        folder = Path("/tmp") / name  # short: Ray's socket names must fit in 107 letters
        folder.mkdir()
        made.append(Head(folder=folder, gcs=f"127.0.0.1:{gcs}", job_server=f"127.0.0.1:{dashboard}", token=secrets.token_hex(24)))
        return made[-1]

    try:
        yield make
    finally:
        for item in made:
            item.end()
            subprocess.run(["rm", "-rf", str(item.folder)], check=False)


@pytest.fixture(scope="session")
def head(ray_of_its_own: Callable[[str], Head]) -> Head:
    """A head with two processors, a job server and a token."""
    made = ray_of_its_own(f"pt-{secrets.token_hex(3)}")
    made.start("--num-cpus=2", f"--dashboard-port={made.job_server.rpartition(':')[2]}", "--dashboard-host=127.0.0.1")
    return made


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
run: {{workers: 1}}
tracking: {{uri: none}}
storage: {storage}
"""


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Writes a spec beside a Ray's files whose candidates cost nothing: they are looked up. Its file name there."""
    space = NasBenchMacro(input_shape=(3, 32, 32), num_classes=10)
    genotypes_ND = space.from_index(np.arange(space.size))
    columns = {decision.name: genotypes_ND[:, index] for index, decision in enumerate(space.decisions)}
    results = {"accuracy": 30.0 + 5.0 * (genotypes_ND > 0).sum(axis=1)}
    table = tmp_path_factory.mktemp("table") / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table({**columns, **results}), table)

    def write(ray: Head, name: str, trials: int, file: Path = table) -> str:
        text = SPEC.format(name=name, table=file, trials=trials, storage=ray.folder / "shared")
        (ray.folder / f"{name}.yaml").write_text(text)
        return f"{name}.yaml"

    return write
