"""A real Ray cluster of several nodes on this machine, whose nodes can be killed, drained and added; only what is started here is ended.

Each node is a `ray start --block` of its own, so that no test process has to be part of the cluster.
"""

import collections
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from paretune.core.trial import Outcome
from paretune.platform.record.history import History

STORE_BYTES = 80_000_000
HEALTH = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
"""So that a node that died is missed after seconds. One that is only slow to answer keeps Ray's 10 s each time: on a crowded machine a
healthy node misses three times 3 s, is taken for dead, and nobody replaces it."""
START_ATTEMPTS, START_S = 3, 120.0
"""`ray start` gives up after 30 s by itself, which is too short for a node where many programs share the processors."""
FAIR = {"RAY_worker_niceness": "0"}
"""Workers that give way to everybody, as Ray's do, take minutes to come up on a crowded machine."""
NODE_ID = "RAY_OVERRIDE_NODE_ID_FOR_TESTING"
RAY = str(Path(sys.executable).with_name("ray"))


@contextlib.contextmanager
def small_cluster(*, cpus: int = 0, tags: Mapping[str, float] | None = None) -> Iterator["SmallCluster"]:
    """A head, by default without processors, so that nothing runs there."""
    scratch = Path(tempfile.mkdtemp(prefix="pt-ray-"))  # short: Ray's socket paths are limited to 107 bytes
    cluster = SmallCluster(scratch)
    try:
        cluster.start_head(cpus=cpus, tags=tags or {})
        yield cluster
    finally:
        for name in list(cluster.nodes):
            cluster.end(name)
        shutil.rmtree(scratch, ignore_errors=True)


class SmallCluster:
    """The nodes by names of a test's choice."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._ids: dict[str, str] = {}
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.drained: set[str] = set()
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"

    def start_head(self, *, cpus: int, tags: Mapping[str, float]) -> None:
        """Start the head and wait until it is up."""
        offered = [f"--num-cpus={cpus}", f"--resources={json.dumps(dict(tags))}"]
        self._start("head", "--head", f"--port={self._port}", *offered, "--include-dashboard=false", f"--temp-dir={self._scratch}")

    def add(
        self,
        name: str,
        *,
        cpus: int = 0,
        tags: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        packages: Path | None = None,
    ) -> None:
        """Start a node and wait until it has joined; what lies in `packages` is found there before all else that is installed."""
        options = [f"--address={self.address}", f"--num-cpus={cpus}", f"--resources={json.dumps(dict(tags or {}))}"]
        options += [f"--labels={','.join(f'{label}={value}' for label, value in labels.items())}"] if labels else []
        self._start(name, *options, packages=packages)

    def kill(self, name: str) -> None:
        """SIGKILL of the node's raylet and of everything that runs under it: the machine is gone."""
        self.end(name)

    def kill_gcs(self) -> None:
        """SIGKILL of the head's store of nodes and actors."""
        for process in psutil.Process(self.nodes["head"].pid).children(recursive=True):
            if process.name().startswith("gcs_server"):
                process.kill()

    def drain(self, name: str, *, deadline_s: int) -> "subprocess.CompletedProcess[str]":
        """What a spot notice does: no new work for the node, and its end at the deadline."""
        self.drained.add(name)
        command = [RAY, "drain-node", f"--address={self.address}", f"--node-id={self._ids[name]}"]
        command += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", f"--deadline-remaining-seconds={deadline_s}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())

    def end(self, name: str) -> None:
        """SIGKILL of all of a node's processes, its workers too."""
        node = self.nodes.pop(name)
        self.drained.discard(name)
        node.kill()
        node.wait()
        for process in psutil.process_iter():  # by their environment: those whose parent died belong to nobody any more
            with contextlib.suppress(psutil.Error):
                if process.environ().get(NODE_ID) == self._ids[name]:
                    process.kill()

    def _start(self, name: str, *options: str, packages: Path | None = None) -> None:
        for _ in range(START_ATTEMPTS):
            log = self._begin(name, *options, packages=packages)
            if self._is_up(name, log):
                return
            self.end(name)
        raise AssertionError(f"node {name} did not come up: {log.read_text()}")

    def _begin(self, name: str, *options: str, packages: Path | None) -> Path:
        """Begin to start a node; where it tells how far it is."""
        self._ids[name] = secrets.token_hex(28)
        ports = ["--min-worker-port=0", "--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}"]
        common = ["--block", "--node-ip-address=127.0.0.1", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats", *ports]
        found = [str(packages)] if packages else []
        paths = os.pathsep.join([*found, *filter(None, [os.environ.get("PYTHONPATH")])])
        log = self._scratch / f"{name}-{self._ids[name][:8]}.log"
        with log.open("wb") as stream:
            self.nodes[name] = subprocess.Popen(
                [RAY, "start", *options, *common],
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env={**environment(), **HEALTH, **FAIR, NODE_ID: self._ids[name], **({"PYTHONPATH": paths} if packages else {})},
            )
        return log

    def _is_up(self, name: str, log: Path) -> bool:
        """Whether a node comes up, after waiting until it has or gave up."""
        end_s = time.monotonic() + START_S
        while time.monotonic() < end_s and self.nodes[name].poll() is None:
            if b"Ray runtime started" in log.read_bytes():
                return True
            time.sleep(0.1)
        return False


def environment() -> dict[str, str]:
    """For Ray's own commands, which are protected by a token where there is one."""
    token = Path("~/.ray/auth_token").expanduser().exists()
    return {**os.environ, **({"RAY_AUTH_MODE": "token"} if token else {}), "PYTHONUNBUFFERED": "1"}


def free_port() -> int:
    """A port on the loopback interface that nobody uses now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


class Driver:
    """`stages_driver.py` as a process of its own, as the command line would run."""

    def __init__(self, folder: Path, address: str | None, *arguments: str) -> None:
        script = Path(__file__).with_name("stages_driver.py")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(script.parents[2]), os.environ.get("PYTHONPATH", "")])}
        command = [sys.executable, str(script), str(folder), *arguments, *(["--address", address] if address else [])]
        self.log = folder / "driver.log"
        folder.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True)

    def wait(self, timeout_s: float) -> int:
        """Its exit code."""
        return self.process.wait(timeout=timeout_s)

    def said(self) -> str:
        """All it printed."""
        return self.log.read_text()

    def close(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def witnessed(folder: Path) -> list[list[str]]:
    """Every line of the witness, in words."""
    files = (folder / "witness").glob("*.txt")
    return [line.split() for file in files for line in file.read_text().splitlines()]


def until(happened: Any, driver: Driver, *, timeout_s: float = 300.0) -> None:
    """Wait for something; a driver that ends before is a failure."""
    end_s = time.monotonic() + timeout_s
    while not happened():
        assert driver.process.poll() is None, driver.said()[-4000:]
        assert time.monotonic() < end_s, driver.said()[-4000:]
        time.sleep(0.1)


def check_sound(folder: Path, history: History, *, trials: int) -> None:
    """Nothing lost, nothing done twice, nobody failed."""
    records = history.search_records()
    assert [record.outcome for record in records] == [Outcome.OK] * trials
    done = collections.Counter(words[1] for words in witnessed(folder) if words[0] == "done")
    assert done == dict.fromkeys([record.job.id for record in records], 1)
    steps = collections.Counter((words[1], words[2]) for words in witnessed(folder) if words[0] == "step")
    assert max(steps.values()) == 1  # what was durable was not trained again
