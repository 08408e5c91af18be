"""`python -m paretune.platform.mirror FOLDER [--follow]`: the mirror's process. The tracking URI comes from PARETUNE_TRACKING_URI."""

import argparse
import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from paretune.core.errors import ParetuneError
from paretune.platform.mirror.orders import Orders
from paretune.platform.record.redaction import plain

NICENESS = 19
FIRST_LOOK_S = 1.0
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the mirror retries itself, after looking whether the first request was carried out
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its own handler would write past the formatter that hides secrets
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


LOOKED_FOR = ("dbruntime", "IPython", "pyspark")
"""Modules of other people's clusters and notebooks that MLflow tries to import for the headers of every request."""


class _PlainFormatter(logging.Formatter):
    """Lines without secrets and control characters, whoever logged them."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def main() -> int:
    """Run the mirror; the exit code is 0 when everything is in MLflow, 75 when something waits, else that of the error."""
    parser = argparse.ArgumentParser(prog="python -m paretune.platform.mirror", description="Copy a study's ledger into MLflow.")
    parser.add_argument("folder", type=Path, help="the study's folder")
    parser.add_argument("--follow", action="store_true", help="go on until 'finish SECONDS' or the end of standard input")
    parser.add_argument("--background", action="store_true", help="use idle processors only, and begin at the first result")
    parser.add_argument("--experiment", help="name of the MLflow experiment (default: the study's)")
    parser.add_argument("--deadline", type=float, default=600.0, metavar="SECONDS", help="give up after this time (default 600)")
    options = parser.parse_args()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PlainFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.environ.update(SETTINGS)
    orders = Orders(sys.stdin) if options.follow else Orders(None, deadline_s=options.deadline)
    return _run(options.folder, options.experiment, orders, background=options.background)


def remember_missing(names: Iterable[str]) -> None:
    """Let later imports of modules that are not installed fail at once.

    Python looks through the whole path again each time: for MLflow's three, a quarter of the mirror's processor time.
    """
    for name in names:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = None  # type: ignore[assignment]  # Python's own mark for a module that cannot be imported


def _step_back() -> None:
    """Run only when no processor has anything else to do. Niceness is not enough: Ray gives its workers 15."""
    os.nice(NICENESS)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _await_first_result(folder: Path, orders: Orders) -> None:
    """Do not compete with the start of Ray and of the workers: importing MLflow takes seconds of a processor."""
    from paretune.platform.mirror.state import mirror_state

    while not orders.finishing and mirror_state(folder).waiting == 0:
        orders.wait(FIRST_LOOK_S)


def _run(folder: Path, experiment: str | None, orders: Orders, *, background: bool) -> int:
    try:
        if background:
            _step_back()
            _await_first_result(folder, orders)
        remember_missing(LOOKED_FOR)
        from paretune.platform.mirror.follow import run_mirror  # brings MLflow in, after the environment was set
        from paretune.platform.spec.environment import resolve_env

        uri = os.environ.pop("PARETUNE_TRACKING_URI", "") or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        waiting = run_mirror(folder, tracking_uri=resolve_env(uri), experiment=experiment, orders=orders)
    except ParetuneError as error:
        logging.error("%s", error)
        return error.exit_code
    except Exception:  # the log is the only place where anybody can see it
        logging.exception("the mirror failed")
        return 1
    return 75 if waiting else 0


if __name__ == "__main__":
    sys.exit(main())
