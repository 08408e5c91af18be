"""What benchmarks start ends with them, also where a signal ends them."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from team_server import postgres_programs  # noqa: E402 - found by the path above

PROGRAM = """
import signal, sys, time
from urllib.parse import urlsplit
from endings import unwound_by_signals
from team_server import postgres
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background may ignore it
with postgres(durable=False) as uri:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ray does when it starts
    with unwound_by_signals():
        print(urlsplit(uri).port, flush=True)
        time.sleep(600)
"""


@pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed: apt-get install postgresql")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_benchmark_that_is_ended_leaves_no_database_behind(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=BENCHMARKS, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as benchmark:
        assert benchmark.stdout is not None
        port = int(benchmark.stdout.readline())
        benchmark.send_signal(number)
        if number is signal.SIGTERM:
            benchmark.send_signal(number)  # `timeout` sends it twice
        try:
            assert benchmark.wait(60) == {signal.SIGTERM: 143, signal.SIGINT: -signal.SIGINT}[number]
        finally:
            benchmark.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
