"""Early stopping with several objectives for anybody's Ray Tune script: a drop-in for Tune's `ASHAScheduler`."""

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from paretune.core.errors import BadInput
from paretune.core.objectives import Problem
from paretune.searchers.rungs import AsynchronousHalving, Ladder

DECISION: Mapping[bool, str] = {True: TrialScheduler.CONTINUE, False: TrialScheduler.STOP}


class MultiObjectiveASHA(FIFOScheduler):
    """Asynchronous successive halving over every objective of a problem: a trial goes on if it is among the best 1/eta of its rung.

    Best is by non-dominated front, and within a front by an epsilon-net, see `searchers.epsilon_net`; limits of the problem come
    first. A trial is judged once at each rung, when it reports there, and stopped for good or left alone, so the trainable needs no
    checkpoints. Leave `metric` and `mode` of `TuneConfig` empty.

    Args:
        problem: the objectives and constraints, under the names that trials report.
        max_t: units of `time_attr` after which a trial is complete and ended.
        min_t: units of the lowest rung; no trial is stopped before.
        eta: of how many trials one goes on.
        time_attr: what a trial reports as its progress; it must rise.

    Raises:
        BadInput: the rungs are impossible.

    Source: Schmucker et al., Multi-objective Asynchronous Successive Halving, arXiv 2106.12639, 2021.
    """

    def __init__(self, problem: Problem, *, max_t: int, min_t: int = 1, eta: int = 3, time_attr: str = "training_iteration") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        ladder = Ladder(min_epochs=min_t, max_epochs=max_t, eta=eta)
        self._problem, self._time_attr = problem, time_attr
        self._milestones = ladder.epochs
        self._halving = AsynchronousHalving(ladder, patience=1)
        self._reached: dict[str, int] = {}
        self._keys: dict[str, int] = {}
        self.num_stopped = 0
        """Trials ended before `max_t`."""

    def set_search_properties(self, metric: str | None, mode: str | None, **_spec: object) -> bool:  # noqa: ARG002
        """Called by Tune with what `TuneConfig` says."""
        if metric is not None:
            raise BadInput(f"TuneConfig(metric={metric!r}): leave it out, the problem of MultiObjectiveASHA names the objectives")
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:  # noqa: ARG002
        """Called by Tune for each new trial."""
        self._keys[trial.trial_id] = len(self._keys)
        self._reached[trial.trial_id] = 0

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Whether a trial goes on.

        A report that lacks the progress or a metric of the problem decides nothing; one with a metric that is no finite number counts
        as the worst.
        """
        if self._time_attr not in result:
            return str(TrialScheduler.CONTINUE)
        if result[self._time_attr] >= self._milestones[-1]:
            return str(TrialScheduler.STOP)
        rung = self._reached[trial.trial_id]
        complete = all(name in result for name in self._problem.metrics)
        if rung == len(self._milestones) - 1 or result[self._time_attr] < self._milestones[rung] or not complete:
            return str(TrialScheduler.CONTINUE)
        # A trial that reports rarely may pass several rungs at once; it is judged at the highest.
        while rung + 1 < len(self._milestones) - 1 and result[self._time_attr] >= self._milestones[rung + 1]:
            rung += 1
        self._reached[trial.trial_id] = rung + 1
        metrics = {name: _number(result[name]) for name in self._problem.metrics}
        goes_on = self._judge(self._keys[trial.trial_id], rung, metrics)
        self.num_stopped += not goes_on
        return DECISION[goes_on]

    def _judge(self, key: int, rung: int, metrics: Mapping[str, float]) -> bool:
        point_M = self._problem.minimised(metrics)
        violation = self._problem.violation(metrics)
        return key in self._halving.report(key, rung=rung, point_M=point_M, violation=violation).promoted

    def debug_string(self) -> str:
        """What Tune shows."""
        return f"multi-objective ASHA: rungs {', '.join(map(str, self._milestones))} ({self._time_attr}), {self.num_stopped} stopped"


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
