"""How busy each resource was: the stage that trains and each device tag, from what the stages of every candidate recorded."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paretune.platform.record.history import History, Record
from paretune.platform.record.parts import TRAINING
from paretune.platform.report.markup import Cell, note, table
from paretune.platform.report.units import duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Of one stage, over the whole study."""

    stage: str
    tag: str
    """Custom resource that it holds; empty for any node."""
    room: int
    """Candidates that it has room for at the same time."""
    num_candidates: int
    busy_s: float
    """Time that candidates held it, added up."""
    share: float | None
    """Of the time that it was there for; None where nobody recorded how much of it there is, or nothing has finished."""
    waited_s: float | None
    """Median wait of a trained candidate; None where nobody waits."""


def uses(history: History) -> list[Use]:
    """Every stage that a candidate went through, training first.

    Attempts that ended without a result count as idle: nobody knows how long they held their resource.
    """
    held: dict[str, list[Mapping[str, Any]]] = {}
    for record in history.records.values():
        for stage, found in _stages(record).items():
            held.setdefault(stage, []).append(found)
    order = sorted(held, key=lambda stage: (stage != TRAINING, stage))
    return [_use(history, stage, held[stage]) for stage in order]


def utilisation_part(history: History) -> str:
    """The table as HTML; empty where nothing was recorded."""
    found = uses(history)
    if not found:
        return note("No candidate has finished yet.")
    rows: list[list[Cell]] = [
        [
            use.stage,
            use.tag or "any node",
            f"{use.room:,}" if use.room else "–",
            f"{use.num_candidates:,}",
            duration(use.busy_s),
            f"{100 * use.share:.0f} %" if use.share is not None else "–",
            duration(use.waited_s) if use.waited_s is not None else "–",
        ]
        for use in found
    ]
    head = ["stage", "tag", "at the same time", "candidates", "busy", "busy share", "median wait"]
    remark = (
        f"Busy share: time that candidates held a place, over all places and the {duration(history.elapsed_s)} of the study. Nothing that "
        "trains is held while a candidate waits for a device; attempts that ended without a result count as idle."
    )
    return table(head, rows, numeric_from=2) + note(remark)


def _stages(record: Record) -> dict[str, Mapping[str, Any]]:
    """Stage -> what it recorded; an evaluation without stages was one of training."""
    evaluation = record.evaluation
    if evaluation is None or record.screened:
        return {}
    found = evaluation.details.get("stages")
    if isinstance(found, Mapping):
        return {str(stage): facts for stage, facts in found.items() if isinstance(facts, Mapping)}
    return {TRAINING: {"busy_s": evaluation.duration_s}}


def _use(history: History, stage: str, found: list[Mapping[str, Any]]) -> Use:
    busy_s, room = sum(float(facts.get("busy_s", 0.0)) for facts in found), history.stations.get(stage, 0)
    offered_s = room * history.elapsed_s
    waits_s = [float(facts["waited_s"]) for facts in found if "waited_s" in facts]
    return Use(
        stage=stage,
        tag=_tag(history, stage),
        room=room,
        num_candidates=len(found),
        busy_s=busy_s,
        share=min(1.0, busy_s / offered_s) if offered_s > 0 else None,
        waited_s=statistics.median(waits_s) if waits_s else None,
    )


def _tag(history: History, stage: str) -> str:
    spec = history.header.spec
    if stage == TRAINING:
        return str(spec.get("run", {}).get("resources", {}).get("training", {}).get("tag") or "")
    return str(spec.get("hardware", {}).get(stage, {}).get("tag") or "")
