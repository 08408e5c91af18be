"""Watches from a thread whether the head of a Ray cluster still answers: Ray itself waits for a minute and ends the process without a word.

With the head its store of nodes and actors is gone (there is no Redis under it), so a head that comes back is another cluster. The
driver ends in time to say how to go on; the ledger is complete at any moment.
"""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable

from paretune.core.errors import ClusterLost
from paretune.platform.execution.stop import Interrupted, StopRequest

LOOK_EVERY_S = 2.0
CONNECT_S = 5.0
GONE_S = 20.0
"""A head that has not answered for so long is lost; Ray ends the process after 60 s."""
HURRIED_S = 10.0
"""The same and the next, where this process was asked to stop: who ends a whole process group ends a local Ray with it."""
STUCK_S = 20.0
"""So long the main thread has to end by itself; inside a call of Ray that waits for the head it cannot."""


class HeadWatch:
    """Looks at the head of a cluster until it is closed, which is to be after the process let go of Ray.

    Args:
        last_words: said to standard error where the process has to be ended, because the main thread hangs in Ray.
        stop: whether the process was asked to stop, which then is why it ends.
    """

    def __init__(self, last_words: Callable[[], str], stop: StopRequest | None = None) -> None:
        self._last_words, self._stop = last_words, StopRequest() if stop is None else stop  # a request is false until it is made
        self._closed = threading.Event()
        self.lost = False
        """Whether the head has gone."""

    def start(self, gcs_address: str) -> None:
        """Begin to look at the head at `HOST:PORT`."""
        host, _, port = gcs_address.rpartition(":")
        threading.Thread(target=self._watch, args=(host, int(port)), name="paretune-head-watch", daemon=True).start()

    def close(self) -> None:
        """The process needs the head no longer."""
        self._closed.set()

    def _watch(self, host: str, port: int) -> None:
        missed_s = 0.0
        while not self._closed.wait(LOOK_EVERY_S):
            missed_s = 0.0 if _answers(host, port) else missed_s + LOOK_EVERY_S
            if missed_s >= (HURRIED_S if self._stop else GONE_S):
                self.lost = True
                break
        if self.lost and not self._closed.wait(HURRIED_S if self._stop else STUCK_S):
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"{self._last_words()}\n")
                sys.stderr.flush()
            os._exit(ClusterLost.exit_code if self._stop.number is None else Interrupted(self._stop.number).exit_code)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True
