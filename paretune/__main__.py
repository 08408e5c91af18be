"""`python -m paretune` and the `paretune` command."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

STOPPED_EXIT = 130


def main() -> None:
    """Run a command; a signal ends it with a word and its exit code also while libraries are imported, which takes seconds."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup SIGHUP is ignored, and stays so
            signal.signal(number, _end)
    try:
        _run()
    except KeyboardInterrupt:
        _say("stopped")
        sys.exit(STOPPED_EXIT)


def _run() -> None:
    """The command that runs on measuring devices needs NumPy and ONNX Runtime only, so nothing else is imported for it."""
    if sys.argv[1:3] == ["device", "serve"]:
        from paretune.hardware.measured.remote.serve_command import main as serve

        serve(sys.argv[3:])
        return
    from paretune.platform.cli.commands import main as command

    command(prog_name="paretune")  # not "python -m paretune": messages, completion and documentation say paretune


def _end(number: int, _frame: FrameType | None) -> None:
    """What comes later and has more to say puts its own handler in this one's place."""
    _say(f"stopped by {signal.Signals(number).name}")
    raise SystemExit(128 + number)


def _say(reason: str) -> None:
    with suppress(OSError):  # of a terminal that is gone
        os.write(2, f"paretune: {reason}\n".encode())  # not print: the signal may have come in the middle of one


if __name__ == "__main__":
    main()
