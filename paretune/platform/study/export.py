"""Takes one candidate out of a study as files; trains it by the final protocol first where that was not done."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.errors import BadInput, ParetuneError
from paretune.core.protocols import Device, Measurement
from paretune.core.trial import Outcome
from paretune.platform.execution.evaluator import StagedEvaluator
from paretune.platform.record.history import History, Record
from paretune.platform.study.api import recorded_spec
from paretune.platform.study.networks import best_seed
from paretune.platform.study.plan import build_plan
from paretune.platform.study.study import job_factory, read_history

if TYPE_CHECKING:
    from torch import nn


def export_candidate(folder: Path, ask_index: int, target: Path) -> Path:
    """Write the network of candidate number `ask_index` to the folder `target`; that folder.

    Raises:
        BadInput: no such candidate, or the target exists.
        ParetuneError: its training failed.
    """
    history = read_history(folder)
    record = next((item for item in history.proposals() if item.job.ask_index == ask_index), None)
    if record is None:
        front = ", ".join(str(item.job.ask_index) for item in history.front()) or "none yet"
        raise BadInput(f"study '{history.header.name}' has no candidate {ask_index}. On its front: {front}")
    if target.exists():
        raise BadInput(f"{target}: exists already; choose another folder with --to")
    best = best_seed(history, history.finals().get(ask_index, []))
    trained = None if best is None else folder / "work" / best.job.id / "network"
    if trained is not None and trained.is_dir():
        shutil.copytree(trained, target)
        return target
    with tempfile.TemporaryDirectory(prefix="paretune-export-") as scratch:
        _train(history, record, Path(scratch))
        shutil.copytree(Path(scratch) / "network", target)
    return target


def _train(history: History, record: Record, workspace: Path) -> None:
    """Final training of one candidate in this process; nothing is recorded."""
    plan = build_plan(recorded_spec(history.header))

    def measure(name: str, network: "nn.Module", example_shape: tuple[int, ...]) -> Measurement:
        device = plan.targets[name]
        assert isinstance(device, Device)
        return device.measure(network, example_shape)

    evaluator = StagedEvaluator(space=plan.space, task=plan.task, produced=plan.metrics, targets=tuple(plan.targets), measure=measure)
    job = job_factory(plan).final(
        ask_index=record.job.ask_index, genotype=record.job.genotype, choices=dict(record.job.choices), seed_index=0
    )
    evaluation = evaluator.evaluate(job, workspace)
    if evaluation.outcome is not Outcome.OK:
        raise ParetuneError(f"candidate {record.job.ask_index}: final training ended as {evaluation.outcome.value}: {evaluation.message}")
