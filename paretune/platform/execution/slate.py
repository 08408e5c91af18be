"""A clean slate for every candidate in a reused worker: what one candidate changed in the process does not reach the next."""

import contextlib
import gc
import locale
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
    mask: set[int | signal.Signals]
    """Blocked signals."""
    umask: int
    import_path: list[str]
    streams: tuple[Any, Any]
    """Standard output and error."""
    recursion_limit: int
    locale: str
    collects: bool
    """Whether the garbage collector is on."""
    numpy_errors: dict[str, Any]
    torch: dict[str, Any] | None
    """See `_torch_state`; None where torch was not loaded yet, then its factory settings count."""

    @classmethod
    def capture(cls) -> "Slate":
        """Note the state of this process."""
        os.umask(umask := os.umask(0))
        return cls(
            folder=str(os.getcwd()),  # noqa: PTH109 - a string survives the folder being deleted
            environment=dict(os.environ),
            handlers={number: signal.getsignal(number) for number in SIGNALS},
            mask=signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            umask=umask,
            import_path=list(sys.path),
            streams=(sys.stdout, sys.stderr),
            recursion_limit=sys.getrecursionlimit(),
            locale=locale.setlocale(locale.LC_ALL),
            collects=gc.isenabled(),
            numpy_errors=dict(np.geterr()),
            torch=_torch_state(),
        )

    def restore(self, *, seed: int) -> None:
        """Put the state back and seed the global generators, for code that uses them against advice.

        Torch is not loaded for it: in the first candidate that does, torch's generator starts at torch's own fixed seed.
        """
        with contextlib.suppress(OSError):  # Tune's folder of an earlier trial; nothing of ours is found by it
            os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        os.umask(self.umask)
        self._restore_signals()
        self._restore_interpreter()
        random.seed(seed)
        np.seterr(**self.numpy_errors)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - seeds other people's code
        if "torch" in sys.modules:
            _restore_torch(self.torch, seed)

    def _restore_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self.handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def _restore_interpreter(self) -> None:
        sys.path[:] = self.import_path
        sys.stdout, sys.stderr = self.streams
        sys.setrecursionlimit(self.recursion_limit)
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, self.locale)
        (gc.enable if self.collects else gc.disable)()


def _torch_state() -> dict[str, Any] | None:
    """What torch keeps for the whole process and user code is known to change."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return {
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def _restore_torch(before: dict[str, Any] | None, seed: int) -> None:
    import torch

    before = before or {
        "dtype": torch.float32,
        "threads": int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()),  # Ray sets it in every worker
        "deterministic": False,
    }
    torch.manual_seed(seed)
    torch.set_grad_enabled(True)
    torch.autograd.set_detect_anomaly(False)
    torch.set_default_dtype(before["dtype"])
    if torch.get_default_device().type != "cpu":
        torch.set_default_device(None)  # not "cpu", which would hook into every call
    torch.set_num_threads(before["threads"])
    if torch.are_deterministic_algorithms_enabled() != before["deterministic"]:  # the call imports torch's compiler, for seconds
        torch.use_deterministic_algorithms(before["deterministic"])
