"""Machines of one's own: the shipped file starts Ray on three hosts through SSH, a study outlives one of them, and all of it ends."""

import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))

from ssh_hosts import PATH, PATIENCE, Machine, Machines, machines, what_is_missing

from paretune.core.trial import Outcome
from paretune.platform.record.history import Record
from paretune.platform.study.study import read_history

ROOT = Path(__file__).parents[2]
HEAD, TRAINER, SIMULATOR = "10.77.0.1", "10.77.0.21", "10.77.0.41"
STEP_TIMEOUT_S = 3000.0
"""Of each step; on a free machine all of them together take less than two minutes."""
TRIALS = 8
pytestmark = [pytest.mark.ray, pytest.mark.timeout(6000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The user's own machine, in a folder that looks like the repository."""

    machine: Machine
    folder: Path

    def command(self, *words: str) -> list[str]:
        """As a user's shell there would run it."""
        environment = [f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8", f"PYTHONPATH={ROOT}", "USER=root", *PATIENCE]
        return self.machine.inside("env", "--ignore-environment", f"--chdir={self.folder}", *environment, *words)

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT_S,
        )

    def paretune(self, *words: str) -> str:
        """What a command of ours says; it must succeed."""
        ended = self.ask(sys.executable, "-m", "paretune", *words)
        assert ended.returncode == 0, ended.stdout[-6000:]
        return ended.stdout

    @contextlib.contextmanager
    def tunnel(self, file: str) -> Iterator[None]:
        """`ray dashboard` in another terminal."""
        log = self.folder / "tunnel.log"
        with log.open("wb") as stream:
            terminal = subprocess.Popen(self.command("ray", "dashboard", file), stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        try:
            probe = self.command("bash", "-c", "until (exec 3<>/dev/tcp/127.0.0.1/8265) 2>/dev/null; do sleep 0.3; done")
            subprocess.run(probe, check=True, timeout=STEP_TIMEOUT_S)
            yield
        finally:
            terminal.kill()
            terminal.wait()

    def write(self, values: dict[str, Any], file: str) -> str:
        """A YAML file in the folder; its name."""
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return file


@pytest.fixture
def lab() -> Iterator[Machines]:
    """A desk and three hosts."""
    if missing := what_is_missing():
        pytest.skip(missing)
    with tempfile.TemporaryDirectory(prefix="pt-hosts-") as scratch, machines(Path(scratch), [ROOT]) as made:
        for name, address in (("head", HEAD), ("trainer", TRAINER), ("simulator", SIMULATOR)):
            made.add(name, address)
        yield made


@pytest.fixture
def desk(lab: Machines) -> Desk:
    """The desk with what `paretune cluster up` sends: our file for these hosts, the wheel, the constraints, a token."""
    made = Desk(machine=lab.desk, folder=lab.key.parent / "repository")
    made.folder.mkdir()
    values = yaml.safe_load((ROOT / "deploy" / "on-premises.yaml").read_text())
    values |= {"min_workers": 2, "max_workers": 2, "auth": {"ssh_user": "root", "ssh_private_key": str(lab.key)}}
    values["provider"] |= {"head_ip": HEAD, "worker_ips": [TRAINER, SIMULATOR]}
    hosts = values["metadata"]["paretune"]["static_hosts"]
    values["metadata"]["paretune"]["static_hosts"] = {
        "cpu": {"hosts": [TRAINER], "resources": {**hosts["cpu"]["resources"], "CPU": 1}},
        "analog": {"hosts": [SIMULATOR], "resources": {**hosts["analog"]["resources"], "CPU": 1}},
    }
    prices = values["metadata"]["paretune"]["prices"]["per_hour"]
    values["metadata"]["paretune"]["prices"]["per_hour"] = {name: prices[name] for name in ("head", "cpu", "analog")}
    made.write(values, "deploy/on-premises.yaml")
    (made.folder / "constraints.txt").write_text((ROOT / "constraints.txt").read_text())
    write_wheel(made.folder / "dist")
    made.write(STUDY, "study.yaml")
    token = f"umask 077 && mkdir -p ~/.ray && printf %s {secrets.token_hex(24)} > ~/.ray/auth_token"
    assert made.ask("sh", "-c", token).returncode == 0
    return made


def write_wheel(folder: Path) -> None:
    """The wheel of this code, without its dependencies: they are there, and nothing here reaches a package index."""
    folder.mkdir()
    info = "paretune-0.1.0.dist-info"
    with zipfile.ZipFile(folder / "paretune-0.1.0-py3-none-any.whl", "w") as wheel:
        for path in sorted((ROOT / "paretune").rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                wheel.write(path, path.relative_to(ROOT))
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: paretune\nVersion: 0.1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nparetune = paretune.__main__:main\n")
        wheel.writestr(f"{info}/RECORD", "".join(f"{item.filename},,\n" for item in wheel.infolist()) + f"{info}/RECORD,,\n")


STUDY = {
    "version": 1,
    "name": "small",
    "seed": 3,
    "task": {"name": "digits"},
    "space": {"name": "digits_conv", "stages": 1},
    "objectives": [
        {"metric": "accuracy", "goal": "max", "reference": 0.1},
        {"metric": "parameters", "goal": "min", "reference": 100000},
    ],
    "searcher": {"name": "nsga2", "population": 2},
    "budget": {"trials": TRIALS},
    "training": {"epochs": 5},
    "run": {"mode": "sync", "workers": 2, "trial_timeout": "30m"},
    "tracking": {"uri": "none"},
    "storage": "/shared/runs",
}


def search(folder: Path) -> list[Record]:
    """Candidates of the study that have ended; none where it has not begun."""
    if not (folder / "ledger.db").exists():
        return []
    return [record for record in read_history(folder).search_records() if record.evaluation]


def hosts(records: Iterable[Record]) -> set[str]:
    """Where they were trained."""
    return {record.evaluation.worker.partition(":")[0] for record in records if record.evaluation}


def rays(machine: Machine) -> list[str]:
    """What runs of Ray on a machine."""
    return [line for line in machine.processes() if "ray" in line.lower() or "gcs_server" in line]


def test_a_cluster_of_ones_own_machines_runs_a_study_though_one_is_lost_and_ends_without_a_trace(lab: Machines, desk: Desk) -> None:
    file, study = "deploy/on-premises.yaml", lab.shared / "runs" / "small"
    _, head, trainer, simulator = lab.all

    def nodes() -> set[str]:
        told = desk.paretune("cluster", "status", file)
        print(told)  # what pytest shows where the wait below ends without success
        return {line.partition("; ")[0] for line in told.splitlines() if line.startswith("10.77.0.")}

    assert f"paretune cluster status {file}" in desk.paretune("cluster", "up", file, "--yes")
    lab.until(
        lambda: all(any("/raylet " in line for line in machine.processes()) for machine in (trainer, simulator)),
        "Ray does not start",
        STEP_TIMEOUT_S,
    )
    everyone = {f"{HEAD}: nothing", f"{TRAINER}: CPU 1", f"{SIMULATOR}: CPU 1, analog 4"}
    lab.until(lambda: nodes() == everyone, "not all hosts joined", STEP_TIMEOUT_S)
    offered = {node["address"]: node["resources"] for node in json.loads(desk.paretune("cluster", "status", file, "--json"))}
    assert offered == {HEAD: {}, TRAINER: {"CPU": 1.0}, SIMULATOR: {"CPU": 1.0, "analog": 4.0}}

    with desk.tunnel(file):
        submitted = desk.paretune("submit", "study.yaml", "--address", "http://127.0.0.1:8265")
        assert "study small is on http://127.0.0.1:8265" in submitted
        lab.until(lambda: hosts(search(study)) == {"trainer", "simulator"}, "no candidate ended on each host", STEP_TIMEOUT_S)
        simulator.kill()
        assert len(search(study)) < TRIALS
        assert "search: budget of 8 candidates spent" in desk.paretune("logs", "small", "--follow")
    records = search(study)
    assert [record.outcome for record in records] == [Outcome.OK] * TRIALS
    assert {lost for record in records for lost in record.lost_to} <= {Outcome.PREEMPTED}

    assert nodes() == {*everyone, f"{SIMULATOR}: not in the cluster (analog)"} - {f"{SIMULATOR}: CPU 1, analog 4"}
    told = desk.paretune("cluster", "down", file, "--yes")
    assert f"{HEAD}: left\n{TRAINER}: left\n{SIMULATOR}: not reached" in told, told
    lab.until(lambda: not rays(head) + rays(trainer), "Ray goes on", STEP_TIMEOUT_S)
