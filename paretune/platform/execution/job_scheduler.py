"""What a study needs of Tune's scheduler: why trials were lost, workers that are kept, let go or taken back."""

import time
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.schedulers import FIFOScheduler

from paretune.core.trial import Outcome
from paretune.platform.execution.adapter import PhaseSearcher
from paretune.platform.execution.losses import classify_loss
from paretune.platform.execution.newcomers import Newcomers

ROOM_WAIT_S = 5.0
"""Where a node has room, Ray gives it to a new worker in less."""
LEAVE_S = 30.0
"""Time that idle workers get to end."""


class JobScheduler(FIFOScheduler):
    """First come, first served; says why trials were lost, and mends four habits of Tune 2.60.

    With `reuse_actors` Tune keeps one idle actor and ends the others, and hands an idle actor to a trial whose own actor is still
    starting, which it then drops. With candidates shorter than a worker's start (torch: seconds) one of two workers does all the
    work, and each barrier of `mode: sync` starts processes anew. So an idle actor goes to trials without an actor of their own, and to
    those whose own finds no room, as after the loss of a node. And where Ray's memory monitor kills one actor, Tune ends the run.
    It also keeps actors on nodes that are being drained.
    There is no public switch; where Ray moves these parts, the scheduler has no effect on them: time is lost, or a resume is needed.
    See docs/decisions/0003-keep-tune-workers.md.

    Not a `Callback`, because where a run has one, Tune imports MLflow to count it (4 s, 100 MB).
    """

    def __init__(self, searcher: PhaseSearcher, slots: int, newcomers: Newcomers) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher, self._slots, self._newcomers = searcher, slots, newcomers
        self._mended = False
        self.artifacts: Path | None = None
        """What Ray keeps of the run's trials on this host."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Called by Tune for each new trial; the first one brings the controller."""
        if self._mended:
            return
        self._mended = True
        experiment = Path(trial.local_experiment_path)
        if experiment.parents[2].name == "artifacts":
            self.artifacts = experiment.parents[1]
        controller = getattr(tune_controller, "_tune_controller", tune_controller)  # unwrapped
        self._searcher.on_too_many = lambda: _withdraw(controller, self._searcher)
        self._searcher.on_idle = lambda: _let_idle_workers_go(controller, pump=self._searcher.num_live == 0)
        cache: Any = getattr(controller, "_actor_cache", None)
        if hasattr(cache, "increase_max"):
            cache.increase_max(trial.placement_group_factory, by=self._slots)
        reuse, owners = getattr(controller, "_maybe_reuse_cached_actor", None), getattr(controller, "_trial_to_actor", None)
        if reuse is not None and owners is not None:
            rooms = _Rooms(getattr(controller, "_actor_manager", None))
            controller._maybe_reuse_cached_actor = lambda other: not rooms.has(owners.get(other)) and reuse(other)
        keep = getattr(controller, "_maybe_cache_trial_actor", None)
        if keep is not None:
            controller._maybe_cache_trial_actor = lambda ended: ended.trial_id not in self._searcher.leaving and keep(ended)
        manager: Any = getattr(controller, "_actor_manager", None)
        failed = getattr(manager, "_actor_task_failed", None)
        if failed is not None:
            manager._actor_task_failed = lambda *task, exception, **named: failed(*task, exception=_as_actor_error(exception), **named)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Called by Tune before it tells the searcher that the trial failed."""
        error = _error_of(trial)
        misfit = self._newcomers.blame(error)
        self._searcher.trial_lost(trial.trial_id, *((Outcome.PREEMPTED, misfit.message) if misfit else classify_loss(error)))
        super().on_trial_error(tune_controller, trial)


def _let_idle_workers_go(controller: Any, *, pump: bool) -> None:
    """End the workers that Tune keeps for later trials, so that the nodes they are on may end; the next trial starts one.

    Args:
        controller: of Tune.
        pump: take Tune's events in until they have ended: it does so itself only while something trains.
    """
    clean, manager = getattr(controller, "_cleanup_cached_actors", None), getattr(controller, "_actor_manager", None)
    if clean is None or manager is None:
        return
    clean(force_all=True)
    end_s = time.monotonic() + LEAVE_S
    while pump and manager.num_total_actors and time.monotonic() < end_s:
        manager.next(timeout=0.1)


def _withdraw(controller: Any, searcher: PhaseSearcher) -> None:
    """Take back trials that wait for a node, beyond those that there may be, so that no node is started for them; they run later.

    Args:
        controller: of Tune.
        searcher: hands them out.
    """
    owners, waiting = getattr(controller, "_trial_to_actor", {}), getattr(getattr(controller, "_actor_manager", None), "pending_actors", ())
    trials = [trial for trial, worker in owners.items() if worker in waiting]
    for trial in trials[len(trials) - min(len(trials), searcher.num_too_many) :]:
        searcher.trial_lost(trial.trial_id, Outcome.PREEMPTED, "taken back: no more nodes are asked for")
        controller.stop_trial(trial)


class _Rooms:
    """Which workers have room on a node, or will soon.

    One that does not would wait for ever where a node was lost and the idle worker, which its trial may not have, holds what is left.

    Args:
        manager: Tune's, of the workers.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._since_s: dict[Any, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its controller for its own resume, which is never used."""
        return {}

    def has(self, worker: Any) -> bool:
        """Whether there is such a worker, and it has not been waiting for long."""
        waiting = getattr(self._manager, "pending_actors", ())
        self._since_s = {other: since_s for other, since_s in self._since_s.items() if other in waiting}
        if worker not in waiting:
            return worker is not None
        return time.monotonic() - self._since_s.setdefault(worker, time.monotonic()) < ROOM_WAIT_S


def _as_actor_error(error: Exception) -> Exception:
    return RayActorError(error_msg=str(error)) if isinstance(error, OutOfMemoryError) else error


def _error_of(trial: Any) -> BaseException | None:
    """Why a trial failed. `Trial.get_error` looks in the storage, where the driver's file is not yet."""
    path = trial.pickled_error_file
    if path is None:
        return None
    with Path(path).open("rb") as file:
        error: BaseException = cloudpickle.load(file)
    return error
