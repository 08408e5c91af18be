"""Where trained candidates are measured: the actors of every target, started when somebody waits, watched, and let go when idle.

Driven from the loop of whoever runs the candidates: `submit` what was trained, `look` now and then for what has ended. Nothing here blocks
for longer than it is told, and nothing that trains is held while a candidate waits here.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from paretune.core.canonical import canonical_json
from paretune.core.trial import Outcome
from paretune.platform.execution.pool import Pool, Refused, Seat, Standing
from paretune.platform.record.jobs import Awaiting, Evaluation, Job

logger = logging.getLogger(__name__)

MEASURE_TIMEOUT_S = 300.0
"""Longer than every device waits by itself, so that only what hangs is ended; a study whose candidates may take longer gives more."""
SAY_AFTER_S, SAY_EVERY_S = 30.0, 60.0
"""Longer than the process of a device takes to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFault:
    """A device that gave no usable measurement."""

    reason: str
    gone: bool
    """Whether it would give none of any network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An attempt to measure that ended without a result."""

    outcome: Outcome
    message: str


Ended: TypeAlias = tuple[str, Evaluation | Lost]
"""(job id, what became of it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an actor said, or why it says nothing any more."""

    seat: Seat
    value: Any = None
    """Of a measurement what it gave; of a start nothing."""
    death: str = ""
    """Why the actor ended; empty while it lives."""
    of_node: bool = False
    """Whether its node went away with it."""


class Staff(Protocol):
    """Starts, asks and ends the processes that own devices; see `actors.RayStaff`."""

    def start(self, target: str, seat: Seat) -> None:
        """Begin to start the process of a seat; `answers` tells when it is up."""
        ...

    def ask(self, seat: Seat, job: str, facts: Mapping[str, Any]) -> None:
        """Begin a measurement; `answers` tells what it gave."""
        ...

    def end(self, seat: Seat) -> None:
        """End the process of a seat now; nothing more is heard of it."""
        ...

    def answers(self, timeout_s: float) -> list[Answer]:
        """What has come in, after waiting for the first at most so long."""
        ...


class _Nobody:
    """The staff where nothing is measured."""

    def start(self, target: str, seat: Seat) -> None:
        """Never called."""

    def ask(self, seat: Seat, job: str, facts: Mapping[str, Any]) -> None:
        """Never called."""

    def end(self, seat: Seat) -> None:
        """Never called."""

    def answers(self, timeout_s: float) -> list[Answer]:  # noqa: ARG002 - the protocol's
        """None."""
        return []


NOBODY: Staff = _Nobody()


