"""Runs the phases of a study as Ray Tune trials."""

import gc
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.util.debug import reset_log_once

from paretune.core.errors import ClusterLost
from paretune.platform.execution.actors import JobTrainable
from paretune.platform.execution.adapter import LossWatch, PhaseSearcher
from paretune.platform.execution.phase import Phase
from paretune.platform.execution.stop import StopRequest
from paretune.platform.execution.worker import WorkerLimits
from paretune.platform.record.jobs import Evaluator

TRIALS_PER_RUN = 500
"""Tune keeps every trial of a run in memory, some 20 kB each; a fresh run also brings fresh worker processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What the workers of a study may use."""

    slots: int
    """Candidates evaluated at the same time."""
    per_candidate: Mapping[str, float]
    """Ray resources of one candidate, for example `{"CPU": 1}`."""
    limits: WorkerLimits


def run_phase(
    phase: Phase,
    *,
    evaluator: Evaluator,
    folder: Path,
    resources: Resources,
    stop: StopRequest,
    on_step: Callable[[], None] = lambda: None,
) -> str:
    """Run a phase to its end on the Ray cluster that this process is connected to; why it ended.

    Raises:
        Interrupted: a stop was asked for; running candidates go on from their checkpoints at the next resume.
        ClusterLost: the cluster went away.
        ParetuneError: what the phase raises.
    """
    trainable = tune.with_resources(
        tune.with_parameters(JobTrainable, evaluator=evaluator, folder=str(folder.absolute()), limits=resources.limits),
        dict(resources.per_candidate),
    )
    while True:  # ends: each turn runs up to TRIALS_PER_RUN new jobs of a finite phase, or raises
        searcher = PhaseSearcher(phase, segment=TRIALS_PER_RUN)
        scratch = tempfile.mkdtemp(prefix="paretune-tune-")
        try:
            _tuner(trainable, searcher, resources.slots, scratch, _Watch(stop, searcher, on_step)).fit()
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterLost(f"the Ray cluster went away: {error}. The ledger is complete") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if searcher.error is not None:
            raise searcher.error
        phase.pause()
        stop.raise_if_set()
        if searcher.done is not None:
            return searcher.done.reason
        del searcher
        gc.collect()  # Tune's trials refer to each other
        reset_log_once()  # Ray keeps a kilobyte of text for each trial it ever encoded


def _tuner(trainable: Any, searcher: PhaseSearcher, slots: int, scratch: str, watch: "_Watch") -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=KeepWorkers(slots),
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_name_creator=_trial_id,
            trial_dirname_creator=_trial_id,
        ),
        run_config=tune.RunConfig(
            name="phase",
            storage_path=scratch,
            stop=watch,
            verbose=0,
            callbacks=[LossWatch(searcher)],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _trial_id(trial: Any) -> str:
    return str(trial.trial_id)


class KeepWorkers(FIFOScheduler):
    """Lets every worker come up once and live until the run ends.

    Tune 2.60 with `reuse_actors` keeps one idle actor and ends the others, and hands an idle actor to a trial whose own actor is
    still starting, which it then drops. With candidates shorter than a worker's start (torch: seconds) one of two workers does all
    the work, and each barrier of `mode: sync` starts processes anew. There is no public switch; where Ray moves these parts,
    this class has no effect and only time is lost. See docs/decisions/0003-keep-tune-workers.md.
    """

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Called by Tune for each new trial; the first one brings the controller."""
        if self._slots == 0:
            return
        controller = getattr(tune_controller, "_tune_controller", tune_controller)  # unwrapped
        cache = getattr(controller, "_actor_cache", None)
        if hasattr(cache, "increase_max"):
            cache.increase_max(trial.placement_group_factory, by=self._slots)
        reuse, owners = getattr(controller, "_maybe_reuse_cached_actor", None), getattr(controller, "_trial_to_actor", None)
        if reuse is not None and owners is not None:
            controller._maybe_reuse_cached_actor = lambda other: other not in owners and reuse(other)
        self._slots = 0


class _Watch(tune.Stopper):
    """Looked at in every turn of Tune's event loop."""

    def __init__(self, stop: StopRequest, searcher: PhaseSearcher, on_step: Callable[[], None]) -> None:
        self._stop, self._searcher, self._on_step = stop, searcher, on_step

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        self._on_step()
        if self._stop or self._searcher.error is not None:
            self._searcher.closing = True
        return self._searcher.closing
