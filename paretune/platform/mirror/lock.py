"""One mirror at a time for a study."""

import fcntl
import os
from pathlib import Path

LOCK_FILE = "mirror.lock"


class ProcessLock:
    """The right to mirror a study; the system gives it back when the process dies."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)

    def try_acquire(self) -> bool:
        """Whether no other process has it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)
