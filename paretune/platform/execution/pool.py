"""Devices of one type as a pool: which candidate is measured where, who is put in quarantine, when nobody is left. Knows no Ray.

Each device has a *seat*: the place of the one process that owns it. A seat is taken when a candidate waits and given back when nobody has
needed it for a while, so a cluster can let go of the node under it.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from paretune.core.errors import DevicesGone

REFUSALS = 2
"""Devices of a type that say the same of a network are believed: the fault is the network's."""
DEATHS = 2
"""Processes that die under the same network likewise."""
START_S = 300.0
"""Time that processes have to come up, where nothing went wrong yet, or a device that had gone is there again."""
RETRY_S = 5.0
"""Wait before a device in quarantine is tried again where no other is left."""


class Standing(StrEnum):
    """How a seat stands."""

    EMPTY = "empty"
    STARTING = "starting"
    FREE = "free"
    BUSY = "busy"
    OUT = "out"


@dataclass(slots=True, kw_only=True, eq=False)
class Seat:
    """The place of one device."""

    name: str
    index: int
    standing: Standing = Standing.EMPTY
    since_s: float = 0.0
    """When it came to stand so."""
    reason: str = ""
    """Why it is or was in quarantine."""
    job_id: str = ""
    """Whom it measures, where it is busy."""
    handle: Any = None
    """Its process, as the executor has it."""


