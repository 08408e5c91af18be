"""A search on a simulated cluster of four nodes: against bare Ray Tune, from one node to four, beside its mirror, and the driver's memory.

    python benchmarks/cluster.py [--quick]

The nodes are Ray nodes of their own on this machine, each with one processor for Ray. The candidates sleep, so that it does not matter
how many processors there really are. What is compared runs in turn, and a ratio is the median over rounds. Throughput counts from the
first result of the worker that came up last until the last candidate is handed out, so the start of workers is in none of it.

Bare Tune searches at random with actors reused and loggers off. By itself it would then end and start workers all the time
(docs/decisions/0003), which would flatter us: it has the scheduler that mends that.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from endings import unwound_by_signals
from goals import Goal, report_goals
from mlflow_postgres import PROMISED_CANDIDATES, beside_goals, mirror_goals
from team_server import mlflow_server, postgres, step_back
from throughput import Arrivals, arrivals_of, per_second

from paretune.platform.execution.cluster import prepare_environment, ray_cluster
from paretune.platform.execution.credentials import use_token

prepare_environment()
use_token()

from overhead import SPACE, memory_bytes_per_candidate, no_op_study  # noqa: E402 - Ray reads its environment when it is imported
from ray import tune  # noqa: E402
from ray.tune import Callback  # noqa: E402

from paretune.platform.execution.job_scheduler import JobScheduler  # noqa: E402
from paretune.platform.execution.newcomers import Newcomers  # noqa: E402
from paretune.platform.execution.runner import TRIALS_PER_RUN  # noqa: E402
from paretune.platform.study.study import read_history  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "faults"))
from small_cluster import small_cluster  # noqa: E402 - found by the path above

NODES = 4
FIRST = "first"
"""A tag of one node only; candidates that want some of it stay there."""
SHORT_S, SHORTEST_S, LONG_S = 0.5, 0.1, 1.0
"""What candidates take where throughput and where scaling is looked at. What takes less than 0.2 s is no trial in paretune: scores of
that kind are made in batches. So the goal is for what is a little longer; the shortest are shown beside it."""


class Sleeps(tune.Trainable):
    """Sleeps, and reports two numbers and who it is."""

    def setup(self, config: dict[str, Any], work_s: float = 0.0) -> None:  # noqa: D102, ARG002
        self._work_s = work_s

    def reset_config(self, new_config: dict[str, Any]) -> bool:  # noqa: D102, ARG002
        return True

    def step(self) -> dict[str, Any]:  # noqa: D102
        time.sleep(self._work_s)
        return {"accuracy": 0.5, "latency_s": 1e-3, "done": True}  # Tune adds host and process


class Results(Callback):
    """Notes when each trial ended, and where it ran."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[float, str]] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_info: object) -> None:  # noqa: D102, ARG002
        self.arrivals.append((time.monotonic(), f"{trial.last_result['hostname']}:{trial.last_result['pid']}"))


@contextlib.contextmanager
def simulated_cluster() -> Iterator[None]:
    """A head without processors and four nodes, this process connected to them."""
    with small_cluster() as cluster:
        for number in range(NODES):
            cluster.add(f"node-{number}", cpus=1, tags={} if number else {FIRST: 1})
        with ray_cluster(address=cluster.address, num_cpus=0), unwound_by_signals():
            yield


def bare_tune(count: int, work_s: float) -> Arrivals:
    results = Results()
    with tempfile.TemporaryDirectory() as scratch:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(Sleeps, work_s=work_s), {"CPU": 1}),
            param_space={decision.name: tune.choice(list(decision.choices)) for decision in SPACE.decisions},
            tune_config=tune.TuneConfig(
                num_samples=count,
                max_concurrent_trials=NODES,
                reuse_actors=True,
                scheduler=JobScheduler(SimpleNamespace(leaving=()), NODES, Newcomers()),  # type: ignore[arg-type] - as if no node ever left
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                callbacks=[results],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    return results.arrivals


def paretune_search(count: int, work_s: float, *, nodes: int = NODES) -> Arrivals:
    """A search on the first of the nodes or on all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        study = no_op_study(Path(scratch), count, slots=nodes, work_s=work_s, tags={FIRST: 1e-3} if nodes == 1 else None)
        return arrivals_of(read_history(study.folder))


def throughput_ratio(work_s: float, count: int, rounds: int) -> float:
    """Throughput of paretune divided by that of bare Tune."""
    print(f"candidates of {1e3 * work_s:.0f} ms on {NODES} nodes, a second (at most {NODES / work_s:g}), {count} a round")
    print(f"{'round':>5} {'bare Tune':>12} {'paretune':>12} {'ratio':>7}")
    ratios = []
    for number in range(rounds):
        bare, ours = per_second(bare_tune(count, work_s), NODES), per_second(paretune_search(count, work_s), NODES)
        ratios.append(ours / bare)
        print(f"{number:>5} {bare:>12.2f} {ours:>12.2f} {ratios[-1]:>7.3f}", flush=True)
    return statistics.median(ratios)


def scaling_goal(per_node: int, rounds: int) -> Goal:
    print(f"candidates of {LONG_S:g} s, a second, {per_node} a node and round")
    print(f"{'round':>5} {'one node':>12} {'four nodes':>12} {'efficiency':>11}")
    efficiencies = []
    for number in range(rounds):
        one, all_of_them = (per_second(paretune_search(per_node * nodes, LONG_S, nodes=nodes), nodes) for nodes in (1, NODES))
        efficiencies.append(all_of_them / (NODES * one))
        print(f"{number:>5} {one:>12.3f} {all_of_them:>12.3f} {efficiencies[-1]:>11.3f}", flush=True)
    return Goal(name="scaling_efficiency", value=statistics.median(efficiencies), sense=">=", bound=0.9)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer candidates and rounds, four to five minutes, most of them the start of servers and workers",
    )
    quick = parser.parse_args().quick
    mirrored, rounds, pairs, beside = (150, 1, 2, 80) if quick else (PROMISED_CANDIDATES, 5, 12, 200)
    short, long, many = (40, 8, 6) if quick else (400, 30, 10)
    with contextlib.ExitStack() as stack:
        stack.enter_context(unwound_by_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(mlflow_server(stack.enter_context(postgres()), folder))
        goals = mirror_goals(folder, server, mirrored)
        step_back()
        stack.enter_context(simulated_cluster())
        bare_tune(NODES, 0.0)
        if not quick:
            throughput_ratio(SHORTEST_S, short, rounds)
        goals.append(Goal(name="throughput_ratio", value=throughput_ratio(SHORT_S, short, rounds), sense=">=", bound=0.95))
        goals.append(scaling_goal(long, rounds))
        goals += beside_goals(folder, server, count=beside, rounds=pairs)
        growth = memory_bytes_per_candidate(many * TRIALS_PER_RUN + 10, slots=NODES)
        goals.append(Goal(name="driver_bytes_per_candidate", value=growth, sense="<=", bound=3000))
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
