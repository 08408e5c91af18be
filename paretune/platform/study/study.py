"""A study from its ledger to its published networks: run and resume. The ledger is the truth; the rest can be made again from it."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.core.errors import SpecChanged
from paretune.platform.execution.cluster import available_cpus, ray_cluster
from paretune.platform.execution.final_phase import FinalPhase
from paretune.platform.execution.head import HeadWatch
from paretune.platform.execution.nodes import checked_nodes
from paretune.platform.execution.phase import PhaseContext
from paretune.platform.execution.stop import Interrupted, StopRequest, end_on_signals, stop_comes_first, stop_on_signals
from paretune.platform.execution.worker import recall
from paretune.platform.mirror import MirrorState, start_mirror
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Evaluator, StageEvaluator
from paretune.platform.record.ledger import Ledger, read_events
from paretune.platform.record.shared import link_shared
from paretune.platform.report import write_figures, write_report
from paretune.platform.study.creation import SpecSource
from paretune.platform.study.executor import Executor
from paretune.platform.study.networks import publish_networks
from paretune.platform.study.phases import job_factory, protocol_digest, search_phase
from paretune.platform.study.places import shared_folder, ways_to_resume
from paretune.platform.study.plan import Plan
from paretune.platform.study.progress import Progress
from paretune.platform.study.staffing import plan_staffing

MIRROR_DRAIN_S = 20.0
MIRROR_STOP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """What a finished study left behind."""

    folder: Path
    history: History
    report: Path
    networks: tuple[Path, ...]
    """Folders of the exported networks, best first in the first objective."""
    mirror: MirrorState | None
    """How far MLflow is; None where tracking is off."""

    @property
    def front(self) -> list[dict[str, Any]]:
        """The Pareto front: named decisions and metrics (SI) of each member."""
        return [
            {"candidate": record.job.ask_index, "choices": dict(record.choices), "metrics": dict(record.metrics)}
            for record in self.history.front()
        ]


def read_history(folder: Path) -> History:
    """What a study has done so far; works while it runs."""
    return History.fold(read_events(folder))


def run_study(
    folder: Path,
    plan: Plan,
    *,
    address: str | None = None,
    insecure: bool = False,
    takeover: bool = False,
    progress: Progress | None = None,
    evaluator: Evaluator | None = None,
    source: SpecSource | None = None,
) -> StudyResult:
    """Run a created study to its end, or go on from where its ledger stops.

    Args:
        folder: of the study.
        plan: built from its spec, perhaps changed in what may change.
        address: Ray cluster to connect to; None starts a local one.
        insecure: connect also to a cluster that asks nobody for a token.
        takeover: take the study from a process that still holds it.
        progress: shows where the study is.
        evaluator: evaluates candidates instead of the task and hardware of the plan.
        source: of a spec that changed since the study was created.

    Raises:
        Interrupted: a signal stopped it; nothing is lost.
        SearchFailed: nothing meets the limits, or most candidates fail.
        StorageError: the storage failed; nothing acknowledged is lost.
        StudyLocked: another process runs it.
        DevicesGone: nothing can be measured any more; a resume measures what is trained.
        BadInput: the cluster lacks what a stage needs.
        ClusterLost: Ray went away.
    """
    progress = progress or Progress(quiet=True)
    stop = StopRequest()
    shared = shared_folder(plan.spec, folder)
    with end_on_signals(stop), Ledger.open(folder, takeover=takeover, shared=shared) as ledger:
        if shared is not None:
            link_shared(folder, shared)
        history = History.fold(read_events(folder), details=False)
        context = _context(folder, ledger, history, plan)
        _check_protocol(history, plan)
        _note_changes(context, plan, source)
        with _mirrored(folder, plan) as mirror:
            _run_phases(
                folder, shared, plan, context, address=address, insecure=insecure, progress=progress, stop=stop, evaluator=evaluator
            )
            networks = publish_networks(folder, history)
            report = write_report(folder)
            if mirror:
                write_figures(folder)
            state = mirror.finish(timeout_s=MIRROR_DRAIN_S) if mirror else None
    return StudyResult(folder=folder, history=read_history(folder), report=report, networks=tuple(networks), mirror=state)


def _context(folder: Path, ledger: Ledger, history: History, plan: Plan) -> PhaseContext:
    start_s = time.monotonic() - history.elapsed_s
    return PhaseContext(
        history=history,
        journal=ledger,
        recall=lambda job_id: recall(folder, job_id),
        clock=lambda: time.monotonic() - start_s,
        retries=plan.spec.run.retries,
    )


def _check_protocol(history: History, plan: Plan) -> None:
    if history.header.protocol != protocol_digest(plan):
        data = history.header.provenance.get("data.sha256")
        what = "its data set changed" if data != plan.task.digest() else "its task, space or hardware changed"
        raise SpecChanged(f"study '{history.header.name}' cannot go on: {what} since it was created. Start a new study")


def _note_changes(context: PhaseContext, plan: Plan, source: SpecSource | None) -> None:
    spec = plan.spec.model_dump(mode="json")
    header = context.history.header
    if source is not None and spec != dict(header.spec):
        overrides = {**source.overrides, "seed": plan.spec.seed}
        context.record([("changed", {"spec": spec, "spec_text": source.text, "overrides": overrides})])


@contextlib.contextmanager
def _mirrored(folder: Path, plan: Plan) -> Iterator[Any]:
    """The MLflow mirror beside the study, where tracking is on; it is never left behind."""
    if plan.spec.tracking.uri is None:
        yield None
        return
    mirror = start_mirror(folder, plan.spec.tracking.uri, plan.spec.name, background=True)
    try:
        yield mirror
    finally:
        if mirror.running():  # the study was stopped: bring MLflow level if that is quick
            mirror.finish(MIRROR_STOP_S)


def _run_phases(
    folder: Path,
    shared: Path | None,
    plan: Plan,
    context: PhaseContext,
    *,
    address: str | None,
    insecure: bool,
    progress: Progress,
    stop: StopRequest,
    evaluator: Evaluator | None,
) -> None:
    spec, history = plan.spec, context.history
    if history.phases.keys() >= {"search", "final"}:
        progress.message("nothing is left to run: the study is finished. More candidates: --set budget.trials=N")
        return
    staged = evaluator is None or isinstance(evaluator, StageEvaluator)
    staffing = plan_staffing(spec, tuple(plan.devices) if staged else ())
    local = staffing.local(available_cpus())
    progress.message("starting a local Ray" if address is None else f"connecting to the Ray cluster {address}")
    resume = ways_to_resume(folder, shared)

    def last_words() -> str:
        reason = "the Ray cluster went away" if stop.number is None else str(Interrupted(stop.number))
        return f"paretune: {reason}. Nothing is lost. Go on with: {resume}"

    head = HeadWatch(last_words, stop)
    with (
        contextlib.closing(head),  # after Ray, which may hang where its head is gone
        ray_cluster(address=address, num_cpus=local.num_cpus, tags=local.tags, insecure=insecure),
        stop_on_signals(stop),
        stop_comes_first(stop),
        contextlib.ExitStack() as until_end,
    ):
        from paretune.platform.execution.capacity import gcs_address  # Ray reads its settings when it is imported, so not before

        stop.raise_if_set()
        head.start(gcs_address())
        expected = None if address is None else until_end.enter_context(checked_nodes(shared or folder))
        executor = Executor(
            folder=folder,
            workers_folder=shared or folder,
            plan=plan,
            staffing=staffing,
            evaluator=evaluator,
            progress=progress,
            stop=stop,
            is_lost=lambda: head.lost,
            expected=expected,
        )
        context.record([("staffed", {"stations": executor.stations_by_tag})])
        with contextlib.closing(executor):
            if "search" not in history.phases:
                search = search_phase(plan, context)
                # Of a search with rungs nobody knows the number of jobs.
                reason = executor.run(search, title="search", total=None if plan.ladder else spec.budget.trials)
                context.record([("phase", {"name": "search", "reason": reason})])
            progress.message(f"search: {history.phases['search']}; front of {len(history.archive)}")
            if spec.final is not None and evaluator is None:
                final = FinalPhase(context, front=history.front(), factory=job_factory(plan), num_seeds=plan.evaluation.num_final_seeds)
                reason = executor.run(final, title="final training" if plan.evaluation.trains else "final look-up", total=final.num_jobs)
            else:
                reason = "none asked for"
            context.record([("phase", {"name": "final", "reason": reason})])
