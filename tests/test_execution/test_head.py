"""The watch over the head of a cluster: a real socket that closes, and a process that hangs meanwhile."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paretune.platform.execution import head

HANGING = """
import socket, sys, time
from paretune.platform.execution import head
head.LOOK_EVERY_S, head.GONE_S, head.STUCK_S, head.HURRIED_S = 0.05, *map(float, sys.argv[1:4])
stop = head.StopRequest()
with socket.create_server(("127.0.0.1", 0)) as server:
    watch = head.HeadWatch(lambda: "Go on with: paretune resume x", stop)
    watch.start("127.0.0.1:%d" % server.getsockname()[1])
    time.sleep(0.5)
    assert not watch.lost
    stop.number = int(sys.argv[4]) or None
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("seconds", "signal", "exit_code"),
    [
        (("0.2", "0.2", "60"), 0, 75),
        # Whoever signals a process group ends a local Ray, too: it was stopped, and does not wait as for a head that may come back.
        (("60", "60", "0.2"), 15, 143),
    ],
)
def test_a_process_that_hangs_when_its_head_is_gone_ends_with_the_command_to_go_on(
    seconds: tuple[str, ...], signal: int, exit_code: int
) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HANGING, *seconds, str(signal)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=root)
    assert (ended.returncode, ended.stderr) == (exit_code, "Go on with: paretune resume x\n")


def test_a_process_that_closes_the_watch_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LOOK_EVERY_S", 0.05), ("GONE_S", 0.2), ("STUCK_S", 2.0)):
        monkeypatch.setattr(head, name, seconds)
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch = head.HeadWatch(lambda: "never said")
        watch.start(f"127.0.0.1:{server.getsockname()[1]}")
    end_s = time.monotonic() + 20.0
    while not watch.lost and time.monotonic() < end_s:
        time.sleep(0.02)
    assert watch.lost
    watch.close()
    time.sleep(2.5)  # this process is still there
