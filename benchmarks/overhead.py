"""Time and memory that paretune costs for each candidate, against bare Ray Tune on the same no-op trainable in the same run.

    python benchmarks/overhead.py [--quick]

Bare Tune runs random search with actors reused and loggers off, as paretune does; paretune runs NSGA-II, the gate on free costs,
the ledger and the durable results beside it. Both on one local Ray with two workers, in turn; the ratio is the median over rounds.
"""

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from goals import Goal, report_goals

from paretune.platform.execution.cluster import prepare_environment, ray_cluster

prepare_environment()

from ray import tune  # noqa: E402 - after the environment is prepared
from ray.tune import Callback  # noqa: E402

from paretune.core.trial import Outcome  # noqa: E402
from paretune.platform.execution.runner import TRIALS_PER_RUN, Resources, run_phase  # noqa: E402
from paretune.platform.execution.stop import StopRequest  # noqa: E402
from paretune.platform.execution.worker import WorkerLimits  # noqa: E402
from paretune.platform.record.jobs import Evaluation, Job  # noqa: E402
from paretune.searchers.nsga2 import NSGA2  # noqa: E402
from paretune.spaces.digits_conv import DigitsConv  # noqa: E402
from paretune.testing.studies import FormulaStudy, open_formula_study  # noqa: E402

SLOTS = 2
SKIPPED = 0.2
"""Share of the first candidates left out: workers are starting."""

SPACE = DigitsConv(input_shape=(1, 8, 8), num_classes=10)


class NoOp(tune.Trainable):
    """Does nothing and reports two numbers."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:  # noqa: D102, ARG002
        return True

    def step(self) -> dict[str, Any]:  # noqa: D102
        return {"accuracy": 0.5, "latency_s": 1e-3, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:  # noqa: D102, ARG002 - asked for under Tune's defaults
        return None


class Finishes(Callback):
    """Notes when each trial ended."""

    def __init__(self) -> None:
        self.times_s: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_info: object) -> None:  # noqa: D102, ARG002
        self.times_s.append(time.monotonic())


class NoOpEvaluator:
    """The same for paretune: reports constants, after `work_s` of sleep."""

    metrics = ()

    def __init__(self, work_s: float = 0.0) -> None:
        self._work_s = work_s

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:  # noqa: D102, ARG002
        time.sleep(self._work_s)
        return Evaluation(outcome=Outcome.OK, metrics={"accuracy": 0.5, "host.latency_s": 1e-3, "parameters": 1e3})

    def release(self, job: Job, workspace: Path) -> None:  # noqa: D102, ARG002
        workspace.rmdir()


def per_candidate_s(times_s: list[float]) -> float:
    first = int(len(times_s) * SKIPPED)
    return (times_s[-1] - times_s[first]) / (len(times_s) - 1 - first)


def bare_tune(count: int, *, slots: int = SLOTS, defaults: bool = False) -> float:
    finishes = Finishes()
    space = {decision.name: tune.choice(list(decision.choices)) for decision in SPACE.decisions}
    with tempfile.TemporaryDirectory() as scratch:
        tune.Tuner(
            tune.with_resources(NoOp, {"CPU": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(num_samples=count, max_concurrent_trials=slots, reuse_actors=not defaults),
            run_config=tune.RunConfig(
                storage_path=scratch,
                verbose=0,
                callbacks=[finishes],
                checkpoint_config=tune.CheckpointConfig() if defaults else tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    return per_candidate_s(finishes.times_s)


def paretune_search(count: int, *, slots: int = SLOTS) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        study = no_op_study(Path(scratch), count, slots=slots)
        return per_candidate_s([record.elapsed_s for record in study.history.arrivals()])


def no_op_study(
    scratch: Path,
    count: int,
    *,
    slots: int = SLOTS,
    work_s: float = 0.0,
    tags: Mapping[str, float] | None = None,
    on_step: Callable[[FormulaStudy], None] = lambda _study: None,
) -> FormulaStudy:
    study = open_formula_study(
        scratch / "study",
        space=SPACE,
        make_searcher=lambda space, problem: NSGA2(space, problem, seed=1, population=20),
        trials=count,
        mode="async",
    )
    resources = Resources(slots=slots, per_candidate={"CPU": 1.0, **(tags or {})}, limits=WorkerLimits(timeout_s=60.0))
    run_phase(
        study.phase,
        evaluator=NoOpEvaluator(work_s),
        folder=study.folder,
        resources=resources,
        stop=StopRequest(),
        on_step=lambda: on_step(study),
    )
    study.ledger.close()
    return study


def memory_bytes_per_candidate(count: int, *, slots: int = SLOTS) -> float:
    """Growth of the driver's resident memory from the end of the second Tune run to the last, per candidate."""
    samples: dict[int, int] = {}

    def sample(study: FormulaStudy) -> None:
        done = study.phase.num_ended
        if done % TRIALS_PER_RUN == 1 and done not in samples:  # just after a run's trials were dropped
            gc.collect()
            samples[done] = psutil.Process().memory_info().rss

    with tempfile.TemporaryDirectory() as scratch:
        no_op_study(Path(scratch), count, slots=slots, on_step=sample)
    first, last = 2 * TRIALS_PER_RUN + 1, max(samples)
    print(f"driver memory: {samples[first] / 1e6:.1f} MB at {first} candidates, {samples[last] / 1e6:.1f} MB at {last}")
    return (samples[last] - samples[first]) / (last - first)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer candidates, under two minutes")
    quick = parser.parse_args().quick
    count, rounds, many = (80, 3, 4 * TRIALS_PER_RUN + 10) if quick else (400, 5, 10 * TRIALS_PER_RUN + 10)
    with ray_cluster(address=None, num_cpus=SLOTS):
        bare_tune(20)
        print(f"{'round':>5} {'bare Tune':>12} {'paretune':>12} {'ratio':>7}   ms per candidate, no-op trainable, {SLOTS} workers")
        ratios = []
        for number in range(rounds):
            bare_s, ours_s = bare_tune(count), paretune_search(count)
            ratios.append(ours_s / bare_s)
            print(f"{number:>5} {1e3 * bare_s:>12.2f} {1e3 * ours_s:>12.2f} {ratios[-1]:>7.2f}")
        single = paretune_search(count, slots=1) / bare_tune(count, slots=1)
        print(f"with one worker the ratio is {single:.2f}: the ledger and the gate are then not hidden behind another candidate")
        defaults_s = bare_tune(10, defaults=True)
        print(f"bare Tune with its defaults (no reuse): {1e3 * defaults_s:.0f} ms per candidate")
        memory = memory_bytes_per_candidate(many)
    return report_goals(
        [
            Goal(name="overhead_ratio", value=statistics.median(ratios), sense="<=", bound=1.1),
            Goal(name="driver_bytes_per_candidate", value=memory, sense="<=", bound=3000),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
