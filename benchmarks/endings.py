"""SIGTERM and SIGHUP unwind a benchmark as Ctrl-C does, so that every `with` block ends what it has started."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Raise `SystemExit` at the first signal; another one does not disturb what ends then.

    Enter it again after Ray was started, which sets a handler of its own. Signals that are ignored, as under `nohup`, stay so, and all
    of them outside the main thread.
    """

    def unwind(number: int, _frame: FrameType | None) -> None:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(128 + number)

    in_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in SIGNALS if in_main and signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, unwind) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is unwind:
                signal.signal(number, handler)
