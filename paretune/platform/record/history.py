"""What a study has done so far, folded from the ledger's events: the one reading that resume, status, report and mirror share.

Events, in the order of the ledger (`body` beside each):

    created    header of the study, see `Header`
    opened     a process became the writer
    staffed    {stations} how many candidates each stage had room for in this session
    asked      {job, expected} a proposal that will be evaluated, and what the searcher predicted of it, where it did
    screened   {job, metrics, violation} a proposal whose free costs already break a limit; not evaluated
    started    {id, attempt} a job was handed to a worker
    finished   {id, evaluation, elapsed_s} a job ended
    lost       {id, outcome, message} an attempt ended without a result
    phase      {name, reason} the search ended, the final training ended
    changed    {spec, spec_text, overrides} a resume changed what may change: budget, workers, tracking
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from paretune.core.expectation import Expectation
from paretune.core.genotype import Choice, NamedGenotype
from paretune.core.objectives import Problem
from paretune.core.pareto import ParetoArchive
from paretune.core.trial import Outcome, Trial
from paretune.platform.record.header import Header
from paretune.platform.record.jobs import Evaluation, Job, Purpose


@dataclass(slots=True, kw_only=True)
class Record:
    """One job and what became of it."""

    job: Job
    evaluation: Evaluation | None = None
    """None while it is pending."""
    attempts: int = 0
    """How often it was handed to a worker."""
    lost_to: tuple[Outcome, ...] = ()
    """How each attempt without a result ended."""
    screened: bool = False
    """Whether the free costs settled it, so that it was never evaluated."""
    asked_seq: int = 0
    """Ledger number of the ask."""
    finished_seq: int = 0
    """Ledger number of the result, 0 while it is pending."""
    elapsed_s: float = 0.0
    """Search time over all sessions when it finished."""
    expected: Mapping[str, Expectation] = field(default_factory=dict)
    """Metric -> what the searcher predicted when it proposed it; empty where it did not, and in a history without details."""

    @property
    def outcome(self) -> Outcome | None:
        """How it ended, None while it is pending."""
        return self.evaluation.outcome if self.evaluation else None

    @property
    def metrics(self) -> Mapping[str, float]:
        """Its metrics, SI; empty while it is pending."""
        return self.evaluation.metrics if self.evaluation else {}

    @property
    def choices(self) -> Mapping[str, Choice]:
        """The architecture as named decisions."""
        return self.job.choices

    def trial(self) -> Trial:
        """What the searcher is told; the job must have ended."""
        assert self.evaluation is not None
        return Trial(
            ask_index=self.job.ask_index,
            genotype=self.job.genotype,
            outcome=self.evaluation.outcome,
            metrics=dict(self.evaluation.metrics),
        )


def screened_evaluation(metrics: Mapping[str, float]) -> Evaluation:
    """What stands for the evaluation of a candidate that the gate on the free costs stopped."""
    return Evaluation(outcome=Outcome.INFEASIBLE, metrics=metrics, message="its free costs break a limit")


def _kept_details(job: Job, evaluation: Evaluation) -> Mapping[str, Any]:
    """The learning curve of a training with rungs, which decides who goes on; nothing else."""
    curve = evaluation.details.get("curve") if job.schedule_epochs else None
    return {} if curve is None else {"curve": curve}


class History:
    """A study as its ledger tells it."""

    def __init__(self, header: Header, *, details: bool = True) -> None:
        self.header, self._details = header, details
        self.records: dict[str, Record] = {}
        self.phases: dict[str, str] = {}
        self.last_seq = 0
        self.num_sessions = 0
        self.stations: dict[str, int] = {}
        """Stage -> candidates that it had room for at the same time, the most of any session."""
        self.archive = ParetoArchive(len(header.problem.objectives))
        """The feasible non-dominated candidates so far, of those trained to the full fidelity; keys are ask indices."""
        self._by_ask: dict[int, Record] = {}

    @classmethod
    def fold(cls, events: Iterable[Any], *, details: bool = True) -> "History":
        """Fold events with `seq`, `kind` and `body`; the first must be `created`.

        Args:
            events: in the order of the ledger.
            details: keep learning curves, measurement repeats and predictions; a driver with many candidates does without.
        """
        iterator: Iterator[Any] = iter(events)
        history = cls(Header.from_json(next(iterator).body), details=details)
        for event in iterator:
            history.apply(event)
        return history

    def apply(self, event: Any) -> None:
        """Take in the next event."""
        body = event.body
        self.last_seq = event.seq
        match event.kind:
            case "opened":
                self.num_sessions = max(self.num_sessions, event.epoch - 1)  # epoch 1 is the creation
            case "asked":
                job = self._job(body["job"])
                expected = body.get("expected", {}) if self._details else {}
                predicted = {metric: Expectation.from_json(values) for metric, values in expected.items()}
                self.records[job.id] = Record(job=job, asked_seq=event.seq, expected=predicted)
                if job.purpose is Purpose.SEARCH:
                    self._by_ask[job.ask_index] = self.records[job.id]  # of its rungs the highest: that is asked last
            case "screened":
                job = self._job(body["job"])
                evaluation = screened_evaluation(body["metrics"])
                self.records[job.id] = Record(job=job, evaluation=evaluation, screened=True, asked_seq=event.seq, finished_seq=event.seq)
            case "started":
                self.records[body["id"]].attempts = body["attempt"]
            case "lost":
                self.records[body["id"]].lost_to += (Outcome(body["outcome"]),)
            case "finished":
                record = self.records[body["id"]]
                evaluation = Evaluation.from_json(body["evaluation"])
                record.evaluation = evaluation if self._details else replace(evaluation, details=_kept_details(record.job, evaluation))
                record.elapsed_s = body["elapsed_s"]
                record.finished_seq = event.seq
                if record.job.purpose is Purpose.SEARCH and record.job.is_full and record.outcome is Outcome.OK:
                    self.archive.insert(record.job.ask_index, *self.problem.score(record.trial()))
            case "staffed":
                self.stations = {str(stage): max(count, self.stations.get(stage, 0)) for stage, count in body["stations"].items()}
            case "phase":
                self.phases[body["name"]] = body["reason"]
            case "changed":
                self.header = replace(self.header, spec=body["spec"], spec_text=body["spec_text"], overrides=body["overrides"])
                self.phases.clear()

    def _job(self, values: Mapping[str, Any]) -> Job:
        job = Job.from_json(values)
        return replace(job, choices=NamedGenotype(self.header.decisions, job.genotype))

    def is_start(self, record: Record) -> bool:
        """Whether the user gave a candidate for the search to start from: those are the first asks."""
        return record.job.ask_index < self.header.num_start

    @property
    def problem(self) -> Problem:
        """Objectives and constraints of the study."""
        return self.header.problem

    def proposals(self) -> list[Record]:
        """Everything the searcher proposed, screened or not, in ask order; of several rungs the highest that ended."""
        found: dict[int, Record] = {}
        for record in self.evaluations():
            known = found.get(record.job.ask_index)
            if known is None or record.evaluation is not None:
                found[record.job.ask_index] = record
        return list(found.values())

    def evaluations(self) -> list[Record]:
        """The jobs of the search, screened or not, in the order of their asks and rungs."""
        found = [record for record in self.records.values() if record.job.purpose is Purpose.SEARCH]
        return sorted(found, key=lambda record: (record.job.ask_index, record.job.rung))

    @property
    def epochs_trained(self) -> int:
        """Epochs that the finished jobs of the search stand for; a rung counts what it adds to the one below."""
        return sum(
            record.job.epochs - (self.records[record.job.continues].job.epochs if record.job.continues else 0)
            for record in self.records.values()
            if record.job.purpose is Purpose.SEARCH and record.evaluation is not None and not record.screened
        )

    def dialogue(self) -> Iterator[tuple[str, Record]]:
        """`("asked", record)` and `("finished", record)` of the search in the order of the ledger."""
        steps: list[tuple[int, int, str, Record]] = []
        for record in self.evaluations():
            steps.append((record.asked_seq, 0, "asked", record))
            if record.evaluation is not None:
                steps.append((record.finished_seq, 1, "finished", record))
        for _, _, kind, record in sorted(steps, key=lambda step: step[:2]):
            yield kind, record

    def search_records(self) -> list[Record]:
        """Records of the search in ask order, without the screened ones."""
        return [record for record in self.proposals() if not record.screened]

    def arrivals(self) -> list[Record]:
        """Finished records of the search in the order of arrival."""
        return sorted((record for record in self.search_records() if record.evaluation), key=lambda record: record.finished_seq)

    @property
    def elapsed_s(self) -> float:
        """Time spent on the study up to its last result, over all sessions."""
        return max((record.elapsed_s for record in self.records.values()), default=0.0)

    @property
    def num_screened(self) -> int:
        """Proposals that the free costs settled."""
        return sum(record.screened for record in self.records.values())

    def front(self) -> list[Record]:
        """Records on the front, best first in the first objective."""
        members = [self._by_ask[index] for index in self.archive.keys]
        return sorted(members, key=lambda record: (*self.problem.minimised(record.metrics), record.job.ask_index))

    def finals(self) -> dict[int, list[Record]]:
        """Final trainings by the ask index of their architecture, in the order of the seeds; only those of as many epochs.

        A resume may change the epochs. Those of the present spec count, or else, where an architecture has none of these, its newest.
        """
        groups: dict[int, list[Record]] = {}
        for record in self.records.values():
            if record.job.purpose is Purpose.FINAL:
                groups.setdefault(record.job.ask_index, []).append(record)
        return {index: self._of_one_length(group) for index, group in sorted(groups.items())}

    def _of_one_length(self, group: list[Record]) -> list[Record]:
        present = self.header.final_epochs
        newest = max(group, key=lambda record: record.asked_seq).job.epochs
        epochs = present if any(record.job.epochs == present for record in group) else newest
        return sorted((record for record in group if record.job.epochs == epochs), key=lambda record: record.job.seed_index)
