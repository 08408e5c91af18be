"""Jobs and evaluations: what is handed to a worker, what comes back, and the protocol that turns one into the other."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from paretune.core.accuracy_devices import TrainedHardware
from paretune.core.genotype import Choice, fingerprint
from paretune.core.metrics import Metric
from paretune.core.rng import derive_seed
from paretune.core.trial import Outcome


class Purpose(StrEnum):
    """Which protocol a job follows."""

    SEARCH = "search"
    """Short training, validation data only: tells the searcher."""
    FINAL = "final"
    """Full training of a member of the front with a fresh seed, tested once on held-out data, exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One evaluation to run: plain values only, so that it travels through Ray, JSON and a Tune config."""

    id: str
    """SHA-256 over architecture, protocol, seed and epochs: equal work has an equal id."""
    purpose: Purpose
    ask_index: int
    """Number of the ask that proposed the architecture."""
    genotype: tuple[int, ...]
    choices: Mapping[str, Choice]
    """The genotype as named decisions."""
    seed: int
    """Decides the initial weights and the order of the data."""
    seed_index: int = 0
    """0 in the search; 0, 1, ... for the fresh seeds of the final training."""
    epochs: int = 1
    rung: int = 0
    """Step of the fidelity ladder that it reaches, from 0."""
    schedule_epochs: int = 0
    """Epochs of the full training that this one is the beginning of; 0 where it is all of it."""
    continues: str = ""
    """Id of the job whose checkpoint it goes on from; empty where it starts anew."""
    rivals: tuple[Mapping[str, float], ...] = ()
    """Objectives, SI, of members of the front that may dominate it: hardware that races need not judge what surely is. No part of the id:
    the ledger has them before anybody evaluates the job."""

    @property
    def is_full(self) -> bool:
        """Whether the training ends with it, so that its result may enter the front."""
        return self.schedule_epochs in (0, self.epochs)

    def as_json(self) -> dict[str, Any]:
        """The job as JSON values; what belongs to a ladder, and rivals, only where there are some."""
        ladder = {"rung": self.rung, "schedule_epochs": self.schedule_epochs, "continues": self.continues} if self.schedule_epochs else {}
        return {
            "id": self.id,
            "purpose": self.purpose.value,
            "ask_index": self.ask_index,
            "genotype": list(self.genotype),
            "choices": dict(self.choices),
            "seed": self.seed,
            "seed_index": self.seed_index,
            "epochs": self.epochs,
            **ladder,
            **({"rivals": [dict(rival) for rival in self.rivals]} if self.rivals else {}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        """The inverse of `as_json`."""
        lists = {"genotype": tuple(values["genotype"]), "rivals": tuple(values.get("rivals", ()))}
        return cls(**{**values, "purpose": Purpose(values["purpose"]), **lists})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFactory:
    """Makes the jobs of one study, so that the same work always gets the same id and the same seed."""

    study_seed: int
    protocol: str
    """Digest of everything beside the architecture that decides a result: task, data, space, hardware, recipe."""
    search_epochs: int
    final_epochs: int
    hardware: frozenset[str] = frozenset()
    """Names of decisions that say nothing of the network: the same network on another design is trained from the same seed."""
    rungs: tuple[int, ...] = ()
    """Epochs of the rungs of a search with several fidelities, the last one `search_epochs`; empty where there is one fidelity."""

    def search(self, *, ask_index: int, genotype: tuple[int, ...], choices: Mapping[str, Choice], rung: int = 0) -> Job:
        """The job that evaluates a proposal of the searcher, up to a rung where there are rungs.

        The job of the top rung has the id of a training that never stopped at the lower ones: its result is the same.
        """
        if not self.rungs:
            return self._job(Purpose.SEARCH, ask_index, genotype, choices, 0, self.search_epochs)
        job = self._job(Purpose.SEARCH, ask_index, genotype, choices, 0, self.rungs[rung], self.search_epochs)
        below = self.search(ask_index=ask_index, genotype=genotype, choices=choices, rung=rung - 1).id if rung > 0 else ""
        return replace(job, rung=rung, schedule_epochs=self.search_epochs, continues=below)

    def final(self, *, ask_index: int, genotype: tuple[int, ...], choices: Mapping[str, Choice], seed_index: int) -> Job:
        """The job that retrains a member of the front with fresh seed number `seed_index`."""
        return self._job(Purpose.FINAL, ask_index, genotype, choices, seed_index, self.final_epochs)

    def _job(
        self,
        purpose: Purpose,
        ask_index: int,
        genotype: tuple[int, ...],
        choices: Mapping[str, Choice],
        seed_index: int,
        epochs: int,
        schedule_epochs: int = 0,
    ) -> Job:
        architecture = fingerprint(dict(choices))
        network = fingerprint({name: choice for name, choice in choices.items() if name not in self.hardware})
        seed = derive_seed(self.study_seed, purpose, network, seed_index)
        parts = {"architecture": architecture, "protocol": self.protocol, "purpose": purpose, "seed": seed, "epochs": epochs}
        if schedule_epochs not in (0, epochs):
            parts = {**parts, "schedule_epochs": schedule_epochs}
        return Job(
            id=fingerprint(parts),
            purpose=purpose,
            ask_index=ask_index,
            genotype=genotype,
            choices=dict(choices),
            seed=seed,
            seed_index=seed_index,
            epochs=epochs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a worker found out about a job."""

    outcome: Outcome
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Finite values, SI."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """JSON: learning curve, measurement repeats, exported files."""
    message: str = ""
    """Why it is not `ok`, for people; at most 4 kB."""
    duration_s: float = 0.0
    """Monotonic time the worker spent."""
    worker: str = ""
    """`host:pid` of the worker."""

    @property
    def reason(self) -> str:
        """The last line of the message, which of a traceback is the error."""
        return (self.message.strip().splitlines() or ["no message"])[-1]

    def as_json(self) -> dict[str, Any]:
        """The evaluation as JSON values; numbers in `details` that JSON cannot hold become text."""
        return {
            "outcome": self.outcome.value,
            "metrics": dict(self.metrics),
            "details": json_values(self.details),
            "message": self.message,
            "duration_s": self.duration_s,
            "worker": self.worker,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Evaluation":
        """The inverse of `as_json`."""
        metrics = {sys.intern(name): value for name, value in values["metrics"].items()}  # thousands share the names
        return cls(**{**values, "outcome": Outcome(values["outcome"]), "metrics": metrics, "worker": sys.intern(values["worker"])})


def json_values(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinities, and whatever is no JSON type, as text."""
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


