"""PostgreSQL and an MLflow server on it, on loopback, for benchmarks and tests; everything of them ends with the block."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
from endings import unwound_by_signals

STOP_S = 20.0
START_S = 180.0
"""MLflow's imports and the tables of a new database take half a minute on a busy machine."""
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest where several versions are installed; None where there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found and (program := shutil.which("initdb")):
        found = [Path(program).resolve().parent]
    return max(found, key=lambda path: path.parts[-2].zfill(4), default=None)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def postgres(*, durable: bool = True) -> Iterator[str]:
    """A new cluster with one database; gives its address for SQLAlchemy, the password of its user included.

    PostgreSQL does not run as root; there it runs as the user `postgres` that Debian's package makes.
    """
    programs = postgres_programs()
    assert programs is not None, "PostgreSQL is not installed"
    owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    as_owner = {"user": owner, "group": pwd.getpwnam(owner).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    port, password = free_port(), secrets.token_hex(12)
    with contextlib.ExitStack() as stack:
        stack.enter_context(unwound_by_signals())
        folder = Path(tempfile.mkdtemp(prefix="paretune-postgres-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "password").write_text(password)
        for path in (folder, folder / "password"):
            shutil.chown(path, owner)
        options = ["--username=mlflow", "--auth=scram-sha-256", f"--pwfile={folder}/password", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", *options], check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_owner
        )
        command = [programs / "postgres", "-D", folder / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", "unix_socket_directories=", "-c", f"fsync={'on' if durable else 'off'}"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, process_group=0, **as_owner)
        stack.callback(_end, server, signal.SIGINT)  # its "fast" shutdown
        _wait_for_port(port, server)
        yield f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def mlflow_server(store: str, folder: Path, *options: str, **settings: str) -> Iterator[str]:
    """An MLflow server with one worker on a database; gives its address.

    Args:
        store: address of the database; it goes through the environment, where other users do not see its password.
        folder: for artifacts and the log.
        options: more of `mlflow server`.
        settings: more environment variables.
    """
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *options]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, **SETTINGS, "MLFLOW_BACKEND_STORE_URI": store, **settings}
    with contextlib.ExitStack() as stack:
        stack.enter_context(unwound_by_signals())
        with (folder / "server.log").open("ab") as log:
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder, process_group=0)
        stack.callback(_end, server, signal.SIGTERM)
        url = f"http://127.0.0.1:{port}"
        _wait_for_answer(f"{url}/health", server, folder / "server.log")
        yield url


def step_back(*pids: int) -> None:
    """Let processes and all that they started run only when nothing else does: in real life servers are on another machine.

    What they start later inherits it.

    Args:
        pids: of the processes; without any those that this one started.
    """
    roots = [psutil.Process(pid) for pid in pids]
    for process in [*roots, *(child for root in roots or [psutil.Process()] for child in root.children(recursive=True))]:
        for thread in process.threads():
            os.sched_setscheduler(thread.id, os.SCHED_IDLE, os.sched_param(0))


def processor_s(word: str) -> float:
    """Processor time so far of the processes that this one started, directly or not, and whose command has a word in it.

    Those that they started and that have ended count too: PostgreSQL has a process for each connection.
    """
    found = [child.cpu_times() for child in psutil.Process().children(recursive=True) if word in " ".join(child.cmdline())]
    return sum(times.user + times.system + times.children_user + times.children_system for times in found)


def _wait_for_port(port: int, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}; exit code {server.poll()}")


def _wait_for_answer(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            return  # whoever asks for a login answers
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer; exit code {server.poll()}; {log.read_text()[-2000:]}")


def _end(server: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    for chosen in (number, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, chosen)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_S)
            return
