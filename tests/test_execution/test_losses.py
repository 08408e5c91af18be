"""What Ray says of a worker that died, as a class of failure."""

import pytest
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from paretune.core.errors import StorageError
from paretune.core.trial import Outcome
from paretune.platform.execution.losses import classify_loss

ANY_DEATH = (
    "The actor died unexpectedly before finishing this task.\n\tpid: 22694\nThe actor is dead because its worker process has died. "
    "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common "
    "causes include: (1) the process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the "
    "worker crashed unexpectedly due to SIGSEGV or another unexpected error."
)
MEMORY_MONITOR = "1 worker(s) were killed due to the node running low on memory. Memory on the node was 5.9GB used / 6.0GB limit"


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (RayActorError(error_msg=ANY_DEATH), Outcome.CRASHED, "its worker process died (a signal, an exit or a crash of native code)"),
        (RayActorError(error_msg=MEMORY_MONITOR), Outcome.OOM, "killed by Ray's memory monitor"),
        (OutOfMemoryError(MEMORY_MONITOR), Outcome.OOM, "killed by Ray's memory monitor"),
        (RayActorError(error_msg=ANY_DEATH, preempted=True), Outcome.PREEMPTED, "its node was preempted"),
        (NodeDiedError("the node died"), Outcome.PREEMPTED, "its node died or cannot be reached"),
        (ActorUnavailableError("away", None), Outcome.PREEMPTED, "its node died or cannot be reached"),
        (
            RayActorError(error_msg="x\nImportError: y", actor_init_failed=True),
            Outcome.USER_ERROR,
            "its worker could not start: ImportError: y",
        ),
        (RayTaskError("train", "tb\nStorageError: disk full", StorageError("disk full")), Outcome.STORAGE_ERROR, "StorageError: disk full"),
        (ActorDiedError(), Outcome.CRASHED, "its worker process died (a signal, an exit or a crash of native code)"),
        (
            RayActorError(error_msg="The actor died because its node has died. Node Id: abc"),
            Outcome.PREEMPTED,
            "its node died or cannot be reached",
        ),
        (
            RayActorError(error_msg="The actor never ran - it was cancelled before it started running."),
            Outcome.PREEMPTED,
            "its node died or cannot be reached",
        ),
        (None, Outcome.CRASHED, "its worker failed"),
    ],
    ids=str,
)
def test_a_loss_is_classed_and_equal_causes_have_equal_messages(error: BaseException | None, outcome: Outcome, message: str) -> None:
    assert classify_loss(error) == (outcome, message)


def test_the_parts_of_tune_that_the_scheduler_mends_are_where_they_were() -> None:
    """Where this fails after an upgrade of Ray, see docs/decisions/0003-keep-tune-workers.md: nothing breaks, but time is lost."""
    assert callable(TuneController._maybe_reuse_cached_actor)
    assert callable(RayActorManager._actor_task_failed)
    assert callable(_ObjectCache.increase_max)
