"""The MLflow UI on this machine: one worker on loopback, opened on a study, ended with everything it started."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.parse import quote

from paretune.core.errors import BadInput, TemporaryError
from paretune.platform.redaction import plain, redacted

HOST = "127.0.0.1"
START_S = 90.0
"""The server imports much; on a busy machine it takes half a minute."""
STOP_S = 8.0
COMPARED_RUNS = 40
"""Members of the front on the compare page: more make an address that browsers cut."""
SQLITE = "sqlite:///"
SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 8 processes of 100 MB each for features that are not used here
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


def serve_ui(tracking_uri: str, study: str | None = None, *, port: int | None, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Show a study in the MLflow UI until Ctrl-C or SIGTERM.

    Args:
        tracking_uri: MLflow's. For a database a server is started on loopback; for `http(s)` the server that is there is used.
        study: opens on its front; None opens the list of experiments.
        port: of our server; None takes a free one.
        open_browser: open the page in the user's browser too.
        announce: called with the address of the page when it can be opened.

    Raises:
        BadInput: nothing was logged there, the port is taken, or the study is unknown.
        TemporaryError: the server does not start; the message holds its last words.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_terminated_like_interrupted())
        remote = tracking_uri.startswith(("http://", "https://"))
        base_url = tracking_uri.rstrip("/") if remote else stack.enter_context(ui_server(tracking_uri, port=port))
        url = study_url(base_url, study) if study else base_url
        announce(redacted(url))
        if open_browser:
            webbrowser.open(url)
        if not remote:
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


@contextlib.contextmanager
def ui_server(tracking_uri: str, *, port: int | None = None) -> Iterator[str]:
    """An MLflow server for a database, from when it answers until the block ends; gives its address.

    Raises:
        BadInput: the SQLite file does not exist, or the port is taken.
        TemporaryError: it does not start.
    """
    if tracking_uri.startswith(SQLITE) and not _sqlite_file(tracking_uri).exists():
        raise BadInput(f"nothing was logged to {tracking_uri} yet. Run a study first, or name another place with --tracking-uri")
    chosen = _free_port(port)
    with tempfile.TemporaryFile() as log:
        process = _start(tracking_uri, chosen, log)
        try:
            url = f"http://{HOST}:{chosen}"
            _wait_until_it_answers(process, url, log)
            yield url
        finally:
            _stop(process)


def study_url(base_url: str, study: str) -> str:
    """The page that shows a study: its front side by side, or its list of runs while there is no front.

    The compare page is used because MLflow's list shows the candidates only after a click on the study: they are nested runs.

    Raises:
        BadInput: the server does not know the study.
    """
    from mlflow import MlflowClient  # 3 s

    client = MlflowClient(base_url)
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=1000)]
    name = study.replace("'", "\\'")
    parents = client.search_runs(experiments, f"tags.`paretune.study` = '{name}' and tags.`paretune.key` = 'study'", max_results=1)
    if not parents:
        raise BadInput(f"MLflow at {redacted(base_url)} knows no study '{study}'. Is it being mirrored? Try 'paretune sync {study}'")
    experiment_id = parents[0].info.experiment_id
    where = f"tags.`paretune.study_id` = '{parents[0].data.tags['paretune.study_id']}' and tags.`paretune.front` = 'true'"
    front = [run.info.run_id for run in client.search_runs([experiment_id], where, max_results=COMPARED_RUNS)]
    if len(front) < 2:  # MLflow compares at least two
        return f"{base_url}/#/experiments/{experiment_id}/runs?searchFilter={quote(f'tags.`paretune.study` = {json.dumps(study)}')}"
    return f"{base_url}/#/compare-runs?runs={_json(front)}&experiments={_json([experiment_id])}"


def _json(values: list[str]) -> str:
    return quote(json.dumps(values, separators=(",", ":")))


def _free_port(port: int | None) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port or 0))
        except OSError as error:
            raise BadInput(f"port {port} cannot be used: {error.strerror}. Leave --port out to get a free one") from error
        return int(listener.getsockname()[1])


def _start(tracking_uri: str, port: int, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--allowed-hosts", f"{HOST}:{port},localhost:{port}"]
    if tracking_uri.startswith(SQLITE):  # where the mirror puts them; the default is the working folder
        command += ["--artifacts-destination", str(_sqlite_file(tracking_uri).parent / "mlartifacts")]
    # The address of a database may hold a password, which other users would see on the command line.
    environment = {**os.environ, **SETTINGS, "MLFLOW_BACKEND_STORE_URI": tracking_uri}
    return subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _sqlite_file(tracking_uri: str) -> Path:
    return Path(tracking_uri.removeprefix(SQLITE).partition("?")[0]).absolute()


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", url: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310 - our own http address
            if answer.status == HTTPStatus.OK:
                return
        time.sleep(0.2)
    log.seek(0)
    words = plain(log.read().decode("utf-8", "replace")).strip().splitlines()
    state = f"ended with code {process.returncode}" if process.poll() is not None else f"did not answer within {START_S:.0f} s"
    raise TemporaryError(f"the MLflow server {state}: {' | '.join(words[-3:])}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server's whole process group, first politely."""
    for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM as Ctrl-C within the block, so that the server is ended in both cases."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
