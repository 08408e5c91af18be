"""Brings MLflow equal to the ledger: what is wanted comes from the events, what is there from the mirror's memory."""

import logging
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from paretune.platform.mirror.artifacts import Uploads, network_files, study_files
from paretune.platform.mirror.content import (
    FRONT_TAG,
    NOTE_TAG,
    RunContent,
    candidate_content,
    description,
    progress_points,
    status_tags,
    study_content,
)
from paretune.platform.mirror.errors import Gone, Refused, Unavailable
from paretune.platform.mirror.live import LiveStudy
from paretune.platform.mirror.sending import Delivery, Parcel, Sender
from paretune.platform.mirror.sink import Sink
from paretune.platform.mirror.state import Memory, RunRow
from paretune.platform.mirror.table import TABLE_TAG
from paretune.platform.mirror.view import View, page, shared_views
from paretune.platform.record.history import Record
from paretune.platform.record.jobs import Purpose

logger = logging.getLogger(__name__)

STUDY_KEY = "study"
BATCH_RUNS = 40
BATCH_STEPS = 200
STATUS_S = 5.0
"""Between two looks at what the study's status has become, while candidates wait: it is counted over all of them."""
LINKS = {View.FRONT: "Pareto front", View.CHARTS: "charts of the front", View.CANDIDATES: "all candidates"}
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
        self._marked = {row.key for row in memory.rows.values() if row.front != "false"}
        """Keys of the runs that are tagged as members of the front, or whose tag is not known."""
        self._sender, self._uploads = Sender(sink, study_id), Uploads(memory, sink)
        self._status_due_s = 0.0
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
        batch = list(islice(self._waiting.values(), BATCH_RUNS))
        front = self._live.front_keys()
        self._send(batch, parent, front)
        behind = self._log_progress(parent)
        self._move_front(front)
        return bool(self._waiting) or behind

    def doubt(self) -> None:
        """Look again whether the server knows the study, before the next step."""
        self._checked = False

    def finish(self, folder: Path, *, ended: bool) -> None:
        """Remove runs that were made twice, store the files, and end the parent run.

        Raises:
            Unavailable: MLflow fails.
        """
        parent = self._parent()
        self._remove_doubles()
        history = self._live.history
        for name, content in study_files(history, folder):
            self._uploads.put(parent.run_id or "", STUDY_KEY, name, content)
        for key, name, content in network_files(history, folder):
            row = self._memory.rows.get(key)
            if row is not None and row.run_id is not None:
                self._uploads.put(row.run_id, key, name, content)
        self._sink.log(parent.run_id or "", [], TABLE_TAG, start_ms=parent.start_ms)
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
        if row is None:
            row = RunRow(key=STUDY_KEY, state="sending", run_id=None, start_ms=_now_ms(), front="", doubtful=False)
            self._memory.announce([row])
            self._make_parent(row, look_first=False)
        elif row.run_id is None:
            self._make_parent(row, look_first=True)
        if row.state != "done":
            self._sink.log_params(row.run_id or "", self._study_content().params)
            row.state = "done"
            self._memory.save([row])
        if not self._checked:
            self._checked = True
            self._show_views(row)
            self._set_status(row, "RUNNING")
        return row

    def _study_content(self) -> RunContent:
        return study_content(self._live.history.header, self._study_id)

    def _make_parent(self, row: RunRow, *, look_first: bool) -> None:
        self._sender.make(Parcel(row=row, content=self._study_content(), look_first=look_first), None)
        self._memory.save([row])

    def _show_views(self, parent: RunRow) -> None:
        """Keep views of the study in the experiment, with links to them on the parent run."""
        header, experiment_id = self._live.history.header, self._sink.connect()
        links = {title: page(view, experiment_id, self._study_id) for view, title in LINKS.items()}
        try:
            self._sink.tag_experiment(shared_views(header, self._study_id))
            self._sink.log(parent.run_id or "", [], {NOTE_TAG: description(header, links)}, start_ms=parent.start_ms)
        except Refused as error:
            logger.warning("MLflow keeps no views of this study: %s", error)

    def _send(self, batch: Sequence[Record], parent: RunRow, front: set[str]) -> None:
        """Write the runs of candidates; what went wrong with the server is raised when every request has ended."""
        records = {record.job.id: record for record in batch}
        fresh = self._remember(batch)
        parcels = []
        for key, record in records.items():
            content = candidate_content(record, self._live.history.header, study_id=self._study_id, on_front=key in front)
            parcels.append(Parcel(row=self._memory.rows[key], content=content, look_first=key not in fresh))
        failures = [
            delivery.error
            for delivery in self._sender.send(parcels, parent.run_id or "")
            if not self._settle(delivery, records[delivery.parcel.row.key])
        ]
        for error in failures:
            if error is not None:
                raise error

    def _remember(self, batch: Sequence[Record]) -> set[str]:
        """Note durably that runs are about to be made; the keys of those that no earlier request can have made."""
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
        if new:
            self._memory.announce(new)
        return {row.key for row in new}

    def _settle(self, delivery: Delivery, record: Record) -> bool:
        """Remember what became of a run; whether the server answered."""
        row, error = delivery.parcel.row, delivery.error
        self._memory.save([row])
        self._marked.add(row.key)
        del self._waiting[row.key]
        if isinstance(error, Refused):
            logger.error("candidate %d: MLflow refuses its run: %s", record.job.ask_index, error)
        elif error is not None:
            self._waiting[row.key] = record  # behind those that have not been tried
        return not isinstance(error, Unavailable)

    def _log_progress(self, parent: RunRow) -> bool:
        """Points of the parent run that are new; whether more are left."""
        first = int(self._memory.get("num_steps") or 0)
        last = min(first + BATCH_STEPS, len(self._live.steps))
        points = progress_points(self._live.steps[first:last], self._live.best[first:last])
        due = not self._waiting or time.monotonic() >= self._status_due_s
        tags = status_tags(self._live.history) if due else {}
        self._status_due_s = time.monotonic() + STATUS_S if due else self._status_due_s
        text = repr(sorted(tags.items())) if due else self._memory.get("status_tags")
        if points or self._memory.get("status_tags") != text:
            self._sink.log(parent.run_id or "", points, tags, start_ms=parent.start_ms)
            self._memory.put("num_steps", str(last))
            self._memory.put("status_tags", text or "")
        return last < len(self._live.steps)

    def _move_front(self, front: set[str]) -> None:
        """Tag candidates that came to the front or left it."""
        records = self._live.history.records
        for key in sorted(front | self._marked):
            row, record, wanted = self._memory.rows.get(key), records.get(key), _text(key in front)
            if record is None or record.job.purpose is not Purpose.SEARCH:
                self._marked.discard(key)
                continue
            if row is None or row.run_id is None or row.state != "done":
                continue
            if row.front != wanted:
                try:
                    self._sink.set_tag(row.run_id, FRONT_TAG, wanted)
                except (Gone, Refused) as error:
                    logger.warning("candidate %d: its run cannot be tagged: %s", record.job.ask_index, error)
                row.front = wanted
                self._memory.save([row])
            (self._marked.add if key in front else self._marked.discard)(key)

    def _remove_doubles(self) -> None:
        """A request whose answer was lost may have been carried out after we looked."""
        for row in [row for row in self._memory.rows.values() if row.doubtful and row.run_id]:
            for run_id, _ in self._sink.find(self._study_id, row.key):
                if run_id != row.run_id:
                    self._sink.delete(run_id)
            row.doubtful = False
            self._memory.save([row])

    def _set_status(self, parent: RunRow, status: str) -> None:
        if self._memory.get("parent_status") != status:
            self._sink.set_status(parent.run_id or "", status)
            self._memory.put("parent_status", status)


def _now_ms() -> int:
    return round(1000 * time.time())


def _text(flag: bool) -> str:
    return "true" if flag else "false"
