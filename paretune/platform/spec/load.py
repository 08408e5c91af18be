"""Reads a spec: text, file or Python mapping -> `LoadedSpec`, or one `SpecError` with every mistake."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from paretune.core.errors import SpecError, SpecProblem
from paretune.core.metrics import si_name
from paretune.hardware.target_files import load_target
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.nodes import ListNode, Loc, MapNode, Node, Scalar, dotted, from_python, place, plain, shortened
from paretune.platform.spec.plugins import WRITTEN
from paretune.platform.spec.problems import Translator
from paretune.platform.spec.reader import read_nodes
from paretune.platform.spec.sound import sound_part
from paretune.platform.spec.source import decode, read_text
from paretune.platform.spec.starts import ReadStart, read_candidates, read_starts
from paretune.platform.spec.targets import ReadTarget, read_targets

PYTHON = "spec"
"""Stands for the file where the spec came from Python."""
OVERRIDE = re.compile(r"[A-Za-z_][\w-]*(\[\d+\]|\.[A-Za-z_][\w-]*)*")


class UnsoundSpec(SpecError):
    """A spec with mistakes, and what is sound of it."""

    sound: "LoadedSpec | None" = None
    """The spec without its mistakes; None where too little is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec:
    """A valid spec, and the text it came from."""

    spec: StudySpec
    text: str
    """YAML that loads to this spec, overrides and a drawn seed apart."""
    file: str
    """Its name for messages."""
    notes: tuple[str, ...] = ()
    """What the user should know although nothing is wrong; one line each."""
    root: MapNode = field(repr=False, compare=False)
    """The nodes, for the places of later findings."""

    def place(self, loc: Loc) -> tuple[int, int]:
        """Line and column of a field, 0, 0 where there is no file."""
        return place(self.root, loc)

    def problem(self, loc: Loc, message: str) -> SpecProblem:
        """A mistake found later, at a field."""
        line, column = self.place(loc)
        return SpecProblem(line=line, column=column, path=dotted(loc), message=message)


def load_spec(path: Path | str, *, overrides: Mapping[str, object] | None = None, read_start: ReadStart | None = None) -> LoadedSpec:
    """Read a spec file.

    Args:
        path: the YAML file.
        overrides: field path (`budget.trials`, `objectives[1].reference`) -> value that takes the place of the file's; text is
            read as YAML, so `"64"` is a number.
        read_start: as in `load_text`.

    Raises:
        SpecError: with every mistake, sorted by line.
    """
    path = Path(path)
    return load_text(read_text(path), file=str(path), overrides=overrides, read_start=read_start)


