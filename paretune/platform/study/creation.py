"""A new study: its folder and the first event of its ledger."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from paretune.core.errors import BadInput
from paretune.platform.record.header import Header
from paretune.platform.record.ledger import Ledger, read_events
from paretune.platform.record.lock import StudyLock
from paretune.platform.study.phases import protocol_digest
from paretune.platform.study.places import shared_folder
from paretune.platform.study.plan import Plan
from paretune.platform.study.provenance import provenance

Result = TypeVar("Result")

UNBEGUN = {"created", "opened", "staffed"}
"""Events of a study that has not asked for a candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecSource:
    """Where a spec came from, kept so that a resume can read it again."""

    text: str
    """The user's file, word for word."""
    overrides: Mapping[str, Any]
    """Field path -> value that replaced the file's."""


def create_study(plan: Plan, source: SpecSource) -> Path:
    """Make the folder and ledger of a new study; its folder.

    Raises:
        BadInput: a study of this name is there already.
    """
    folder = Path(plan.spec.storage) / plan.spec.name
    shared = shared_folder(plan.spec, folder)
    header = Header(
        name=plan.spec.name,
        spec=plan.spec.model_dump(mode="json"),
        spec_text=source.text,
        overrides={**source.overrides, "seed": plan.spec.seed},
        decisions=plan.space.decisions,
        problem=plan.problem,
        metrics=plan.metrics,
        protocol=protocol_digest(plan),
        provenance={**provenance(data_digest=plan.task.digest()), "space_size": str(plan.space.size)},
    )
    Ledger.create(folder, header.as_json(), shared=shared).close()
    return folder


def start_study(plan: Plan, source: SpecSource, run: Callable[[Path], Result]) -> Result:
    """Create a study and run it. One that is refused before it asked for a candidate leaves no folder behind.

    Args:
        plan: of the study.
        source: of its spec.
        run: runs the study in the folder that it is given.

    Raises:
        BadInput: a study of this name is there already, or it is refused.
        ParetuneError: what `run` raises.
    """
    folder = Path(plan.spec.storage) / plan.spec.name
    shared = shared_folder(plan.spec, folder)
    made = [path for path in (folder, shared) if path is not None and not path.exists()]
    create_study(plan, source)
    try:
        return run(folder)
    except BadInput:
        if {event.kind for event in read_events(folder)} <= UNBEGUN:
            lock = StudyLock.acquire(folder)
            for path in made:
                shutil.rmtree(path, ignore_errors=True)
            lock.release()
        raise
