"""Asks whether the node of this process will go away, without waiting for a head that does not answer. Knows no Ray."""

import contextlib
import threading
import time
from collections.abc import Callable

LOOK_EVERY_S = 1.0
"""How often it is asked: a call to the head, so not at every checkpoint of a quick training."""
ANSWER_S = 5.0
"""Wait for the answer; a head that has gone gives none, and the call returns only when Ray ends the process after a minute."""


class DrainWatch:
    """Looks at every checkpoint, and asks now and then.

    Asked in a thread: a worker that hung in the question would be taken for a candidate that is out of time, which would teach the
    searcher something wrong. Without an answer the worker goes on; what it does is durable.

    Args:
        ask: whether the node is being drained.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask, self._asked_s, self._told = ask, time.monotonic(), False
        self._asking: threading.Thread | None = None

    @property
    def leaving(self) -> bool:
        """Whether the node will go away, as far as is known."""
        waiting = self._asking is not None and self._asking.is_alive()
        if not waiting and time.monotonic() - self._asked_s >= LOOK_EVERY_S:
            self._asking = threading.Thread(target=self._look, name="paretune-drain-watch", daemon=True)
            self._asking.start()
            self._asking.join(ANSWER_S)
            self._asked_s = time.monotonic()
        return self._told

    def _look(self) -> None:
        with contextlib.suppress(Exception):  # any class: whoever cannot ask knows nothing, and the candidate is not to blame
            self._told = self._ask()
