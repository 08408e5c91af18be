"""Studies as Ray jobs: submitted to a cluster's job server, they run on its head and outlive this machine's connection."""

import asyncio
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import paretune
from paretune.core.errors import BadInput, ClusterLost, StudyLocked, UnknownName
from paretune.platform.clusters.order import Order, folder_to_ship, runtime_env
from paretune.platform.execution.cluster import prepare_environment
from paretune.platform.execution.credentials import is_loopback, open_cluster, own_token, refusal
from paretune.platform.record.redaction import plain, redacted

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
"""Where `ray dashboard FILE` puts the end of its tunnel, and where a head on this machine listens."""
STUDY = "paretune.study"
STORAGE = "paretune.storage"
STOP_WAIT_S = 60.0
START_WAIT_S = 60.0
LOGS_FOLLOW = ", last available logs"
"""With this Ray appends the whole log to the reason of a failure."""
NOT_YET = "No available agent"
"""What the job server says while the head's agent starts."""
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")
"""Modules of Ray that tell of every package they send."""
LIVING = ("PENDING", "RUNNING")
TAIL_PAUSE_S = 1.0
ASK_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One run of a study on a cluster."""

    id: str
    """Ray's submission id: `paretune-STUDY-NUMBER`."""
    study: str
    state: str
    """Ray's word: PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED."""
    storage: str
    message: str
    exit_code: int | None
    """Of the driver, where it ended by itself."""
    started_s: float
    """Unix time; 0.0 where it did not start."""
    ended_s: float | None

    @property
    def is_alive(self) -> bool:
        """Whether it waits or runs."""
        return self.state in LIVING


