"""The mirror's hands in MLflow: few calls, each safe to repeat, and errors told apart."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException, RestException

from paretune.platform.mirror.address import sqlite_path, without_login
from paretune.platform.mirror.content import KEY_TAG, STUDY_ID_TAG, Point, RunContent
from paretune.platform.mirror.errors import Gone, Refused, Unavailable
from paretune.platform.mirror.names import entity_name
from paretune.platform.record.redaction import plain

PARENT_TAG = "mlflow.parentRunId"
PAGE_RUNS = 1000
SHOWN_CHARACTERS = 300
NO_LOGIN = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "MALFORMED_REQUEST")
FOREIGN = re.compile(r"failed with error code (\d+)|too many (\d+) error responses|not in a valid JSON format")
CAUSE = re.compile(r"Caused by (\w+)")


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
                    raise Unavailable(f"experiment '{self.experiment}' is deleted on {self.uri}; restore it or name another")
                else:
                    self._experiment_id = found.experiment_id
                self._client = client
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

    def upload(self, run_id: str, name: str, text: str) -> None:
        """Store a text as an artifact of a run."""
        with self._errors():
            self.client.log_text(run_id, text, name)

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
        except MlflowException as error:
            raise self._sorted(error) from error
        except (Unavailable, Refused, Gone):
            raise
        except Exception as error:  # any class: database drivers and HTTP clients raise their own
            raise Unavailable(f"{self.uri} fails: {_short(error)}") from error

    def _sorted(self, error: MlflowException) -> Exception:
        foreign = FOREIGN.search(str(error)) if not isinstance(error, RestException) else None
        answer = (foreign[1] or foreign[2]) if foreign else None
        if error.error_code in NO_LOGIN or answer in ("401", "403"):
            return Unavailable(
                f"{self.uri} refuses the login ({error.error_code}): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                "or MLFLOW_TRACKING_TOKEN"
            )
        if foreign:
            shown = f"HTTP {answer}" if answer else "a page that is no JSON"
            return Unavailable(f"{self.uri} answers {shown}: the server fails, or it is no MLflow server")
        if error.error_code in UNKNOWN:
            return Gone(_short(error))
        if error.error_code in REFUSED:
            return Refused(_short(error))
        cause = CAUSE.search(str(error))
        return Unavailable(f"{self.uri} does not answer: {cause[1] if cause else _short(error)}")


def _metrics(points: Sequence[Point], start_ms: int) -> list[Metric]:
    return [Metric(point.name, point.value, start_ms + point.offset_ms, point.step) for point in points]


def _short(error: Exception) -> str:
    lines = plain(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:SHOWN_CHARACTERS] if lines else ''}"


def _artifacts(uri: str, experiment: str) -> str | None:
    """Where artifacts go: beside a SQLite file, else where the server wants them."""
    path = sqlite_path(uri)
    return None if path is None else f"{(path.parent / 'mlartifacts').as_uri()}/{quote(entity_name(experiment))}"


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
