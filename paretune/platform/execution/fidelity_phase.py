"""A search at several fidelities: candidates start with few epochs, and the best of each rung go on from their checkpoints.

A rung is a job of its own in the ledger, so nothing that finished is lost or trained twice. What becomes of a candidate follows from
the results alone, in the order of the ledger, so a resumed search decides what the one that was killed decided.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

from paretune.core.errors import SpecChanged
from paretune.core.genotype import Genotypes, named
from paretune.core.metrics import EPOCHS_METRIC
from paretune.core.protocols import GenotypeSpace, Searcher
from paretune.core.trial import Outcome
from paretune.platform.execution.phase import Done, PhaseContext, Wait
from paretune.platform.execution.racing import RivalFront
from paretune.platform.execution.search_phase import Budget, SearchPhase
from paretune.platform.record.history import Record
from paretune.platform.record.jobs import Evaluation, Job, JobFactory
from paretune.searchers.rungs import AsynchronousHalving, Halving, Ladder, SynchronousHalving, Verdict


class Forecast(Protocol):
    """Foresees metrics of a full training. Must follow from what it was told, in any order."""

    def finished(self, job: Job, evaluation: Evaluation) -> None:
        """A candidate was trained fully."""
        ...

    def metrics(self, job: Job, evaluation: Evaluation, *, known_before: int | None) -> Mapping[str, float]:
        """The metrics of a candidate as they would be after a full training.

        Args:
            job: at a lower rung.
            evaluation: what it gave, with its learning curve.
            known_before: use only candidates with smaller ask indices; None is all.
        """
        ...


class FidelityPhase(SearchPhase):
    """A search whose candidates climb the rungs of a ladder.

    The searcher is told each candidate once: when it has stopped or is trained fully. It gets the metrics of the highest rung reached,
    or with a forecast what they would be after a full training, and as `epochs` how far the training went. `mode: sync` compares
    candidates in cohorts that do not depend on the number of workers; `mode: async` judges a rung as results come.

    Args:
        context: the study's history, ledger and clock.
        searcher: fresh; the ledger is replayed into it.
        space: names the decisions.
        mode: when results are told and judged.
        budget: when to end; counted in candidates, however far they are trained.
        factory: makes the jobs of every rung.
        screen: free costs of genotypes; candidates that break a limit on them never run.
        ladder: the rungs.
        cohort: candidates of a full cohort in `mode: sync`; None is decided by the ladder.
        forecast: compares candidates by what they would reach; None compares them by what they have reached.
        patience_s: how long `next_job` waits for the searcher, see `SearchPhase`, as for what follows.
        rivals: the front that full trainings are judged against.
    """

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
        ladder: Ladder,
        cohort: int | None = None,
        forecast: Forecast | None = None,
        patience_s: float | None = None,
        rivals: RivalFront | None = None,
    ) -> None:
        self._searcher, self._forecast, self._mode = searcher, forecast, mode
        self._halving: Halving = SynchronousHalving(ladder, cohort=cohort) if mode == "sync" else AsynchronousHalving(ladder)
        self._paused: dict[int, tuple[Job, Evaluation]] = {}
        self._promoted: deque[Job] = deque()
        super().__init__(
            context,
            searcher=searcher,
            space=space,
            mode=mode,
            budget=budget,
            factory=factory,
            screen=screen,
            patience_s=patience_s,
            rivals=rivals,
        )

    def _new_job(self) -> Job | Wait | Done:
        if not self._time_is_up and (job := self._next_promotion()) is not None:
            return job
        step = super()._new_job()
        if isinstance(step, Done) and not self._time_is_up and not self._running:
            self._act(self._halving.finish())
            return self._next_promotion() or step
        return step

    def _propose(self) -> Job | None:
        job = super()._propose()
        if job is None:  # the searcher waits for results, perhaps for those that a cohort closed meanwhile leads to
            return self._next_promotion()
        self._enter(job)
        return job

    def _enter(self, job: Job) -> None:
        settled = self._searcher.tells_before(job.ask_index) if self._mode == "sync" else 0
        self._act(self._halving.enter(job.ask_index, settled=settled))

    def _before_ask(self) -> None:
        """In `mode: sync` a cohort ends where the searcher demands results of its members: else each would wait for the other."""
        first = self._halving.first_open if isinstance(self._halving, SynchronousHalving) else None
        if first is not None and first < self._searcher.tells_before(self._dialogue.num_asked):
            self._act(self._halving.finish())

    def _next_promotion(self) -> Job | None:
        if not self._promoted:
            return None
        job = self._against_rivals(self._promoted.popleft())
        self.context.defer(("asked", {"job": job.as_json()}))
        return job

    def _learn(self, job: Job, evaluation: Evaluation) -> None:
        if evaluation.outcome is not Outcome.OK:
            self._tell(job, evaluation)
            self._act(self._halving.fail(job.ask_index, rung=job.rung))
        elif job.is_full:
            if self._forecast is not None:
                self._forecast.finished(job, evaluation)
            self._tell(job, evaluation)
            self._known_fully(job, evaluation)
        else:
            metrics = self._foreseen(job, evaluation)
            self._paused[job.ask_index] = (job, replace(evaluation, metrics=metrics))
            problem = self.history.problem
            point_M, violation = problem.minimised(metrics), problem.violation(metrics)
            self._act(self._halving.report(job.ask_index, rung=job.rung, point_M=point_M, violation=violation))

    def _foreseen(self, job: Job, evaluation: Evaluation) -> Mapping[str, float]:
        """The metrics by which a candidate is compared, and which the searcher is told if it stops here."""
        if self._forecast is None:
            return evaluation.metrics
        # In `mode: sync` only results that were there for certain when the candidate was proposed, whatever the number of workers.
        known_before = self._searcher.tells_before(job.ask_index) if self._mode == "sync" else None
        return self._forecast.metrics(job, evaluation, known_before=known_before)

    def _act(self, verdict: Verdict) -> None:
        for key in verdict.promoted:
            job, _ = self._paused.pop(key)
            choices = named(self._space.decisions, job.genotype)
            self._promoted.append(self._factory.search(ask_index=key, genotype=job.genotype, choices=choices, rung=job.rung + 1))
        for key in verdict.stopped:
            self._tell(*self._paused.pop(key))

    def _tell(self, job: Job, evaluation: Evaluation) -> None:
        super()._tell(job, replace(evaluation, metrics={**evaluation.metrics, EPOCHS_METRIC: float(job.epochs)}))

    def _replay_ask(self, record: Record) -> None:
        if record.job.rung == 0:
            super()._replay_ask(record)
            if not record.screened:
                self._enter(record.job)
            return
        if not self._drop_promotion(record.job.id):
            # The session that asked it had come to the end of its budget, and decided on all that waited.
            self._act(self._halving.finish())
            if not self._drop_promotion(record.job.id):
                raise SpecChanged(
                    f"candidate {record.job.ask_index} went on to {record.job.epochs} epochs in the ledger, but this version of paretune "
                    "would have stopped it. Resume with the version that started the study, or start a new study"
                )

    def _drop_promotion(self, job_id: str) -> bool:
        """Take a promotion that was asked already out of the queue; whether it was there."""
        for job in self._promoted:
            if job.id == job_id:
                self._promoted.remove(job)
                return True
        return False