class Stations:
    """All pools of a study and the candidates that are with them.

    Args:
        pools: by target.
        staff: the processes.
        release_s: after how long without work a device is let go; None keeps it.
        timeout_s: after how long a measurement is given up, and the process with it.
        say: told in words when a device goes and comes back, when candidates begin to wait for devices, and now and then.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        pools: Mapping[str, Pool],
        staff: Staff,
        *,
        release_s: float | None = None,
        timeout_s: float = MEASURE_TIMEOUT_S,
        say: Callable[[str], None] = logger.info,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pools, self._staff, self._release_s, self._timeout_s = dict(pools), staff, release_s, timeout_s
        self._say, self._clock = say, clock
        self._jobs: dict[str, Job] = {}
        self._awaited: dict[str, set[str]] = {}
        self._said: dict[str, float] = {}
        self._gone: set[str] = set()
        """Names of devices that were told to be gone and have measured nothing since."""

    @property
    def num_seats(self) -> int:
        """Devices, at work or not."""
        return sum(len(pool.seats) for pool in self._pools.values())

    @property
    def num_jobs(self) -> int:
        """Candidates that wait or are being measured."""
        return len(self._jobs)

    def submit(self, job: Job, targets: Iterable[str]) -> None:
        """A trained candidate wants to be measured on some targets."""
        self._jobs[job.id], self._awaited[job.id] = job, set(targets)
        for target in self._awaited[job.id]:
            self._pools[target].add(job.id)
        self._move()

    def look(self, timeout_s: float = 0.0) -> list[Ended]:
        """What has ended since, after waiting for the first news at most so long; starts what can be started.

        Raises:
            DevicesGone: candidates have waited in vain for too long.
        """
        ended: list[Ended] = []
        for answer in self._staff.answers(timeout_s) if self._pools else ():
            ended += self._heard(answer)
        for pool in self._pools.values():
            for seat in pool.overdue(self._timeout_s):
                self._staff.end(seat)
                reason = f"it did not answer within {self._timeout_s:g} s; run.trial_timeout lets it take longer"
                ended += self._given_up(pool, pool.died(seat, reason, of_node=False))
            for refused in pool.unserved():
                ended += self._given_up(pool, refused)
        self._move()
        for pool in self._pools.values():
            self._tell(pool)
            pool.check()
        return ended

    def close(self) -> None:
        """Let every device go."""
        for pool in self._pools.values():
            for seat in pool.seats:
                if seat.standing in (Standing.STARTING, Standing.FREE, Standing.BUSY):
                    self._staff.end(seat)

    def _move(self) -> None:
        """Start, ask and release whom there is a reason to."""
        for target, pool in self._pools.items():
            for seat in pool.to_start():
                self._staff.start(target, seat)
            for seat, job_id, waited_s in pool.assign():
                facts = {"device": seat.name, "waited_s": round(waited_s, 6)}
                facts |= {"quarantined": pool.quarantined} if pool.quarantined else {}
                self._staff.ask(seat, canonical_json(self._jobs[job_id].as_json()), facts)
            for seat in pool.to_release(self._release_s) if self._release_s is not None else ():
                self._staff.end(seat)
                logger.info("device %s was not needed for %g s and is let go", seat.name, self._release_s)

    def _heard(self, answer: Answer) -> Iterator[Ended]:
        seat, pool = answer.seat, next(pool for pool in self._pools.values() if answer.seat in pool.seats)
        if answer.death:
            self._tell_gone(seat, answer.death)
            yield from self._given_up(pool, pool.died(seat, answer.death, of_node=answer.of_node))
        elif seat.standing is Standing.STARTING:
            pool.started(seat)
        elif isinstance(answer.value, DeviceFault) and answer.value.gone:
            self._tell_gone(seat, answer.value.reason)
            self._staff.end(seat)
            pool.gone(seat, answer.value.reason)
        elif isinstance(answer.value, DeviceFault):
            yield from self._given_up(pool, pool.refused(seat, answer.value.reason))
        else:
            job_id = seat.job_id
            pool.done(seat)
            if seat.name in self._gone:
                self._gone.discard(seat.name)
                self._say(f"device {seat.name} measures again")
            yield from self._measured(pool, job_id, answer.value)

    def _measured(self, pool: Pool, job_id: str, found: Evaluation | Awaiting) -> Iterator[Ended]:
        if job_id not in self._jobs:
            return  # it was given up meanwhile
        self._awaited[job_id].discard(pool.target)
        if isinstance(found, Evaluation):
            self._forget(job_id)
            yield job_id, found
        elif not self._awaited[job_id]:  # a part was lost on the way
            self.submit(self._jobs[job_id], found.targets)

    def _given_up(self, pool: Pool, refused: Refused | None) -> Iterator[Ended]:
        if refused is not None and refused.job_id in self._jobs:
            self._forget(refused.job_id)
            yield refused.job_id, Lost(outcome=Outcome.DEVICE_ERROR, message=f"'{pool.target}': {refused.reason}")

    def _forget(self, job_id: str) -> None:
        del self._jobs[job_id], self._awaited[job_id]
        for pool in self._pools.values():
            pool.drop(job_id)

    def _tell_gone(self, seat: Seat, reason: str) -> None:
        """Once until it measures again: a device that is off is asked every few seconds."""
        if seat.name not in self._gone:
            self._gone.add(seat.name)
            self._say(f"device {seat.name} measures nothing now, and is asked again while candidates wait: {reason}")

    def _tell(self, pool: Pool) -> None:
        stranded_s = pool.stranded_s
        if stranded_s is None:
            self._said.pop(pool.target, None)
        elif stranded_s >= SAY_AFTER_S:
            waiting = f"{pool.num_waiting} trained candidate{'s wait' if pool.num_waiting > 1 else ' waits'}"
            self._now_and_then(pool.target, f"no device of '{pool.target}' is there: {waiting} since {stranded_s:.0f} s")
        slow = pool.slow(SAY_AFTER_S)
        for seat in pool.seats:
            if seat.name not in slow:
                self._said.pop(f"slow {seat.name}", None)
                continue
            told = f"device {seat.name} has been asked {slow[seat.name]:.0f} s ago and has not answered yet; it may be off or busy"
            self._now_and_then(f"slow {seat.name}", f"{told} (given up after {self._timeout_s:g} s)")

    def _now_and_then(self, about: str, text: str) -> None:
        now_s = self._clock()
        if now_s - self._said.get(about, -math.inf) >= SAY_EVERY_S:
            self._said[about] = now_s
            self._say(text)
