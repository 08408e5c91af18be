"""Candidates a second of a search, from when its results came."""

from collections.abc import Sequence
from typing import TypeAlias

from paretune.platform.record.history import History

Arrivals: TypeAlias = Sequence[tuple[float, str]]
"""(time in s, worker) of each result, in order."""


def arrivals_of(history: History) -> Arrivals:
    """The results of a ledger."""
    return [(record.elapsed_s, record.evaluation.worker) for record in history.arrivals() if record.evaluation is not None]


def per_second(arrivals: Arrivals, slots: int) -> float:
    """Candidates a second while all workers are up, at the latest from half of them on, until the last candidate is handed out."""
    up_s: dict[str, float] = {}
    for time_s, worker in arrivals:
        up_s.setdefault(worker, time_s)
    begin_s = min(max(up_s.values()), arrivals[len(arrivals) // 2][0])
    counted_s = [time_s for time_s, _ in arrivals[: len(arrivals) - slots + 1] if time_s >= begin_s]
    return (len(counted_s) - 1) / (counted_s[-1] - counted_s[0])
