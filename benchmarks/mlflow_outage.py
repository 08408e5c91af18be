"""What MLflow's absence costs a search: the same study without tracking, with a server, with one that dies, and with one that answers 500.

    python benchmarks/mlflow_outage.py [--quick]

The candidates sleep 30 ms on two workers of one local Ray. The search time is that of the ledger, from the first result to the last;
the ratio to the study without tracking is the median over rounds, in each of which every kind of tracking has its turn. A server is
killed at a third of the search and started again at two thirds. Afterwards each study is brought level with the server that works, and
its runs are counted. Our servers run when nothing else does (SCHED_IDLE): in real life they are on another machine.
"""

import argparse
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from goals import Goal, report_goals

from paretune.platform.execution.cluster import prepare_environment, ray_cluster
from paretune.platform.mirror import sync
from paretune.platform.record.history import History
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study import api
from paretune.platform.study.plan import build_plan
from paretune.platform.study.progress import Progress
from paretune.testing.evaluators import FormulaEvaluator

SLOTS = 2
WORK_S = 0.03
BROKEN_SERVER = """
import http.server, sys
class Broken(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"broken")
    do_POST = do_GET
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Broken).serve_forever()
"""


class Server:
    """A server process of our own on loopback."""

    def __init__(self, command: list[str], port: int, folder: Path) -> None:
        self._command, self._port, self._folder = command, port, folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:  # noqa: D102
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:  # noqa: D102
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env={**os.environ, **settings}, stdout=log, stderr=log, process_group=0, cwd=self._folder
            )

    def step_back(self) -> None:  # noqa: D102
        if self._process is not None:
            os.sched_setscheduler(self._process.pid, os.SCHED_IDLE, os.sched_param(0))

    def restart(self) -> None:  # noqa: D102
        self.start()
        self.step_back()

    def wait(self) -> None:  # noqa: D102
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2)
                return
            except urllib.error.HTTPError:
                return  # 500 is an answer
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(f"{self.uri} does not answer")

    def kill(self) -> None:  # noqa: D102
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def mlflow_server(folder: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return Server([*command, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"], port, folder)


def broken_server(folder: Path) -> Server:
    port = free_port()
    return Server([sys.executable, "-c", BROKEN_SERVER, str(port)], port, folder)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        server.wait()
        server.step_back()
        yield server
    finally:
        server.kill()


class Outage(Progress):
    """Kills a server at a third of the search and starts it again at two thirds."""

    def __init__(self, server: Server, count: int) -> None:
        super().__init__(quiet=True)
        self._server, self._moments = server, [(2 * count // 3, server.restart), (count // 3, server.kill)]

    def step(self, history: History, count: int) -> None:  # noqa: ARG002, D102
        if self._moments and count >= self._moments[-1][0]:
            self._moments.pop()[1]()


def search(folder: Path, name: str, count: int, uri: str, progress: Progress | None = None) -> tuple[float, History]:
    """Search time in seconds, and what the ledger holds."""
    values = {
        "version": 1,
        "name": name,
        "seed": 1,
        "task": {"name": "digits"},
        "space": {"name": "digits_conv"},
        "hardware": {"host": {"kind": "host"}},
        "objectives": [
            {"metric": "accuracy", "goal": "max", "reference": 0.5},
            {"metric": "host.latency_ms", "goal": "min", "reference": 0.1},
        ],
        "searcher": {"name": "nsga2", "population": 10},
        "budget": {"trials": count},
        "training": {"epochs": 1},
        "run": {"mode": "async", "workers": SLOTS},
        "tracking": {"uri": uri},
        "storage": str(folder),
    }
    plan = build_plan(spec_from_mapping(values))
    evaluator = FormulaEvaluator(space=plan.space, produced=plan.metrics, work_s=WORK_S)
    history = api.run(values, evaluator=evaluator, progress=progress).history
    arrivals = history.arrivals()
    return arrivals[-1].elapsed_s - arrivals[0].elapsed_s, history


def num_wrong(folder: Path, history: History, uri: str) -> int:
    """Bring MLflow level; how many runs are missing, double or strange."""
    from mlflow import MlflowClient

    name = history.header.name
    sync(folder / name, uri, name)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    wanted = Counter(["study", *(record.job.id for record in history.arrivals())])
    if experiment is None:
        return wanted.total()
    found = Counter(run.data.tags.get("paretune.key", "?") for run in client.search_runs([experiment.experiment_id], max_results=10_000))
    return (wanted - found).total() + (found - wanted).total()


def one_round(number: int, count: int, folder: Path, server: Server, broken: Server) -> tuple[dict[str, float], int]:
    """Search time by kind of tracking, and runs that are wrong afterwards."""
    times_s: dict[str, float] = {}
    times_s["none"], _ = search(folder, f"none-{number}", count, "none")
    times_s["up"], with_server = search(folder, f"up-{number}", count, server.uri)
    times_s["down"], with_outage = search(folder, f"down-{number}", count, server.uri, Outage(server, count))
    times_s["500"], with_broken = search(folder, f"broken-{number}", count, broken.uri)
    server.wait()
    wrong = sum(num_wrong(folder, history, server.uri) for history in (with_server, with_outage, with_broken))
    return times_s, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds of 120 candidates instead of seven of 400")
    quick = parser.parse_args().quick
    count, rounds = (120, 3) if quick else (400, 7)
    prepare_environment()
    ratios: dict[str, list[float]] = {"up": [], "down": [], "500": []}
    wrong = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(ray_cluster(address=None, num_cpus=SLOTS))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, broken = stack.enter_context(running(mlflow_server(folder))), stack.enter_context(running(broken_server(folder)))
        search(folder, "warm-up", 20, "none")  # the first workers of a Ray take longer to come up
        print(f"{count} candidates of {1e3 * WORK_S:.0f} ms on {SLOTS} workers; search time in s, by what MLflow does")
        print(f"{'round':>5} {'none':>8} {'up':>8} {'down':>8} {'500':>8}   wrong runs")
        for number in range(rounds):
            times_s, more = one_round(number, count, folder, server, broken)
            wrong += more
            for name, found in ratios.items():
                found.append(times_s[name] / times_s["none"])
            print(f"{number:>5} " + " ".join(f"{times_s[name]:>8.2f}" for name in ("none", *ratios)) + f"   {more}", flush=True)
    print("ratio to none, median: " + ", ".join(f"{name} {statistics.median(found):.3f}" for name, found in ratios.items()))
    return report_goals(
        [
            Goal(name="search_time_ratio_down", value=statistics.median(ratios["down"]), sense="<=", bound=1.05),
            Goal(name="search_time_ratio_500", value=statistics.median(ratios["500"]), sense="<=", bound=1.05),
            Goal(name="missing_or_double_runs", value=wrong, sense="<=", bound=0),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
