"""The mirror's main loop: read what is new, copy it, back off while MLflow is away."""

import contextlib
import logging
import time
from hashlib import sha256
from pathlib import Path

from paretune.core.errors import TemporaryError
from paretune.platform.mirror.errors import Gone, Refused, Unavailable
from paretune.platform.mirror.live import LiveStudy
from paretune.platform.mirror.lock import ProcessLock
from paretune.platform.mirror.orders import Orders
from paretune.platform.mirror.reconcile import Reconciler
from paretune.platform.mirror.sink import Sink
from paretune.platform.mirror.state import Memory, study_id
from paretune.platform.record.header import Header
from paretune.platform.record.ledger import read_events
from paretune.platform.record.summary import status

logger = logging.getLogger(__name__)

POLL_S = 1.0
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
PATIENCE_S = 5.0
"""How long a server may fail when the order to finish has come; whoever gave it is waiting."""


def run_mirror(folder: Path, *, tracking_uri: str, experiment: str | None, orders: Orders) -> int:
    """Mirror a study until the order to finish has come and the queue is empty, or the deadline is over.

    Returns:
        Number of finished candidates that are not in MLflow.

    Raises:
        TemporaryError: another mirror is at work until the deadline.
        BadInput: there is no study.
        StorageError: the ledger cannot be read.
    """
    lock = ProcessLock(folder)
    while not lock.try_acquire():
        if orders.too_late:
            raise TemporaryError(f"{folder}: another mirror of this study is at work")
        orders.wait(POLL_S)
    with contextlib.closing(Memory(folder)) as memory:
        events = read_events(folder)
        live = LiveStudy(Header.from_json(events[0].body))
        live.apply(events)
        sink = Sink(tracking_uri, experiment or live.history.header.name)
        target = sha256(f"{sink.uri}\n{sink.experiment}".encode()).hexdigest()
        if memory.get("target") not in (None, target):
            logger.info("the tracking server or experiment changed; everything is looked for there")
            memory.doubt_everything()
        memory.put("target", target)
        memory.forget_refusals()
        reconciler = Reconciler(live=live, memory=memory, sink=sink, study_id=study_id(folder))
        return _Loop(folder, live, memory, reconciler, orders).run()


class _Loop:
    def __init__(self, folder: Path, live: LiveStudy, memory: Memory, reconciler: Reconciler, orders: Orders) -> None:
        self._folder, self._live, self._memory, self._reconciler, self._orders = folder, live, memory, reconciler, orders
        self._backoff_s = FIRST_BACKOFF_S
        self._message = ""
        self._failing_since_s: float | None = None

    def run(self) -> int:
        while not self._orders.too_late:
            finishing = self._orders.finishing  # before reading: what was recorded before the order is mirrored
            self._live.apply(read_events(self._folder, after=self._live.history.last_seq or 1))
            try:
                more = self._reconciler.step()
                if finishing and not more:
                    self._reconciler.finish(self._folder, ended=status(self._live.history) == "finished")
                    self._say("")
                    return 0
            except (Unavailable, Refused, Gone) as error:
                self._reconciler.doubt()
                self._say(str(error))
                if self._is_hopeless(finishing):
                    break
                self._orders.wait(self._backoff_s)
                self._backoff_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)
                continue
            self._say("")
            self._backoff_s, self._failing_since_s = FIRST_BACKOFF_S, None
            if not more:
                self._orders.wait(POLL_S)
        return self._reconciler.num_waiting

    def _is_hopeless(self, finishing: bool) -> bool:
        """Whether the server has failed for long enough while somebody waits."""
        if finishing and self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        return finishing and self._failing_since_s is not None and time.monotonic() - self._failing_since_s >= PATIENCE_S

    def _say(self, message: str) -> None:
        """Note what keeps the mirror, once."""
        if message != self._message:
            logger.warning("%s", message) if message else logger.info("MLflow answers again")
        self._message = message
        self._memory.put("message", message)
