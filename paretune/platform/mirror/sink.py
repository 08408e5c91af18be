"""The mirror's hands in MLflow: few calls, each safe to repeat, and errors told apart."""

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from paretune.platform.mirror.address import shown, sqlite_path, without_login
from paretune.platform.mirror.answers import sorted_error
from paretune.platform.mirror.content import KEY_TAG, STUDY_ID_TAG, Point, RunContent
from paretune.platform.mirror.errors import Unavailable
from paretune.platform.mirror.names import entity_name

PARENT_TAG = "mlflow.parentRunId"
PAGE_RUNS = 1000
TIMEOUT_VARIABLE = "MLFLOW_HTTP_REQUEST_TIMEOUT"
NEAR_S, NEAR_CONNECTIONS, FAR_CONNECTIONS = 0.03, 2, 6
"""Requests at a time to a server or a database, by how long a small one takes. Two keep a server with one worker busy that is near; with
four it was no faster, and opened more connections to its database than it keeps. To one that is far, or that
delays each answer as MLflow with several workers does, most of a request is waiting. A SQLite file has one writer."""
LOOKS = 5
UPLOAD_TIMEOUT_S = 60
"""For the answer to a file, which the server may first have to store elsewhere; other requests are answered at once."""


class Sink:
    """One experiment of one tracking server.

    Args:
        tracking_uri: where; a user and password in it go to MLflow through the environment, so that no message can show them.
        experiment: name of the experiment, made when it is missing.
    """

    def __init__(self, tracking_uri: str, experiment: str) -> None:
        self.uri = without_login(tracking_uri)
        self.experiment = experiment
        self._client: MlflowClient | None = None
        self._experiment_id: str | None = None
        self._answer_s = 0.0
        """How long a small request takes."""

    @property
    def num_connections(self) -> int:
        """How many runs may be written at a time.

        Raises:
            Unavailable: as `connect`.
        """
        if sqlite_path(self.uri) is not None:
            return 1
        self.connect()
        return NEAR_CONNECTIONS if self._answer_s < NEAR_S else FAR_CONNECTIONS

    def connect(self) -> str:
        """The experiment's id, once store and experiment are there.

        Raises:
            Unavailable: no answer, or the experiment was deleted on the server.
        """
        if self._experiment_id is None:
            with self._errors(), _store_lock(self.uri):  # two first connections to one SQLite file would both create its tables
                client = MlflowClient(self.uri)
                found = client.get_experiment_by_name(self.experiment)
                if found is None:
                    self._experiment_id = client.create_experiment(self.experiment, artifact_location=_artifacts(self.uri, self.experiment))
                elif found.lifecycle_stage != "active":
                    raise Unavailable(f"experiment '{self.experiment}' is deleted on {shown(self.uri)}; restore it or name another")
                else:
                    self._experiment_id = found.experiment_id
                self._client = client
                self._answer_s = min(_duration_s(lambda: client.get_experiment_by_name(self.experiment)) for _ in range(LOOKS))
        return self._experiment_id

    def create(self, content: RunContent, *, parent_id: str | None, start_ms: int) -> str:
        """Make a run and return its id. After `Unavailable` it may exist or not: look with `find`."""
        tags = dict(content.tags) | ({PARENT_TAG: parent_id} if parent_id else {})
        with self._errors():
            run = self.client.create_run(self.connect(), start_time=start_ms, tags=tags, run_name=content.name)
        return str(run.info.run_id)

    def find(self, study_id: str, key: str) -> list[tuple[str, int]]:
        """Ids and start times of the runs with a key, oldest first."""
        where = f"tags.`{STUDY_ID_TAG}` = '{study_id}' and tags.`{KEY_TAG}` = '{key}'"
        with self._errors():
            runs = self.client.search_runs([self.connect()], where, ViewType.ACTIVE_ONLY, PAGE_RUNS, ["attributes.start_time ASC"])
        return [(run.info.run_id, run.info.start_time) for run in runs]

    def complete(self, run_id: str, content: RunContent, *, start_ms: int) -> None:
        """Write params and metrics of a run and end it. Repeating it changes nothing."""
        with self._errors():
            params = [Param(name, value) for name, value in content.params.items()]
            self.client.log_batch(run_id, metrics=_metrics(content.points, start_ms), params=params)
            self.client.set_terminated(run_id, "FAILED" if content.failed else "FINISHED", start_ms + content.duration_ms)

    def log(self, run_id: str, points: Sequence[Point], tags: Mapping[str, str], *, start_ms: int) -> None:
        """Add points and tags to a run."""
        with self._errors():
            self.client.log_batch(run_id, metrics=_metrics(points, start_ms), tags=[RunTag(name, value) for name, value in tags.items()])

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Write params of a run."""
        with self._errors():
            self.client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        """Set one tag."""
        with self._errors():
            self.client.set_tag(run_id, name, value)

    def set_status(self, run_id: str, status: str) -> None:
        """`RUNNING`, `FINISHED` or `KILLED`."""
        with self._errors():
            if status == "RUNNING":
                self.client.update_run(run_id, status=status)
            else:
                self.client.set_terminated(run_id, status)

    def check(self, run_id: str) -> None:
        """Raise `Gone` where the server does not know a run."""
        with self._errors():
            self.client.get_run(run_id)

    def delete(self, run_id: str) -> None:
        """Delete a run that was made twice."""
        with self._errors():
            self.client.delete_run(run_id)

    def upload(self, run_id: str, name: str, content: bytes) -> None:
        """Store an artifact of a run, under a name that may have folders."""
        folder, _, file = name.rpartition("/")
        with self._errors(), _patience(), tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, file)
            path.write_bytes(content)
            self.client.log_artifact(run_id, str(path), folder or None)

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment that others than this study may have tags in too."""
        experiment_id = self.connect()
        with self._errors():
            known = self.client.get_experiment(experiment_id).tags
            for name, value in tags.items():
                if known.get(name) != value:
                    self.client.set_experiment_tag(experiment_id, name, value)

    @property
    def client(self) -> MlflowClient:
        """The client of a connected sink."""
        self.connect()
        assert self._client is not None
        return self._client

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Sort what MLflow raises: refused, gone, or to be tried again."""
        try:
            yield
        except Exception as error:  # any class: database drivers and HTTP clients raise their own
            raise sorted_error(error, self.uri) from error


def _duration_s(call: Callable[[], object]) -> float:
    start_s = time.monotonic()
    call()
    return time.monotonic() - start_s


def _metrics(points: Sequence[Point], start_ms: int) -> list[Metric]:
    return [Metric(point.name, point.value, start_ms + point.offset_ms, point.step) for point in points]


def _artifacts(uri: str, experiment: str) -> str | None:
    """Where artifacts go: beside a SQLite file, else where the server wants them."""
    path = sqlite_path(uri)
    return None if path is None else f"{(path.parent / 'mlartifacts').as_uri()}/{quote(entity_name(experiment))}"


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Wait longer for answers within the block; MLflow's client reads the variable at every request."""
    before = os.environ.get(TIMEOUT_VARIABLE)
    os.environ[TIMEOUT_VARIABLE] = str(UPLOAD_TIMEOUT_S)
    try:
        yield
    finally:
        if before is None:
            del os.environ[TIMEOUT_VARIABLE]
        else:
            os.environ[TIMEOUT_VARIABLE] = before


@contextlib.contextmanager
def _store_lock(uri: str) -> Iterator[None]:
    """One process at a time for a SQLite store; nothing for servers."""
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(path.name + ".paretune-lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
