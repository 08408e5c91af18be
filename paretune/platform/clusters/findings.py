"""What is wrong with a cluster file: findings with their way in the file -> problems with line and column."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.core.errors import SpecProblem
from paretune.platform.spec.nodes import Loc, MapNode, dotted, find, key_place, place, shortened
from paretune.platform.spec.suggest import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A mistake at a field."""

    loc: Loc
    message: str
    at_key: bool = False
    """Whether the name of the field is what is wrong, not its value."""


def as_problems(root: MapNode, findings: Iterable[Finding]) -> list[SpecProblem]:
    """Each finding once, with its place; of several at one field the first."""
    problems: dict[Loc, SpecProblem] = {}
    for finding in findings:
        line, column = key_place(root, finding.loc) if finding.at_key else place(root, finding.loc)
        problem = SpecProblem(line=line, column=column, path=dotted(finding.loc), message=finding.message)
        problems.setdefault(finding.loc, problem)
    return list(problems.values())


def unknown_fields(loc: Loc, values: Mapping[str, Any], known: Iterable[str]) -> list[Finding]:
    """A finding for each field that nobody knows, with the nearest known one."""
    names = list(known)
    return [
        Finding(
            loc=(*loc, name),
            message=f"unknown field.{did_you_mean(str(name), names, synonyms={})} (fields: {', '.join(names)})",
            at_key=True,
        )
        for name in values
        if name not in names
    ]


def told(value: object) -> str:
    """A value in a message."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    return f"text '{shortened(value)}'" if isinstance(value, str) else shortened(str(value))


def is_there(root: MapNode, loc: Loc) -> bool:
    """Whether the file has this field."""
    return find(root, loc)[2] == len(loc)