def load_text(
    text: str | bytes,
    *,
    file: str,
    overrides: Mapping[str, object] | None = None,
    read_target: ReadTarget | None = None,
    read_start: ReadStart | None = None,
) -> LoadedSpec:
    """As `load_spec`, from the content of a file.

    Args:
        text: the content.
        file: its name for messages; paths of target files start from its folder.
        overrides: as in `load_spec`.
        read_target: finds hardware targets; None reads their files.
        read_start: finds candidates that the search starts from; None reads files of them, but no studies.
    """
    text = decode(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"), file=file)
    root, problems = read_nodes(text, file=file)
    notes = []
    for override, value in (overrides or {}).items():
        root = _overridden(root, override, value, problems)
        notes.append(f"{override} is overridden: {shortened(str(value))}")
    return _validated(root, problems, text=text, file=file, notes=notes, read_target=read_target, read_start=read_start)


def spec_from_mapping(values: Mapping[str, object], *, read_start: ReadStart | None = None) -> LoadedSpec:
    """The same spec from Python: the fields, words and units of the YAML form, as a mapping.

    Args:
        values: the fields.
        read_start: as in `load_text`.

    Raises:
        SpecError: with every mistake; places are missing, field paths tell where.
    """
    problems: list[SpecProblem] = []
    root = from_python(values, problems)
    if not isinstance(root, MapNode):
        raise SpecError(PYTHON, [SpecProblem(line=0, column=0, path="", message=f"expected a mapping, got a {type(values).__name__}")])
    return _validated(root, problems, text=_as_yaml(root), file=PYTHON, notes=[], read_start=read_start)


def _validated(
    root: MapNode,
    problems: list[SpecProblem],
    *,
    text: str,
    file: str,
    notes: list[str],
    read_target: ReadTarget | None = None,
    read_start: ReadStart | None = None,
) -> LoadedSpec:
    values = plain(root)
    assert isinstance(values, dict)
    folder = Path(file).parent
    targets, bad_targets = read_targets(values, read_target or (lambda _, written: load_target(written, folder=folder)))
    bad_starts = read_starts(values, read_start or (lambda written: read_candidates(folder / written)))
    if "seed" not in values:
        seed = secrets.randbits(31)
        values["seed"] = Scalar(text=str(seed), quoted=False)
        notes = [*notes, f"seed: none is given; drew {seed}. Write 'seed: {seed}' to repeat this study"]
    error, spec = None, None
    try:
        spec = StudySpec.model_validate(values, by_alias=True, by_name=False, context=WRITTEN)
    except ValidationError as found:
        error = found
    problems = _distinct([*problems, *Translator(root, targets).problems(error, [*_crossing(root), *bad_targets, *bad_starts])])
    if problems or spec is None:
        refusal = UnsoundSpec(file, problems)
        if (sound := sound_part(values, problems)) is not None:
            refusal.sound = LoadedSpec(spec=sound, text=text, file=file, root=root)
        raise refusal
    if len(spec.objectives) == 1:
        notes = [*notes, "objectives: there is one, so the front will be the single best network"]
    return LoadedSpec(spec=spec, text=text, file=file, notes=(*notes, *_unit_notes(root)), root=root)


def _distinct(problems: list[SpecProblem]) -> list[SpecProblem]:
    """Each problem once; what a broken node gives rise to at the same place is dropped."""
    by_place: dict[tuple[int, int, str], SpecProblem] = {}
    for problem in problems:
        by_place.setdefault((problem.line, problem.column, problem.path), problem)
    return list(by_place.values())


def _crossing(root: MapNode) -> list[tuple[Loc, Loc, str]]:
    """Mistakes that no single field has: (place, field, message). Read from the nodes, so that they are found beside others."""
    found: list[tuple[Loc, Loc, str]] = []
    budget = root.get("budget")
    if isinstance(budget, MapNode) and not {"trials", "time"} & set(budget.entries):
        found.append((("budget",), ("budget",), "needs a limit. Example: budget: {trials: 64}, or budget: {time: 15m}"))
    for index, item in enumerate(_items(root.get("constraints"))):
        if isinstance(item, MapNode) and not {"max", "min"} & set(item.entries):
            loc: Loc = ("constraints", index)
            found.append((loc, loc, "needs max or min. Example: {metric: parameters, max: 60000}"))
    first: dict[str, int] = {}
    for index, item in enumerate(_items(root.get("objectives"))):
        metric = item.get("metric") if isinstance(item, MapNode) else None
        if isinstance(metric, Scalar) and not metric.is_null:
            earlier = first.setdefault(si_name(metric.text)[0], index)
            if earlier != index:
                line = place(root, ("objectives", earlier, "metric"))[0]
                told = f"'{shortened(metric.text)}' is already objectives[{earlier}]{f' (line {line})' if line else ''}"
                found.append((("objectives", index, "metric"), ("objectives", index, "metric"), told))
    return found


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, ListNode) else ()


def _unit_notes(root: MapNode) -> list[str]:
    """Notes on quantities whose own unit is a thousand times the one in the metric's name: `20s` for `latency_ms`."""
    notes = []
    for section in ("objectives", "constraints"):
        for index, item in enumerate(_items(root.get(section))):
            metric = item.get("metric") if isinstance(item, MapNode) else None
            for name in ("reference", "max", "min"):
                value = item.get(name) if isinstance(item, MapNode) else None
                if isinstance(metric, Scalar) and isinstance(value, Scalar):
                    notes += _unit_note((section, index, name), metric.text, value.text)
    return notes


