"""Positioned nodes: what a spec says and where it says it, before anybody decides what the text means."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from paretune.core.errors import SpecProblem

Loc: TypeAlias = tuple[str | int, ...]
"""The way to a node: field names and list indices, as pydantic gives them."""

MAX_DEPTH = 64
"""Levels of lists and mappings inside each other, aliases written out."""

PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s@]+@")
SECRET_PARAMETER = re.compile(r"([?&;](?:password|passwd|pwd|token|secret|api_?key|access_?key)[\w-]*)=[^&;\s]+", re.IGNORECASE)

NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scalar:
    """One value as it was written."""

    text: str
    """Its text, without quotes."""
    quoted: bool
    """Whether it stood in quotes or in a block (`|`, `>`), so that it can only be text."""
    line: int = 0
    """1-based; 0 where there is no file."""
    column: int = 0
    is_broken: bool = False
    """Whether it could not be read and was reported already; nothing more is said of it."""

    @property
    def is_null(self) -> bool:
        """Whether nothing was given: no text, `~` or `null`."""
        return not self.quoted and self.text in NULLS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ListNode:
    """A list."""

    items: "tuple[Node, ...]"
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapNode:
    """A mapping; its keys are text and differ."""

    entries: "Mapping[str, tuple[Scalar, Node]]" = field(default_factory=dict)
    """Key -> (the key as written, value)."""
    line: int = 0
    column: int = 0

    def get(self, key: str) -> "Node | None":
        """The value of a key, or None."""
        entry = self.entries.get(key)
        return entry[1] if entry else None


Node: TypeAlias = Scalar | ListNode | MapNode


def shape(node: Node) -> str:
    """What kind of thing a node is, for messages."""
    if isinstance(node, Scalar):
        return "nothing" if node.is_null else f"'{shortened(node.text)}'"
    return "a list" if isinstance(node, ListNode) else "a mapping"


def shortened(text: str, limit: int = 60) -> str:
    """A text that fits in a message, on one line and without passwords."""
    line = " ".join(PASSWORD.sub(r"\1:***@", SECRET_PARAMETER.sub(r"\1=***", text)).split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def dotted(loc: Loc) -> str:
    """A field path as people write it: `objectives[1].goal`."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def find(root: Node, loc: Loc) -> tuple[Scalar | None, Node, int]:
    """Follow `loc` as far as it goes: (key of the last node in a mapping or None, that node, how many parts were followed)."""
    key: Scalar | None = None
    node = root
    for followed, part in enumerate(loc):
        if isinstance(node, MapNode) and str(part) in node.entries:
            key, node = node.entries[str(part)]
        elif isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
            key, node = None, node.items[part]
        else:
            return key, node, followed
    return key, node, len(loc)


def place(root: Node, loc: Loc) -> tuple[int, int]:
    """Line and column to show for a field: its value, or its name where the value starts on another line or is missing.

    A missing field is shown at the section that should hold it; the top of the file is 1:1.
    """
    key, node, followed = find(root, loc)
    if followed == 0 and loc:
        return (1, 1) if root.line else (0, 0)
    anchored = isinstance(node, Scalar) and node.is_null
    if key is not None and (node.line != key.line or followed < len(loc) or anchored):
        return key.line, key.column
    return node.line, node.column


def key_place(root: Node, loc: Loc) -> tuple[int, int]:
    """Line and column of a field's name."""
    key, node, _ = find(root, loc)
    return (key.line, key.column) if key is not None else (node.line, node.column)


def plain(node: Node) -> object:
    """The node as dicts, lists and `Scalar`s: what the pydantic model reads."""
    if isinstance(node, Scalar):
        return node
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return {name: plain(value) for name, (_, value) in node.entries.items()}


def from_python(value: object, problems: list[SpecProblem], loc: Loc = ()) -> Node:
    """A Python value as nodes without positions; what cannot be a spec value is added to `problems`."""
    if len(loc) > MAX_DEPTH:
        problems.append(_problem(loc[:1], f"more than {MAX_DEPTH} levels of lists and mappings inside each other"))
        return Scalar(text="", quoted=False, is_broken=True)
    if isinstance(value, Mapping):
        entries = {}
        for name, item in value.items():
            if isinstance(name, str):
                entries[name] = (Scalar(text=name, quoted=True), from_python(item, problems, (*loc, name)))
            else:
                problems.append(_problem(loc, f"field name is {name!r}; names are text"))
        return MapNode(entries=entries)
    if isinstance(value, list | tuple):
        return ListNode(items=tuple(from_python(item, problems, (*loc, index)) for index, item in enumerate(value)))
    return _scalar_from_python(value, problems, loc)


def _scalar_from_python(value: object, problems: list[SpecProblem], loc: Loc) -> Scalar:
    if value is None:
        return Scalar(text="null", quoted=False)
    if isinstance(value, str | Path):
        text = str(value)
        if any(0xD800 <= ord(letter) <= 0xDFFF or (ord(letter) < 32 and letter not in "\t\n\r") for letter in text):
            problems.append(_problem(loc, "holds a control character or half of a surrogate pair"))
            return Scalar(text="", quoted=True, is_broken=True)
        return Scalar(text=text, quoted=True)
    if isinstance(value, bool):
        return Scalar(text=str(value).lower(), quoted=False)
    number = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    if isinstance(number, int):
        huge = abs(number).bit_length() > 64
        return Scalar(text=f"{'-' if number < 0 else ''}1e{math.floor(math.log10(abs(number)))}" if huge else str(number), quoted=False)
    if isinstance(number, float):
        return Scalar(text=repr(number) if math.isfinite(number) else f".{number}".replace(".-", "-."), quoted=False)
    problems.append(_problem(loc, f"got a {type(value).__name__}; a spec holds numbers, text, yes/no values, lists and mappings"))
    return Scalar(text="", quoted=False, is_broken=True)


def _problem(loc: Loc, message: str) -> SpecProblem:
    return SpecProblem(line=0, column=0, path=dotted(loc), message=message)
