"""A study as it grows: history, front and progress kept up with every event."""

from collections.abc import Iterable, Mapping

from paretune.platform.record.header import Header
from paretune.platform.record.history import History, Record
from paretune.platform.record.jobs import Purpose
from paretune.platform.record.ledger import Event
from paretune.platform.record.summary import Progress


class LiveStudy:
    """The fold of a study's events, with what the mirror needs after each of them."""

    def __init__(self, header: Header) -> None:
        self.history = History(header)
        self.finished: list[Record] = []
        """Candidates and final trainings in the order of their results."""
        self.steps: list[Progress] = []
        self.best: list[Mapping[str, float]] = []
        """Best feasible value of each objective, beside `steps`."""
        self._keys: tuple[int, ...] = ()
        self._volume = 0.0

    def apply(self, events: Iterable[Event]) -> None:
        """Take in the next events."""
        for event in events:
            self.history.apply(event)
            if event.kind == "finished":
                self._finished(self.history.records[event.body["id"]])

    def front_keys(self) -> set[str]:
        """Job ids of the front."""
        return {record.job.id for record in self.history.front()}

    def _finished(self, record: Record) -> None:
        self.finished.append(record)
        if record.job.purpose is not Purpose.SEARCH:
            return
        problem, archive = self.history.problem, self.history.archive
        if archive.keys != self._keys:
            self._keys, self._volume = archive.keys, archive.hypervolume(problem.reference)
        number = len(self.steps) + 1
        self.steps.append(Progress(num_finished=number, elapsed_s=record.elapsed_s, hypervolume=self._volume, front_size=len(archive)))
        self.best.append(problem.natural(archive.points.min(axis=0)) if len(archive) else {})
