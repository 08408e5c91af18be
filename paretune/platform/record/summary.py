"""What a study amounts to: counts, front, hypervolume over time and the final trainings, as plain values for people and scripts."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.objectives import Problem
from paretune.core.pareto import ParetoArchive
from paretune.core.trial import Outcome
from paretune.platform.record.history import History, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Repeated values of one metric."""

    mean: float
    std: float | None
    """Sample standard deviation (n - 1); None for one value."""
    num: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Mean and deviation of at least one value."""
        return cls(mean=statistics.fmean(values), std=statistics.stdev(values) if len(values) > 1 else None, num=len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The search after one more result."""

    num_finished: int
    """Results so far, this one included."""
    elapsed_s: float
    """Search time over all sessions."""
    hypervolume: float
    """Against the study's reference point, in the product of the objectives' SI units."""
    front_size: int


def progress(records: Iterable[Record], problem: Problem) -> list[Progress]:
    """How front and hypervolume grew with every result, in the order of arrival.

    Args:
        records: finished records of the search, see `History.arrivals`.
        problem: decides objectives, limits and the reference point; another study's records may be judged by it.
    """
    archive = ParetoArchive(len(problem.objectives))
    volume, steps = 0.0, []
    for number, record in enumerate(records, start=1):
        if record.outcome is Outcome.OK and record.job.is_full and archive.insert(record.job.ask_index, *problem.score(record.trial())):
            volume = archive.hypervolume(problem.reference)
        steps.append(Progress(num_finished=number, elapsed_s=record.elapsed_s, hypervolume=volume, front_size=len(archive)))
    return steps


def final_spreads(group: Iterable[Record]) -> dict[str, Spread]:
    """Mean and deviation of every metric over the finished final trainings of one architecture."""
    values: dict[str, list[float]] = {}
    for record in group:
        if record.outcome is Outcome.OK:
            for name, value in record.metrics.items():
                values.setdefault(name, []).append(value)
    return {name: Spread.of(found) for name, found in values.items()}


def best_seed(problem: Problem, group: Iterable[Record]) -> Record | None:
    """The final training with the best validation value of the first objective; None where none succeeded. The test set decides nothing."""
    succeeded = [record for record in group if record.outcome is Outcome.OK]
    return min(succeeded, key=lambda record: (problem.minimised(record.metrics)[0], record.job.seed_index), default=None)


def status(history: History) -> str:
    """`searching`, `search ended` (the front is yet to be retrained) or `finished`."""
    if "final" in history.phases:
        return "finished"
    return "search ended" if "search" in history.phases else "searching"


def best_feasible(history: History) -> dict[str, Record]:
    """The best feasible candidate in each objective, by metric name; empty where nothing is feasible."""
    front = history.front()
    if not front:
        return {}
    columns = enumerate(history.problem.objectives)
    return {
        objective.metric: min(front, key=lambda record: (history.problem.minimised(record.metrics)[column], record.job.ask_index))
        for column, objective in columns
    }


def summary_json(history: History) -> dict[str, Any]:
    """The study as JSON values, SI units throughout."""
    problem = history.problem
    arrivals = history.arrivals()
    front = history.front()
    outcomes = Counter(record.outcome.value for record in arrivals if record.outcome)
    finals = history.finals()
    return {
        "name": history.header.name,
        "status": status(history),
        "phases": dict(history.phases),
        "sessions": history.num_sessions,
        "elapsed_s": history.elapsed_s,
        "worker_s": sum(record.evaluation.duration_s for record in history.records.values() if record.evaluation),
        "counts": {
            "asked": len(history.search_records()) + history.num_screened,
            "finished": len(arrivals),
            "pending": sum(record.evaluation is None for record in history.records.values()),
            "screened": history.num_screened,
            "feasible": sum(record.outcome is Outcome.OK and problem.violation(record.metrics) <= 0 for record in arrivals),
            "outcomes": dict(sorted(outcomes.items())),
            "lost_attempts": dict(sorted(Counter(lost.value for record in history.records.values() for lost in record.lost_to).items())),
            "epochs": history.epochs_trained,
            "final": sum(record.evaluation is not None for group in finals.values() for record in group),
        },
        "objectives": [
            {"metric": item.metric, "direction": item.direction.value, "reference": item.reference} for item in problem.objectives
        ],
        "reference": {item.metric: item.reference for item in problem.objectives},
        "hypervolume": history.archive.hypervolume(problem.reference),
        "best": {metric: _candidate(record, history) for metric, record in best_feasible(history).items()},
        "front": [_candidate(record, history) for record in front],
        "finals": [_final(index, group) for index, group in finals.items()],
    }


def _candidate(record: Record, history: History) -> dict[str, Any]:
    return {
        "id": record.job.id,
        "candidate": record.job.ask_index,
        "origin": "start" if history.is_start(record) else "search",
        "choices": dict(record.choices),
        "metrics": {name: value for name, value in record.metrics.items() if math.isfinite(value)},
    }


def _final(ask_index: int, group: Sequence[Record]) -> dict[str, Any]:
    return {
        "candidate": ask_index,
        "choices": dict(group[0].choices),
        "seeds": len(group),
        "outcomes": [record.outcome.value if record.outcome else "pending" for record in group],
        "metrics": {name: _spread(spread) for name, spread in final_spreads(group).items()},
    }


def _spread(spread: Spread) -> Mapping[str, float | int | None]:
    return {"mean": spread.mean, "std": spread.std, "n": spread.num}