MESSAGE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaiting:
    """A stage of a job ended and what it found is durable; the others need resources that are elsewhere."""

    targets: tuple[str, ...]
    """Hardware that the trained network must still be measured on, in any order."""


class Evaluator(Protocol):
    """Evaluates jobs in a worker. Built in the driver, pickled to the workers, used for many jobs one after another.

    Example of a call sequence, for each job::

        evaluation = evaluator.evaluate(job, workspace)   # may be cut by kill -9 at any moment and called again
        ... the evaluation is written durably ...
        evaluator.release(job, workspace)                 # checkpoints and scratch may go now

    Where a study trains by rungs, `release` of a job that another one may continue waits until the search has ended, and what it left
    in its workspace lies in the workspace of the job that continues it.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every `ok` evaluation of the search contains, inner names."""
        ...

    def evaluate(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        """Evaluate one job, going on from what an earlier attempt left in `workspace` (a folder of this job's own)."""
        ...

    def release(self, job: Job, workspace: Path) -> None:
        """Called once the evaluation is durable."""
        ...


@runtime_checkable
class StageEvaluator(Evaluator, Protocol):
    """An evaluator whose jobs need more than one resource, one after another: nobody holds the first while waiting for the second.

    Example of a call sequence, each line perhaps in another process on another machine; every stage leaves what it found in `workspace`::

        evaluator.evaluate(job, workspace)                      -> Awaiting(targets=("pi4", "orin"))
        evaluator.measure(job, workspace, "orin", device, {})
        evaluator.complete(job, workspace)                      -> Awaiting(targets=("pi4",))
        evaluator.measure(job, workspace, "pi4", device, {})
        evaluator.complete(job, workspace)                      -> the evaluation
    """

    def measure(self, job: Job, workspace: Path, target: str, device: TrainedHardware, facts: Mapping[str, Any]) -> None:
        """Measure the trained network of a job on one target, durably; done already is fine.

        Args:
            job: whose first stage has ended.
            workspace: its folder.
            target: one that was awaited.
            device: the target, at hand.
            facts: who measures, for the record; JSON.

        Raises:
            DeviceError: the device gave no usable measurement.
            CheckpointDamaged: what the first stage left is gone.
        """
        ...

    def complete(self, job: Job, workspace: Path) -> Evaluation | Awaiting:
        """The evaluation if every stage has ended; never trains.

        Raises:
            CheckpointDamaged: what the first stage left is gone.
        """
        ...


@runtime_checkable
class CheckpointEvaluator(Evaluator, Protocol):
    """An evaluator whose jobs go on from durable checkpoints, so that a worker may end at one without losing work."""

    def at_checkpoints(self, call: Callable[[], None]) -> None:
        """From now on call this whenever a checkpoint is durable; it may end the process."""
        ...
