"""Ends a worker that is past its deadline, and everything it started. Runs as a process of its own, so nothing the worker does can stop it.

The worker writes one JSON line for each job to the guard's standard input and an empty line when the job ended:

    {"deadline_s": 120.0, "path": ".../results/ab/abcd.json", "text": "..."}

At the deadline the guard writes `text` durably to `path` (the job's result, with outcome `timeout`) and kills the worker and its
descendants. When the worker dies it kills what the worker left running. Descendants are in no process tree any more once they
detached themselves, so they are found by what they inherited: an environment variable where they started another program, the
worker's end of the guard's pipe where they were forked.

Started by file name with `python -I`, so it may import the standard library only; it starts in 30 ms and holds 10 MB.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "PARETUNE_WORKER"
SWEEPS = 20
"""How often to look again for processes that were started while others were being killed."""


class Guard:
    """The worker's side: starts the guard process and tells it about deadlines."""

    def __init__(self) -> None:
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}"
        strangers = _below(os.getpid(), _parents(), set())
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", str(Path(__file__).resolve()), str(os.getpid()), self._mark, json.dumps(sorted(strangers))],
            stdin=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            cwd="/",
        )
        os.environ[MARK] = self._mark

    def watch(self, *, deadline_s: float, path: Path, text: str) -> None:
        """From now on the worker has `deadline_s` seconds; then `text` is written to `path` and the worker is killed."""
        self._send(json.dumps({"deadline_s": deadline_s, "path": str(path), "text": text}))

    def clear(self) -> None:
        """The job ended in time."""
        self._send("")

    def close(self) -> None:
        """End the guard process and what the jobs left running; the worker goes on without a guard."""
        assert self._process.stdin is not None
        self._send("end")
        self._process.stdin.close()
        self._process.wait(timeout=10)
        os.environ.pop(MARK, None)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()


def _parents() -> dict[int, int]:
    """Every process that runs -> the one that started it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    return parents


def _below(root: int, parents: dict[int, int], without: set[int]) -> set[int]:
    """Descendants of a process, not looking into those `without`."""
    found, generation = set[int](), {root}
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation} - found - without
        found |= generation
    return found


@dataclass(frozen=True)
class _Family:
    """What a worker started since its guard came up."""

    worker: int
    mark: str
    strangers: set[int]
    """Processes that the worker had started before."""

    def members(self) -> set[int]:
        """Those that still run."""
        parents, mark, pipe = _parents(), f"{MARK}={self.mark}".encode(), str(Path("/proc/self/fd/0").readlink())
        found = {pid for pid in parents if _inherited(Path("/proc") / str(pid), mark, pipe)}
        return (found | _below(self.worker, parents, self.strangers)) - {self.worker, os.getpid(), *self.strangers}

    def kill(self, known: set[int]) -> None:
        """Kill `known` and whatever else is found, until nothing is found."""
        for _ in range(SWEEPS):
            _kill(known)
            known = self.members()
            if not known:
                return
            time.sleep(0.05)


def _inherited(process: Path, mark: bytes, pipe: str) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0") or pipe in map(os.readlink, (process / "fd").iterdir())
    except OSError:  # it ended meanwhile, or it is another user's
        return False


def _kill(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _write(path: Path, text: str) -> None:
    """As `core.files.write_durably`, which a process started with `python -I` cannot import; a result that is there already stands."""
    path.parents[1].mkdir(exist_ok=True)  # not the study's folder: where that is gone, nothing is to be made anew
    path.parent.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".paretune-", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)  # noqa: PTH108
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


class _Orders:
    """What the worker said so far: a job with a deadline, or none."""

    def __init__(self) -> None:
        self._pending = b""
        self.job: dict[str, str] | None = None
        self.end_s = 0.0
        self.closed = False

    def read(self) -> None:
        received = os.read(sys.stdin.fileno(), 65536)
        self.closed |= not received
        *lines, self._pending = (self._pending + received).split(b"\n")
        for line in lines:
            if line == b"end":
                self.closed = True
                return
            self.job = json.loads(line) if line else None
            if self.job:
                self.end_s = time.monotonic() + float(self.job["deadline_s"])


def _serve(family: _Family) -> None:
    orders, poll = _Orders(), select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN)
    try:
        poll.register(os.pidfd_open(family.worker), select.POLLIN)  # forked children keep our input open, so its end does not tell
    except ProcessLookupError:
        orders.closed = True
    except OSError:  # Linux before 5.3: only the end of the input is left
        pass
    while not orders.closed:
        wait_ms = max(0.0, 1000 * (orders.end_s - time.monotonic())) if orders.job else None
        ready = [descriptor for descriptor, _ in poll.poll(wait_ms)]
        if sys.stdin.fileno() in ready:
            orders.read()
        elif ready:
            break
        elif orders.job:
            _end_late(orders.job, family)
            return
    family.kill(set())


def _end_late(job: dict[str, str], family: _Family) -> None:
    members = family.members()
    with contextlib.suppress(OSError):  # without a result the driver sees a lost worker
        _write(Path(job["path"]), job["text"])
    family.kill({family.worker, *members})


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _serve(_Family(int(sys.argv[1]), sys.argv[2], set(json.loads(sys.argv[3]))))
