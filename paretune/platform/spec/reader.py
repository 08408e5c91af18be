"""YAML text -> positioned nodes, with limits: nothing is constructed, no tag is followed, no alias is written out unseen.

Reads the events of ruamel.yaml's YAML 1.2 parser. Merge keys (`<<`) are refused: YAML 1.2 has none, and a reader should find a
field where it applies. Aliases for whole values are allowed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from paretune.core.errors import SpecError, SpecProblem
from paretune.platform.spec.nodes import MAX_DEPTH, NULLS, ListNode, Loc, MapNode, Node, Scalar, dotted, shortened
from paretune.platform.spec.suggest import did_you_mean
from paretune.platform.spec.syntax import control_character, syntax_problem

MAX_NODES = 100_000
"""Values, aliases written out."""

MAX_WRITTEN = 10_000
"""Values in the file; reading more would take seconds."""

COUNT_CAP = 10**15
"""Counting stops here, so that the count itself stays small."""

YAML11_BOOLEANS = ("y", "n", "yes", "no", "on", "off", "true", "false")
NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0x[0-9a-fA-F]+|0o[0-7]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(slots=True, kw_only=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    is_map: bool
    loc: Loc
    line: int
    column: int
    anchor: str | None
    count: int = 1
    height: int = 1
    items: list[Node] = field(default_factory=list)
    entries: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)
    key: Scalar | None = None
    awaits_value: bool = False

    def child_loc(self) -> Loc:
        if not self.is_map:
            return (*self.loc, len(self.items))
        return (*self.loc, self.key.text) if self.awaits_value and self.key is not None else self.loc


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anchored:
    node: Node
    count: int
    height: int


class _TooBig(Exception):
    pass


class _Composer:
    """Builds nodes from parser events, with its own stack: depth is a number here, not a recursion."""

    def __init__(self) -> None:
        self.problems: list[SpecProblem] = []
        self.root: Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored] = {}
        self._num_events = 0
        self._num_documents = 0
        self._blown_at: tuple[int, int, Loc] | None = None

    def note(self, event: Any, loc: Loc, message: str) -> None:
        self.problems.append(
            SpecProblem(line=event.start_mark.line + 1, column=event.start_mark.column + 1, path=dotted(loc), message=message)
        )

    def feed(self, event: Any) -> None:
        if isinstance(event, DocumentStartEvent):
            self._document(event)
        elif self._num_documents > 1:
            return
        elif isinstance(event, NodeEvent):
            self._num_events += 1
            if self._num_events > MAX_WRITTEN:
                self.note(event, (), f"the file holds more than {MAX_WRITTEN:,} values")
                raise _TooBig
            self._node(event)
        elif isinstance(event, CollectionEndEvent):
            self._close()

    def _document(self, event: Any) -> None:
        self._num_documents += 1
        if self._num_documents == 2:
            self.note(event, (), "a second document starts here; one study per file")
        if event.tags or event.version not in (None, (1, 2)):
            self.note(event, (), "YAML directives (%YAML, %TAG) are not allowed; remove the line that starts with %")

    def _node(self, event: Any) -> None:
        loc = self._open[-1].child_loc() if self._open else ()
        if getattr(event, "tag", None):
            self.note(event, loc, f"tags such as {shortened(_shown_tag(event.tag))} are not allowed; remove it")
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, AliasEvent):
            self._alias(event, loc)
        elif isinstance(event, ScalarEvent):
            character = control_character(event.value)
            if character:
                self.note(event, loc, f"{character} is not allowed")
            text = "" if character else event.value
            scalar = Scalar(text=text, quoted=bool(event.style), line=line, column=column, is_broken=bool(character))
            self._add(scalar, event, count=1, height=0)
        elif isinstance(event, SequenceStartEvent | MappingStartEvent):
            if len(self._open) >= MAX_DEPTH:
                self.note(event, loc[:1], f"more than {MAX_DEPTH} levels of lists and mappings inside each other")
                raise _TooBig
            is_map = isinstance(event, MappingStartEvent)
            self._open.append(_Open(is_map=is_map, loc=loc, line=line, column=column, anchor=event.anchor))

    def _alias(self, event: Any, loc: Loc) -> None:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        nothing = Scalar(text="", quoted=False, line=line, column=column, is_broken=True)
        found = self._anchors.get(event.anchor)
        if any(item.anchor == event.anchor for item in self._open):
            self.note(event, loc, f"alias *{event.anchor} contains itself")
            self._add(nothing, None, count=1, height=0)
        elif found is None:
            near = did_you_mean(event.anchor, self._anchors, synonyms={}).replace("'", "*", 1).replace("'", "")
            self.note(event, loc, f"unknown alias *{event.anchor}.{near}")
            self._add(nothing, None, count=1, height=0)
        elif len(self._open) + found.height > MAX_DEPTH:
            self.note(event, loc, f"the alias *{event.anchor} makes more than {MAX_DEPTH} levels of lists and mappings inside each other")
            self._add(nothing, None, count=1, height=0)
        else:
            if found.count + sum(item.count for item in self._open) > MAX_NODES and self._blown_at is None:
                self._blown_at = (line, column, loc[:1])
            self._add(found.node, None, count=found.count, height=found.height)

    def _add(self, node: Node, event: Any, *, count: int, height: int) -> None:
        anchor = getattr(event, "anchor", None)
        if anchor:
            self._anchors[anchor] = _Anchored(node=node, count=count, height=height)
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.count = min(parent.count + count, COUNT_CAP)
        parent.height = max(parent.height, height + 1)
        if not parent.is_map:
            parent.items.append(node)
        elif not parent.awaits_value:
            parent.key, parent.awaits_value = self._checked_key(node, parent), True
        else:
            if parent.key is not None:
                self._add_entry(parent, parent.key, node)
            parent.key, parent.awaits_value = None, False

    def _checked_key(self, node: Node, parent: _Open) -> Scalar | None:
        message = ""
        if not isinstance(node, Scalar):
            message = (
                f"field name is a {'list' if isinstance(node, ListNode) else 'mapping'}; names are text. Quote text that holds {{ or ["
            )
        elif not node.quoted and node.text == "<<":
            message = "merge keys (<<) are not allowed; write the fields out"
        elif not node.quoted and node.text in NULLS:
            message = "field name is empty; names are text"
        elif not node.quoted and node.text.lower() in YAML11_BOOLEANS:
            message = f'field name {node.text} means yes or no to many YAML readers; write "{node.text}"'
        elif not node.quoted and NUMBER.fullmatch(node.text):
            message = f"field name is the number {shortened(node.text)}; names are text"
        if not message:
            assert isinstance(node, Scalar)
            return node
        self.problems.append(SpecProblem(line=node.line, column=node.column, path=dotted(parent.loc), message=message))
        return None

    def _add_entry(self, parent: _Open, key: Scalar, node: Node) -> None:
        if key.text not in parent.entries:
            parent.entries[key.text] = (key, node)
            return
        first, value = parent.entries[key.text]
        told = f"first at line {first.line}"
        if isinstance(value, Scalar) and isinstance(node, Scalar):
            told += f": {shortened(value.text, 20)}, here: {shortened(node.text, 20)}"
        self.problems.append(
            SpecProblem(
                line=key.line, column=key.column, path=dotted((*parent.loc, key.text)), message=f"is given twice ({told}). Remove one"
            )
        )

    def _close(self) -> None:
        closed = self._open.pop()
        node: Node
        if closed.is_map:
            node = MapNode(entries=closed.entries, line=closed.line, column=closed.column)
        else:
            node = ListNode(items=tuple(closed.items), line=closed.line, column=closed.column)
        if closed.anchor:
            self._anchors[closed.anchor] = _Anchored(node=node, count=closed.count, height=closed.height)
        self._add(node, None, count=closed.count, height=closed.height)
        if not self._open and closed.count > MAX_NODES:
            line, column, loc = self._blown_at or (closed.line, closed.column, ())
            count = f"{closed.count:,}" if closed.count < COUNT_CAP else f"more than {COUNT_CAP:,}"
            message = f"expands to {count} values (limit {MAX_NODES:,}); the aliases at line {line} multiply"
            self.problems.append(SpecProblem(line=line, column=column, path=dotted(loc), message=message))
            raise _TooBig


def read_nodes(text: str, *, file: str) -> tuple[MapNode, list[SpecProblem]]:
    """The nodes of one YAML document and the mistakes in its form that do not stop the reading.

    Raises:
        SpecError: the text is no YAML, is too large, or is not one mapping; the one and only error, whatever the text.
    """
    root, problems = read_any_nodes(text, file=file)
    if root is None or (isinstance(root, Scalar) and root.is_null):
        message = "is empty. Start from one: paretune init > study.yaml"
        raise SpecError(file, problems or [SpecProblem(line=0, column=0, path="", message=message)])
    if not isinstance(root, MapNode):
        kind = "a list" if isinstance(root, ListNode) else f"the text '{shortened(root.text)}'"
        message = f"expected a mapping with version, name, task, space, objectives, ...; got {kind}"
        raise SpecError(file, [*problems, SpecProblem(line=root.line, column=root.column, path="", message=message)])
    return root, problems


def read_any_nodes(text: str, *, file: str) -> tuple[Node | None, list[SpecProblem]]:
    """As `read_nodes`, whatever stands at the top; None where nothing does."""
    composer = _Composer()
    try:
        for event in _events(text):
            composer.feed(event)
    except _TooBig:
        raise SpecError(file, composer.problems) from None
    except Exception as error:  # the parser lets ValueError, IndexError and others through besides its own YAMLError
        raise SpecError(file, [*composer.problems, syntax_problem(text, error)]) from error
    return composer.root, composer.problems


def _events(text: str) -> Iterator[Any]:
    yield from YAML(typ="safe", pure=True).parse(text)


def _shown_tag(tag: object) -> str:
    text = str(tag)
    return "!!" + text.removeprefix("tag:yaml.org,2002:") if text.startswith("tag:yaml.org,2002:") else text
