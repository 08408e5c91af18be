"""A real Ray cluster of several nodes on this machine, whose nodes can be killed, drained and added; only what is started here is ended."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

STORE_BYTES = 80_000_000


@contextlib.contextmanager
def small_cluster() -> Iterator["SmallCluster"]:
    """A head without processors, so that nothing runs there."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if Path("~/.ray/auth_token").expanduser().exists():
        os.environ["RAY_AUTH_MODE"] = "token"
    Path("/tmp/ray").mkdir(exist_ok=True)  # where cluster_utils notes the cluster, whatever the folder of the session
    scratch = tempfile.mkdtemp(prefix="pt-ray-")  # short: Ray's socket paths are limited to 107 bytes
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False, "temp_dir": scratch}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    try:
        yield SmallCluster(cluster)
    finally:
        cluster.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


class SmallCluster:
    """The nodes by names of a test's choice."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.address: str = cluster.address
        self.nodes: dict[str, Any] = {}

    def add(self, name: str, *, cpus: int = 0, tags: Mapping[str, float] | None = None, labels: Mapping[str, str] | None = None) -> None:
        """Start a node and wait until it has joined."""
        self.nodes[name] = self._cluster.add_node(
            num_cpus=cpus, resources=dict(tags or {}), labels=dict(labels or {}), object_store_memory=STORE_BYTES
        )

    def kill(self, name: str) -> None:
        """SIGKILL of the node's raylet; its workers end when they notice."""
        node = self.nodes.pop(name)
        for process in node.all_processes["raylet"]:
            process.process.kill()
        self._cluster.remove_node(node, allow_graceful=False)

    def kill_gcs(self) -> None:
        """SIGKILL of the head's store of nodes and actors."""
        for process in self._cluster.head_node.all_processes["gcs_server"]:
            process.process.kill()
            process.process.wait()

    def drain(self, name: str, *, deadline_s: int) -> subprocess.CompletedProcess[str]:
        """What a spot notice does: no new work for the node, and its end at the deadline."""
        command = [
            str(Path(sys.executable).with_name("ray")),
            "drain-node",
            f"--address={self.address}",
            f"--node-id={self.nodes[name].node_id}",
        ]
        command += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot", f"--deadline-remaining-seconds={deadline_s}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


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
    files = (folder / "witness").iterdir() if (folder / "witness").is_dir() else ()
    return [line.split() for file in files for line in file.read_text().splitlines()]


def until(happened: Any, driver: Driver, *, timeout_s: float = 120.0) -> None:
    """Wait for something; a driver that ends before is a failure."""
    end_s = time.monotonic() + timeout_s
    while not happened():
        assert driver.process.poll() is None, driver.said()[-4000:]
        assert time.monotonic() < end_s, driver.said()[-4000:]
        time.sleep(0.1)
