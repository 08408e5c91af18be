"""Takes one candidate out of a study as files; trains it by the final protocol first where that was not done."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from paretune.core.errors import BadInput, ParetuneError
from paretune.core.files import TEMPORARY_PREFIX
from paretune.core.trial import Outcome
from paretune.platform.execution.evaluator import evaluate_here
from paretune.platform.record.history import History, Record
from paretune.platform.record.summary import best_seed
from paretune.platform.study.api import recorded_spec
from paretune.platform.study.phases import job_factory
from paretune.platform.study.plan import build_plan
from paretune.platform.study.study import read_history


def export_candidate(folder: Path, ask_index: int, target: Path, *, announce: Callable[[str], None] = lambda _: None) -> Path:
    """Write the network of candidate number `ask_index` to the folder `target`; that folder, complete or not at all.

    Args:
        folder: of the study.
        ask_index: number of the candidate.
        target: must not be there yet; folders above it are made.
        announce: told before something that takes long.

    Raises:
        BadInput: no such candidate, or the target exists.
        ParetuneError: its training failed.
    """
    history = read_history(folder)
    record = next((item for item in history.proposals() if item.job.ask_index == ask_index), None)
    if record is None:
        front = ", ".join(str(item.job.ask_index) for item in history.front()) or "none yet"
        raise BadInput(f"study '{history.header.name}' has no candidate {ask_index}. On its front: {front}")
    if os.path.lexists(target):
        raise BadInput(f"{target}: exists already; choose another folder with --to")
    target.parent.mkdir(parents=True, exist_ok=True)
    best = best_seed(history.problem, history.finals().get(ask_index, []))
    trained = None if best is None else folder / "work" / best.job.id / "network"
    with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY_PREFIX}export-", dir=target.parent) as scratch:
        if trained is None or not trained.is_dir():
            announce(f"candidate {ask_index} has no final training yet: training it now, nothing is added to the study")
            _train(history, record, Path(scratch))
        else:
            shutil.copytree(trained, Path(scratch) / "network")
        (Path(scratch) / "network").rename(target)
    return target


def _train(history: History, record: Record, workspace: Path) -> None:
    """Final training of one candidate in this process; nothing is recorded."""
    plan = build_plan(recorded_spec(history.header))
    if not plan.evaluation.trains:
        raise BadInput(f"study '{history.header.name}' looked its results up and trained no network, so there is none to export")
    evaluator = plan.make_evaluator(tuple(plan.devices))
    job = job_factory(plan).final(
        ask_index=record.job.ask_index, genotype=record.job.genotype, choices=dict(record.job.choices), seed_index=0
    )
    evaluation = evaluate_here(evaluator, job, workspace, plan.devices)
    if evaluation.outcome is not Outcome.OK:
        raise ParetuneError(f"candidate {record.job.ask_index}: final training ended as {evaluation.outcome.value}: {evaluation.message}")
