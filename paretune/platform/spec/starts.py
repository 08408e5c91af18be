"""Candidates that a search starts from: what a spec says of them is read before the spec is validated, files and fronts included.

In the spec, `searcher.start` is a list of mappings of decisions and of paths, or a single path; a path leads to a file of candidates or
to the folder of a study, whose front it stands for.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic_core import PydanticCustomError

from paretune.core.errors import BadInput, SpecError
from paretune.core.genotype import Choice
from paretune.platform.spec.nodes import Loc, Scalar, plain, shortened
from paretune.platform.spec.reader import read_any_nodes
from paretune.platform.spec.source import read_text
from paretune.platform.spec.values import anything

Candidates: TypeAlias = Sequence[Mapping[str, Any]]
ReadStart: TypeAlias = Callable[[str], Candidates]
"""A path as it is written -> the candidates that it stands for."""

START: Loc = ("searcher", "start")
EXPECTED = "expected a mapping of decisions, or the path of a file of candidates or of a study's folder"


def read_starts(values: dict[str, Any], read: ReadStart) -> list[tuple[Loc, Loc, str]]:
    """Replace what the values of a spec say of a start by the candidates themselves; what cannot be read is left out.

    Returns:
        The problems as (place, field, message).
    """
    searcher = values.get("searcher")
    written = searcher.get("start") if isinstance(searcher, dict) else None
    if written is None or not isinstance(searcher, dict) or (isinstance(written, Scalar) and written.is_null):
        return []
    if isinstance(written, dict):
        searcher["start"] = []
        return [(START, START, f"got a single mapping; {EXPECTED}, in a list: [...]")]
    problems: list[tuple[Loc, Loc, str]] = []
    groups = []
    for index, item in enumerate(written if isinstance(written, list) else [written]):
        loc: Loc = (*START, index) if isinstance(written, list) else START
        candidates, told = _group(item, read)
        problems += [((*loc, *way), (*loc, *way), message) for way, message in told]
        groups.append({"source": item.text if isinstance(item, Scalar) else "", "candidates": candidates})
    searcher["start"] = groups
    return problems


def _group(item: object, read: ReadStart) -> tuple[list[dict[str, Choice]], list[tuple[Loc, str]]]:
    """The candidates of one item of the list, and what is wrong with it."""
    if isinstance(item, Scalar):
        if item.is_broken:
            return [], []  # reported already
        if item.is_null or not item.text.strip():
            return [], [((), f"is empty; {EXPECTED}")]
        try:
            found = [_choices(candidate) for candidate in read(item.text)]
        except SpecError as error:
            return [], [((), "; ".join(problem.render(error.file) for problem in error.problems))]
        except BadInput as error:
            return [], [((), str(error))]
        told = [
            f"candidate {number}: {'.'.join(map(str, way))}: {message}" for number, (_, bad) in enumerate(found) for way, message in bad
        ]
        return [choices for choices, _ in found], [((), message) for message in told]
    if not isinstance(item, dict):
        return [], [((), f"got a list; {EXPECTED}")]
    choices, told_of = _choices(item)
    return [choices], told_of


def _choices(candidate: Mapping[str, Any]) -> tuple[dict[str, Choice], list[tuple[Loc, str]]]:
    """Decision -> choice of one candidate, and what is no choice."""
    choices: dict[str, Choice] = {}
    problems: list[tuple[Loc, str]] = []
    for name, value in candidate.items():
        try:
            read = anything(value)
        except PydanticCustomError as error:
            problems.append(((name,), error.message()))
            continue
        if isinstance(read, int | float | str):
            choices[name] = read
        else:
            shown = "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "nothing"
            problems.append(((name,), f"expected one choice, got {shown}"))
    return choices, problems


def read_candidates(path: Path) -> Candidates:
    """The candidates of a file: a list of mappings, or what `paretune status --json` prints, of which the front is taken.

    Args:
        path: JSON where it ends in `.json`, else YAML.

    Raises:
        SpecError: there is no such file, or it cannot be parsed.
        BadInput: it holds something else.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json":
        try:
            values = json.loads(text)
        except ValueError as error:
            raise BadInput(f"{path}: no JSON: {error}") from error
    else:
        node, problems = read_any_nodes(text, file=str(path))
        if problems:
            raise SpecError(str(path), problems)
        values = None if node is None else plain(node)
    if isinstance(values, dict):
        values = values.get("front")
    if not isinstance(values, list) or not all(isinstance(item, dict) for item in values):
        raise BadInput(f"{shortened(str(path))}: expected a list of candidates, each a mapping of decisions")
    return [item["choices"] if isinstance(item.get("choices"), dict) else item for item in values]
