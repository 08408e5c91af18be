"""Racing in a study: which rivals a candidate is judged against. They travel with its job, and so lie in the ledger.

In `mode: sync` they come from the results that were there for certain when the candidate was proposed, whatever the number of workers:
those that the searcher had to be told before. In `mode: async` from all results so far; the ledger keeps which.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.contest import Contest
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.pareto import non_dominated
from paretune.platform.record.jobs import Evaluation, Job


class RivalFront:
    """The front as it was known when a candidate was proposed.

    Args:
        problem: of the study.
        mode: when results count as known.
        tells_before: of the searcher, see `core.protocols.Searcher`.

    Legend: N candidates, M objectives.
    """

    def __init__(self, problem: Problem, mode: Literal["sync", "async"], tells_before: Callable[[int], int]) -> None:
        self._problem, self._mode, self._tells_before = problem, mode, tells_before
        self._asks: list[int] = []
        self._points: list[NDArray[np.float64]] = []

    def add(self, job: Job, evaluation: Evaluation) -> None:
        """A candidate was evaluated fully."""
        point_M = self._problem.minimised(evaluation.metrics)
        if np.all(np.isfinite(point_M)) and self._problem.violation(evaluation.metrics) <= 0:
            self._asks.append(job.ask_index)
            self._points.append(point_M)

    def of(self, ask_index: int, free: Mapping[str, float]) -> tuple[dict[str, float], ...]:
        """What could dominate a candidate of these free costs: the other objectives of each rival that is no worse in these.

        Of those rivals that are not dominated in the other objectives, in ask order; equal ones are told once.
        """
        rest = [index for index, item in enumerate(self._problem.objectives) if item.metric not in free]
        known_before = self._tells_before(ask_index) if self._mode == "sync" else None
        order = sorted(range(len(self._asks)), key=self._asks.__getitem__)
        chosen = [index for index in order if known_before is None or self._asks[index] < known_before]
        if not chosen or not rest:
            return ()
        points_NM, own_M = np.array([self._points[index] for index in chosen]), self._problem.minimised(free)
        points_NM = points_NM[np.all(points_NM <= own_M, axis=1)]  # infinite where it is not free
        _, first_N = np.unique(points_NM[:, rest], axis=0, return_index=True)
        rest_NM = points_NM[np.sort(first_N)][:, rest]
        objectives = [self._problem.objectives[index] for index in rest]
        return tuple(
            {item.metric: float(item.sign * value) for item, value in zip(objectives, point, strict=True)}
            for point in rest_NM[non_dominated(rest_NM)]
        )


def contest_of(job: Job, problem: Problem, known: Mapping[str, float], target: str) -> Contest:
    """What a candidate must not fall behind in the metrics of one target.

    Args:
        job: with its rivals.
        problem: of the study.
        known: metrics that are there before any target measures: free costs, and what the training gave.
        target: that judges it. What other targets give is not known for certain meanwhile, so an objective on them lets nobody win.
    """
    prefix = f"{target}."
    own = [item for item in problem.objectives if item.metric.startswith(prefix) and item.metric not in known]
    rivals = [rival for rival in job.rivals if own and _may_win(rival, problem, known, prefix)]
    return Contest(
        objectives=tuple(
            Objective(metric=item.metric.removeprefix(prefix), direction=item.direction, reference=item.reference) for item in own
        ),
        rivals=np.array([[item.sign * rival[item.metric] for item in own] for rival in rivals]).reshape(len(rivals), len(own)),
        constraints=tuple(
            Constraint(metric=item.metric.removeprefix(prefix), upper=item.upper, lower=item.lower)
            for item in problem.constraints
            if item.metric.startswith(prefix) and item.metric not in known
        ),
        lost=problem.known_violation(known) > 0,
    )


def _may_win(rival: Mapping[str, float], problem: Problem, known: Mapping[str, float], prefix: str) -> bool:
    """Whether a rival is no worse in all objectives that are known without the target."""
    for item in problem.objectives:
        if item.metric in rival and (item.metric in known or not item.metric.startswith(prefix)):
            value = known.get(item.metric)
            if value is None or item.sign * rival[item.metric] > item.sign * value:
                return False
    return True
