"""Stopping a study from outside: SIGINT, SIGTERM and SIGHUP ask for a clean stop, a second one ends at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

from paretune.core.errors import ClusterLost, ParetuneError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(ParetuneError):
    """The study was stopped by a signal; the ledger is complete and a resume goes on."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        super().__init__(f"stopped by {signal.Signals(number).name}")


class StopRequest:
    """Whether somebody asked this process to stop."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __bool__(self) -> bool:
        return self.number is not None

    def raise_if_set(self) -> None:
        """Raise `Interrupted` where a stop was asked for."""
        if self.number is not None:
            raise Interrupted(self.number)

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Signal handler: note the first signal, end the process and its children at the second."""
        if self.number is not None:
            for child in psutil.Process().children(recursive=True):
                try:
                    child.kill()
                except psutil.NoSuchProcess:
                    continue
            os._exit(128 + self.number)
        self.number = number


@contextmanager
def stop_on_signals(request: StopRequest) -> Iterator[None]:
    """Route the signals to a stop request for the time of a `with` block. Enter it after `ray.init`, which sets a SIGTERM handler.

    Outside the main thread, where Python allows no handlers, signals stay as they are; so does SIGHUP under `nohup`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with signals_kept():
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, request.handle)
        yield


@contextmanager
def signals_kept() -> Iterator[None]:
    """What signals did before a `with` block they do after it.

    Ray takes SIGTERM when it starts and leaves it at the system's default, by which a process dies, when it ends; Python does not notice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not None}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_comes_first(request: StopRequest) -> Iterator[None]:
    """A local Ray that goes away after a stop was asked for got the signal, too: the process was stopped, and lost no cluster."""
    try:
        yield
    except ClusterLost:
        request.raise_if_set()
        raise


@contextmanager
def end_on_signals(request: StopRequest) -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Interrupted` at once: for what comes before and after the phases, where nobody looks at the request."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        request.number = number
        raise KeyboardInterrupt  # Ray, when it starts, swallows every `Exception`

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with signals_kept():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, interrupt)
        try:
            yield
        except KeyboardInterrupt:
            request.raise_if_set()
            raise
        except SystemExit as error:  # the SIGTERM handler that `ray.init` sets
            if error.code == signal.SIGTERM:
                raise Interrupted(signal.SIGTERM) from error
            raise
