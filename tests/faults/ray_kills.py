"""Kills a study on a real Ray with SIGKILL at random moments and resumes it; nothing may be lost, repeated or changed.

    python tests/faults/ray_kills.py --kills 200              only the driver dies, the Ray head goes on
    python tests/faults/ray_kills.py --kills 10 --everything  the driver dies with its Ray
    python tests/faults/ray_kills.py --kills 20 --rungs       the study trains by rungs; what is counted are the jobs of every rung

The witness is kept by the workers in files that paretune does not know (see `FormulaEvaluator`). *Lost*: done there, or durable in a
result file, and absent from the ledger. *Repeated*: done twice, or begun again after its result was durable. *Changed*: another value
than the formula's, or another front than the uninterrupted search's.
"""

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent))

from study_driver import study_values

from paretune.core.rng import derive_seed
from paretune.platform.execution.phase import Done
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Job
from paretune.platform.record.results import RESULTS_FOLDER
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study.plan import build_plan
from paretune.platform.study.study import read_history
from paretune.searchers.nsga2 import NSGA2
from paretune.testing.evaluators import FormulaEvaluator
from paretune.testing.studies import front_json, open_formula_study

DRIVER = Path(__file__).with_name("study_driver.py")
TRIALS_PER_KILL = 6
KILLS_PER_STUDY = 50
STARTING_S = 8.0
"""One kill of five falls within so many seconds after the start: while Python, Ray and the replay come up."""
WORKING_S = 0.6
"""The others fall within so many seconds after the first candidate began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a chain of kills and resumes did to one study."""

    kills: int
    finished: int
    lost: int
    repeated: int
    changed: int
    same_front: bool

    @classmethod
    def total(cls, verdicts: Sequence["Verdict"]) -> "Verdict":
        """All chains as one."""
        return cls(
            kills=sum(verdict.kills for verdict in verdicts),
            finished=sum(verdict.finished for verdict in verdicts),
            lost=sum(verdict.lost for verdict in verdicts),
            repeated=sum(verdict.repeated for verdict in verdicts),
            changed=sum(verdict.changed for verdict in verdicts),
            same_front=all(verdict.same_front for verdict in verdicts),
        )

    @property
    def sound(self) -> bool:
        return self.lost == self.repeated == self.changed == 0 and self.same_front

    def __str__(self) -> str:
        front = "identical" if self.same_front else "DIFFERENT"
        return (
            f"{self.kills} kills, {self.finished} jobs: {self.lost} lost, {self.repeated} trained twice, "
            f"{self.changed} changed, final front {front}"
        )


@contextlib.contextmanager
def ray_head() -> Iterator[str]:
    """A Ray head of its own for the time of a `with` block; its address. Only the processes started here are ended."""
    scratch = tempfile.mkdtemp(prefix="pt-ray-")  # short: Ray's socket paths are limited to 107 bytes
    with socket_port() as port:
        command = [
            "ray",
            "start",
            "--head",
            "--block",
            "--node-ip-address=127.0.0.1",
            f"--port={port}",
            "--num-cpus=2",
            "--include-dashboard=false",
        ]
        command += [f"--temp-dir={scratch}", "--object-store-memory=100000000", "--disable-usage-stats"]
    executable = str(Path(sys.executable).with_name("ray"))
    head = subprocess.Popen([executable, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until_up(f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"
    finally:
        kill_tree(head.pid)
        head.wait()
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def socket_port() -> Iterator[int]:
    """A port on the loopback interface that nobody uses now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server.getsockname()[1]


def environment() -> dict[str, str]:
    """For the programs of this folder: they find paretune also where it is not installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(DRIVER.parents[2]), os.environ.get("PYTHONPATH", "")])}


def wait_until_up(address: str) -> None:
    """Until a driver can connect to a Ray head that was just started."""
    host, port = address.split(":")
    for _ in range(600):  # a driver that comes too early takes seconds to find out
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1.0):
            break
        time.sleep(0.1)
    code = f"from paretune.platform.execution.cluster import ray_cluster\nwith ray_cluster(address={address!r}, num_cpus=1): pass"
    for _ in range(20):
        if subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, env=environment()).returncode == 0:
            return
        time.sleep(1.0)
    raise RuntimeError(f"no Ray head came up at {address}")


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for victim in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()


