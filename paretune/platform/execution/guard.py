"""Ends a worker that is past its deadline, and everything it started. Runs as a process of its own, so nothing the worker does can stop it.

The worker writes one JSON line for each job to the guard's standard input and an empty line when the job ended:

    {"deadline_s": 120.0, "path": ".../results/ab/abcd.json", "text": "..."}

At the deadline the guard writes `text` durably to `path` (the job's result, with outcome `timeout`) and kills the worker and its
descendants. At the end of its input, which is when the worker died, it kills what the worker left running. Descendants are found
by an environment variable, since a child that detached itself is in no process tree any more.

Started by file name with `python -I`, so it may import the standard library only; it starts in 30 ms and holds 10 MB.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARK = "PARETUNE_WORKER"


class Guard:
    """The worker's side: starts the guard process and tells it about deadlines."""

    def __init__(self) -> None:
        self._mark = f"{os.getpid()}-{time.monotonic_ns()}"
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", str(Path(__file__).resolve()), str(os.getpid()), self._mark],
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
        """End the guard process; the worker goes on without one."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()


def _descendants(mark: str) -> list[int]:
    """Processes that inherited the worker's mark. The worker itself has it only in memory, so it is not among them."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended meanwhile, or it is another user's
    return found


def _kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _write(path: Path, text: str) -> None:
    """As `core.files.write_durably`, which a process started with `python -I` cannot import; a result that is there already stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
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


def _serve(worker: int, mark: str) -> None:
    pending = b""
    order: dict[str, str] | None = None
    end_s = 0.0
    while True:
        wait_s = max(0.0, end_s - time.monotonic()) if order else None
        readable, _, _ = select.select([sys.stdin.fileno()], [], [], wait_s)
        if not readable and order:
            try:
                _write(Path(order["path"]), order["text"])
            finally:
                _kill([*_descendants(mark), worker])
            return
        received = os.read(sys.stdin.fileno(), 65536)
        if not received:
            _kill(_descendants(mark))
            return
        *lines, pending = (pending + received).split(b"\n")
        for line in lines:
            order = json.loads(line) if line else None
            if order:
                end_s = time.monotonic() + float(order["deadline_s"])


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _serve(int(sys.argv[1]), sys.argv[2])
