"""Brings MLflow equal to the ledger: what is wanted comes from the events, what is there from the mirror's memory."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from paretune.core.errors import StorageError
from paretune.core.files import read_regular
from paretune.platform.mirror.content import (
    FRONT_TAG,
    RunContent,
    candidate_content,
    progress_points,
    spec_text,
    status_tags,
    study_content,
)
from paretune.platform.mirror.errors import Gone, Refused
from paretune.platform.mirror.live import LiveStudy
from paretune.platform.mirror.sink import Sink
from paretune.platform.mirror.state import Memory, RunRow
from paretune.platform.record.history import Record
from paretune.platform.record.jobs import Purpose
from paretune.platform.record.redaction import redacted

logger = logging.getLogger(__name__)

STUDY_KEY = "study"
BATCH_RUNS = 20
BATCH_STEPS = 200
SETTLED = ("done", "refused")


class Reconciler:
    """One study, one experiment.

    A run is first remembered as `sending`, then made, then remembered with its id. Whatever dies in between, the next life finds
    the row and looks for the run by its tag before it makes one.
    """

    def __init__(self, *, live: LiveStudy, memory: Memory, sink: Sink, study_id: str) -> None:
        self._live, self._memory, self._sink, self._study_id = live, memory, sink, study_id
        self._num_seen = 0
        self._waiting: dict[str, Record] = {}
        self._failures: Counter[str] = Counter()
        self._fresh: set[str] = set()
        self._checked = False
        """Whether the parent run was seen on the server in this life."""

    @property
    def num_waiting(self) -> int:
        """Finished candidates whose runs are not complete."""
        self._take_in()
        return len(self._waiting)

    def step(self) -> bool:
        """Do some of what is missing; whether more is left.

        Raises:
            Unavailable: MLflow fails; nothing is lost, call again later.
        """
        self._take_in()
        parent = self._parent()
        batch = sorted(self._waiting.values(), key=lambda record: self._failures[record.job.id])[:BATCH_RUNS]
        front = self._live.front_keys()
        self._remember(batch)
        for record in batch:
            self._send(record, parent, on_front=record.job.id in front)
        behind = self._log_progress(parent)
        self._move_front(front)
        return bool(self._waiting) or behind

    def doubt(self) -> None:
        """Look again whether the server knows the study, before the next step."""
        self._checked = False

    def finish(self, folder: Path, *, ended: bool) -> None:
        """Remove runs that were made twice, store spec and report, and end the parent run.

        Raises:
            Unavailable: MLflow fails.
        """
        parent = self._parent()
        self._remove_doubles()
        self._upload(parent, "spec.yaml", spec_text(self._live.history.header))
        try:
            self._upload(parent, "report.html", read_regular(folder / "report.html").decode("utf-8", "replace"))
        except (FileNotFoundError, StorageError):
            logger.info("no report to store yet")
        self._set_status(parent, "FINISHED" if ended else "KILLED")

    def _take_in(self) -> None:
        """Finished records that came since the last look."""
        for record in self._live.finished[self._num_seen :]:
            row = self._memory.rows.get(record.job.id)
            if row is None or row.state not in SETTLED:
                self._waiting[record.job.id] = record
        self._num_seen = len(self._live.finished)

    def _parent(self) -> RunRow:
        """The parent run, made where it is missing."""
        row = self._memory.rows.get(STUDY_KEY)
        if row is not None and row.run_id is not None and not self._checked:
            try:
                self._sink.check(row.run_id)
            except Gone:
                logger.warning("the server lost this study's runs; they are written again from the ledger")
                self._memory.doubt_everything()
                self._num_seen = 0
                self._take_in()
        content = study_content(self._live.history.header, self._study_id)
        if row is None:
            row = RunRow(key=STUDY_KEY, state="sending", run_id=None, start_ms=_now_ms(), front="", doubtful=False)
            self._memory.announce([row])
            self._make(row, None, content)
        elif row.run_id is None:
            self._make(row, None, content, look_first=True)
        if row.state != "done":
            self._sink.log_params(row.run_id or "", content.params)
            row.state = "done"
            self._memory.save([row])
        if not self._checked:
            self._checked = True
            self._set_status(row, "RUNNING")
        return row

    def _remember(self, batch: Sequence[Record]) -> None:
        """Note durably that runs are about to be made."""
        new = [
            RunRow(
                key=record.job.id,
                state="sending",
                run_id=None,
                start_ms=_now_ms() - round(1000 * (record.evaluation.duration_s if record.evaluation else 0.0)),
                front="",
                doubtful=False,
            )
            for record in batch
            if record.job.id not in self._memory.rows
        ]
        self._fresh = {row.key for row in new}
        if new:
            self._memory.announce(new)

    def _send(self, record: Record, parent: RunRow, *, on_front: bool) -> None:
        """One candidate: create, fill, end. At most three calls."""
        key = record.job.id
        row = self._memory.rows[key]
        content = candidate_content(record, self._live.history.header, study_id=self._study_id, on_front=on_front)
        try:
            self._failures[key] += 1
            if row.run_id is None:
                self._make(row, parent.run_id, content, look_first=key not in self._fresh)
            assert row.run_id is not None
            self._sink.complete(row.run_id, content, start_ms=row.start_ms)
            row.state = "done"
        except Gone:
            row.run_id, row.state = None, "sending"  # somebody removed it for good: make it again
            self._memory.save([row])
            return
        except Refused as error:
            logger.error("candidate %d: MLflow refuses its run: %s", record.job.ask_index, error)
            row.state = "refused"
        self._memory.save([row])
        del self._waiting[key]

    def _make(self, row: RunRow, parent_id: str | None, content: RunContent, *, look_first: bool = False) -> None:
        """Make the run of a row, unless an earlier life made it."""
        if look_first:
            row.doubtful = True
            found = self._sink.find(self._study_id, row.key)
            if found:
                row.run_id, row.start_ms = found[0]
        self._fresh.discard(row.key)
        if row.run_id is None:
            row.run_id = self._sink.create(content, parent_id=parent_id, start_ms=row.start_ms)
            row.front = content.tags.get(FRONT_TAG, "")
        row.state = "created"
        self._memory.save([row])

    def _log_progress(self, parent: RunRow) -> bool:
        """Points of the parent run that are new; whether more are left."""
        first = int(self._memory.get("num_steps") or 0)
        last = min(first + BATCH_STEPS, len(self._live.steps))
        points = progress_points(self._live.steps[first:last], self._live.best[first:last])
        tags = status_tags(self._live.history)
        text = repr(sorted(tags.items()))
        if points or self._memory.get("status_tags") != text:
            self._sink.log(parent.run_id or "", points, tags, start_ms=parent.start_ms)
            self._memory.put("num_steps", str(last))
            self._memory.put("status_tags", text)
        return last < len(self._live.steps)

    def _move_front(self, front: set[str]) -> None:
        """Tag candidates that came to the front or left it."""
        for record in self._live.finished[: self._num_seen]:
            row = self._memory.rows.get(record.job.id)
            wanted = _text(record.job.id in front)
            if record.job.purpose is not Purpose.SEARCH or row is None or row.run_id is None or row.state != "done" or row.front == wanted:
                continue
            try:
                self._sink.set_tag(row.run_id, FRONT_TAG, wanted)
            except (Gone, Refused) as error:
                logger.warning("candidate %d: its run cannot be tagged: %s", record.job.ask_index, error)
            row.front = wanted
            self._memory.save([row])

    def _remove_doubles(self) -> None:
        """A request whose answer was lost may have been carried out after we looked."""
        for row in [row for row in self._memory.rows.values() if row.doubtful and row.run_id]:
            for run_id, _ in self._sink.find(self._study_id, row.key):
                if run_id != row.run_id:
                    self._sink.delete(run_id)
            row.doubtful = False
            self._memory.save([row])

    def _upload(self, parent: RunRow, name: str, text: str) -> None:
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if self._memory.get(f"artifact.{name}") == digest:
            return
        try:
            self._sink.upload(parent.run_id or "", name, redacted(text))
        except Refused as error:
            logger.error("MLflow refuses %s: %s", name, error)
        self._memory.put(f"artifact.{name}", digest)

    def _set_status(self, parent: RunRow, status: str) -> None:
        if self._memory.get("parent_status") != status:
            self._sink.set_status(parent.run_id or "", status)
            self._memory.put("parent_status", status)


def _now_ms() -> int:
    return round(1000 * time.time())


def _text(flag: bool) -> str:
    return "true" if flag else "false"
