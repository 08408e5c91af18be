"""Hardware targets that a spec names: their files are read before the spec is validated, so that their options count as the spec's."""

from collections.abc import Callable
from typing import Any, TypeAlias

from paretune.core.errors import BadInput, SpecError
from paretune.hardware.target_files import Target
from paretune.platform.spec.nodes import Loc, Scalar

ReadTarget: TypeAlias = Callable[[str, str], Target]
"""(name in the spec, what is written there) -> the target."""


def read_targets(values: dict[str, Any], read: ReadTarget) -> tuple[dict[Loc, str], list[tuple[Loc, Loc, str]]]:
    """Replace the names of targets in the values of a spec by the targets; hardware whose target cannot be read is taken out.

    Returns:
        Way to each piece of hardware with a target -> its kind, and the problems as (place, field, message).
    """
    kinds: dict[Loc, str] = {}
    problems: list[tuple[Loc, Loc, str]] = []
    section = values.get("hardware")
    if not isinstance(section, dict):
        return kinds, problems
    for name, hardware in list(section.items()):
        if not isinstance(hardware, dict) or "target" not in hardware:
            continue
        loc: Loc = ("hardware", name)
        found, told = _target(name, hardware, read)
        if isinstance(found, Target):
            section[name] = {**hardware, "target": found}
            kinds[loc] = found.kind
        else:
            del section[name]
        problems += [((*loc, field), (*loc, field), message) for field, message in told]
    return kinds, problems


def _target(name: str, hardware: dict[str, Any], read: ReadTarget) -> tuple[Target | None, list[tuple[str, str]]]:
    """The target that a piece of hardware names, and what is wrong with it as (field, message)."""
    written = hardware["target"]
    if not isinstance(written, Scalar):
        return None, [
            (
                "target",
                f"expected the name of a target or the path of its file, got {'a mapping' if isinstance(written, dict) else 'a list'}",
            )
        ]
    if written.is_broken:
        return None, []  # reported already
    if written.is_null:
        return None, [("target", "is empty; give the name of a target (paretune list targets) or the path of its file")]
    if "kind" in hardware:
        return None, [("kind", "stands in the file of the target; remove it, or remove target")]
    try:
        return read(name, written.text), []
    except SpecError as error:
        return None, [("target", "; ".join(problem.render(error.file) for problem in error.problems))]
    except BadInput as error:
        return None, [("target", str(error))]
