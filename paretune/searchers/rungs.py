"""Successive halving as a pure policy: which candidates deserve more epochs, decided from the results of their rung.

A rung is a number of epochs at which candidates are compared; the best 1/eta of a rung go on to the next one. The policy knows
neither jobs nor clocks: it is told results and gives verdicts, so that whoever replays the same results gets the same verdicts.

Sources: Jamieson & Talwalkar, AISTATS 2016 (successive halving); Li et al., A System for Massively Parallel Hyperparameter Tuning,
MLSys 2020 (ASHA); Schmucker et al., arXiv 2106.12639, 2021 (several objectives).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.pareto import FloatArray
from paretune.searchers.epsilon_net import most_deserving


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The rungs of a training: `min_epochs`, eta times as many, ... and at the top `max_epochs`."""

    min_epochs: int
    """Epochs of the lowest rung."""
    max_epochs: int
    """Epochs of a full training."""
    eta: int = 3
    """Of how many candidates one goes on."""

    def __post_init__(self) -> None:
        if self.min_epochs < 1:
            raise BadInput(f"min_epochs: must be at least 1; got {self.min_epochs}")
        if self.eta < 2:
            raise BadInput(f"eta: must be at least 2, as the best 1/eta of a rung go on; got {self.eta}")
        if self.max_epochs < self.eta:
            epochs = f"{self.max_epochs} epoch{'s' * (self.max_epochs != 1)}"
            raise BadInput(f"eta: a full training of {epochs} leaves no second rung with eta {self.eta}")
        if self.min_epochs * self.eta > self.max_epochs:
            raise BadInput(
                f"min_epochs: a full training of {self.max_epochs} epochs leaves no second rung above {self.min_epochs} with eta "
                f"{self.eta}; at most {self.max_epochs // self.eta} are possible"
            )

    @property
    def epochs(self) -> tuple[int, ...]:
        """Epochs of each rung, counted from the start of the training, for example `(1, 3, 9)`."""
        rungs, epochs = [], self.min_epochs
        while epochs * self.eta <= self.max_epochs:
            rungs.append(epochs)
            epochs *= self.eta
        return (*rungs, self.max_epochs)

    @property
    def top(self) -> int:
        """Number of the rung of a full training."""
        return len(self.epochs) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of candidates; each is named by its key, in the order of its result."""

    promoted: tuple[int, ...] = ()
    """Go on to the next rung."""
    stopped: tuple[int, ...] = ()
    """Are trained no further, ever."""


class Halving(Protocol):
    """Decides who goes on. A candidate enters, reports at rung 0, and hears once at each rung whether it goes on.

    Example of a call sequence with eta 2::

        enter(7), enter(8)
        report(7, rung=0, ...) -> nothing yet
        report(8, rung=0, ...) -> promoted (8,), stopped (7,)
        report(8, rung=1, ...) -> ...
    """

    def enter(self, key: int, *, settled: int = 0) -> Verdict:
        """A new candidate is about to be trained to the lowest rung.

        Args:
            key: its number; keys rise.
            settled: of all smaller keys it was known for certain what became of them, whatever the number of workers.
        """
        ...

    def report(self, key: int, *, rung: int, point_M: FloatArray, violation: float) -> Verdict:
        """A candidate reached a rung below the top."""
        ...

    def fail(self, key: int, *, rung: int) -> Verdict:
        """A candidate ended without a result and goes nowhere; it appears in no verdict."""
        ...

    def finish(self) -> Verdict:
        """No more candidates come: decide on all that wait, each against what its rung has seen."""
        ...


@dataclass(slots=True)
class _Rung:
    """Results of one rung in the order they came."""

    keys: list[int] = field(default_factory=list)
    points: list[FloatArray] = field(default_factory=list)
    violations: list[float] = field(default_factory=list)
    undecided: list[int] = field(default_factory=list)
    """Keys that have heard nothing yet."""
    num_failed: int = 0

    def add(self, key: int, point_M: FloatArray, violation: float) -> None:
        self.keys.append(key)
        self.points.append(np.asarray(point_M, dtype=np.float64))
        self.violations.append(violation)
        self.undecided.append(key)

    def decide(self, quota: int, earlier: Sequence[FloatArray] = ()) -> Verdict:
        """The undecided ones among the best `quota` of all results go on, the others stop; `earlier` went on from this rung before."""
        if not self.undecided:
            return Verdict()
        earlier_KM = np.stack(earlier) if earlier else None
        chosen = most_deserving(np.stack(self.points), np.array(self.violations), quota, earlier_KM=earlier_KM)
        best = {self.keys[index] for index in chosen}
        verdict = Verdict(
            promoted=tuple(key for key in self.undecided if key in best), stopped=tuple(key for key in self.undecided if key not in best)
        )
        self.undecided.clear()
        return verdict


class AsynchronousHalving:
    """ASHA: a rung is judged whenever `patience` results have come to it since the last time, against all it has ever seen.

    The best `max(1, n / eta)` of the n results so far go on. A verdict is final, so that a searcher can be told of a stopped candidate
    at once and only once. Departs: in the paper a candidate that was passed over may still go up when its rung has grown.

    Args:
        ladder: the rungs.
        patience: results of a rung between two judgements; None is eta. With 1 every result is judged as it comes, as Ray's ASHA and
            Syne Tune's MOASHA do, which sends up too many of the first ones.
    """

    def __init__(self, ladder: Ladder, *, patience: int | None = None) -> None:
        if patience is not None and patience < 1:
            raise BadInput(f"patience: must be at least 1; got {patience}")
        self._eta, self._patience = ladder.eta, ladder.eta if patience is None else patience
        self._rungs = [_Rung() for _ in range(ladder.top)]

    def enter(self, key: int, *, settled: int = 0) -> Verdict:  # noqa: ARG002 - the rungs need no list of who is coming
        """Nothing is decided yet."""
        return Verdict()

    def report(self, key: int, *, rung: int, point_M: FloatArray, violation: float) -> Verdict:
        """A candidate reached a rung below the top."""
        self._rungs[rung].add(key, point_M, violation)
        return self._judge(self._rungs[rung])

    def fail(self, key: int, *, rung: int) -> Verdict:  # noqa: ARG002
        """A failure counts as a result that was beaten; one in the full training beats nobody, as nobody is compared there."""
        if rung < len(self._rungs):
            self._rungs[rung].num_failed += 1
        return Verdict()

    def finish(self) -> Verdict:
        """Decide on all that wait."""
        return _joined(found.decide(self._quota(found)) for found in self._rungs)

    def _judge(self, found: _Rung) -> Verdict:
        return found.decide(self._quota(found)) if len(found.undecided) >= self._patience else Verdict()

    def _quota(self, found: _Rung) -> int:
        return max(1, (len(found.keys) + found.num_failed) // self._eta)


@dataclass(slots=True)
class _Cohort:
    """Candidates that are compared with each other only."""

    members: set[int]
    """Keys of those in the current rung."""
    settled: int
    """What became of smaller keys was known when the cohort was opened."""
    rung: int = 0
    found: _Rung = field(default_factory=_Rung)

    @property
    def complete(self) -> bool:
        return len(self.found.keys) + self.found.num_failed == len(self.members)


class SynchronousHalving:
    """Successive halving in cohorts: whoever enters together is compared once all have reached the rung.

    The verdicts depend on who is in a cohort and on their results, not on the order in which these come: with the same results they
    are the same for any number of workers. A cohort ends when it is full or when `close` is called. The few that a small cohort sends up
    lie where earlier cohorts, as far as they were settled, sent nobody: else every cohort would send its best in the first objective.

    Args:
        ladder: the rungs.
        cohort: candidates of a full cohort; None is four times as many as halve to one, so that four of them are trained fully.
    """

    def __init__(self, ladder: Ladder, *, cohort: int | None = None) -> None:
        if cohort is not None and cohort < 2:
            raise BadInput(f"cohort: must be at least 2, as its members are compared with each other; got {cohort}")
        self._eta, self._top = ladder.eta, ladder.top
        self._size = 4 * ladder.eta**ladder.top if cohort is None else cohort
        self._open: _Cohort | None = None
        self._of: dict[int, _Cohort] = {}
        self._went_on: list[dict[int, FloatArray]] = [{} for _ in range(ladder.top)]

    @property
    def first_open(self) -> int | None:
        """Key of the first member of the cohort that still takes members; None where there is none."""
        return min(self._open.members) if self._open else None

    def enter(self, key: int, *, settled: int = 0) -> Verdict:
        """Join the open cohort; the last one to join closes it."""
        if self._open is None:
            self._open = _Cohort(members=set(), settled=settled)
        self._open.members.add(key)
        self._of[key] = self._open
        return self.close() if len(self._open.members) >= self._size else Verdict()

    def close(self) -> Verdict:
        """The open cohort takes no more members."""
        if self._open is None:
            return Verdict()
        cohort, self._open = self._open, None
        return self._judge(cohort)

    def report(self, key: int, *, rung: int, point_M: FloatArray, violation: float) -> Verdict:
        """A candidate reached a rung below the top."""
        cohort = self._of[key]
        assert cohort.rung == rung
        cohort.found.add(key, point_M, violation)
        return self._judge(cohort)

    def fail(self, key: int, *, rung: int) -> Verdict:
        """The cohort waits no longer for this one."""
        cohort = self._of.pop(key, None)
        if cohort is None:  # it failed in its full training, which nobody waits for
            return Verdict()
        assert cohort.rung == rung
        cohort.found.num_failed += 1
        return self._judge(cohort)

    def finish(self) -> Verdict:
        """Close the open cohort; the closed ones end by themselves."""
        return self.close()

    def _judge(self, cohort: _Cohort) -> Verdict:
        if cohort is self._open or not cohort.complete:
            return Verdict()
        found = cohort.found
        # Sorted, so that ties are broken by key and not by who came first.
        places = np.argsort(found.keys)
        ordered = _Rung()
        for place in places:
            ordered.add(found.keys[place], found.points[place], found.violations[place])
        went_on = self._went_on[cohort.rung]
        earlier = [went_on[key] for key in sorted(went_on) if key < cohort.settled]
        verdict = ordered.decide(max(1, len(cohort.members) // self._eta), earlier)
        went_on |= {key: point for key, point in zip(ordered.keys, ordered.points, strict=True) if key in verdict.promoted}
        for key in verdict.stopped:
            del self._of[key]
        cohort.members, cohort.rung, cohort.found = set(verdict.promoted), cohort.rung + 1, _Rung()
        if cohort.rung == self._top:
            for key in verdict.promoted:
                del self._of[key]
        return verdict


def _joined(verdicts: Iterable[Verdict]) -> Verdict:
    found = list(verdicts)
    return Verdict(
        promoted=tuple(key for verdict in found for key in verdict.promoted),
        stopped=tuple(key for verdict in found for key in verdict.stopped),
    )
