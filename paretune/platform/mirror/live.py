"""A study as it grows: history, front and progress kept up with every event."""

from collections.abc import Iterable, Mapping

from paretune.core.pareto import ParetoArchive
from paretune.core.trial import Outcome
from paretune.platform.history import Header, History, Record
from paretune.platform.jobs import Purpose
from paretune.platform.ledger import Event
from paretune.platform.summary import Progress


class LiveStudy:
    """The fold of a study's events, with what the mirror needs after each of them."""

    def __init__(self, header: Header) -> None:
        self.history = History(header)
        self.finished: list[Record] = []
        """Candidates and final trainings in the order of their results."""
        self.steps: list[Progress] = []
        self.best: list[Mapping[str, float]] = []
        """Best feasible value of each objective, beside `steps`."""
        self._archive = ParetoArchive(len(header.problem.objectives))
        self._volume = 0.0

    def apply(self, events: Iterable[Event]) -> None:
        """Take in the next events."""
        for event in events:
            self.history.apply(event)
            if event.kind == "finished":
                self._finished(self.history.records[event.body["id"]])

    def on_front(self, record: Record) -> bool:
        """Whether a candidate of the search is on the front now."""
        return record.job.purpose is Purpose.SEARCH and record.job.ask_index in self._archive.keys

    def front_keys(self) -> set[str]:
        """Job ids of the front."""
        members = set(self._archive.keys)
        return {record.job.id for record in self.finished if record.job.purpose is Purpose.SEARCH and record.job.ask_index in members}

    def _finished(self, record: Record) -> None:
        self.finished.append(record)
        if record.job.purpose is not Purpose.SEARCH:
            return
        problem = self.history.problem
        if record.outcome is Outcome.OK and self._archive.insert(record.job.ask_index, *problem.score(record.trial())):
            self._volume = self._archive.hypervolume(problem.reference)
        self.steps.append(
            Progress(num_finished=len(self.steps) + 1, elapsed_s=record.elapsed_s, hypervolume=self._volume, front_size=len(self._archive))
        )
        self.best.append(problem.natural(self._archive.points.min(axis=0)) if len(self._archive) else {})