def _unit_note(loc: Loc, metric: str, text: str) -> list[str]:
    number = re.fullmatch(r"([-+\d.]+)\s*([a-zA-Zµμ]+\d?)", text.strip())
    if number is None:
        return []
    inner, factor = si_name(metric)
    own = si_name(f"x_{number[2].lower().replace('µ', 'u').replace('μ', 'u')}")[1]
    unit = metric.rpartition("_")[2]
    if inner == metric or own < 999 * factor:
        return []
    return [f"{dotted(loc)}: {text} is {float(number[1]) * own / factor:,.6g} {unit}. Write {number[1]}{unit} if that is meant"]


def _overridden(root: MapNode, path: str, value: object, problems: list[SpecProblem]) -> MapNode:
    """`root` with one field replaced or added."""
    if not OVERRIDE.fullmatch(path):
        problems.append(SpecProblem(line=0, column=0, path="", message=f"'{shortened(path)}' is no field path. Example: budget.trials"))
        return root
    loc: Loc = tuple(int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[A-Za-z_][\w-]*", path))
    if isinstance(value, str):
        try:
            read, more = read_nodes(f"value: {value}", file=path)
        except SpecError as error:
            more, read = list(error.problems), MapNode()
        node = _without_place(read.get("value") or Scalar(text=value, quoted=False))
        problems += [SpecProblem(line=0, column=0, path=path, message=problem.message) for problem in more]
    else:
        node = from_python(value, problems, loc)
    changed = _replaced(root, loc, node)
    if not isinstance(changed, MapNode):
        problems.append(SpecProblem(line=0, column=0, path=path, message="there is no such place to override"))
        return root
    return changed


def _replaced(node: Node | None, loc: Loc, value: Node) -> Node | None:
    """A copy of `node` in which the node at `loc` is `value`; None where the way does not exist."""
    if not loc:
        return value
    part, rest = loc[0], loc[1:]
    if isinstance(part, int):
        if not isinstance(node, ListNode) or part >= len(node.items):
            return None
        item = _replaced(node.items[part], rest, value)
        items = (*node.items[:part], item, *node.items[part + 1 :]) if item else None
        return ListNode(items=items, line=node.line, column=node.column) if items else None
    if node is None or (isinstance(node, Scalar) and node.is_null):
        node = MapNode()
    if not isinstance(node, MapNode):
        return None
    inner = _replaced(node.get(part), rest, value)
    if inner is None:
        return None
    key = Scalar(text=part, quoted=False) if not rest or part not in node.entries else node.entries[part][0]
    return MapNode(entries={**node.entries, part: (key, inner)}, line=node.line, column=node.column)


def _without_place(node: Node) -> Node:
    if isinstance(node, Scalar):
        return Scalar(text=node.text, quoted=node.quoted)
    if isinstance(node, ListNode):
        return ListNode(items=tuple(_without_place(item) for item in node.items))
    return MapNode(entries={name: (Scalar(text=name, quoted=True), _without_place(item)) for name, (_, item) in node.entries.items()})


def _as_yaml(node: Node, indent: int = 0) -> str:
    """Nodes as YAML text that reads back the same."""
    if isinstance(node, Scalar):
        return json.dumps(node.text, ensure_ascii=False) if node.quoted else node.text
    if isinstance(node, ListNode):
        return f"[{', '.join(_as_yaml(item, -1) for item in node.items)}]"
    fields: list[tuple[str, Any]] = [(name, item) for name, (_, item) in node.entries.items()]
    if indent != 0 or not fields:
        return "{" + ", ".join(f"{_as_key(name)}: {_as_yaml(item, -1)}" for name, item in fields) + "}"
    return "".join(f"{_as_key(name)}: {_as_yaml(item, -1)}\n" for name, item in fields)


def _as_key(name: str) -> str:
    return (
        name
        if re.fullmatch(r"[a-z_]+", name) and name not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
        else json.dumps(name)
    )
