"""Evaluators with known results, for tests of everything around the training: public, deterministic, no mocks.

`FormulaEvaluator` computes its metrics from the genotype, so that a front is known without training anything; it may keep a
witness, files that paretune does not know, so that a test can tell lost from repeated work. `FunctionEvaluator` does whatever a
function does, for tests of candidates that fail, hang or misbehave.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.accuracy_devices import TrainedHardware
from paretune.core.files import write_durably
from paretune.core.genotype import as_genotypes
from paretune.core.metrics import Metric
from paretune.core.protocols import SearchSpace
from paretune.core.rng import derive_seed
from paretune.core.trial import Outcome
from paretune.platform.execution.candidate_costs import CandidateCosts, ComputedTarget
from paretune.platform.record.jobs import Awaiting, Evaluation, Job
from paretune.platform.record.parts import TRAINING, measuring, read_part, write_part
from paretune.platform.record.results import result_path

HOLD = "hold"


class FormulaEvaluator:
    """Accuracy that saturates and latency that grows with the choices, both with a fixed ripple, after `work_s` of sleep.

    Args:
        space: the networks; their free costs are the real ones.
        produced: metrics that must be there; `accuracy` and `host.latency_s` come from the formula.
        work_s: pretended training time, in ten steps that a kill can fall between.
        witness: folder in which each worker process keeps its own file: `start ID PID` when a job begins, `again ID PID` if it begins
            although its result is there, and `done ID PID` once its result is durable and nothing goes on from it; each line is
            flushed to the disk.
        targets: computed hardware by name; genotypes hold its decisions behind the network's.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        produced: Mapping[str, Metric],
        work_s: float = 0.0,
        witness: str | None = None,
        targets: Mapping[str, ComputedTarget] | None = None,
    ) -> None:
        self._costs = CandidateCosts(space, targets or {})
        self._produced, self._work_s, self._witness = dict(produced), work_s, witness

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every evaluation contains."""
        return tuple(self._produced.values())

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:
        """Sleep, then look the result up."""
        self._testify("again" if result_path(workspace.parents[1], job.id).exists() else "start", job)
        for _ in range(10 if self._work_s > 0 else 0):
            time.sleep(self._work_s / 10)
        missing = job.schedule_epochs - job.epochs if job.schedule_epochs else 0
        details = {"computed": self._costs.of_candidate(job.genotype)[1]} if self._costs.targets else {}
        return Evaluation(outcome=Outcome.OK, metrics=self.truth(job.genotype, missing_epochs=missing), details=details)

    def release(self, job: Job, workspace: Path) -> None:
        """The result is durable."""
        workspace.rmdir()
        self._testify("done", job)

    def truth(self, genotype: tuple[int, ...], *, missing_epochs: int = 0) -> dict[str, float]:
        """The metrics of a genotype, as every correct run must report them.

        Args:
            genotype: canonical.
            missing_epochs: how many more a full training has; each takes a hundredth of the accuracy.
        """
        network_NW = self._costs.network_part(as_genotypes([genotype], len(genotype)))
        size = float(np.mean(self._costs.network.encode(network_NW)))
        ripple = derive_seed("formula", *network_NW[0].tolist()) / 2**63
        formula = {
            "accuracy": 0.95 - 0.4 * float(np.exp(-4.0 * size)) - 0.03 * ripple - 0.01 * missing_epochs,
            "host.latency_s": 1e-5 * (1.0 + 5.0 * size + ripple),
        }
        return {**formula, **self._costs.of_candidate(genotype)[0]}

    def _testify(self, word: str, job: Job) -> None:
        self._say(f"{word} {job.id} {os.getpid()}")

    def _say(self, line: str) -> None:
        if self._witness is None:
            return
        path = Path(self._witness) / f"{os.getpid()}.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, f"{line}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class StagedFormulaEvaluator(FormulaEvaluator):
    """The formula in stages: accuracy where there is room to train, the latency of each target on its device; a `StageEvaluator`.

    The training goes on from durable steps, and the witness also has `step ID NUMBER` for each, and `on-TARGET ID DEVICE` for each
    measurement. Devices are owned, and waited for, like any other; what they would say is the formula. As long as a file `hold` lies
    in the witness, no further step is taken.

    Args:
        space: as in `FormulaEvaluator`.
        produced: as there, and `TARGET.latency_s` of each target.
        targets: hardware that measures.
        work_s: pretended training time, in `steps` steps.
        measure_s: pretended time of a measurement.
        witness: as there.
        steps: of a training.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        produced: Mapping[str, Metric],
        targets: tuple[str, ...],
        work_s: float = 0.0,
        measure_s: float = 0.0,
        witness: str | None = None,
        steps: int = 5,
    ) -> None:
        super().__init__(space=space, produced=produced, work_s=work_s, witness=witness)
        self._measuring, self._measure_s, self._steps = targets, measure_s, steps
        self._at_checkpoint: Callable[[], None] | None = None

    def at_checkpoints(self, call: Callable[[], None]) -> None:
        """Called after each step."""
        self._at_checkpoint = call

    def evaluate(self, job: Job, workspace: Path) -> Evaluation | Awaiting:  # type: ignore[override]  # it takes stages
        """Train, or go on from the last step."""
        if read_part(workspace, TRAINING, job.id) is None:
            start_s = time.monotonic()
            self._train(job, workspace)
            busy_s = round(time.monotonic() - start_s, 6)
            write_part(workspace, TRAINING, job.id, {"stage": {"busy_s": busy_s, "worker": f"here:{os.getpid()}"}})
        return self.complete(job, workspace)

    def measure(self, job: Job, workspace: Path, target: str, device: TrainedHardware, facts: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Take as long as a measurement, and note who made it."""
        if read_part(workspace, measuring(target), job.id) is None:
            time.sleep(self._measure_s)
            stage = {"busy_s": self._measure_s, "worker": f"here:{os.getpid()}", **facts}
            write_part(workspace, measuring(target), job.id, {"stage": stage})
            self._say(f"{measuring(target)} {job.id} {facts.get('device', '-')}")

    def complete(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        """The formula, once every part is there."""
        parts = {part: read_part(workspace, part, job.id) for part in (TRAINING, *map(measuring, self._measuring))}
        missing = tuple(target for target in self._measuring if parts[measuring(target)] is None)
        if missing:
            return Awaiting(targets=missing)
        truth = self.truth(job.genotype)
        truth |= {f"{target}.latency_s": truth["host.latency_s"] for target in self._measuring}
        stages = {part.removeprefix("on-"): found["stage"] for part, found in parts.items() if found is not None}
        metrics = {metric.name: truth[metric.name] for metric in self.metrics}
        return Evaluation(outcome=Outcome.OK, metrics=metrics, details={"stages": stages})

    def release(self, job: Job, workspace: Path) -> None:
        """The result is durable."""
        shutil.rmtree(workspace, ignore_errors=True)
        self._testify("done", job)

    def _train(self, job: Job, workspace: Path) -> None:
        progress = workspace / "steps"
        done = len(progress.read_bytes()) if progress.exists() else 0
        self._testify("start", job)
        for step in range(done, self._steps):
            time.sleep(self._work_s / self._steps)
            while self._witness is not None and (Path(self._witness) / HOLD).exists():
                time.sleep(0.05)
            write_durably(progress, b"." * (step + 1))
            self._say(f"step {job.id} {step + 1}")
            if self._at_checkpoint is not None:
                self._at_checkpoint()


class FunctionEvaluator:
    """Evaluates by calling a function; its workspace goes once the result is durable.

    Args:
        function: `(job, workspace)` -> the metrics of the job, or an evaluation. A function defined inside another one travels to the
            workers whole, so that they need not be able to import the test it is from.
        produced: metrics that must be there.
    """

    def __init__(self, function: Callable[[Job, Path], Mapping[str, float] | Evaluation], produced: Mapping[str, Metric]) -> None:
        self._function, self._produced = function, dict(produced)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every evaluation contains."""
        return tuple(self._produced.values())

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:
        """Call the function."""
        found = self._function(job, workspace)
        return found if isinstance(found, Evaluation) else Evaluation(outcome=Outcome.OK, metrics=found)

    def release(self, job: Job, workspace: Path) -> None:  # noqa: ARG002
        """The result is durable."""
        shutil.rmtree(workspace, ignore_errors=True)
