"""The MLflow UI on this machine: one worker on loopback, opened on a study, ended with everything it started."""

import contextlib
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
from typing import IO, TYPE_CHECKING

from click import echo

from paretune.core.errors import BadInput, TemporaryError
from paretune.platform.mirror.address import is_server, shown, sqlite_path, without_login, without_secrets
from paretune.platform.mirror.content import FRONT_TAG, KEY_TAG, STUDY_ID_TAG
from paretune.platform.mirror.state import study_id
from paretune.platform.mirror.view import View, compare_page, order, page
from paretune.platform.record.header import Header
from paretune.platform.record.ledger import read_events
from paretune.platform.spec.environment import resolve_env

if TYPE_CHECKING:
    from mlflow import MlflowClient

HOST = "127.0.0.1"
START_S = 90.0
"""The server imports much; on a busy machine it takes half a minute."""
STOP_S = 8.0
FRONT_RUNS = 1000
COMPARED_RUNS = 20
"""Members of the front on the compare page. It asks the server for the files of each, and draws a column of a table for each."""
SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # 8 processes of 100 MB each for features that are not used here
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default of 7 waits four minutes for a server that is not there
}


def serve_ui(
    tracking_uri: str,
    study: Path | None = None,
    *,
    view: View = View.COMPARE,
    port: int | None = None,
    open_browser: bool = False,
    announce: Callable[[str], None] = echo,
) -> None:
    """Show a study in the MLflow UI until Ctrl-C or SIGTERM.

    Args:
        tracking_uri: MLflow's, may hold `${env:NAME}`. For a database a server is started on loopback; a server that is there is used.
        study: folder of the study to open; None opens the list of experiments.
        view: what to open of it.
        port: of our server; None takes a free one.
        open_browser: open the page in the user's browser too.
        announce: called with the address of the page when it can be opened.

    Raises:
        BadInput: nothing was logged there, the port is taken, or MLflow does not know the study.
        TemporaryError: the server does not answer or does not start; the message holds its last words.
    """
    os.environ.update(SETTINGS)
    uri = without_login(resolve_env(tracking_uri))
    with _terminated_like_interrupted(), contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        base_url = uri.rstrip("/") if is_server(uri) else stack.enter_context(ui_server(uri, port=port))
        url = study_url(base_url, study, view) if study else base_url
        announce(url)
        if open_browser:
            webbrowser.open(url)
        if not is_server(uri):
            signal.pause()


@contextlib.contextmanager
def ui_server(tracking_uri: str, *, port: int | None = None) -> Iterator[str]:
    """An MLflow server for a database, from when it answers until the block ends; gives its address.

    Raises:
        BadInput: the SQLite file does not exist, or the port is taken.
        TemporaryError: it does not start.
    """
    path = sqlite_path(tracking_uri)
    if path is not None and not path.exists():
        raise BadInput(f"nothing was logged to {shown(tracking_uri)} yet: run a study first, or name another place")
    chosen = _free_port(port)
    with tempfile.TemporaryFile() as log:
        process = _start(tracking_uri, chosen, log)
        try:
            url = f"http://{HOST}:{chosen}"
            _wait_until_it_answers(process, url, log, tracking_uri)
            yield url
        finally:
            _stop(process)


def study_url(base_url: str, folder: Path, view: View = View.COMPARE) -> str:
    """The page that shows a study.

    Args:
        base_url: of the server.
        folder: of the study.
        view: `COMPARE` gives the table of all candidates while the front has no two members, which MLflow needs to compare.

    Raises:
        BadInput: there is no study, or the server does not know it.
        TemporaryError: the server does not answer, or refuses the login.
    """
    from mlflow import MlflowClient  # 3 s
    from mlflow.exceptions import MlflowException

    from paretune.platform.mirror.answers import sorted_error

    study = study_id(folder)
    try:
        return f"{base_url}/{_page(MlflowClient(base_url), base_url, study, folder, view)}"
    except MlflowException as error:
        raise TemporaryError(str(sorted_error(error, base_url))) from error


def _page(client: "MlflowClient", base_url: str, study: str, folder: Path, view: View) -> str:
    of_study = f"tags.`{STUDY_ID_TAG}` = '{study}'"
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=1000)]
    parents = client.search_runs(experiments, f"{of_study} and tags.`{KEY_TAG}` = 'study'", max_results=1)
    if not parents:
        raise BadInput(f"MLflow at {base_url} does not know the study in {folder}. Bring it there with 'paretune sync {folder.name}'")
    experiment_id = parents[0].info.experiment_id
    if view is not View.COMPARE:
        return page(view, experiment_id, study)
    key, ascending = order(Header.from_json(read_events(folder)[0].body))
    best_first = [f"{key} {'ASC' if ascending else 'DESC'}"]
    front = client.search_runs([experiment_id], f"{of_study} and tags.`{FRONT_TAG}` = 'true'", max_results=FRONT_RUNS, order_by=best_first)
    if len(front) < 2:
        return page(View.CANDIDATES, experiment_id, study)
    return compare_page(experiment_id, spread([run.info.run_id for run in front], COMPARED_RUNS))


def spread(members: list[str], count: int) -> list[str]:
    """At most `count` of at least two members, evenly spaced, both ends among them: of ten, four are the 1st, 4th, 7th and 10th."""
    last = len(members) - 1
    return members if len(members) <= count else [members[round(number * last / (count - 1))] for number in range(count)]


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
    path = sqlite_path(tracking_uri)
    if path is not None:  # where the mirror puts them; the default is the working folder
        command += ["--artifacts-destination", str(path.parent / "mlartifacts")]
    # The address of a database may hold a password, which other users would see on the command line.
    environment = {**os.environ, **SETTINGS, "MLFLOW_BACKEND_STORE_URI": tracking_uri}
    return subprocess.Popen(  # noqa: S603 - our own interpreter, no shell
        command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", url: str, log: IO[bytes], tracking_uri: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310 - our own http address
            if answer.status == HTTPStatus.OK:
                return
        time.sleep(0.2)
    log.seek(0)
    words = without_secrets(log.read().decode("utf-8", "replace"), tracking_uri).strip().splitlines()
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
