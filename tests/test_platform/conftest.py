"""Studies made of plausible numbers, in a real ledger, for the tests of report, mirror and browser."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.genotype import Decision, named
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.trial import Outcome
from paretune.platform.record.header import Header
from paretune.platform.record.jobs import Evaluation, Job, JobFactory
from paretune.platform.record.ledger import Ledger

STAGES, BLOCKS = 3, 2
DECISIONS = (
    Decision(name="stem.width", choices=(8, 16), ordinal=True),
    *(
        Decision(name=f"stage{stage}.{name}", choices=choices, ordinal=True)
        for stage in range(1, STAGES + 1)
        for name, choices in (("width", (8, 16, 24, 32)), ("depth", (1, 2)), ("stride", (1, 2)))
    ),
    *(
        Decision(name=f"stage{stage}.block{block}.{name}", choices=choices, ordinal=True)
        for stage in range(1, STAGES + 1)
        for block in range(1, BLOCKS + 1)
        for name, choices in (("kernel", (3, 5)), ("expansion", (1, 2, 3)))
    ),
    Decision(name="activation", choices=("relu", "hardswish"), ordinal=False),
)
OBJECTIVES = (
    Objective(metric="accuracy", direction=Direction.MAX, reference=0.8),
    Objective(metric="host.latency_s", direction=Direction.MIN, reference=0.002),
    Objective(metric="parameters", direction=Direction.MIN, reference=100_000),
)
METRICS = (
    Metric(
        name="accuracy", unit="", direction=Direction.MAX, lower=0, upper=1, description="share of validation images that are recognised"
    ),
    Metric(name="host.latency_s", unit="s", direction=Direction.MIN, lower=0, description="median time of one inference on one thread"),
    Metric(name="parameters", unit="", direction=Direction.MIN, lower=0, description="weights and biases", free=True),
    Metric(name="macs", unit="", direction=Direction.MIN, lower=0, description="multiply-accumulates of one inference", free=True),
    Metric(
        name="peak_memory_bytes", unit="bytes", direction=Direction.MIN, lower=0, description="largest sum of live activations", free=True
    ),
)


class SampleStudy:
    """Appends the events of a study one by one, as a driver would, with a clock of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        num_objectives: int = 2,
        seed: int = 7,
        name: str = "digits",
        protocol: str = "p1",
        header: dict[str, Any] | None = None,
        targets: Mapping[str, Callable[[dict[str, float]], float]] | None = None,
    ) -> None:
        self.folder = folder
        self.targets = dict(targets or {})  # name of a further target -> its latency, from the other metrics
        latencies = [
            Metric(name=f"{name}.latency_s", unit="s", direction=Direction.MIN, lower=0, description=name) for name in self.targets
        ]
        limits = (Constraint(metric="parameters", upper=60_000),)
        self.header = Header(
            name=name,
            spec={
                "name": name,
                "seed": seed,
                "task": {"name": "digits", "options": {}},
                "space": {"name": "digits_conv", "options": {"stages": 3}},
                "searcher": {"name": "nsga2", "options": {"population": 24}},
                "hardware": {target: {"kind": "host"} for target in ("host", *self.targets)},
            },
            spec_text=f"version: 1\nname: {name}\nseed: {seed}\ntask: {{name: digits}}\n",
            decisions=DECISIONS,
            problem=Problem(objectives=OBJECTIVES[:num_objectives], constraints=limits),
            metrics={metric.name: metric for metric in (*METRICS, *latencies)},
            protocol=protocol,
            provenance={
                "version.paretune": "0.1.0",
                "version.torch": "2.12.1",
                "host.processor": "x86-64, 2 cores",
                "git.commit": "0123456789abcdef+",
            },
        )
        self.rng = np.random.default_rng(seed)
        self.jobs = JobFactory(study_seed=seed, protocol=protocol, search_epochs=6, final_epochs=20)
        self.ledger = Ledger.create(folder, {**self.header.as_json(), **(header or {})})
        self.num_asked, self.elapsed_s = 0, 0.0

    def ask(self) -> Job:
        genotype = tuple(int(self.rng.integers(len(decision.choices))) for decision in DECISIONS)
        job = self.jobs.search(ask_index=self.num_asked, genotype=genotype, choices=named(DECISIONS, genotype))
        self.num_asked += 1
        return job

    def evaluate(self, job: Job, *, final: bool = False) -> Evaluation:
        """Bigger networks are better and slower, with noise; 4 % fail."""
        choices = named(DECISIONS, job.genotype)
        size = sum(value for name, value in choices.items() if name.endswith(("width", "expansion"))) / 120
        if not final and self.rng.random() < 0.04:
            outcome = [Outcome.DIVERGED, Outcome.OOM, Outcome.TIMEOUT][int(self.rng.integers(3))]
            return Evaluation(
                outcome=outcome,
                metrics={"parameters": float(round(80_000 * size))},
                message=f"{outcome.value}: as the sample wants",
                duration_s=1.0,
            )
        latency_s = 2e-4 + 9e-4 * size * self.rng.uniform(0.8, 1.2)
        accuracy = min(0.995, 0.86 + 0.13 * (1 - np.exp(-3 * size)) + self.rng.normal(0, 0.006) - 0.004 * final)
        metrics = {
            "accuracy": accuracy,
            "host.latency_s": latency_s,
            "parameters": float(round(80_000 * size)),
            "macs": float(round(2e6 * size)),
            "peak_memory_bytes": float(round(9_000 * size)),
        }
        metrics |= {f"{target}.latency_s": latency(metrics) for target, latency in self.targets.items()}
        curve = [
            {"epoch": epoch, "loss": 2.3 * np.exp(-0.4 * epoch) + 0.1, "accuracy": accuracy * (1 - np.exp(-0.8 * epoch))}
            for epoch in range(1, job.epochs + 1)
        ]
        host = {
            "latency_s": latency_s,
            "iqr_s": 0.02 * latency_s,
            "runs": 50,
            "environment": {"processor": "x86-64", "threads": 1, "onnxruntime": "1.22"},
        }
        if final:
            metrics["test.accuracy"] = accuracy - 0.005
        return Evaluation(
            outcome=Outcome.OK,
            metrics=metrics,
            details={"curve": curve, "measurements": {"host": host}},
            duration_s=2.0,
            worker="laptop:77",
        )

    def finish(self, job: Job, evaluation: Evaluation) -> None:
        self.elapsed_s += 0.7
        events = [("asked", {"job": job.as_json()}), ("started", {"id": job.id, "attempt": 1})]
        self.ledger.append([*events, ("finished", {"id": job.id, "evaluation": evaluation.as_json(), "elapsed_s": self.elapsed_s})])

    def search(self, count: int) -> "SampleStudy":
        for _ in range(count):
            job = self.ask()
            self.finish(job, self.evaluate(job))
        return self

    def fail(self, messages: Sequence[str]) -> "SampleStudy":
        for message in messages:
            self.finish(self.ask(), Evaluation(outcome=Outcome.USER_ERROR, message=message))
        return self

    def screen(self, count: int) -> "SampleStudy":
        for _ in range(count):
            self.ledger.append([("screened", {"job": self.ask().as_json(), "metrics": {"parameters": 90_000.0, "macs": 3e6}})])
        return self

    def retrain(self, front: Sequence[Any], seeds: int = 3) -> "SampleStudy":
        self.ledger.append([("phase", {"name": "search", "reason": f"budget of {self.num_asked} candidates spent"})])
        for seed_index in range(seeds):
            for record in front:
                job = self.jobs.final(
                    ask_index=record.job.ask_index, genotype=record.job.genotype, choices=dict(record.job.choices), seed_index=seed_index
                )
                self.finish(job, self.evaluate(job, final=True))
        self.ledger.append([("phase", {"name": "final", "reason": f"{seeds * len(front)} final trainings done"})])
        return self

    def close(self) -> Path:
        self.ledger.close()
        return self.folder


@pytest.fixture
def sample_study(tmp_path: Path) -> Callable[..., SampleStudy]:
    """Makes studies below `tmp_path`; their ledgers are closed at the end of the test."""
    studies: list[SampleStudy] = []

    def make(name: str = "digits", **options: Any) -> SampleStudy:
        studies.append(SampleStudy(tmp_path / name, name=options.pop("shown_name", name), **options))
        return studies[-1]

    yield make
    for study in studies:
        study.close()
