"""The one adapter between paretune's searchers and Ray Tune, whose `Searcher` is a developer API and may move.

`TuneSearcher` is public: it drops into anybody's own Ray Tune script. `PhaseSearcher` lets Tune execute a phase of a study.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ray.tune.search import Searcher as RaySearcher

from paretune.core.canonical import canonical_json
from paretune.core.errors import BadInput, BadOptions, EvaluationError
from paretune.core.genotype import Choice, named
from paretune.core.given import given_genotypes
from paretune.core.metrics import Direction, Metric, checked_metrics
from paretune.core.objectives import Problem
from paretune.core.protocols import GenotypeSpace, Searcher, StartingSearcher
from paretune.core.trial import Outcome, Trial
from paretune.platform.execution.dialogue import Dialogue
from paretune.platform.execution.newcomers import Newcomers
from paretune.platform.execution.nodes import Misfit
from paretune.platform.execution.phase import Done, Phase, Thinking, Wait
from paretune.platform.execution.placement import AVOID
from paretune.platform.execution.stations import Stations
from paretune.platform.record.jobs import Evaluation, Job

logger = logging.getLogger(__name__)

WAIT_S = 0.2
"""Longest wait for news from the stations before a stop is looked for."""


class TuneSearcher(RaySearcher):
    """Any paretune searcher as `search_alg` of an ordinary Ray Tune script.

    Trials get the named decisions as their config and report every metric of `problem` under its own name. Leave `metric` and
    `mode` of `TuneConfig` empty (they take one objective only) and set `max_concurrent_trials`.

    Args:
        searcher: proposes candidates.
        space: the space that `searcher` was made for.
        problem: the objectives and constraints that `searcher` was made for.
        mode: `sync` makes the proposals independent of the number of workers, `async` never waits.
        start: candidates that are tried first, each a mapping of decisions to choices.

    Raises:
        BadOptions: a candidate to start from is no member of the space, or given twice.
        BadInput: the searcher takes no candidates to start from.
    """

    def __init__(
        self,
        searcher: Searcher,
        space: GenotypeSpace,
        problem: Problem,
        *,
        mode: Literal["sync", "async"] = "async",
        start: Sequence[Mapping[str, Choice]] = (),
    ) -> None:
        super().__init__(
            metric=[objective.metric for objective in problem.objectives],  # type: ignore[arg-type]  # several, as Tune's own code does
            mode=[objective.direction.value for objective in problem.objectives],  # type: ignore[arg-type]
        )
        self._space, self._problem = space, problem
        if start:
            _start(searcher, space, start)
        self._dialogue = Dialogue(searcher, mode)
        self._live: dict[str, tuple[int, tuple[int, ...]]] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: Mapping[str, Any], **_spec: object) -> bool:  # noqa: ARG002
        """Called by Tune with what `TuneConfig` and `param_space` say."""
        if metric is not None:
            raise BadInput(f"TuneConfig(metric={metric!r}): leave it out, the problem of TuneSearcher names the objectives")
        overlap = sorted(set(config) & {decision.name for decision in self._space.decisions})
        if overlap:
            raise BadInput(f"param_space sets {', '.join(overlap)}, which the search space decides; remove it there")
        return True

    def suggest(self, trial_id: str) -> dict[str, Choice] | str | None:  # type: ignore[override]  # FINISHED is a string
        """Named decisions of a new candidate, None to be asked again later, FINISHED when the space is exhausted."""
        proposal = self._dialogue.ask()
        if proposal is None:
            return str(RaySearcher.FINISHED) if self._dialogue.exhausted else None
        self._live[trial_id] = proposal
        return named(self._space.decisions, proposal[1])

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Intermediate reports teach nothing; only the last one counts."""

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Tell the searcher what a trial ended with."""
        if trial_id not in self._live:
            return
        index, genotype = self._live.pop(trial_id)
        outcome, metrics = self._read(result, error)
        self._dialogue.result(Trial(ask_index=index, genotype=genotype, outcome=outcome, metrics=metrics))

    def _read(self, result: Mapping[str, Any] | None, error: bool) -> tuple[Outcome, dict[str, float]]:
        if error or result is None:
            return Outcome.CRASHED, {}
        values = {name: result[name] for name in self._problem.metrics if name in result}
        if any(isinstance(value, float) and not math.isfinite(value) for value in values.values()):
            return Outcome.DIVERGED, {}
        expected = {name: Metric(name=name, unit="", direction=Direction.MIN) for name in self._problem.metrics}
        try:
            return Outcome.OK, checked_metrics(result, expected, producer="a trial")
        except EvaluationError as problem:
            logger.error("%s; it counts as failed", problem)
            return Outcome.USER_ERROR, {}

    def save(self, checkpoint_path: str) -> None:
        """Write the state as JSON, when Tune asks."""
        state = {"dialogue": self._dialogue.state_dict(), "live": self._live}
        Path(checkpoint_path).write_text(json.dumps(state))

    def restore(self, checkpoint_path: str) -> None:
        """Go on from a state that `save` wrote."""
        state = json.loads(Path(checkpoint_path).read_text())
        self._dialogue.load_state_dict(state["dialogue"])
        self._live = {trial_id: (index, tuple(genotype)) for trial_id, (index, genotype) in state["live"].items()}


def _start(searcher: Searcher, space: GenotypeSpace, candidates: Sequence[Mapping[str, Choice]]) -> None:
    """Give a searcher the candidates that it starts from."""
    start_SD, mistakes = given_genotypes(space, candidates)
    if mistakes:
        raise BadOptions([(("start", *way), message) for way, message in mistakes])
    if not isinstance(searcher, StartingSearcher):
        raise BadInput(f"start: {type(searcher).__name__} takes no candidates to start from; see paretune.core.protocols.StartingSearcher")
    searcher.start_from(start_SD)


class PhaseSearcher(RaySearcher):
    """Hands the jobs of a phase to Tune, up to `segment` of them: Tune keeps every trial of a run in memory.

    A trial is the stage of a job that trains. What else it awaits goes to the stations, which hold no trial; as long as too many
    candidates wait there, nothing new is trained. An error never passes through Tune's event loop, which would lose it: it ends the
    run and waits in `error`.

    Args:
        phase: what runs.
        segment: trials of this run.
        stations: where trained candidates are measured.
        backlog: candidates that may be at the stations while others are trained.
        release_s: after how long without a new job `on_idle` is called; None is never.
        newcomers: nodes that joined, some of which no trial may use.
        places: how many trials there may be at most, as far as is known now; None is no limit.
    """

    def __init__(
        self,
        phase: Phase,
        *,
        segment: int,
        stations: Stations,
        backlog: int,
        release_s: float | None = None,
        newcomers: Newcomers | None = None,
        places: Callable[[], int | None] = lambda: None,
    ) -> None:
        super().__init__()
        self._newcomers, self._places = newcomers or Newcomers(), places
        self._phase, self._left, self._stations, self._backlog, self._release_s = phase, segment, stations, backlog, release_s
        self._live: dict[str, Job] = {}
        self.done: Done | None = None
        self.error: Exception | None = None
        self.closing = False
        self.leaving: set[str] = set()
        """Trials whose worker must not be used again: its node will go away, or does not fit."""
        self.on_wait: Callable[[], object] = self.look
        """Called again and again while nothing trains and `suggest` waits for the stations."""
        self.on_idle: Callable[[], object] = lambda: None
        """Called once in a while without new jobs: workers that have nothing to do may go, and their nodes with them."""
        self.on_too_many: Callable[[], object] = lambda: None
        """Called while there are more trials than there may be: those that wait for a node may be taken back."""
        self._idle_since_s: float | None = None

    @property
    def num_live(self) -> int:
        """Trials that run, or wait for a worker."""
        return len(self._live)

    @property
    def num_too_many(self) -> int:
        """Trials beyond those that there may be."""
        places = self._places()
        return 0 if places is None else max(0, len(self._live) - places)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles the searcher for its own resume, which is never used: the ledger is the truth."""
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: Mapping[str, Any], **_spec: object) -> bool:  # noqa: ARG002
        """Called by Tune."""
        return True

    def suggest(self, trial_id: str) -> dict[str, str] | str | None:  # type: ignore[override]  # FINISHED is a string
        """The next job as a Tune config."""
        while True:  # ends: each turn hands out a job, finishes, or waits for one of finitely many jobs at the stations
            if self._left == 0 or self.done or self.error or self.closing:
                self._guarded(self._phase.pause)
                return str(RaySearcher.FINISHED)
            places = self._places()
            if places is not None and len(self._live) >= places:
                return None
            try:
                step = self._phase.next_job() if self._stations.num_jobs < self._backlog else Wait()
            except Exception as error:
                self.error = error
                return str(RaySearcher.FINISHED)
            match step:
                case Job():
                    self._live[trial_id] = step
                    self._left -= 1
                    self._idle_since_s = None
                    return {"job": canonical_json(step.as_json()), AVOID: ",".join(self._newcomers.refused)}
                case Done():
                    self.done = step
                    return str(RaySearcher.FINISHED)
            self._look_idle()
            thinking = isinstance(step, Thinking)
            if self._live or (self._stations.num_jobs == 0 and not thinking):
                return None
            self.look(0 if thinking else WAIT_S)  # where nothing trains Tune sleeps for a second, and looks at nothing
            self.on_wait()

    def _look_idle(self) -> None:
        now_s = time.monotonic()
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        elif self._release_s is not None and now_s - self._idle_since_s >= self._release_s:
            self._idle_since_s = math.inf  # once, until there is a job again
            self.on_idle()

    def look(self, timeout_s: float = 0.0) -> None:
        """Take in what has ended at the stations."""
        try:
            for job_id, end in self._stations.look(timeout_s):
                if isinstance(end, Evaluation):
                    self._phase.finished(job_id, end)
                else:
                    self._phase.lost(job_id, end.outcome, end.message)
        except Exception as error:
            self.error = self.error or error

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Every trial reports once, at its end."""

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Take in what a trial ended with; a trial that failed waits for `trial_lost`, which knows why."""
        if error or result is None or not result.keys() & {"evaluation", "awaiting", "misfit"}:
            return
        job = self._live.pop(trial_id, None)
        if job is None:
            return
        if "misfit" in result:
            misfit = Misfit(**json.loads(result["misfit"]))
            self.leaving.add(trial_id)
            self._newcomers.refuse(misfit)
            self._guarded(lambda: self._phase.lost(job.id, Outcome.PREEMPTED, misfit.message))
        elif "awaiting" in result:
            self._guarded(lambda: self._stations.submit(job, json.loads(result["awaiting"])))
        else:
            evaluation = Evaluation.from_json(json.loads(result["evaluation"]))
            if evaluation.outcome is Outcome.PREEMPTED:
                self.leaving.add(trial_id)
            self._guarded(lambda: self._phase.finished(job.id, evaluation))

    def trial_lost(self, trial_id: str, outcome: Outcome, message: str) -> None:
        """The worker of a trial died, or could not even record its result."""
        job = self._live.pop(trial_id, None)
        if job is not None:
            self._guarded(lambda: self._phase.lost(job.id, outcome, message))

    def _guarded(self, action: Any) -> None:
        if self.error is None:
            try:
                action()
            except Exception as error:
                self.error = error

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the ledger has it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the ledger has it."""
