"""Candidates judged on analog tiles: at every rung anew, killed at any point with the same result, at last beside a digital baseline."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.accuracy_devices import LabelledExamples
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Objective, Problem
from paretune.core.protocols import Fidelity, Measurement
from paretune.core.trial import Outcome
from paretune.hardware.analog.target import Analog
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.evaluator import StagedEvaluator, evaluate_here
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.jobs import Awaiting, Evaluation, Job, JobFactory, json_values
from paretune.platform.record.parts import measuring, part_path
from paretune.spaces.resnet_analog import ResnetAnalog
from paretune.tasks.digits import Digits

SPACE = ResnetAnalog(input_shape=(1, 8, 8), num_classes=10, first_widths=(8,), main_blocks=(1,), residual_blocks=(1,), branches=(1,))
GENOTYPE = (0,) * len(SPACE.decisions)
CHOICES = {"first_width": 8}
LATENCY = Metric(name="host.latency_s", unit="s", direction=Direction.MIN, lower=0.0)
TASK = Digits()
EXAMPLES = TASK.examples()
RUNGS = JobFactory(study_seed=1, protocol="p", search_epochs=2, final_epochs=2, rungs=(1, 2))
ONE = JobFactory(study_seed=1, protocol="p", search_epochs=1, final_epochs=2)


class Killed(BaseException):
    """Not an error of the candidate: as a signal would, it ends the worker."""


class Tiles(Analog):
    """Judges in this process, remembers on what, and ends the worker at a call."""

    def __init__(self, fatal_call: int | None = None) -> None:
        super().__init__(preset="hermes", times_s=(1.0, 86_400.0), programmings=2, images=80)
        self.judged: list[str] = []
        self.fatal_call = fatal_call

    def judge(self, network: Any, examples: LabelledExamples, *, calibration: Any) -> Measurement:
        if len(self.judged) == self.fatal_call:
            self.fatal_call = None
            raise Killed
        self.judged.append("test" if np.array_equal(examples.labels, EXAMPLES.test.labels) else "validation")
        return super().judge(network, examples, calibration=calibration)


class Clock:
    """A device whose every network takes a millisecond."""

    metrics = (LATENCY,)

    def __init__(self) -> None:
        self.num_measured = 0

    def measure(self, network: Any, example_shape: tuple[int, ...]) -> Measurement:
        self.num_measured += 1
        return Measurement(values={"latency_s": 1e-3}, details={})


def evaluator(tiles: Tiles, *, targets: tuple[str, ...] = ("tiles",)) -> StagedEvaluator:
    judged = tuple(Metric(name=f"tiles.{item.name}", unit="", direction=item.direction) for item in tiles.metrics)
    produced = {metric.name: metric for metric in (*TASK.metrics, *FreeCosts().metrics, *judged, *([LATENCY] if "host" in targets else []))}
    return StagedEvaluator(
        costs=CandidateCosts(SPACE, {}),
        task=TASK.trained_for(tiles.training_hooks(in_memory=False)),
        produced=produced,
        targets=targets,
        judging={"tiles": tiles},
        baseline=TASK,
    )


def without_times(evaluation: Evaluation) -> dict[str, Any]:
    """How long stages took differs from run to run."""
    values = evaluation.as_json() | {"duration_s": None}
    return values | {"details": {name: part for name, part in values["details"].items() if name != "stages"}}


def test_every_rung_is_judged_but_what_the_architecture_decides_is_measured_once(tmp_path: Path) -> None:
    tiles, clock = Tiles(), Clock()
    worker = Worker(evaluator(tiles, targets=("host", "tiles")), tmp_path, WorkerLimits())
    rungs = []
    for rung in range(2):
        job = RUNGS.search(ask_index=0, genotype=GENOTYPE, choices=CHOICES, rung=rung)
        found = worker.run(job)
        while isinstance(found, Awaiting):
            target = found.targets[0]
            found = worker.measure(job, target, {"host": clock, "tiles": tiles}[target])
        rungs.append(found)
    low, high = rungs
    assert low.outcome is high.outcome is Outcome.OK
    assert clock.num_measured == 1
    assert tiles.judged == ["validation", "validation"]
    assert high.metrics["tiles.accuracy_1d"] != low.metrics["tiles.accuracy_1d"]
    assert high.details["measurements"].keys() == {"host", "tiles"}
    assert "baseline" not in high.details  # only the final networks are worth one


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Tiles, Path]:
    tiles, workspace = Tiles(), tmp_path_factory.mktemp("work") / "work" / "final"
    return evaluate_here(evaluator(tiles), final_job(), workspace, {"tiles": tiles}), tiles, workspace


def final_job() -> Job:
    return ONE.final(ask_index=0, genotype=GENOTYPE, choices=CHOICES, seed_index=0)


def test_a_final_network_is_tested_on_its_tiles_and_held_against_digital_training(final: tuple[Evaluation, Tiles, Path]) -> None:
    evaluation, tiles, workspace = final
    assert tiles.judged == ["validation", "test", "validation"]
    assert {"test.accuracy", "test.tiles.accuracy_1d", "test.tiles.avm"} <= evaluation.metrics.keys()
    baseline = evaluation.details["baseline"]
    plain, result = TASK.train(
        lambda: SPACE.build(GENOTYPE), seed=final_job().seed, fidelity=Fidelity(epochs=2), checkpoint=workspace / "elsewhere"
    )
    assert baseline["metrics"] == result.metrics
    direct = Tiles().judge(plain, EXAMPLES.validation, calibration=EXAMPLES.calibration)
    assert baseline["measurements"]["tiles"] == json_values(direct.details)
    facts = json.loads((workspace / "network" / "network.json").read_text())["metadata"]["hardware"]["tiles"]
    assert len(facts["layers"]) == 4  # stem, two convolutions, classifier
    assert evaluation.details["export"]["largest_difference"] < 1e-3  # the digital network, so ONNX Runtime gives the same


@pytest.mark.parametrize("fatal_call", [0, 1, 2], ids=["before judging", "before the test", "before judging the baseline"])
def test_killed_at_any_point_a_final_evaluation_ends_with_the_same_numbers(
    fatal_call: int, final: tuple[Evaluation, Tiles, Path], tmp_path: Path
) -> None:
    tiles = Tiles(fatal_call)
    workspace = tmp_path / "work" / "final"
    with pytest.raises(Killed):
        evaluate_here(evaluator(tiles), final_job(), workspace, {"tiles": tiles})
    again = evaluate_here(evaluator(tiles), final_job(), workspace, {"tiles": tiles})
    assert without_times(again) == without_times(final[0])
    files = [path / "network" / "network.safetensors" for path in (workspace, final[2])]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_candidate_that_is_surely_dominated_is_programmed_no_further_and_its_final_training_is(tmp_path: Path) -> None:
    racing = Analog(preset="hermes", times_s=(1.0, 86_400.0), programmings=5, images=80, racing=True)
    names = [*TASK.metrics, *FreeCosts().metrics, *(replace(item, name=f"tiles.{item.name}") for item in racing.metrics)]
    problem = Problem(
        objectives=(
            Objective(metric="tiles.accuracy_1d", direction=Direction.MAX, reference=0.0),
            Objective(metric="parameters", direction=Direction.MIN, reference=1e6),
        )
    )
    judges = StagedEvaluator(
        costs=CandidateCosts(SPACE, {}),
        task=TASK.trained_for(racing.training_hooks(in_memory=False)),
        produced={metric.name: metric for metric in names},
        targets=("tiles",),
        judging={"tiles": racing},
        problem=problem,
    )
    job = ONE.search(ask_index=0, genotype=GENOTYPE, choices=CHOICES)

    def judged(job: Job) -> Evaluation:
        part_path(tmp_path / "work" / "candidate", measuring("tiles")).unlink(missing_ok=True)
        return evaluate_here(judges, job, tmp_path / "work" / "candidate", {"tiles": racing})

    whole = judged(job)
    stopped = judged(replace(job, rivals=({"tiles.accuracy_1d": 1.5},)))  # better than can be, so it is certain at once
    contested = judged(replace(job, rivals=({"tiles.accuracy_1d": whole.metrics["tiles.accuracy_1d"]},)))
    drift = [found.details["measurements"]["tiles"]["drift"]["1d"]["accuracies"] for found in (whole, stopped)]
    assert drift[1] == drift[0][:3]
    assert stopped.metrics["tiles.programmings"] == 3
    assert stopped.details["measurements"]["tiles"]["racing"] == {"planned": 5, "fate": "dominated"}
    assert whole.metrics["tiles.programmings"] == 5
    assert contested.metrics == whole.metrics  # as good as its rival: on the front, so it is judged thoroughly
    final = replace(final_job(), rivals=({"tiles.accuracy_1d": 1.5},))
    found = evaluate_here(judges, final, tmp_path / "work" / "final", {"tiles": racing})
    assert found.metrics["tiles.programmings"] == found.metrics["test.tiles.programmings"] == 5