class JobServer:
    """A cluster's job server.

    Args:
        address: `HOST:PORT` or URL; None is the one on this machine or at the end of a tunnel.
        allow_network: connect to another machine without encryption.
        insecure: use also a server on another machine that asks nobody for a token.

    Raises:
        BadInput: nothing answers there, it is no job server, it refuses the token, or it is open.
    """

    def __init__(self, address: str | None = None, *, allow_network: bool = False, insecure: bool = False) -> None:
        self._address = job_address(address, allow_network=allow_network)
        self.shown = redacted(self._address)
        prepare_environment()
        token = own_token()
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):  # Ray lets them win over what the user asked for
            os.environ.pop(name, None)
        from ray.job_submission import JobSubmissionClient

        for module in CHATTY:
            logging.getLogger(module).setLevel(logging.WARNING)
        with self._explained():
            # The header is given, since Ray reads its token once and only where RAY_AUTH_MODE was set before.
            self._client: Any = JobSubmissionClient(self._address, headers={"Authorization": f"Bearer {token}"} if token else {})
            self._jobs()
            if not insecure:
                self._refuse_open()

    def _refuse_open(self) -> None:
        import requests

        if not is_loopback(urlsplit(self._address).hostname or "") and requests.get(f"{self._address}/api/version", timeout=ASK_S).ok:
            raise BadInput(open_cluster(f"the cluster at {self.shown}"))

    def submissions(self, study: str | None = None) -> list[Submission]:
        """Runs of a study, or of all, the oldest first."""
        with self._explained():
            found = [item for item in map(_submission, self._jobs()) if item is not None]
        return sorted((item for item in found if study in (None, item.study)), key=lambda item: _number(item.id))

    def latest(self, study: str) -> Submission:
        """The newest run of a study.

        Raises:
            UnknownName: none was submitted to this cluster.
        """
        everything = self.submissions()
        of_study = [item for item in everything if item.study == study]
        if not of_study:
            raise UnknownName("submitted study", study, sorted({item.study for item in everything}))
        return of_study[-1]

    def submit(self, order: Order) -> Submission:
        """Start a study on the cluster; returns when the job server has it.

        Raises:
            StudyLocked: it waits or runs there already.
        """
        name = order.loaded.spec.name
        earlier = self.submissions(name)
        if earlier and earlier[-1].is_alive:
            raise StudyLocked(
                f"study '{name}' is on {self.shown} already ({earlier[-1].state.lower()}): paretune logs {name}, or paretune stop {name}"
            )
        number = _number(earlier[-1].id) + 1 if earlier else 1
        with self._explained(), folder_to_ship(order) as folder:
            submission_id = self._submitted(
                {
                    "entrypoint": order.entrypoint(),
                    "submission_id": f"paretune-{name}-{number}",
                    "runtime_env": runtime_env(folder, ship_code=order.ship_code),
                    "metadata": {STUDY: name, STORAGE: order.loaded.spec.storage, "paretune.version": paretune.__version__},
                }
            )
        return next(item for item in self.submissions(name) if item.id == submission_id)

    def _submitted(self, job: dict[str, Any]) -> str:
        """Submit a job; a head that has just started takes none for some seconds."""
        end_s = time.monotonic() + START_WAIT_S
        while True:  # ends: by the clock
            try:
                return str(self._client.submit_job(**job))
            except RuntimeError as error:
                if NOT_YET not in str(error) or time.monotonic() > end_s:
                    raise
                time.sleep(TAIL_PAUSE_S)

    def logs(self, submission: Submission) -> str:
        """What a run printed so far."""
        with self._explained():
            return plain(str(self._client.get_job_logs(submission.id)))

    def follow(self, submission: Submission, show: Callable[[str], None]) -> Submission:
        """Show what a run prints until it ended; how it ended.

        Raises:
            ClusterLost: the connection broke; the study goes on.
        """

        async def tail() -> None:
            async for lines in self._client.tail_job_logs(submission.id):
                show(plain(lines))

        with self._explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Ray calls aiohttp in its old way
            asyncio.run(tail())
        return self._ended(submission, timeout_s=STOP_WAIT_S)

    def stop(self, submission: Submission) -> Submission:
        """Ask a run to stop and wait for its end.

        Raises:
            ClusterLost: it did not end in time.
        """
        with self._explained():
            self._client.stop_job(submission.id)
        return self._ended(submission, timeout_s=STOP_WAIT_S)

    def _ended(self, submission: Submission, *, timeout_s: float) -> Submission:
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            now = next((item for item in self.submissions(submission.study) if item.id == submission.id), submission)
            if not now.is_alive:
                return now
            time.sleep(TAIL_PAUSE_S)
        raise ClusterLost(
            f"'{submission.study}' still runs after {timeout_s:g} s; look again: paretune status {submission.study} --address {self.shown}"
        )

    def _jobs(self) -> list[Any]:
        return list(self._client.list_jobs())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Ray's and the network's errors in words that say what to do."""
        from aiohttp import ClientError
        from ray.exceptions import AuthenticationError
        from requests import RequestException

        try:
            yield
        except AuthenticationError as error:
            raise BadInput(refusal(f"the cluster at {self.shown}")) from error
        except (RequestException, ConnectionError, ClientError) as error:
            hint = "Open the tunnel with 'ray dashboard cluster.yaml', or give the job server with --address HOST:8265"
            raise BadInput(f"no Ray job server answers at {self.shown}: {_reason(error)}. {hint}") from error
        except (RuntimeError, ValueError) as error:
            raise ClusterLost(f"the job server at {self.shown} did not do it: {_reason(error)}") from error


def job_address(address: str | None, *, allow_network: bool = False) -> str:
    """The URL of a job server.

    Raises:
        BadInput: it is none, or the token would travel through a network in clear.
    """
    if address in (None, "auto"):
        return DEFAULT_ADDRESS
    text = str(address)
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(f"--address {redacted(text)}: {error}") from error
    if parts.scheme == "ray":
        told = "Ray Client is not used, since a search would end with its connection. Give the job server: HOST:8265"
        raise BadInput(f"--address {redacted(text)}: {told}")
    if parts.scheme not in ("http", "https") or not parts.hostname or (port is None and parts.scheme == "http"):
        raise BadInput(f"--address {redacted(text)}: expected HOST:PORT or the URL of the cluster's job server, such as {DEFAULT_ADDRESS}")
    if parts.scheme == "http" and not is_loopback(parts.hostname) and not allow_network:
        raise BadInput(
            f"--address {redacted(text)}: the token would travel to {parts.hostname} in clear. Open a tunnel and leave the address out: "
            "ray dashboard cluster.yaml; or trust the network between: --allow-network"
        )
    return url.rstrip("/")


def _submission(job: Any) -> Submission | None:
    metadata = job.metadata or {}
    if STUDY not in metadata or not job.submission_id:
        return None
    return Submission(
        id=job.submission_id,
        study=metadata[STUDY],
        state=str(getattr(job.status, "value", job.status)),
        storage=metadata.get(STORAGE, ""),
        message=plain(job.message or "").partition(LOGS_FOLLOW)[0].strip(),
        exit_code=job.driver_exit_code,
        started_s=(job.start_time or 0) / 1000.0,
        ended_s=None if job.end_time is None else job.end_time / 1000.0,
    )


def _number(submission_id: str) -> int:
    tail = submission_id.rpartition("-")[2]
    return int(tail) if tail.isdecimal() else 0


def _reason(error: BaseException) -> str:
    """The first line of what went wrong, short and without passwords."""
    return plain(str(error)).strip().partition("\n")[0][:300].rstrip(".") or type(error).__name__
