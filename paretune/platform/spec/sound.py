"""What is left of a spec with mistakes when they are taken out, so that the rest can be checked too and every mistake is told at once."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from paretune.core.errors import SpecProblem
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.nodes import Scalar
from paretune.platform.spec.plugins import WRITTEN

STAND_INS: Mapping[str, Any] = {
    "version": Scalar(text="1", quoted=False),
    "name": Scalar(text="unnamed", quoted=False),
    "seed": Scalar(text="1", quoted=False),
    "budget": {"trials": Scalar(text="1000000", quoted=False)},
}
"""What stands in for a section that a spec cannot do without and that hardly anything else depends on."""
NEEDED: Mapping[str, dict[str, Any]] = {"training": {"epochs": Scalar(text="10", quoted=False)}}
"""Fields of the same kind within a section."""
DEPENDENT: Mapping[str, tuple[str, ...]] = {
    "task": ("space", "hardware", "derived", "objectives", "constraints", "fidelity", "training", "final", "searcher"),
    "space": ("task", "hardware", "constraints", "searcher"),
    "hardware": ("derived", "objectives", "constraints", "training", "final", "searcher"),
    "derived": ("objectives", "constraints", "searcher"),
    "objectives": ("constraints", "searcher"),
    "constraints": ("objectives",),
    "training": ("task", "fidelity", "final"),
}
"""Section -> sections that can only be judged where it is sound."""


def sound_part(values: Mapping[str, Any], problems: Iterable[SpecProblem]) -> StudySpec | None:
    """The spec without what is wrong with it; None where too little is left.

    Args:
        values: what was to be validated.
        problems: found in it.
    """
    mended = dict(values)
    ways = {_way(problem.path) for problem in problems}
    # Later items of a list first, so that the earlier ones keep their numbers.
    for section, part in sorted(ways, key=lambda way: (way[0], str(way[1]).zfill(6)), reverse=True):
        held = mended.get(section)
        if section in STAND_INS:
            mended[section] = STAND_INS[section]
        elif isinstance(held, dict) and (part in held or part in NEEDED.get(section, ())) and part not in ("name", "kind"):
            mended[section] = NEEDED.get(section, {}) | {name: item for name, item in held.items() if name != part}
        elif isinstance(held, list) and isinstance(part, int) and part < len(held):
            mended[section] = held[:part] + held[part + 1 :]
        else:
            mended.pop(section, None)
    try:
        return StudySpec.model_validate(mended, by_alias=True, by_name=False, context=WRITTEN)
    except ValidationError:
        return None


def beside(known: Iterable[SpecProblem], more: Iterable[SpecProblem], sound: StudySpec) -> list[SpecProblem]:
    """Those of `more`, found in the sound part of a spec, that do not come from what was taken out."""
    broken = {_way(problem.path)[0] for problem in known}
    sections = set(type(sound).model_fields)
    if not broken <= sections:  # a section that there is not: any of those that are not written may be meant
        broken |= sections - sound.model_fields_set
    doubtful = broken | {section for name in broken for section in DEPENDENT.get(name, ())}
    return [problem for problem in more if _way(problem.path)[0] not in doubtful]


def _way(path: str) -> tuple[str, str | int]:
    """Section and what in it: `objectives[1].goal` -> ("objectives", 1)."""
    section, _, rest = re.sub(r"\[(\d+)\]", r".\1", path).partition(".")
    part = rest.partition(".")[0]
    return section, int(part) if part.isdecimal() else part
