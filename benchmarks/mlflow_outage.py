"""What MLflow's absence costs a search: the same study without tracking, with a server, with one that dies, and with one that answers 500.

    python benchmarks/mlflow_outage.py [--quick]

The candidates sleep 100 ms on two workers of one local Ray. The search time is that of the ledger, from the first result to the last;
the ratio is that of the fastest rounds (other programs only ever add time), in each of which every kind of tracking has its turn.
A server is killed at a third of the search and started again after it. Then each study is brought level with the server that works,
and its runs are counted. Our servers run when nothing else does (SCHED_IDLE): in real life they are on another machine.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from endings import unwound_by_signals
from goals import Goal, report_goals
from team_server import free_port, step_back

from paretune.platform.execution.cluster import prepare_environment, ray_cluster
from paretune.platform.mirror import sync
from paretune.platform.record.history import History
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study import api
from paretune.platform.study.plan import build_plan
from paretune.platform.study.progress import Progress
from paretune.testing.evaluators import FormulaEvaluator

SLOTS = 2
WORK_S = 0.1
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

    def step_back(self) -> None:
        """Run it only when nothing else does, with the processes that it has started."""
        if self._process is not None:
            step_back(self._process.pid)

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


def mlflow_server(folder: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return Server([*command, "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"], port, folder)


def broken_server(folder: Path) -> Server:
    port = free_port()
    return Server([sys.executable, "-c", BROKEN_SERVER, str(port)], port, folder)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    with unwound_by_signals():
        try:
            server.start()
            server.wait()
            server.step_back()
            yield server
        finally:
            server.kill()


class Outage(Progress):
    """Kills a server at a third of the search, without keeping the search waiting."""

    def __init__(self, server: Server, count: int) -> None:
        super().__init__(quiet=True)
        self._server, self._moment = server, count // 3
        self.killing: threading.Thread | None = None

    def step(self, history: History, count: int) -> None:  # noqa: ARG002, D102
        if self.killing is None and count >= self._moment:
            self.killing = threading.Thread(target=self._server.kill)
            self.killing.start()


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


def one_round(number: int, count: int, kinds: Sequence[str], folder: Path, server: Server, broken: Server) -> tuple[dict[str, float], int]:
    """Search time by kind of tracking, and runs that are wrong afterwards."""
    outage = Outage(server, count)
    trackings: dict[str, tuple[str, Progress | None]] = {
        "none": ("none", None),
        "up": (server.uri, None),
        "500": (broken.uri, None),
        "down": (server.uri, outage),
    }
    done = {kind: search(folder, f"{kind}-{number}", count, *trackings[kind]) for kind in kinds}
    assert outage.killing is not None
    outage.killing.join()
    server.start()
    server.wait()
    wrong = sum(num_wrong(folder, history, server.uri) for kind, (_, history) in done.items() if kind != "none")
    server.step_back()
    return {kind: time_s for kind, (time_s, _) in done.items()}, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two rounds of 100 candidates instead of five of 400, and no server that is well"
    )
    quick = parser.parse_args().quick
    count, rounds, kinds = (100, 2, ("none", "500", "down")) if quick else (400, 5, ("none", "up", "500", "down"))
    prepare_environment()
    times_s: dict[str, list[float]] = {kind: [] for kind in kinds}
    wrong = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(ray_cluster(address=None, num_cpus=SLOTS))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server, broken = stack.enter_context(running(mlflow_server(folder))), stack.enter_context(running(broken_server(folder)))
        search(folder, "warm-up", 20, "none")  # the first workers of a Ray take longer to come up
        print(f"{count} candidates of {1e3 * WORK_S:.0f} ms on {SLOTS} workers; search time in s, by what MLflow does")
        print(f"{'round':>5} " + " ".join(f"{kind:>8}" for kind in kinds) + "   wrong runs")
        for number in range(rounds):
            found_s, more = one_round(number, count, kinds, folder, server, broken)
            wrong += more
            for kind, found in times_s.items():
                found.append(found_s[kind])
            print(f"{number:>5} " + " ".join(f"{found_s[kind]:>8.2f}" for kind in kinds) + f"   {more}", flush=True)
    ratios = {kind: min(found) / min(times_s["none"]) for kind, found in times_s.items()}
    print("fastest round, ratio to none: " + ", ".join(f"{kind} {ratio:.3f}" for kind, ratio in ratios.items()))
    return report_goals(
        [
            Goal(name="search_time_ratio_down", value=ratios["down"], sense="<=", bound=1.05),
            Goal(name="search_time_ratio_500", value=ratios["500"], sense="<=", bound=1.05),
            Goal(name="missing_or_double_runs", value=wrong, sense="<=", bound=0),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
