"""Runs the phases of a study on the cluster that this process is connected to: what trains, what measures, what is looked at meanwhile."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from paretune.platform.execution.demands import ClusterFacts, Demand
from paretune.platform.execution.deriving import DerivingEvaluator
from paretune.platform.execution.nodes import Expected
from paretune.platform.execution.phase import Phase
from paretune.platform.execution.pool import Pool
from paretune.platform.execution.stations import MEASURE_TIMEOUT_S, Stations
from paretune.platform.execution.stop import StopRequest
from paretune.platform.execution.waiting import RoomWatch
from paretune.platform.execution.worker import WorkerLimits
from paretune.platform.record.jobs import Evaluator
from paretune.platform.record.parts import TRAINING
from paretune.platform.study.plan import Plan
from paretune.platform.study.progress import Progress
from paretune.platform.study.staffing import Staffing


class Executor:
    """Runs phases on the connected cluster with one set of stations.

    Raises:
        BadInput: the cluster cannot run the study.
    """

    def __init__(
        self,
        *,
        folder: Path,
        workers_folder: Path,
        plan: Plan,
        staffing: Staffing,
        evaluator: Evaluator | None,
        progress: Progress,
        stop: StopRequest,
        is_lost: Callable[[], bool],
        expected: Expected | None,
    ) -> None:
        from paretune.platform.execution.actors import RayStaff
        from paretune.platform.execution.newcomers import Newcomers
        from paretune.platform.execution.runner import Resources

        self._folder, self._workers_folder, self._progress, self._stop, self._is_lost = folder, workers_folder, progress, stop, is_lost
        spec = plan.spec
        self._newcomers = Newcomers(expected, say=progress.message)
        facts = partial(self._newcomers.facts, nodes_come=spec.run.resources.nodes_come)
        cluster = facts()
        posts = staffing.posts(cluster)
        for note in posts.notes:
            progress.message(note)
        progress.message("one candidate at a time" if posts.slots == 1 else f"{posts.slots} candidates at a time")
        self._evaluator = evaluator or plan.make_evaluator(tuple(staffing.devices))
        if plan.derived:
            self._evaluator = DerivingEvaluator(self._evaluator, plan.derived)
        limits = WorkerLimits(timeout_s=spec.run.trial_timeout_s, memory_bytes=spec.run.memory_bytes)
        self._room = RoomWatch(
            Demand(name=TRAINING, resources=posts.per_candidate),
            facts,
            patience_s=spec.run.device_wait_s,
            say=progress.message,
        )
        self._resources = Resources(slots=posts.slots, per_candidate=posts.per_candidate, limits=limits, release_s=spec.run.release_s)
        pools = {
            name: Pool(
                name,
                count=needed.count,
                patience_s=spec.run.device_wait_s,
                comes=lambda: facts().nodes_come,
                present=partial(_has_room, facts, needed),
            )
            for name, needed in staffing.device_demands.items()
        }
        self._stations = Stations(
            pools,
            RayStaff(staffing.devices, self._evaluator, workers_folder, self._newcomers),
            release_s=spec.run.release_s if any(choice.resources.tag for choice in staffing.devices.values()) else None,
            timeout_s=max(MEASURE_TIMEOUT_S, spec.run.trial_timeout_s),
            say=progress.message,
        )
        self.stations_by_tag = {TRAINING: posts.slots} | {name: choice.count for name, choice in staffing.devices.items()}
        """How many candidates each stage has room for."""

    def run(self, phase: Phase, *, title: str, total: int | None) -> str:
        """Run one phase to its end; why it ended."""
        from paretune.platform.execution.runner import run_phase

        self._progress.begin(title, total=total, done=phase.num_ended, history=phase.history)
        try:
            return run_phase(
                phase,
                evaluator=self._evaluator,
                folder=self._folder,
                workers_folder=self._workers_folder,
                resources=self._resources,
                stop=self._stop,
                stations=self._stations,
                newcomers=self._newcomers,
                is_lost=self._is_lost,
                on_step=lambda: self._step(phase),
            )
        finally:
            self._progress.end()

    def _step(self, phase: Phase) -> None:
        self._newcomers.look()
        self._room.look()
        self._progress.step(phase.history, phase.num_ended)

    def close(self) -> None:
        """Let the devices go."""
        self._stations.close()


def _has_room(facts: Callable[[], ClusterFacts], needed: Demand) -> bool:
    """Whether the nodes that are alive have what a stage needs."""
    return facts().room(needed) > 0
