"""Trials: what came back for one candidate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How the evaluation of a candidate ended. Errors are classes, not strings."""

    OK = "ok"
    """Every metric is there."""
    INFEASIBLE = "infeasible"
    """The free costs already break a limit, so it was not trained."""
    DIVERGED = "diverged"
    """The loss became NaN, infinite or exploded."""
    OOM = "oom"
    """It did not fit the memory."""
    TIMEOUT = "timeout"
    """It was still running at its deadline and was ended."""
    CRASHED = "crashed"
    """The worker died on it (signal, exit) as often as retries allow."""
    USER_ERROR = "user_error"
    """The user's code raised or returned something that is no metric."""
    PREEMPTED = "preempted"
    """The node went away."""
    DEVICE_ERROR = "device_error"
    """The device gave no usable measurement."""
    STORAGE_ERROR = "storage_error"
    """The storage failed under the worker."""

    @property
    def teaches(self) -> bool:
        """Whether this says something about the architecture, as opposed to the infrastructure under it."""
        return self not in (Outcome.PREEMPTED, Outcome.DEVICE_ERROR, Outcome.STORAGE_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One asked candidate and what its evaluation gave: all that a searcher is told."""

    ask_index: int
    """Number of the ask, from 0."""
    genotype: tuple[int, ...]
    """Choice indices, canonical."""
    outcome: Outcome
    """How it ended; only `ok` trials carry every metric."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Finite values in SI units; trials that are not `ok` may hold the free costs only."""
