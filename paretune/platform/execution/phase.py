"""One phase of a study as a queue of jobs: what runs next, what came back, what is tried again. Knows no Ray; any executor can drive it.

while True:
    match phase.next_job():
        case Job() as job: ...run it, then phase.finished(job.id, evaluation) or phase.lost(job.id, outcome, message)
        case Wait(): ...until a running job has ended
        case Done() as done: break
"""

import logging
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from paretune.core.errors import SearchFailed
from paretune.core.trial import Outcome
from paretune.platform.record.history import History, Record
from paretune.platform.record.jobs import Evaluation, Job, Purpose

logger = logging.getLogger(__name__)

FAILURES_BEFORE_STOP = 5
"""Candidates after which a session in which every one failed ends."""
JUDGED_BY_RATE = 20
"""Candidates after which a session in which more than half failed ends."""

_NUMBER = re.compile(r"\d+")
_NO_FAILURES = (Outcome.OK, Outcome.INFEASIBLE, Outcome.DIVERGED)
"""Outcomes that say something of the architecture."""

Events = Sequence[tuple[str, Mapping[str, Any]]]


class Journal(Protocol):
    """The part of the ledger that a phase needs."""

    def append(self, events: Events) -> Sequence[Any]:
        """Record events in one durable transaction."""
        ...


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can start until a running job has ended."""


@dataclass(frozen=True, slots=True)
class Thinking(Wait):
    """The searcher thinks about the next job beside whoever asks; ask again soon, whether or not a job has ended."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to run."""

    reason: str
    """One sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseContext:
    """What every phase of a study shares."""

    history: History
    """What the ledger holds; kept up to date with every event recorded."""
    journal: Journal
    """Where events go before anything acts on them."""
    recall: Callable[[str], Evaluation | None]
    """A durable result by job id, perhaps one that the ledger does not know yet; None where there is none."""
    clock: Callable[[], float]
    """Seconds spent on the study, over all sessions and this one so far; monotonic."""
    retries: int
    """How often a job is tried again after its worker crashed or its device failed."""

    deferred: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    """Events that go with the next transaction."""

    def defer(self, event: tuple[str, Mapping[str, Any]]) -> None:
        """Record an event with the next transaction: one flush to the disk a candidate instead of three.

        Only for what can be found again after a crash, such as a result whose worker wrote it durably.
        """
        self.deferred.append(event)

    def record(self, events: Events = ()) -> None:
        """Make the deferred and these events durable in one transaction, then take them in."""
        pending = [*self.deferred, *events]
        self.deferred.clear()
        for event in self.journal.append(pending) if pending else ():
            self.history.apply(event)


class Phase(ABC):
    """The jobs of one phase: new ones from a subclass, interrupted ones first."""

    purpose: ClassVar[Purpose]
    """Of its jobs."""

    def __init__(self, context: PhaseContext, *, pending: Sequence[Record], num_ended: int) -> None:
        self.context = context
        self.history = context.history
        self._running: set[str] = set()
        self._again: deque[str] = deque(record.job.id for record in pending)
        self._jobs = {record.job.id: record.job for record in pending}
        self._failures: list[Evaluation] = []
        self._num_ended_now = 0
        self.num_ended = num_ended
        """Jobs of this phase that have ended, over all sessions."""

    @property
    def num_running(self) -> int:
        """Jobs handed out and not yet back."""
        return len(self._running)

    @abstractmethod
    def _new_job(self) -> Job | Wait | Done:
        """The next job that was never asked, its events deferred."""

    def _learn(self, job: Job, evaluation: Evaluation) -> None:  # noqa: B027 - most phases have nothing to learn
        """A job ended; for subclasses that tell somebody."""

    def next_job(self) -> Job | Wait | Done:
        """The next job to run, recorded durably before it is returned.

        Raises:
            SearchFailed: most jobs of this session fail, or nothing meets the limits; what has ended is recorded all the same.
        """
        try:
            return self._next_job()
        except SearchFailed:
            self.context.record()
            raise

    def _next_job(self) -> Job | Wait | Done:
        while True:  # ends: each turn starts a job, stops, or settles one of finitely many jobs from its durable result
            self._stop_when_most_fail()
            job = self._jobs[self._again.popleft()] if self._again else self._new_job()
            if not isinstance(job, Job):
                self.context.record()
                if isinstance(job, Done) and self._running:
                    return Wait()
                if isinstance(job, Done):
                    self._stop_when_all_failed()
                return job
            self._jobs[job.id] = job
            known = self.context.recall(job.id)
            if known is None:
                return self._start(job)
            logger.info("candidate %d: its worker left a result; adopted", job.ask_index)
            self._end(job.id, known)

    def _start(self, job: Job) -> Job:
        self._running.add(job.id)
        known = self.history.records.get(job.id)
        self.context.record([("started", {"id": job.id, "attempt": known.attempts + 1 if known else 1})])
        return job

    def finished(self, job_id: str, evaluation: Evaluation) -> None:
        """A job ended with an evaluation. Crashes and outcomes that say nothing of the architecture are tried again."""
        if job_id not in self._running:
            return
        if evaluation.outcome is Outcome.CRASHED or not evaluation.outcome.teaches:
            self.lost(job_id, evaluation.outcome, evaluation.message)
            return
        self._running.discard(job_id)
        self._end(job_id, evaluation)

    def pause(self) -> None:
        """Make everything durable although no job is asked for next."""
        self.context.record()

    def lost(self, job_id: str, outcome: Outcome, message: str) -> None:
        """An attempt ended without a result; the job runs again unless it used up its retries."""
        if job_id not in self._running:
            return
        self._running.discard(job_id)
        known = self.context.recall(job_id)
        if known is not None:
            self._end(job_id, known)
        elif self._may_retry(job_id, outcome):
            self.context.record([("lost", {"id": job_id, "outcome": outcome.value, "message": message[:500]})])
            self._again.append(job_id)
        else:
            self._end(job_id, Evaluation(outcome=outcome, message=message))

    def _may_retry(self, job_id: str, outcome: Outcome) -> bool:
        """Preemption is nobody's fault and never counts; a user's error, and a second lack of memory, would only happen again."""
        if outcome is Outcome.PREEMPTED:
            return True
        lost_to = self.history.records[job_id].lost_to
        charged = sum(previous is not Outcome.PREEMPTED for previous in lost_to)
        hopeless = outcome is Outcome.USER_ERROR or (outcome is Outcome.OOM and Outcome.OOM in lost_to)
        return not hopeless and charged < self.context.retries

    def _end(self, job_id: str, evaluation: Evaluation) -> None:
        self.context.defer(("finished", {"id": job_id, "evaluation": evaluation.as_json(), "elapsed_s": round(self.context.clock(), 6)}))
        self._learn(self._jobs.pop(job_id), evaluation)
        self._num_ended_now += 1
        self.num_ended += 1
        if evaluation.outcome not in _NO_FAILURES:
            self._failures.append(evaluation)

    def _stop_when_most_fail(self) -> None:
        """All of the first few failed, or later more than half: a bug or a missing file, not the architectures. Source: Ax."""
        failed, ended = len(self._failures), self._num_ended_now
        if (ended >= FAILURES_BEFORE_STOP and failed == ended) or (ended >= JUDGED_BY_RATE and failed > ended / 2):
            raise SearchFailed(_blamed(self._failures, ended))

    def _stop_when_all_failed(self) -> None:
        """At the end, however few they are and whatever session they failed in."""
        ended = [
            record.evaluation
            for record in self.history.records.values()
            if record.job.purpose is self.purpose and record.evaluation is not None and not record.screened
        ]
        if ended and all(evaluation.outcome not in _NO_FAILURES for evaluation in ended):
            raise SearchFailed(_blamed(ended, len(ended)))


def _blamed(failures: Sequence[Evaluation], ended: int) -> str:
    """How many failed, and the commonest reason; messages that differ in numbers only are one."""
    alike: dict[str, list[str]] = {}
    for evaluation in failures:
        message = f"{evaluation.outcome.value}: {evaluation.reason}"
        alike.setdefault(_NUMBER.sub("#", message), []).append(message)
    most = max(alike.values(), key=len)
    return (
        f"{len(failures)} of {ended} candidates failed, {len(most)} of them with {most[0]}. "
        "Mend the cause, then resume for new candidates; those that failed stay failed"
    )