class Chain:
    """One study, killed again and again."""

    def __init__(self, *, scratch: Path, kills: int, seed: int, address: str | None, forgetful: bool = False, rungs: bool = False) -> None:
        self.scratch, self.kills, self.address, self.forgetful, self.rungs = scratch, kills, address, forgetful, rungs
        self.witness = scratch / "witness"
        self.witness.mkdir(parents=True)
        self.trials = TRIALS_PER_KILL * kills + 8
        self.random = random.Random(seed)
        self.log = scratch / "driver.log"

    def run(self) -> Verdict:
        done = 0
        while done < self.kills:
            driver = self._start()
            if self._kill(driver):
                done += 1
                print(f"\rkill {done} of {self.kills}, {len(self._words('done'))} candidates done", end="", file=sys.stderr, flush=True)
            else:
                break  # the study ended first
        driver = self._start()
        if driver.wait(timeout=900) != 0:
            raise RuntimeError(f"the last resume failed:\n{self.log.read_text()[-4000:]}")
        return self._judge(done)

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, str(DRIVER), str(self.scratch), "study", "--trials", str(self.trials), "--witness", str(self.witness)]
        command += ["--address", self.address] if self.address else []
        command += ["--forgetful"] if self.forgetful else []
        command += ["--rungs"] if self.rungs else []
        with self.log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=self.scratch, env=environment())

    def _kill(self, driver: "subprocess.Popen[bytes]") -> bool:
        """Kill the driver at a random moment while it comes up or shortly after work began; whether it was still running."""
        before = len(self._words("start"))
        deadline_s = time.monotonic() + (self.random.uniform(0.0, STARTING_S) if self.random.random() < 0.2 else 120.0)
        while len(self._words("start")) == before and driver.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        end_s = min(deadline_s, time.monotonic() + self.random.uniform(0.0, WORKING_S))
        while time.monotonic() < end_s and driver.poll() is None:
            time.sleep(0.005)
        if driver.poll() is not None:
            if driver.returncode != 0:
                raise RuntimeError(f"the driver failed by itself ({driver.returncode}):\n{self.log.read_text()[-4000:]}")
            return False
        if self.address is None:
            kill_tree(driver.pid)
        else:
            driver.send_signal(signal.SIGKILL)
        driver.wait()
        return True

    def _words(self, word: str) -> list[str]:
        lines = [line for path in self.witness.iterdir() for line in path.read_text().splitlines()]
        return [line.split()[1] for line in lines if line.startswith(word)]

    def _judge(self, kills: int) -> Verdict:
        history = read_history(self.scratch / "study")
        done = collections.Counter(self._words("done"))
        durable = {path.stem for path in (self.scratch / "study" / RESULTS_FOLDER).glob("*/*.json")}
        finished = {record.job.id: record for record in history.evaluations() if record.evaluation and not record.screened}
        plan = build_plan(spec_from_mapping(study_values(self.scratch, "study", self.trials, rungs=self.rungs)))
        evaluator = FormulaEvaluator(space=plan.space, produced=plan.metrics)
        truths = {key: evaluator.truth(record.job.genotype, missing_epochs=_missing(record.job)) for key, record in finished.items()}
        changed = sum(dict(record.metrics) != truths[key] for key, record in finished.items())
        return Verdict(
            kills=kills,
            finished=len(finished),
            lost=len((set(done) | durable) - set(finished)),
            repeated=sum(count - 1 for count in done.values()) + len(self._words("again")),
            changed=changed,
            same_front=front_json(history) == uninterrupted_front(self.scratch / "baseline", self.trials, rungs=self.rungs),
        )


def _missing(job: Job) -> int:
    return job.schedule_epochs - job.epochs if job.schedule_epochs else 0


def uninterrupted_front(folder: Path, trials: int, *, rungs: bool = False) -> str:
    """The front of the same study, run in this process without Ray and without interruption."""
    plan = build_plan(spec_from_mapping(study_values(folder.parent, "study", trials, rungs=rungs)))
    study = open_formula_study(
        folder,
        space=plan.space,
        make_searcher=lambda space, problem: NSGA2(space, problem, seed=plan.spec.seed, population=8),
        trials=trials,
        problem=plan.problem,
        seed=derive_seed("another job id, the same candidates"),
        ladder=plan.ladder,
    )
    run_here(study.phase, study.evaluator, folder)
    study.ledger.close()
    history: History = study.history
    return front_json(history)


def run_here(phase: object, evaluator: FormulaEvaluator, folder: Path) -> None:
    """Run a phase in this process, one job after another."""
    worker = Worker(evaluator, folder.absolute(), WorkerLimits())
    while isinstance(job := phase.next_job(), Job):  # type: ignore[attr-defined]
        phase.finished(job.id, worker.run(job))  # type: ignore[attr-defined]
    assert isinstance(job, Done)


def kill_and_resume(*, kills: int, seed: int, everything: bool, forgetful: bool = False, rungs: bool = False) -> Verdict:
    """Run one study after another, each killed up to KILLS_PER_STUDY times, until there were enough kills."""
    verdicts: list[Verdict] = []
    with contextlib.ExitStack() as stack:
        address = None if everything else stack.enter_context(ray_head())
        while (left := kills - sum(verdict.kills for verdict in verdicts)) > 0:
            scratch = Path(tempfile.mkdtemp(prefix="pt-kills-"))
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            chain = Chain(
                scratch=scratch,
                kills=min(left, KILLS_PER_STUDY),
                seed=seed + len(verdicts),
                address=address,
                forgetful=forgetful,
                rungs=rungs,
            )
            verdicts.append(chain.run())
            print(f"\nstudy {len(verdicts)}: {verdicts[-1]}", file=sys.stderr, flush=True)
    return Verdict.total(verdicts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--everything", action="store_true", help="kill Ray with the driver")
    parser.add_argument("--rungs", action="store_true", help="train by rungs")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "little"))
    options = parser.parse_args()
    if options.kills < 1:
        parser.error("--kills: at least 1")
    print(f"seed {options.seed}")
    verdict = kill_and_resume(kills=options.kills, seed=options.seed, everything=options.everything, rungs=options.rungs)
    print(f"\n{verdict}")
    return 0 if verdict.sound else 1


if __name__ == "__main__":
    sys.exit(main())
