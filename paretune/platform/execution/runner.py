"""Runs the phases of a study as Ray Tune trials."""

import contextlib
import gc
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.util.debug import reset_log_once

from paretune.core.errors import ClusterLost, ParetuneError, StorageError
from paretune.platform.execution.actors import JobTrainable
from paretune.platform.execution.adapter import PhaseSearcher
from paretune.platform.execution.cluster import session_folder
from paretune.platform.execution.demands import Demand
from paretune.platform.execution.job_scheduler import JobScheduler
from paretune.platform.execution.newcomers import Newcomers
from paretune.platform.execution.phase import Phase
from paretune.platform.execution.placement import trial_placement
from paretune.platform.execution.stations import NOBODY, Stations
from paretune.platform.execution.stop import StopRequest
from paretune.platform.execution.worker import WorkerLimits
from paretune.platform.record.jobs import Evaluator
from paretune.platform.record.parts import TRAINING
from paretune.platform.record.sqlite_file import LEDGER_FILE

LOOK_EVERY_S = 5.0
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
    release_s: float | None = None
    """After how long without work a worker is let go; None keeps it as long as the phase runs."""


def run_phase(
    phase: Phase,
    *,
    evaluator: Evaluator,
    folder: Path,
    resources: Resources,
    stop: StopRequest,
    stations: Stations | None = None,
    workers_folder: Path | None = None,
    newcomers: Newcomers | None = None,
    is_lost: Callable[[], bool] = lambda: False,
    on_step: Callable[[], None] = lambda: None,
) -> str:
    """Run a phase to its end on the Ray cluster that this process is connected to; why it ended.

    Args:
        phase: what runs.
        evaluator: evaluates its jobs.
        folder: of the study.
        resources: of the stage that trains.
        stop: looked at all the time.
        stations: where the other stages run; None where there are none.
        workers_folder: the study's folder as workers see it; None where that is `folder`.
        newcomers: nodes that join; None where none can.
        is_lost: whether the head of the cluster has gone.
        on_step: called in every turn.

    Raises:
        DevicesGone: nothing can be measured any more; what is trained is measured at the next resume.
        Interrupted: a stop was asked for; running candidates go on from their checkpoints at the next resume.
        ClusterLost: the cluster went away.
        ParetuneError: what the phase raises.
    """
    stations, newcomers = stations or Stations({}, NOBODY), newcomers or Newcomers()
    trainable = tune.with_resources(
        tune.with_parameters(
            JobTrainable,
            evaluator=evaluator,
            folder=str((workers_folder or folder).absolute()),
            limits=resources.limits,
            expected=newcomers.expected,
        ),
        partial(trial_placement, resources=dict(resources.per_candidate)),
    )
    places = partial(newcomers.places, Demand(name=TRAINING, resources=resources.per_candidate))
    backlog = resources.slots + 2 * stations.num_seats
    while True:  # ends: each turn runs up to TRIALS_PER_RUN new jobs of a finite phase, or raises
        searcher = PhaseSearcher(
            phase,
            segment=TRIALS_PER_RUN,
            stations=stations,
            backlog=backlog,
            release_s=resources.release_s,
            newcomers=newcomers,
            places=places,
        )
        scheduler = JobScheduler(searcher, resources.slots, newcomers)
        _run_trials(trainable, searcher, scheduler, resources.slots, _Watch(stop, searcher, folder, is_lost, on_step))
        if isinstance(searcher.error, RayError | ConnectionError):
            raise _lost(searcher.error) from searcher.error
        if searcher.error is not None:
            raise searcher.error
        phase.pause()
        stop.raise_if_set()
        if searcher.done is not None:
            _release_leftovers(phase, evaluator, folder)
            return searcher.done.reason
        del searcher
        gc.collect()  # Tune's trials refer to each other
        reset_log_once()  # Ray keeps a kilobyte of text for each trial it ever encoded


def _run_trials(trainable: Any, searcher: PhaseSearcher, scheduler: JobScheduler, slots: int, watch: "_Watch") -> None:
    """One run of Tune; nothing of it stays on this host."""
    scratch = tempfile.mkdtemp(prefix="paretune-", dir=session_folder())
    logging.getLogger("ray.tune.tune").addFilter(_is_news)
    try:
        _tuner(trainable, searcher, scheduler, slots, scratch, watch).fit()
    except (RayError, TuneError, ConnectionError) as error:
        raise _lost(error) from error
    finally:
        for litter in (Path(scratch), scheduler.artifacts):
            if litter is not None:
                shutil.rmtree(litter, ignore_errors=True)


def _lost(error: Exception) -> ClusterLost:
    return ClusterLost(f"the Ray cluster went away: {error}. The ledger is complete")


def _is_news(record: logging.LogRecord) -> bool:
    """Which trials failed is in the ledger, each with its reason."""
    return not str(record.msg).startswith("Trials did not complete")


def _release_leftovers(phase: Phase, evaluator: Evaluator, folder: Path) -> None:
    """Let go of checkpoints whose worker died after it wrote the result, or was killed at the deadline."""
    for workspace in sorted((folder / "work").iterdir()) if (folder / "work").is_dir() else []:
        record = phase.history.records.get(workspace.name)
        if record is not None and record.evaluation is not None:
            with contextlib.suppress(OSError):
                evaluator.release(record.job, workspace)


def _tuner(trainable: Any, searcher: PhaseSearcher, scheduler: JobScheduler, slots: int, scratch: str, watch: "_Watch") -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
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
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _trial_id(trial: Any) -> str:
    return str(trial.trial_id)


class _Watch(tune.Stopper):
    """Looked at in every turn of Tune's event loop."""

    def __init__(
        self, stop: StopRequest, searcher: PhaseSearcher, folder: Path, is_lost: Callable[[], bool], on_step: Callable[[], None]
    ) -> None:
        self._stop, self._searcher, self._is_lost, self._on_step = stop, searcher, is_lost, on_step
        self._ledger, self._last_look_s = folder.absolute() / LEDGER_FILE, time.monotonic()
        searcher.on_wait = self.stop_all

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        try:
            if self._is_lost():
                raise ClusterLost("the Ray cluster went away: its head does not answer any more. The ledger is complete")
            self._searcher.look()
            self._on_step()
            if self._searcher.num_too_many:
                self._searcher.on_too_many()
        except ParetuneError as error:  # Tune would wrap it
            self._searcher.error = self._searcher.error or error
        if time.monotonic() - self._last_look_s > LOOK_EVERY_S:  # candidates may run for hours before anything is written again
            self._last_look_s = time.monotonic()
            if not self._ledger.exists():
                self._searcher.error = self._searcher.error or StorageError(
                    f"{self._ledger} is gone: the storage was removed while the study ran"
                )
        if self._stop or self._searcher.error is not None:
            self._searcher.closing = True
        return self._searcher.closing
