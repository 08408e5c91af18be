"""A candidate that climbs rungs is measured once: its architecture decides what it costs, and not its training."""

from pathlib import Path
from typing import Any

from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Measurement
from paretune.core.trial import Outcome
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.evaluator import StagedEvaluator
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.jobs import Awaiting, JobFactory
from paretune.platform.record.results import result_path
from paretune.spaces.digits_conv import DigitsConv
from paretune.tasks.digits import Digits

SPACE = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1)
FACTORY = JobFactory(study_seed=1, protocol="p", search_epochs=2, final_epochs=2, rungs=(1, 2))
LATENCY = Metric(name="host.latency_s", unit="s", direction=Direction.MIN, lower=0.0)


class Clock:
    """Measures a millisecond, then two, and so on."""

    def __init__(self) -> None:
        self.calls = 0

    metrics = (LATENCY,)

    def measure(self, network: Any, example_shape: tuple[int, ...]) -> Measurement:
        self.calls += 1
        return Measurement(values={"latency_s": 1e-3 * self.calls}, details={"call": self.calls})


def climb(folder: Path, *, forget: bool) -> tuple[Clock, list[Any]]:
    clock, task = Clock(), Digits()
    produced = {metric.name: metric for metric in (*task.metrics, LATENCY, *FreeCosts().metrics)}
    evaluator = StagedEvaluator(costs=CandidateCosts(SPACE, {}), task=task, produced=produced, targets=("host",))
    worker, genotype = Worker(evaluator, folder, WorkerLimits()), (0,) * len(SPACE.decisions)
    found = []
    for rung in range(2):
        job = FACTORY.search(ask_index=0, genotype=genotype, choices={"width": 8}, rung=rung)
        ended = worker.run(job)
        found.append(worker.measure(job, "host", clock) if isinstance(ended, Awaiting) else ended)
        if forget:
            result_path(folder, job.id).unlink()
    return clock, found


def test_the_rung_above_takes_over_the_measurement_and_trains_on(tmp_path: Path) -> None:
    clock, (first, second) = climb(tmp_path, forget=False)
    assert clock.calls == 1
    assert first.outcome is second.outcome is Outcome.OK
    assert second.metrics["host.latency_s"] == first.metrics["host.latency_s"] == 1e-3
    assert second.details["measurements"] == {"host": {"call": 1}}
    assert len(second.details["curve"]) == 2


def test_without_the_result_of_the_rung_below_it_is_measured_again(tmp_path: Path) -> None:
    clock, (_, second) = climb(tmp_path, forget=True)
    assert clock.calls == 2
    assert second.metrics["host.latency_s"] == 2e-3
