"""What a study has done so far, folded from the ledger's events: the one reading that resume, status, report and mirror share.

Events, in the order of the ledger (`body` beside each):

    created    header of the study, see `Header`
    opened     a process became the writer
    asked      {job} a proposal that will be evaluated
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

from paretune.core.genotype import Choice, Decision, NamedGenotype
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.pareto import ParetoArchive
from paretune.core.trial import Outcome, Trial
from paretune.platform.record.jobs import Evaluation, Job, Purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a study is, written once when it is created."""

    name: str
    spec: Mapping[str, Any]
    """The spec as canonical JSON values."""
    spec_text: str
    """The user's file, word for word; empty when the study came from Python."""
    decisions: tuple[Decision, ...]
    problem: Problem
    metrics: Mapping[str, Metric]
    """Everything an evaluation reports, by inner name."""
    protocol: str
    """Digest of what decides a result beside the architecture; see `JobFactory`."""
    provenance: Mapping[str, str]
    """Versions, host, data digest, commit."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Field path -> value that replaced the file's, for example by `--set`."""

    def as_json(self) -> dict[str, Any]:
        """The header as JSON values."""
        problem = {
            "objectives": [
                {"metric": item.metric, "direction": item.direction.value, "reference": item.reference} for item in self.problem.objectives
            ],
            "constraints": [
                {"metric": item.metric, "upper": _limit(item.upper), "lower": _limit(item.lower)} for item in self.problem.constraints
            ],
        }
        metrics = {
            name: {
                "unit": metric.unit,
                "direction": metric.direction.value,
                "lower": _limit(metric.lower),
                "upper": _limit(metric.upper),
                "description": metric.description,
                "free": metric.free,
                "source": metric.source,
            }
            for name, metric in self.metrics.items()
        }
        return {
            "name": self.name,
            "spec": dict(self.spec),
            "spec_text": self.spec_text,
            "decisions": [{"name": item.name, "choices": list(item.choices), "ordinal": item.ordinal} for item in self.decisions],
            "problem": problem,
            "metrics": metrics,
            "protocol": self.protocol,
            "provenance": dict(self.provenance),
            "overrides": dict(self.overrides),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Header":
        """The inverse of `as_json`."""
        problem = Problem(
            objectives=tuple(
                Objective(metric=item["metric"], direction=Direction(item["direction"]), reference=item["reference"])
                for item in values["problem"]["objectives"]
            ),
            constraints=tuple(
                Constraint(metric=item["metric"], upper=_bound(item["upper"], 1), lower=_bound(item["lower"], -1))
                for item in values["problem"]["constraints"]
            ),
        )
        metrics = {
            name: Metric(
                name=name,
                unit=item["unit"],
                direction=Direction(item["direction"]),
                lower=_bound(item["lower"], -1),
                upper=_bound(item["upper"], 1),
                description=item["description"],
                free=item["free"],
                source=item.get("source", ""),
            )
            for name, item in values["metrics"].items()
        }
        decisions = tuple(
            Decision(name=item["name"], choices=tuple(item["choices"]), ordinal=item["ordinal"]) for item in values["decisions"]
        )
        return cls(
            name=values["name"],
            spec=values["spec"],
            spec_text=values["spec_text"],
            decisions=decisions,
            problem=problem,
            metrics=metrics,
            protocol=values["protocol"],
            provenance=values["provenance"],
            overrides=values["overrides"],
        )


def _limit(value: float) -> float | None:
    return None if value in (float("inf"), float("-inf")) else value


def _bound(value: float | None, sign: int) -> float:
    return sign * float("inf") if value is None else value


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
        self.archive = ParetoArchive(len(header.problem.objectives))
        """The feasible non-dominated candidates so far, of those trained to the full fidelity; keys are ask indices."""
        self._by_ask: dict[int, Record] = {}

    @classmethod
    def fold(cls, events: Iterable[Any], *, details: bool = True) -> "History":
        """Fold events with `seq`, `kind` and `body`; the first must be `created`.

        Args:
            events: in the order of the ledger.
            details: keep learning curves and measurement repeats; a driver with many candidates does without.
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
                self.records[job.id] = Record(job=job, asked_seq=event.seq)
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
            case "phase":
                self.phases[body["name"]] = body["reason"]
            case "changed":
                self.header = replace(self.header, spec=body["spec"], spec_text=body["spec_text"], overrides=body["overrides"])
                self.phases.clear()

    def _job(self, values: Mapping[str, Any]) -> Job:
        job = Job.from_json(values)
        return replace(job, choices=NamedGenotype(self.header.decisions, job.genotype))

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
        """Final trainings by the ask index of their architecture, in the order of the seeds."""
        groups: dict[int, list[Record]] = {}
        for record in self.records.values():
            if record.job.purpose is Purpose.FINAL:
                groups.setdefault(record.job.ask_index, []).append(record)
        return {index: sorted(group, key=lambda record: record.job.seed_index) for index, group in sorted(groups.items())}
