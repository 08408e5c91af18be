"""A clean slate for every candidate in a reused worker: what one candidate changed in the process does not reach the next."""

import os
import random
import signal
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slate:
    """Process-wide state as it was before the first candidate."""

    folder: str
    environment: dict[str, str]
    handlers: dict[signal.Signals, Any]
    torch: dict[str, Any] | None
    """Default dtype, threads and determinism; None where torch was not loaded yet, then its factory settings count."""

    @classmethod
    def capture(cls) -> "Slate":
        """Note the state of this process."""
        return cls(
            folder=str(os.getcwd()),  # noqa: PTH109 - a string survives the folder being deleted
            environment=dict(os.environ),
            handlers={number: signal.getsignal(number) for number in SIGNALS},
            torch=_torch_state(),
        )

    def restore(self, *, seed: int) -> None:
        """Put the state back and seed the global generators, for code that uses them against advice."""
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        for number, handler in self.handlers.items():
            if handler is not None and signal.getsignal(number) is not handler and _is_main_thread():
                signal.signal(number, handler)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - seeds other people's code
        torch = sys.modules.get("torch")
        if torch is None:
            return
        torch.manual_seed(seed)
        torch.set_grad_enabled(True)
        before = self.torch or {"dtype": torch.float32, "threads": torch.get_num_threads(), "deterministic": False}
        torch.set_default_dtype(before["dtype"])
        torch.set_num_threads(before["threads"])
        torch.use_deterministic_algorithms(before["deterministic"])


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _torch_state() -> dict[str, Any] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return {
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
