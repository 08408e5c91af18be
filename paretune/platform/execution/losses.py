"""What a Ray error says about a lost attempt, without process numbers: equal causes have equal messages."""

from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError

from paretune.core.trial import Outcome
from paretune.platform.record.redaction import plain

NODE_DIED = ("node has died", "node was terminated", "node died", "node is dead", "never ran - it was cancelled before it started")
"""How Ray 2.60 tells of an actor whose node went away, at work or while the actor came up; there is no class of its own for it."""


def classify_loss(error: BaseException | None) -> tuple[Outcome, str]:
    """How an attempt ended, and why in words."""
    text = "" if error is None else str(error)
    if isinstance(error, OutOfMemoryError) or "low on memory" in text:
        return Outcome.OOM, "killed by Ray's memory monitor"
    if isinstance(error, RayActorError) and getattr(error, "preempted", False):
        return Outcome.PREEMPTED, "its node was preempted"
    if node_is_gone(error):
        return Outcome.PREEMPTED, "its node died or cannot be reached"
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return Outcome.USER_ERROR, f"its worker could not start: {last_line(text)}"
    if isinstance(error, RayActorError):
        return Outcome.CRASHED, "its worker process died (a signal, an exit or a crash of native code)"
    if isinstance(error, RayTaskError) and "StorageError" in text:
        return Outcome.STORAGE_ERROR, last_line(text)
    return Outcome.CRASHED, last_line(text) or "its worker failed"


def node_is_gone(error: BaseException | None) -> bool:
    """Whether an actor was lost because its node was, which is nobody's fault."""
    if isinstance(error, NodeDiedError | ActorUnavailableError):
        return True
    if not isinstance(error, RayActorError):
        return False
    return bool(error.preempted) or any(words in str(error) for words in NODE_DIED)


def last_line(text: str) -> str:
    """What an error says in the end, fit to be recorded."""
    return plain((text.strip().splitlines() or [""])[-1])[:500]
