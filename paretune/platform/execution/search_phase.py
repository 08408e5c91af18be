"""The search: asks the searcher, gates proposals on their free costs, records and tells what came back."""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from paretune.core.errors import SearchFailed, SpecChanged
from paretune.core.expectation import ExpectingSearcher
from paretune.core.genotype import Genotypes, as_genotypes, named
from paretune.core.metrics import readable
from paretune.core.protocols import GenotypeSpace, Searcher
from paretune.core.trial import Outcome, Trial
from paretune.platform.execution.dialogue import Dialogue
from paretune.platform.execution.phase import Done, Phase, PhaseContext, Thinking, Wait
from paretune.platform.execution.racing import RivalFront
from paretune.platform.record.history import Record, screened_evaluation
from paretune.platform.record.jobs import Evaluation, Job, JobFactory, Purpose

SCREENED_BEFORE_STOP = 10_000
PATIENCE_S = 0.2
"""Wait for the searcher before an event loop looks at what else there is; most answer in less than a millisecond."""
Proposal: TypeAlias = tuple[int, tuple[int, ...]] | None
"""Ask index and genotype; None while results are missing or the space is exhausted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """When a search ends."""

    trials: int | None
    """Candidates to evaluate; screened ones do not count. None is no limit."""
    time_s: float | None
    """Time over all sessions. None is no limit."""


class SearchPhase(Phase):
    """Proposes, records and tells the candidates of one study.

    A searcher that refits its predictors takes seconds: it may think in a thread of its own, beside whoever drives this phase. Results that
    come meanwhile are told and recorded after its answer, so the ledger has every ask and result in the order in which the searcher saw
    them. They wait in memory for no longer than the searcher thinks, and their workers wrote them durably before.

    Args:
        context: the study's history, ledger and clock.
        searcher: fresh; the ledger is replayed into it, which also proves that it would ask the same again.
        space: names the decisions.
        mode: when results are told, see `Dialogue`.
        budget: when to end.
        factory: makes the jobs.
        screen: free costs of genotypes, `(N, D)` -> metric -> `(N,)`; candidates that break a limit on them never run.
        patience_s: how long `next_job` waits for the searcher before it says `Thinking`; None is until it answers, in the same thread.
        rivals: the front that candidates are judged against; None where no hardware races.
    """

    purpose = Purpose.SEARCH

    def __init__(
        self,
        context: PhaseContext,
        *,
        searcher: Searcher,
        space: GenotypeSpace,
        mode: Literal["sync", "async"],
        budget: Budget,
        factory: JobFactory,
        screen: Callable[[Genotypes], Mapping[str, Any]],
        patience_s: float | None = None,
        rivals: RivalFront | None = None,
    ) -> None:
        evaluated = [record for record in context.history.evaluations() if not record.screened]
        pending = [record for record in evaluated if record.evaluation is None]
        super().__init__(context, pending=pending, num_ended=len(evaluated) - len(pending))
        self._space, self._budget, self._factory, self._screen, self._rivals = space, budget, factory, screen, rivals
        self._dialogue = Dialogue(searcher, mode)
        self._num_asked = sum(record.job.rung == 0 for record in evaluated)
        self._num_barren = 0
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="searcher") if patience_s is not None else None
        self._answer: Future[Proposal] | None = None
        """What the searcher thinks about in its thread."""
        self._held: list[tuple[str, Evaluation]] = []
        """Jobs that ended meanwhile."""
        for kind, record in context.history.dialogue():
            if kind == "asked":
                self._replay_ask(record)
            else:
                assert record.evaluation is not None
                (self._tell if record.screened else self._learn)(record.job, record.evaluation)

    def _replay_ask(self, record: Record) -> None:
        """Ask again what the ledger has, before anything new."""
        self._before_ask()
        self._check_same_proposal(record)

    def _learn(self, job: Job, evaluation: Evaluation) -> None:
        self._tell(job, evaluation)
        self._known_fully(job, evaluation)

    def _known_fully(self, job: Job, evaluation: Evaluation) -> None:
        """A candidate was evaluated fully: it may be a rival of later ones."""
        if self._rivals is not None and evaluation.outcome is Outcome.OK:
            self._rivals.add(job, evaluation)

    def _against_rivals(self, job: Job) -> Job:
        """A job with the rivals that it is judged against, where its training is a full one: others say nothing of its place."""
        if self._rivals is None or not job.is_full:
            return job
        return replace(job, rivals=self._rivals.of(job.ask_index, self._free(job)))

    def _free(self, job: Job) -> dict[str, float]:
        """Free costs of a candidate."""
        return {name: float(values[0]) for name, values in self._screen(as_genotypes([job.genotype], len(job.genotype))).items()}

    def _tell(self, job: Job, evaluation: Evaluation) -> None:
        """Give the searcher the result of a candidate."""
        self._dialogue.result(
            Trial(ask_index=job.ask_index, genotype=job.genotype, outcome=evaluation.outcome, metrics=dict(evaluation.metrics))
        )

    def _before_ask(self) -> None:
        """The searcher is about to be asked; for subclasses."""

    @property
    def _time_is_up(self) -> bool:
        return self._budget.time_s is not None and self.context.clock() >= self._budget.time_s

    def _new_job(self) -> Job | Wait | Done:
        if self._answer is None:
            if self._budget.trials is not None and self._num_asked >= self._budget.trials:
                return Done(f"budget of {self._budget.trials:,} candidates spent")
            if self._time_is_up:
                return Done(f"budget of {self._budget.time_s:,.0f} s spent")
        job = self._propose()
        if self._answer is not None:
            return job or Thinking()
        if self._take_held() and job is None:
            return self._new_job()  # the answer was that results are missing; now they are there
        return job or self._without_proposal()

    def _without_proposal(self) -> Wait | Done:
        """What follows when the searcher has nothing to propose."""
        nothing_fits = self._dialogue.exhausted and self._num_asked == 0
        if self._num_barren >= SCREENED_BEFORE_STOP or nothing_fits:
            self.context.record()
            raise SearchFailed(self._unreachable())
        if self._dialogue.exhausted:
            return Done(f"all {self._space.size:,} architectures tried")
        if not self._running:
            raise SearchFailed(
                "the searcher proposes nothing although no result is missing and the space is not exhausted: a bug in the searcher"
            )
        return Wait()

    def _end(self, job_id: str, evaluation: Evaluation) -> None:
        if self._answer is None:
            super()._end(job_id, evaluation)
        else:
            self._held.append((job_id, evaluation))

    def _take_held(self) -> bool:
        """Tell and record what ended while the searcher thought; whether there was anything."""
        held, self._held = self._held, []
        for job_id, evaluation in held:
            self._end(job_id, evaluation)
        return bool(held)

    def pause(self) -> None:
        """Make everything durable; what the searcher thinks about is waited for and runs first when the study goes on."""
        while self._answer is not None:
            wait_for([self._answer])
            job = self._new_job()
            if isinstance(job, Job):
                self._jobs[job.id] = job
                self._again.append(job.id)
        super().pause()

    def _ask(self) -> Proposal:
        """The answer of the searcher; None, with `_answer` set, while it still thinks."""
        if self._thread is None:
            self._before_ask()
            return self._dialogue.ask()
        if self._answer is None:
            self._before_ask()
            self._answer = self._thread.submit(self._dialogue.ask)
        if not wait_for([self._answer], timeout=self._patience_s).done:
            return None
        answer, self._answer = self._answer, None
        return answer.result()

    def _propose(self) -> Job | None:
        """Ask until a proposal passes the gate on its free costs; what was asked is deferred to the next transaction."""
        while self._num_barren < SCREENED_BEFORE_STOP:
            proposal = self._ask()
            if proposal is None:
                return None
            index, genotype = proposal
            job = self._factory.search(ask_index=index, genotype=genotype, choices=named(self._space.decisions, genotype))
            known = self.history.records.get(job.id)
            if known is not None:
                raise SearchFailed(
                    f"ask {index} of the searcher repeats the architecture of ask {known.job.ask_index}: a bug in the searcher, "
                    "which must propose every architecture once (see paretune.testing.searcher)"
                )
            costs = self._free(job)
            if self.history.problem.known_violation(costs) <= 0:
                self._num_barren = 0
                self._num_asked += 1
                job = self._against_rivals(job)
                self.context.defer(("asked", {"job": job.as_json(), **self._expected(job)}))
                return job
            self._num_barren += 1
            self.context.defer(("screened", {"job": job.as_json(), "metrics": costs}))
            self._tell(job, screened_evaluation(costs))
        return None

    def _expected(self, job: Job) -> dict[str, Any]:
        """What the searcher expects of a candidate, to be recorded with the ask: before anybody can know the result."""
        searcher = self._dialogue.searcher
        found = searcher.expected(job.ask_index, job.genotype) if isinstance(searcher, ExpectingSearcher) else {}
        return {"expected": {metric: expectation.as_json() for metric, expectation in found.items()}} if found else {}

    def _check_same_proposal(self, record: Record) -> None:
        proposal = self._dialogue.ask()
        if proposal != (record.job.ask_index, record.job.genotype):
            raise SpecChanged(
                f"ask {record.job.ask_index} of the ledger proposed {list(record.job.genotype)}, but this version of the searcher proposes "
                f"{list(proposal[1]) if proposal else 'nothing'}: the searcher changed since the study was started. "
                "Resume with the version that started it, or start a new study"
            )

    def _unreachable(self) -> str:
        """Which limit no proposal meets, and the nearest value seen."""
        problem = self.history.problem
        screened = [record.metrics for record in self.history.records.values() if record.screened]
        parts = []
        for constraint in problem.constraints:
            values = [metrics[constraint.metric] for metrics in screened if constraint.metric in metrics]
            if values and all(constraint.violation(value) > 0 for value in values):
                limit, sign, word = (
                    (constraint.upper, "<=", "smallest") if math.isfinite(constraint.upper) else (constraint.lower, ">=", "largest")
                )
                nearest = readable(constraint.metric, min(values, key=constraint.violation))
                parts.append(f"{constraint.metric} {sign} {readable(constraint.metric, limit)} ({word} seen: {nearest})")
        limits = "; ".join(parts) or "all limits at once"
        return f"none of the last {self._num_barren:,} proposals meets {limits}. Relax the limit or enlarge the space"
