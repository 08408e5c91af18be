"""A large study mirrored to an MLflow server on PostgreSQL: how long it takes, and what it costs the search that runs meanwhile.

    python benchmarks/mlflow_postgres.py [--quick]

First a ledger of 10,000 candidates of a real search with formulas in place of training is brought into MLflow by `paretune sync`, and
its runs are counted there. Then the same study of 100 ms candidates runs on two workers of a local Ray without tracking and with it, in
turn; the ratio is the median over pairs of neighbouring rounds, from when both workers are up. Server and database run when nothing else
does (SCHED_IDLE) while a search is timed: in real life they are on another machine.
"""

import argparse
import contextlib
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from endings import unwound_by_signals
from goals import Goal, report_goals
from mlflow_outage import SLOTS, WORK_S, search
from team_server import mlflow_server, postgres, processor_s, step_back
from throughput import arrivals_of, per_second

from paretune.platform.execution.cluster import prepare_environment, ray_cluster
from paretune.platform.execution.phase import Done
from paretune.platform.mirror import sync
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Job
from paretune.platform.record.ledger import read_events
from paretune.searchers.nsga2 import NSGA2
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.studies import open_formula_study

PROMISED_CANDIDATES, PROMISED_S = 10_000, 600.0
FEW = (10, 50)
"""Candidates of further studies where fewer than promised are mirrored: the first warms the server up, the second tells what one adds."""


def write_ledger(folder: Path, count: int) -> History:
    """A finished search of `count` candidates, one after another in this process."""
    study = open_formula_study(
        folder,
        space=DigitsConv(input_shape=(1, 8, 8), num_classes=10),
        make_searcher=lambda space, problem: NSGA2(space, problem, seed=1, population=50),
        trials=count,
    )
    with contextlib.closing(study.ledger):
        while not isinstance(job := study.phase.next_job(), Done):
            assert isinstance(job, Job)
            study.phase.finished(job.id, study.evaluator.evaluate(job, folder))
    return History.fold(read_events(folder), details=False)


def mirrored(folder: Path, history: History, server: str) -> tuple[float, float, int]:
    """Seconds to bring MLflow level, seconds of that for a mirror with nothing to do, and how many runs are missing or double there."""
    from mlflow import MlflowClient

    before_s, start_s = processor_times_s(), time.monotonic()
    state = sync(folder, server, folder.name, timeout_s=3600)
    taken_s = time.monotonic() - start_s
    used = ", ".join(f"{name} {after_s - before_s[name]:.1f}" for name, after_s in processor_times_s().items())
    print(f"processor s, the mirror's start included: {used}")
    sync(folder, server, folder.name)
    idle_s = time.monotonic() - start_s - taken_s
    if state.waiting:
        raise TimeoutError(f"{state.waiting} candidates wait: {state.message}")
    client, wanted = MlflowClient(server), Counter(["study", *(record.job.id for record in history.arrivals())])
    experiment = client.get_experiment_by_name(folder.name)
    assert experiment is not None
    found: Counter[str] = Counter()
    token: str | None = None
    while token != "":
        runs = client.search_runs([experiment.experiment_id], max_results=5000, page_token=token)
        found.update(run.data.tags.get("paretune.key", "?") for run in runs)
        token = runs.token or ""
    return taken_s, idle_s, (wanted - found).total() + (found - wanted).total()


def processor_times_s() -> dict[str, float]:
    """What server, database and the mirrors that have ended have used so far, in seconds of a processor."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"server": processor_s("mlflow"), "database": processor_s("postgres"), "mirror": ended.ru_utime + ended.ru_stime}


def search_ms(folder: Path, server: str, *, count: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each candidate by kind of tracking, on the cluster that this process is connected to, or else on a local Ray."""
    times_ms: dict[str, list[float]] = {"none": [], "postgres": []}
    with ray_cluster(address=None, num_cpus=SLOTS), unwound_by_signals():
        search(folder, "warm-up", 20, "none")  # the first workers of a Ray take longer to come up
        print(f"{count} candidates of {1e3 * WORK_S:.0f} ms on {SLOTS} workers; ms each\nround     none postgres")
        for number in range(rounds):
            order = ("none", "postgres") if number % 2 == 0 else ("postgres", "none")
            for kind in order:
                _, history = search(folder, f"{kind}-{number}", count, "none" if kind == "none" else server)
                times_ms[kind].append(1e3 / per_second(arrivals_of(history), SLOTS))
            print(f"{number:>5} " + " ".join(f"{found[-1]:>8.2f}" for found in times_ms.values()), flush=True)
    return times_ms


def mirror_goals(folder: Path, server: str, count: int) -> list[Goal]:
    """Mirror a study of `count` candidates; where they are fewer than promised, the time is what as many more would add."""
    sizes = (count,) if count == PROMISED_CANDIDATES else (*FEW, count)
    found = [mirrored_study(folder / f"large-{number}", server, size) for number, size in enumerate(sizes)]
    taken_s = found[-1][0]
    if count < PROMISED_CANDIDATES:
        taken_s += (PROMISED_CANDIDATES - count) * (taken_s - found[-2][0]) / (count - sizes[-2])
    return [
        Goal(name="mirror_s_for_10000_candidates", value=taken_s, sense="<=", bound=PROMISED_S),
        Goal(name="missing_or_double_runs", value=sum(num_wrong for _, num_wrong in found), sense="<=", bound=0),
    ]


def mirrored_study(folder: Path, server: str, count: int) -> tuple[float, int]:
    """Seconds to mirror a study of `count` candidates, and how many runs are wrong."""
    taken_s, idle_s, num_wrong = mirrored(folder, write_ledger(folder, count), server)
    each_ms = 1e3 * (taken_s - idle_s) / count
    print(
        f"{count:,} candidates mirrored in {taken_s:.0f} s: {each_ms:.1f} ms each after a start of {idle_s:.0f} s; wrong runs: {num_wrong}"
    )
    return taken_s, num_wrong


def beside_goals(folder: Path, server: str, *, count: int, rounds: int) -> list[Goal]:
    """Search with a mirror and without."""
    times_ms = search_ms(folder, server, count=count, rounds=rounds)
    ratios = [mirrored / without for mirrored, without in zip(times_ms["postgres"], times_ms["none"], strict=True)]
    ratio = statistics.median(ratios)
    print(f"ratio to none, median {ratio:.3f}, mean {statistics.fmean(ratios):.3f}, deviation of a pair {statistics.pstdev(ratios):.3f}")
    return [Goal(name="search_time_ratio_mirrored", value=ratio, sense="<=", bound=1.02)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="300 candidates instead of 10,000, two rounds of 100 instead of twelve of 200")
    quick = parser.parse_args().quick
    large, count, rounds = (300, 100, 2) if quick else (PROMISED_CANDIDATES, 200, 12)
    prepare_environment()
    with tempfile.TemporaryDirectory() as scratch, postgres() as database, mlflow_server(database, Path(scratch)) as server:
        goals = mirror_goals(Path(scratch), server, large)
        step_back()
        goals += beside_goals(Path(scratch), server, count=count, rounds=rounds)
    return report_goals(goals)


if __name__ == "__main__":
    sys.exit(main())
