"""What differs between two specs of one study, and what of it may change when the study goes on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import SpecChanged
from paretune.core.metrics import readable
from paretune.platform.spec.load import LoadedSpec
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.nodes import Loc, dotted, shortened

RULES: Mapping[str, tuple[bool, str]] = {
    "budget": (True, "a search may be longer or shorter"),
    "run.workers": (True, "no result depends on it"),
    "run.trial_timeout": (True, "no finished result depends on it"),
    "run.retries": (True, "no finished result depends on it"),
    "run.memory": (True, "no finished result depends on it"),
    "run.resources": (True, "no result depends on it"),
    "run.device_wait": (True, "no result depends on it"),
    "run.release": (True, "no result depends on it"),
    "tracking": (True, "the record is written anew"),
    "storage": (True, "the study may have been moved"),
    "shared": (False, "results lie there; where it has moved: paretune resume NAME --from FOLDER"),
    "final": (True, "the search does not depend on it"),
    "version": (False, "another form of the spec"),
    "name": (False, "another study"),
    "seed": (False, "changes every random draw"),
    "task": (False, "changes what is learned"),
    "space": (False, "changes what is searched"),
    "hardware": (False, "changes what is measured"),
    "derived": (False, "changes what is best"),
    "objectives": (False, "changes what is best"),
    "constraints": (False, "changes what is allowed on the front"),
    "searcher": (False, "changes what is tried next"),
    "training": (False, "changes what a candidate's accuracy means"),
    "fidelity": (False, "changes how far candidates are trained"),
    "run.mode": (False, "changes what the searcher knew at each step"),
}
"""Field or section -> (allowed on resume, why)."""

ROADS = ("addresses", "timeout_s", "wait_s")
"""Options of a target that say how its devices are reached, not what they are: a tunnel may have another port tomorrow."""

PLACES = ("tag", "count", "labels")
"""Fields of a target that say where its devices are on the cluster."""

ABSENT = "(absent)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field that differs."""

    path: str
    """Field path as it is written."""
    old: str
    """What it was, as people write it."""
    new: str
    allowed: bool
    """Whether a study may go on with it."""
    reason: str
    loc: Loc
    """The path in parts."""


def spec_changes(old: StudySpec, new: StudySpec) -> list[Change]:
    """Every field that differs, in the order of the spec."""
    before, after = _fields(old), _fields(new)
    changes = []
    for loc in dict.fromkeys([*before, *after]):
        if before.get(loc, ABSENT) != after.get(loc, ABSENT):
            allowed, reason = _rule(loc)
            was, now = _shown(loc, before.get(loc, ABSENT), old), _shown(loc, after.get(loc, ABSENT), new)
            changes.append(Change(path=dotted(loc), old=was, new=now, allowed=allowed, reason=reason, loc=loc))
    return changes


def _rule(loc: Loc) -> tuple[bool, str]:
    """Whether a field may change, and why."""
    if loc[0] == "hardware" and len(loc) == 3 and loc[2] in ROADS:
        return True, "the same devices by another way"
    if loc[0] == "hardware" and len(loc) >= 3 and loc[2] in PLACES:
        return True, "devices of the same kind in another place"
    return next(rule for field, rule in RULES.items() if f"{dotted(loc)}.".startswith((f"{field}.", f"{field}[")))


def refuse_changes(study: str, changes: Sequence[Change], loaded: LoadedSpec) -> SpecChanged:
    """The error for a study that should go on with changes that are not allowed.

    Args:
        study: name of the study.
        changes: all changes, allowed ones too.
        loaded: the new spec, for file and lines.
    """
    rows = []
    for change in changes:
        line, column = loaded.place(change.loc)
        place = f"{loaded.file}:{line}:{column}" if line else loaded.file
        verdict = "allowed" if change.allowed else f"not allowed: {change.reason}"
        rows.append((place, change.path, f"was {change.old}", f"now {change.new}", verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else [0] * 4
    table = ["  " + "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows]
    refused = [change for change in changes if not change.allowed]
    lines = sorted({loaded.place(change.loc)[0] for change in refused})
    undo = (
        f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))}"
        if lines and lines[0]
        else ", ".join(change.path for change in refused)
    )
    file = loaded.file if Path(loaded.file).is_file() else "SPEC"  # a recorded spec is no file
    advice = f"Either undo {undo}, or start a new study under another name:\n  paretune run {file} --name {_next_name(study)}"
    return SpecChanged("\n".join([f"study '{study}' was started from another spec; not resumed.", *table, advice]))


def _next_name(study: str) -> str:
    return f"{study[:61]}-b"


def _fields(spec: StudySpec) -> dict[Loc, object]:
    """Written field -> inner value; lists of plain values count as one value."""
    found: dict[Loc, object] = {}

    def walk(value: object, loc: Loc) -> None:
        if isinstance(value, dict) and value:
            for name, item in value.items():
                is_options = name == "options" and (
                    (loc[:1] in (("hardware",), ("derived",)) and len(loc) == 2) or loc in (("task",), ("space",), ("searcher",))
                )
                # A target is its numbers, a start its candidates: where the file lies and what it is called changes nothing.
                is_origin = loc[:1] == ("hardware",) and len(loc) == 2 and name in ("target", "origin")
                is_origin |= loc[:2] == ("searcher", "start") and name == "source"
                if not is_origin:
                    walk(item, loc if is_options else (*loc, name))
        elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
            for index, item in enumerate(value):
                walk(item, (*loc, index))
        elif not (isinstance(value, dict) and loc and loc[-1] == "options"):
            found[loc] = value

    walk(spec.model_dump(mode="json", by_alias=True), ())
    return {loc: value for loc, value in found.items() if value is not None and value not in ({}, [])}


def _shown(loc: Loc, value: object, spec: StudySpec) -> str:
    if value == ABSENT:
        return ABSENT
    if loc in (("budget", "time"), ("run", "trial_timeout"), ("run", "device_wait"), ("run", "release")):
        return duration_text(float(str(value)))
    if loc == ("run", "memory"):
        return readable("memory_bytes", float(str(value)))
    if loc[:1] in (("objectives",), ("constraints",)) and isinstance(value, float) and isinstance(loc[1], int):
        section = spec.objectives if loc[0] == "objectives" else spec.constraints
        return readable(section[loc[1]].metric, value)
    return shortened(value if isinstance(value, str) else json.dumps(value))


def duration_text(seconds: float) -> str:
    """`5400.0` -> `1h30m`."""
    whole = int(seconds)
    if seconds != whole:
        return f"{seconds:g}s"
    parts = [(whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
