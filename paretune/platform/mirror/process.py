"""The driver's side of the mirror: start the process, order it to finish, read how far it is. Imports no MLflow."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from paretune.platform.mirror.state import MirrorState, mirror_state

LOG_FILE = "mirror.log"
GRACE_S = 15.0
"""How much longer than its deadline a mirror may take before it is killed: a request that hangs, and the start of Python."""


class MirrorProcess:
    """A running mirror. When this process dies, the mirror empties its queue for a while and ends."""

    def __init__(self, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self._process, self._folder = process, folder

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it is alive."""
        return self._process.poll() is None

    def state(self) -> MirrorState:
        """How far it is."""
        return mirror_state(self._folder)

    def finish(self, timeout_s: float) -> MirrorState:
        """Order it to empty its queue within a time, wait for its end, and say how far it came."""
        self._step_forward()
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(OSError):
                pipe.write(f"finish {max(timeout_s, 0.0):.3f}\n".encode())
                pipe.flush()
        try:
            self._process.wait(timeout_s + GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close_pipe()
        return self.state()

    def kill(self) -> None:
        """End it at once; the next mirror goes on where it was."""
        self._process.kill()
        self._process.wait()
        self._close_pipe()

    def _step_forward(self) -> None:
        """Somebody waits for it now. Without the right to do so it stays behind everything else that runs on this machine."""
        for thread in Path(f"/proc/{self.pid}/task").glob("*"):  # each thread has a priority of its own
            with contextlib.suppress(OSError, AttributeError):
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)

    def _close_pipe(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


def start_mirror(folder: Path, tracking_uri: str, experiment: str | None = None, *, background: bool = False) -> MirrorProcess:
    """Start a mirror that follows a study's ledger.

    Args:
        folder: the study's folder; what the mirror has to say is in its `mirror.log`.
        tracking_uri: MLflow's, may hold `${env:NAME}`. It reaches the process through the environment, where other users do not see it.
        experiment: name of the experiment; None is the study's name.
        background: use only the time of processors that have nothing else to do, and begin at the first result.
    """
    command = [sys.executable, "-P", "-m", "paretune.platform.mirror", str(folder.absolute()), "--follow"]
    command += ["--experiment", experiment] if experiment else []
    command += ["--background"] if background else []
    # A process group of its own, so that Ctrl-C does not reach it, but no session: Linux shares processors between sessions first
    # (autogroup), and a mirror in another one than the workers made them wait for 3 ms at every turn, however low its priority.
    with (folder / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, env=_environment(tracking_uri), process_group=0
        )
    return MirrorProcess(process, folder)


def sync(folder: Path, tracking_uri: str, experiment: str | None = None, *, timeout_s: float = 600.0) -> MirrorState:
    """Bring MLflow equal to the ledger, for example after the server was away; returns how far it came within the time."""
    return start_mirror(folder, tracking_uri, experiment).finish(timeout_s)


def _environment(tracking_uri: str) -> dict[str, str]:
    """This process's environment, with the folder paretune was imported from, since `-P` keeps the working folder out."""
    home = str(Path(__file__).parents[3])
    paths = [home] if "site-packages" not in home else []
    paths += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PARETUNE_TRACKING_URI": tracking_uri, "PYTHONPATH": os.pathsep.join(paths)}
