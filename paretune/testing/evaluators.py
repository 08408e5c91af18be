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

import numpy as np

from paretune.core.genotype import as_genotypes
from paretune.core.metrics import Metric
from paretune.core.protocols import SearchSpace
from paretune.core.rng import derive_seed
from paretune.core.trial import Outcome
from paretune.platform.execution.candidate_costs import CandidateCosts, ComputedTarget
from paretune.platform.record.jobs import Evaluation, Job
from paretune.platform.record.results import result_path


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
        if self._witness is None:
            return
        path = Path(self._witness) / f"{os.getpid()}.txt"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, f"{word} {job.id} {os.getpid()}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
