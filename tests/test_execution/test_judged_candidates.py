"""Candidates judged on analog tiles: at every rung anew, killed at any point with the same result, at last beside a digital baseline."""

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.core.accuracy_devices import Split
from paretune.core.metrics import Direction, Metric
from paretune.core.protocols import Fidelity, Measurement
from paretune.core.trial import Outcome
from paretune.hardware.analog.target import Analog
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.evaluator import StagedEvaluator
from paretune.platform.execution.measure import measure_here
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.jobs import Evaluation, Job, JobFactory
from paretune.spaces.resnet_analog import ResnetAnalog
from paretune.tasks.digits import Digits

SPACE = ResnetAnalog(input_shape=(1, 8, 8), num_classes=10, first_widths=(8,), main_blocks=(1,), residual_blocks=(1,), branches=(1,))
GENOTYPE = (0,) * len(SPACE.decisions)
CHOICES = {"first_width": 8}
TILES = Analog(preset="hermes", times_s=(1.0, 86_400.0), programmings=2, images=80)
LATENCY = Metric(name="host.latency_s", unit="s", direction=Direction.MIN, lower=0.0)
TASK = Digits()
RUNGS = JobFactory(study_seed=1, protocol="p", search_epochs=2, final_epochs=2, rungs=(1, 2))
ONE = JobFactory(study_seed=1, protocol="p", search_epochs=1, final_epochs=2)


class Killed(BaseException):
    """Not an error of the candidate: as a signal would, it ends the worker."""


class Bench:
    """Measures in this process, and ends the worker at a call."""

    def __init__(self, fatal_call: int | None = None) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fatal_call = fatal_call

    def __call__(self, target: str, network: Any, example_shape: tuple[int, ...], *, split: Split = "validation") -> Measurement:
        if len(self.calls) == self.fatal_call:
            self.fatal_call = None
            raise Killed
        self.calls.append((target, split))
        if target == "host":
            return Measurement(values={"latency_s": 1e-3}, details={})
        return measure_here(TILES, TASK.examples(), network, example_shape, split)


def evaluator(bench: Bench, *, targets: tuple[str, ...] = ("tiles",)) -> StagedEvaluator:
    judged = tuple(Metric(name=f"tiles.{item.name}", unit="", direction=item.direction) for item in TILES.metrics)
    produced = {metric.name: metric for metric in (*TASK.metrics, *FreeCosts().metrics, *judged, *([LATENCY] if "host" in targets else []))}
    return StagedEvaluator(
        costs=CandidateCosts(SPACE, {}),
        task=TASK.trained_for(TILES.training_hooks(in_memory=False)),
        produced=produced,
        targets=targets,
        measure=bench,
        judging={"tiles": TILES},
        baseline=TASK,
    )


def test_every_rung_is_judged_but_what_the_architecture_decides_is_measured_once(tmp_path: Path) -> None:
    bench = Bench()
    worker = Worker(evaluator(bench, targets=("host", "tiles")), tmp_path, WorkerLimits())
    low, high = (worker.run(RUNGS.search(ask_index=0, genotype=GENOTYPE, choices=CHOICES, rung=rung)) for rung in range(2))
    assert low.outcome is high.outcome is Outcome.OK
    assert bench.calls == [("host", "validation"), ("tiles", "validation"), ("tiles", "validation")]
    assert high.metrics["tiles.accuracy_1d"] != low.metrics["tiles.accuracy_1d"]
    assert high.details["measurements"].keys() == {"host", "tiles"}
    assert "baseline" not in high.details  # only the final networks are worth one


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Bench, Path]:
    bench, workspace = Bench(), tmp_path_factory.mktemp("work") / "work" / "final"
    return evaluator(bench).evaluate(final_job(), workspace), bench, workspace


def final_job() -> Job:
    return ONE.final(ask_index=0, genotype=GENOTYPE, choices=CHOICES, seed_index=0)


def test_a_final_network_is_tested_on_its_tiles_and_held_against_digital_training(final: tuple[Evaluation, Bench, Path]) -> None:
    evaluation, bench, workspace = final
    assert bench.calls == [("tiles", "validation"), ("tiles", "test"), ("tiles", "validation")]
    assert {"test.accuracy", "test.tiles.accuracy_1d", "test.tiles.avm"} <= evaluation.metrics.keys()
    baseline = evaluation.details["baseline"]
    plain, result = TASK.train(
        lambda: SPACE.build(GENOTYPE), seed=final_job().seed, fidelity=Fidelity(epochs=2), checkpoint=workspace / "elsewhere"
    )
    assert baseline["metrics"] == result.metrics
    examples = TASK.examples()
    assert baseline["measurements"]["tiles"] == TILES.judge(plain, examples.validation, calibration=examples.calibration).details
    facts = json.loads((workspace / "network" / "network.json").read_text())["metadata"]["hardware"]["tiles"]
    assert len(facts["layers"]) == 4  # stem, two convolutions, classifier
    assert evaluation.details["export"]["largest_difference"] < 1e-3  # the digital network, so ONNX Runtime gives the same


@pytest.mark.parametrize("fatal_call", [0, 1, 2], ids=["before judging", "before the test", "before judging the baseline"])
def test_killed_at_any_point_a_final_evaluation_ends_with_the_same_numbers(
    fatal_call: int, final: tuple[Evaluation, Bench, Path], tmp_path: Path
) -> None:
    bench = Bench(fatal_call)
    workspace = tmp_path / "work" / "final"
    with pytest.raises(Killed):
        evaluator(bench).evaluate(final_job(), workspace)
    again = evaluator(bench).evaluate(final_job(), workspace)
    assert again.as_json() == final[0].as_json()
    files = [path / "network" / "network.safetensors" for path in (workspace, final[2])]
    assert files[0].read_bytes() == files[1].read_bytes()
