"""What the driver tells the mirror: a line `finish SECONDS`, or the end of the pipe when the driver is gone."""

import threading
import time
from typing import TextIO

ORPHAN_S = 30.0
"""How long a mirror whose driver died goes on to empty its queue."""


class Orders:
    """Listens on a pipe in a thread of its own."""

    def __init__(self, pipe: TextIO | None, *, deadline_s: float | None = None) -> None:
        self._ordered = threading.Event()
        self._deadline = 0.0
        if deadline_s is not None:
            self._finish_within(deadline_s)
        elif pipe is not None:
            threading.Thread(target=self._listen, args=(pipe,), daemon=True).start()

    @property
    def finishing(self) -> bool:
        """Whether to end once the queue is empty."""
        return self._ordered.is_set()

    @property
    def too_late(self) -> bool:
        """Whether to end now."""
        return self.finishing and time.monotonic() >= self._deadline

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up for an order; while finishing, look again every half second."""
        if self.finishing:
            time.sleep(min(seconds, 0.5))
        else:
            self._ordered.wait(seconds)

    def _listen(self, pipe: TextIO) -> None:
        words = pipe.readline().split()
        seconds = words[1] if len(words) == 2 and words[0] == "finish" else ""
        self._finish_within(float(seconds) if seconds.replace(".", "", 1).isdigit() else ORPHAN_S)

    def _finish_within(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._ordered.set()
