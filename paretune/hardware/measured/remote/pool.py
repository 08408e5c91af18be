"""Several devices of one type as one: whoever misbehaves is put in quarantine, named, with the reason, and another one is asked."""

import logging
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from paretune.core.errors import DeviceError, DevicesGone
from paretune.hardware.measured.drift import DriftLimits, DriftWatch, ReferenceCheck, drift_of
from paretune.hardware.measured.remote.client import RequestRefused
from paretune.hardware.measured.remote.protocol import Deadline

logger = logging.getLogger(__name__)

Found = TypeVar("Found")

TRIES = 2
"""So often a device may fail with one network; then the fault may be the network's, and nobody waits for the device."""
RETRY_S = 1.0
"""Wait between looks at devices in quarantine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled(Generic[Found]):
    """A measurement and who made it."""

    found: Found
    address: str
    check: ReferenceCheck
    quarantined: Mapping[str, str]
    """Address -> reason of every device that is out at the moment."""


@dataclass(slots=True, kw_only=True)
class _Member:
    address: str
    watch: DriftWatch
    reason: str = ""
    """Why it is in quarantine; empty where it is not."""

    def quarantine(self, error: object) -> None:
        self.reason = str(error)
        logger.warning("device %s is put in quarantine: %s", self.address, self.reason)


class DevicePool:
    """Devices of one type, the first that is in order is asked: numbers of one study come from as few devices as possible.

    At the start the reference network is measured on all of them. Where one of three or more differs from their median by more than the
    drift allowed it is put in quarantine; of two that disagree nobody knows which is right.

    Args:
        addresses: of the devices.
        time_reference: measures the reference network on the device at an address; seconds.
        limits: when a device counts as drifting.
        wait_s: how long to wait for a device to come back once none is left.
        total_s: time for one measurement over all devices, waiting included.
        clock: monotonic seconds.
        sleep: waits some seconds.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        time_reference: Callable[[str], float],
        limits: DriftLimits,
        wait_s: float,
        total_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        def member(address: str) -> _Member:
            return _Member(address=address, watch=DriftWatch(lambda: time_reference(address), limits, clock=clock, sleep=sleep))

        self._members = [member(address) for address in addresses]
        self._limits, self._wait_s, self._total_s, self._clock, self._sleep = limits, wait_s, total_s, clock, sleep
        self._baseline_s: float | None = limits.baseline_s
        self._started = False

    def measured(self, measure: Callable[[str], Found]) -> Pooled[Found]:
        """Measure on one device, bracketed by references; on another where it misbehaves.

        Args:
            measure: measures on the device at an address.

        Raises:
            DevicesGone: no device is left, with the reason of each.
            DeviceError: the request itself is refused, or nobody measured in time.
        """
        deadline = Deadline(self._total_s, self._clock)
        if not self._started:
            self._start()
        refused: dict[str, str] = {}
        tries = Counter[str]()
        while True:  # ends: each turn counts a try, notes a refusal, or waits until the deadline
            self._check_time(deadline)
            asked = next((member for member in self._members if not member.reason and member.address not in refused), None)
            if asked is None and refused:
                raise DeviceError(_listed(refused))
            if asked is None:
                self._wait_for_one([member for member in self._members if tries[member.address] < TRIES], deadline)
                continue
            tries[asked.address] += 1
            try:
                found, check = asked.watch.bracketed(lambda address=asked.address: measure(address))  # type: ignore[misc]
            except RequestRefused as error:
                refused[asked.address] = str(error)
                if len(refused) == 2:  # two of a type that say the same are believed
                    raise DeviceError(_listed(refused)) from error
            except DeviceError as error:
                asked.quarantine(error)
            else:
                self._distrust(refused, asked.address)
                return Pooled(found=found, address=asked.address, check=check, quarantined=self.quarantined())

    def quarantined(self) -> dict[str, str]:
        """Address -> reason of the devices that are out at the moment."""
        return {member.address: member.reason for member in self._members if member.reason}

    def _check_time(self, deadline: Deadline) -> None:
        try:
            deadline.left_s()
        except TimeoutError as error:
            raise DeviceError(f"no device measured within {self._total_s:g} s. {_listed(self.quarantined())}") from error

    def _distrust(self, refused: Mapping[str, str], measured_by: str) -> None:
        """Put those in quarantine that refused what another one of their type could do."""
        for member in self._members:
            if member.address in refused:
                member.quarantine(f"{refused[member.address]}; {measured_by} measured it")

    def _start(self) -> None:
        """The reference on every device, and which of them agree.

        Raises:
            DeviceError: of two devices that disagree nobody knows which is right.
        """
        baselines_s = {}
        for member in self._members:
            try:
                baselines_s[member.address] = member.watch.baseline_s()
            except DeviceError as error:
                member.quarantine(error)
        if len(baselines_s) == 2 and self._baseline_s is None:
            (one, one_s), (other, other_s) = baselines_s.items()
            if drift_of(one_s / other_s) > self._limits.max_drift:
                raise DeviceError(
                    f"the reference network takes {one_s:.4g} s on {one} and {other_s:.4g} s on {other}, which differ by more than "
                    f"{self._limits.max_drift:.0%}: they are not of one type, or one is out of order. Name them as two targets, leave one "
                    "out, or give baseline_s"
                )
        if self._baseline_s is None and baselines_s:
            self._baseline_s = statistics.median(baselines_s.values())
        for member in self._members:
            if not member.reason:
                self._compare(member)
        self._started = True

    def _compare(self, member: _Member) -> None:
        """Put a device in quarantine whose reference is not that of the others."""
        own_s = member.watch.baseline_s()
        if self._baseline_s is None:
            self._baseline_s = own_s
        if drift_of(own_s / self._baseline_s) > self._limits.max_drift:
            member.quarantine(
                f"the reference network takes {own_s:.4g} s, {own_s / self._baseline_s:.2f} times what it takes on the others "
                f"({self._baseline_s:.4g} s)"
            )

    def _wait_for_one(self, candidates: Sequence[_Member], deadline: Deadline) -> None:
        """Pause until one of the devices is in order again: its reference is what it was.

        Raises:
            DevicesGone: none is in time.
            DeviceError: each of them failed too often with this network.
        """
        waiting = Deadline(self._wait_s, self._clock)
        while candidates:
            for member in candidates:
                if self._is_in_order(member):
                    member.reason = ""
                    logger.warning("device %s is in order again", member.address)
                    return
            try:
                waiting.left_s(), deadline.left_s()
            except TimeoutError:
                break
            self._sleep(RETRY_S)
        number = "the only device is" if len(self._members) == 1 else f"all {len(self._members)} devices are"
        waited = f"also after waiting {self._wait_s:g} s" if candidates else f"each failed {TRIES} times with this network"
        kind = DevicesGone if candidates else DeviceError  # what fails with one network only may be the network's fault
        raise kind(f"{number} gone, {waited}. {_listed(self.quarantined())}")

    def _is_in_order(self, member: _Member) -> bool:
        try:
            _, check = member.watch.bracketed(lambda: None)
        except DeviceError as error:
            member.reason = str(error)
            return False
        return drift_of(check.baseline_s / (self._baseline_s or check.baseline_s)) <= self._limits.max_drift


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{address}: {reason}" for address, reason in reasons.items())