@dataclass(slots=True, kw_only=True)
class _Wish:
    """A candidate that waits or is being measured."""

    job_id: str
    since_s: float
    refused: dict[str, str] = field(default_factory=dict)
    """Seat -> why it could not."""
    deaths: int = 0

    def given_up(self) -> "Refused":
        """It cannot be measured, with what each device said."""
        return Refused(job_id=self.job_id, reason="; ".join(f"{name}: {told}" for name, told in self.refused.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A candidate cannot be measured in this attempt."""

    job_id: str
    reason: str


class Pool:
    """The seats of one target and who waits for them.

    Args:
        target: its name.
        count: devices.
        patience_s: how long candidates wait once no device is left.
        comes: whether more nodes may join by themselves, so that waiting has no end.
        present: whether a node is there now that has such a device; its process may still be coming up, on a small computer for minutes.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        target: str,
        *,
        count: int,
        patience_s: float,
        comes: Callable[[], bool] = lambda: False,
        present: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target, self._patience_s, self._comes, self._present, self._clock = target, patience_s, comes, present, clock
        names = [target] if count == 1 else [f"{target}#{number}" for number in range(1, count + 1)]
        self.seats = tuple(Seat(name=name, index=index) for index, name in enumerate(names))
        self._waiting: deque[_Wish] = deque()
        self._measured: dict[str, _Wish] = {}
        self._longest_s = 0.0
        """Of the measurements that ended well."""
        self._trouble_s: float | None = None
        """Since when nothing was measured although somebody waits."""

    @property
    def num_waiting(self) -> int:
        """Candidates that no device measures yet."""
        return len(self._waiting)

    @property
    def quarantined(self) -> dict[str, str]:
        """Seat -> reason of those that are out."""
        return {seat.name: seat.reason for seat in self.seats if seat.standing is Standing.OUT}

    def add(self, job_id: str) -> None:
        """A candidate wants to be measured."""
        self._waiting.append(_Wish(job_id=job_id, since_s=self._clock()))

    def drop(self, job_id: str) -> None:
        """A candidate is not to be measured any more; a measurement that runs goes on."""
        self._waiting = deque(wish for wish in self._waiting if wish.job_id != job_id)
        self._measured.pop(job_id, None)

    def to_start(self) -> list[Seat]:
        """Empty seats to be taken now, so that everybody who waits finds one."""
        if self._waiting and all(seat.standing is Standing.OUT for seat in self.seats):
            for seat in self.seats:
                if self._clock() - seat.since_s >= RETRY_S:
                    self._stand(seat, Standing.EMPTY)
        coming = [seat for seat in self.seats if seat.standing in (Standing.FREE, Standing.STARTING)]
        empty = [seat for seat in self.seats if seat.standing is Standing.EMPTY]
        chosen = []
        for wish in self._waiting:
            own = next((seat for seat in (*coming, *empty) if seat.name not in wish.refused), None)
            if own in coming:
                coming.remove(own)
            elif own is not None:
                empty.remove(own)
                self._stand(own, Standing.STARTING)
                chosen.append(own)
        return chosen

    def started(self, seat: Seat) -> None:
        """The process of a seat is up."""
        self._stand(seat, Standing.FREE)

    def assign(self) -> list[tuple[Seat, str, float]]:
        """(seat, candidate, seconds it waited) of measurements to begin now: first come, first served."""
        begun = []
        for wish in list(self._waiting):
            seat = next((item for item in self.seats if item.standing is Standing.FREE and item.name not in wish.refused), None)
            if seat is not None:
                self._waiting.remove(wish)
                self._measured[wish.job_id] = wish
                self._stand(seat, Standing.BUSY)
                seat.job_id = wish.job_id
                begun.append((seat, wish.job_id, self._clock() - wish.since_s))
        return begun

    def done(self, seat: Seat) -> None:
        """A seat measured its candidate. Devices that had refused it are put in quarantine: another one of their type could."""
        wish = self._measured.pop(seat.job_id, None)
        self._longest_s = max(self._longest_s, self._clock() - seat.since_s)
        self._trouble_s, seat.reason = None, ""
        self._stand(seat, Standing.FREE)
        for other in self.seats if wish else ():
            if wish is not None and other.name in wish.refused and other.standing is Standing.FREE:
                self._put_out(other, f"{wish.refused[other.name]}; {seat.name} measured the same network")

    def refused(self, seat: Seat, reason: str) -> Refused | None:
        """A device gave no usable measurement of its candidate: another one is asked, if there is one that nobody has asked."""
        wish = self._measured.pop(seat.job_id, None)
        self._stand(seat, Standing.FREE)
        if wish is None:
            return None
        wish.refused[seat.name] = reason
        if len(wish.refused) >= REFUSALS or not self._may_serve(wish):
            return wish.given_up()
        self._waiting.appendleft(wish)
        return None

    def unserved(self) -> list[Refused]:
        """Candidates that are given up, since the devices that have not refused them went away or do not come up.

        Where no device at all is left they wait as all others do.
        """
        if all(seat.standing is Standing.OUT for seat in self.seats):
            return []
        lost = [wish for wish in self._waiting if wish.refused and not self._may_serve(wish)]
        for wish in lost:
            self._waiting.remove(wish)
        return [wish.given_up() for wish in lost]

    def _may_serve(self, wish: _Wish) -> bool:
        """Whether there is a device that has not refused a candidate, and may be asked."""
        too_late_s = self._clock() - START_S
        return any(
            seat.name not in wish.refused
            and seat.standing is not Standing.OUT
            and not (seat.standing is Standing.STARTING and seat.since_s < too_late_s)
            for seat in self.seats
        )

    def gone(self, seat: Seat, reason: str) -> None:
        """A device is gone, whatever the network: quarantine; its candidate waits for another one."""
        self._again(seat)
        self._put_out(seat, reason)

    def died(self, seat: Seat, reason: str, *, of_node: bool) -> Refused | None:
        """The process of a seat ended; its candidate is tried again, unless processes die of it. The seat may be taken anew."""
        wish = self._again(seat, deadly=not of_node)
        starting = seat.standing is Standing.STARTING
        seat.reason = reason
        if starting and not of_node:
            self._put_out(seat, reason)
        else:
            self._stand(seat, Standing.EMPTY)
        if wish is not None and wish.deaths >= DEATHS:
            self._waiting.remove(wish)
            return Refused(job_id=wish.job_id, reason=reason)
        return None

    def to_release(self, after_s: float) -> list[Seat]:
        """Seats that nobody has needed for so long; they are empty from now on."""
        idle = [seat for seat in self.seats if seat.standing is Standing.FREE and self._clock() - seat.since_s >= after_s]
        for seat in [] if self._waiting else idle:
            self._stand(seat, Standing.EMPTY)
        return [] if self._waiting else idle

    def overdue(self, limit_s: float) -> list[Seat]:
        """Seats that have measured for longer than a measurement may take."""
        return [seat for seat in self.seats if seat.standing is Standing.BUSY and self._clock() - seat.since_s > limit_s]

    def slow(self, least_s: float) -> dict[str, float]:
        """Seat -> seconds of those that measure for longer than `least_s`, and for three times as long as any measurement took so far."""
        return {seat.name: self._clock() - seat.since_s for seat in self.overdue(max(least_s, 3 * self._longest_s))}

    @property
    def stranded_s(self) -> float | None:
        """How long candidates have waited although no device measures; None where one does or nobody waits."""
        if not self._waiting or any(seat.standing in (Standing.FREE, Standing.BUSY) for seat in self.seats):
            return None
        if self._trouble_s is None:
            self._trouble_s = self._clock()
        return self._clock() - self._trouble_s

    def check(self) -> None:
        """End the waiting where it has lasted too long.

        Raises:
            DevicesGone: with the reason of each device.
        """
        stranded_s = self.stranded_s
        if stranded_s is None or stranded_s < self._patience_s or self._comes():
            return
        coming_up = any(seat.standing is Standing.STARTING for seat in self.seats)
        untroubled = not any(seat.reason for seat in self.seats)
        if stranded_s < START_S and (untroubled or (coming_up and self._present())):
            return
        number = "its device is" if len(self.seats) == 1 else f"all its {len(self.seats)} devices are"
        reasons = "; ".join(f"{seat.name}: {seat.reason.rstrip('.') or self._state(seat)}" for seat in self.seats)
        raise DevicesGone(
            f"nothing can be measured on '{self.target}': {number} gone, also after waiting {stranded_s:.0f} s. {reasons}. "
            f"{len(self._waiting)} trained candidates wait for it; none of them counts as failed, and a resume measures them"
        )

    def _state(self, seat: Seat) -> str:
        return f"{seat.standing.value} since {self._clock() - seat.since_s:.0f} s"

    def _again(self, seat: Seat, *, deadly: bool = False) -> _Wish | None:
        """The candidate of a seat, first in the queue again."""
        wish = self._measured.pop(seat.job_id, None) if seat.standing is Standing.BUSY else None
        if wish is not None:
            wish.deaths += deadly
            self._waiting.appendleft(wish)
        return wish

    def _put_out(self, seat: Seat, reason: str) -> None:
        seat.reason = reason
        self._stand(seat, Standing.OUT)

    def _stand(self, seat: Seat, standing: Standing) -> None:
        seat.standing, seat.since_s, seat.job_id = standing, self._clock(), ""
