"""Hardware targets as data: YAML files that name a kind of hardware and its numbers, each with its source.

    kind: fpga
    description: one line for `paretune list targets`
    options:
      num_dsps: {value: 2520, source: "data sheet DS891, table 1"}
      widths: {value: [1, 2, 4], source: "paper, table 3"}
      precision: fixed16

The options are those of the kind (`paretune list hardware`), in SI units. Only what holds no number may go without a source.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paretune.core.environment import resolve_env
from paretune.core.errors import BadInput, SpecError, SpecProblem, UnknownName, did_you_mean
from paretune.core.registry import Option
from paretune.hardware import HARDWARE
from paretune.hardware.target_options import declared, has_number

FOLDER = Path(__file__).with_name("targets")
"""The targets that come with paretune, one file each."""
SUFFIXES = (".yaml", ".yml")
MAX_BYTES = 1 << 20
FIELDS = ("kind", "description", "options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One piece of hardware: a kind and its options."""

    name: str
    """Name of a shipped target, or the path of the file as it was given."""
    kind: str
    """Registered name in `HARDWARE`."""
    description: str
    """One line."""
    options: Mapping[str, Any]
    """Option of the kind -> value of its declared type, SI. What the file leaves out has the kind's default."""
    sources: Mapping[str, str]
    """Option -> where its value is from."""
    file: str = ""
    """Absolute path of a user's file; empty for a shipped target."""

    def create(self) -> Any:
        """The `Device`, `CostModel` or `ArchitectureCostModel` of this target.

        Raises:
            BadInput: the kind refuses a value; the message names target and option.
        """
        try:
            return HARDWARE.create(self.kind, **self.options)
        except BadInput as error:
            raise BadInput(f"target '{self.name}' (kind {self.kind}): {error}") from error


def target_names() -> tuple[str, ...]:
    """Names of the shipped targets, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_target(name_or_path: str, *, folder: Path | None = None) -> Target:
    """A shipped target by its name, or one from a file.

    Args:
        name_or_path: a name such as `host`, or a path: it holds a `/` or ends in `.yaml`; `${env:NAME}` in it is resolved.
        folder: what relative paths start from; None is the current folder.

    Raises:
        UnknownName: no shipped target has this name.
        SpecError: the file cannot be read or has mistakes; all of them, each with line and field.
        BadInput: a variable of the environment is not set.
    """
    is_path = "/" in name_or_path or name_or_path.endswith(SUFFIXES)
    if not is_path and name_or_path not in target_names():
        raise UnknownName("target", name_or_path, target_names())
    path = Path.cwd() / (folder or "") / Path(resolve_env(name_or_path)).expanduser() if is_path else FOLDER / f"{name_or_path}.yaml"
    shown = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    reader = _Reader(_read(path, shown), folder=path.parent)
    kind = reader.kind()
    description = reader.description()
    options, sources = reader.options(kind)
    if reader.problems:
        raise SpecError(shown, reader.problems)
    return Target(
        name=name_or_path, kind=kind, description=description, options=options, sources=sources, file=str(path) if is_path else ""
    )


def _read(path: Path, shown: str) -> Any:
    """The mapping that a file holds, with the lines of its fields (ruamel.yaml's `CommentedMap`).

    Raises:
        SpecError: there is no such file, or it is no YAML mapping.
    """
    from ruamel.yaml import YAML  # 40 ms, and needed only where a target is read
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    def refusal(message: str, line: int = 0, column: int = 0) -> SpecError:
        return SpecError(shown, [SpecProblem(line=line, column=column, path="", message=message)])

    try:
        if not path.is_file():
            raise refusal("no such target file")
        data = path.read_bytes()
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise refusal(f"has {len(data):,} bytes; a target file may have {MAX_BYTES:,}")
    try:
        found = YAML().load(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise refusal("not UTF-8. Save it as UTF-8") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        told = str(error.problem).partition(" with value")[0]
        raise refusal(f"not valid YAML: {told}", mark.line + 1 if mark else 0, mark.column + 1 if mark else 0) from error
    except (YAMLError, ValueError) as error:
        raise refusal(f"not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(found, CommentedMap):
        raise refusal(f"expected a mapping with {', '.join(FIELDS)}")
    return found


class _Reader:
    """Reads the fields of one file and gathers what is wrong with them, with places."""

    def __init__(self, root: Any, *, folder: Path) -> None:
        self._root, self._folder = root, folder
        self.problems: list[SpecProblem] = []
        for name in root:
            if name not in FIELDS:
                self._refuse((str(name),), f"unknown field.{did_you_mean(str(name), FIELDS)} (fields: {', '.join(FIELDS)})", root, name)

    def kind(self) -> str:
        """The registered kind, or `""` where there is none."""
        found, names = self._root.get("kind"), HARDWARE.names()
        if found in names:
            return str(found)
        if found is None:
            self._refuse(("kind",), f"is missing; one of {', '.join(names)}", self._root, "kind")
        else:
            self._refuse(
                ("kind",), f"unknown hardware '{found}'.{did_you_mean(str(found), names)} ({', '.join(names)})", self._root, "kind"
            )
        return ""

    def description(self) -> str:
        """One line."""
        found = self._root.get("description")
        if isinstance(found, str) and found.strip() and "\n" not in found.strip():
            return found.strip()
        self._refuse(
            ("description",), "is missing; write one line" if found is None else "must be one line of text", self._root, "description"
        )
        return ""

    def options(self, kind: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Option -> value, and option -> source. Where the kind is unknown, only the form is checked."""
        written = self._root.get("options")
        written = {} if written is None else written
        if not isinstance(written, Mapping):
            self._refuse(("options",), "expected a mapping of options", self._root, "options")
            return {}, {}
        known = self._known_options(kind)
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, item in written.items():
            if known is not None and name not in known:
                told = f"unknown option of {kind}.{did_you_mean(str(name), list(known))} (options: {', '.join(known) or 'none'})"
                self._refuse(("options", str(name)), told, written, name)
                continue
            for value, source in self._sourced(written, str(name), item):
                values[name] = self._typed(written, known[name], value) if known is not None else value
                sources |= {name: source} if source else {}
        missing = [option.name for option in (known or {}).values() if option.required and option.name not in written]
        for name in missing:
            self._refuse(("options", name), f"is missing; {kind} needs it", self._root, "options")
        return values, sources

    def _known_options(self, kind: str) -> dict[str, Option] | None:
        """The options of a kind; None where it is unknown or cannot be loaded."""
        if not kind:
            return None
        try:
            return {option.name: option for option in HARDWARE.options(kind)}
        except (BadInput, ImportError) as error:
            self._refuse(("kind",), str(error), self._root, "kind")
            return None

    def _sourced(self, written: Any, name: str, item: Any) -> Iterator[tuple[Any, str]]:
        """(value, source) of an option; nothing where its form is wrong."""
        way = ("options", name)
        if not isinstance(item, Mapping):
            value = _plain(item)
            if has_number(value):
                self._refuse(way, f'a number needs its source: {{value: {item}, source: "where it is from"}}', written, name)
            else:
                yield from self._finite(written, name, value, "")
            return
        strange = [key for key in item if key not in ("value", "source")]
        for key in strange:
            self._refuse(
                (*way, str(key)), f"unknown field.{did_you_mean(str(key), ('value', 'source'))} (fields: value, source)", item, key
            )
        if strange:
            return
        source = item.get("source")
        if "value" not in item:
            self._refuse((*way, "value"), "is missing", written, name)
        elif source is None and not has_number(_plain(item["value"])):
            yield from self._finite(written, name, _plain(item["value"]), "")
        elif not isinstance(source, str) or not source.strip():
            told = "is missing; say where the number is from" if source is None else "must be a text: where the number is from"
            self._refuse((*way, "source"), told, item, "source")
        else:
            yield from self._finite(written, name, _plain(item["value"]), source.strip())

    def _finite(self, written: Any, name: str, value: Any, source: str) -> Iterator[tuple[Any, str]]:
        """The value, unless something in it is no plain finite value."""
        strange = _strange(value)
        if strange is None:
            yield value, source
        else:
            self._refuse(("options", name), f"{strange} is not possible here; give plain finite values", written, name)

    def _typed(self, written: Any, option: Option, value: Any) -> Any:
        try:
            return declared(option.annotation, value, folder=self._folder)
        except BadInput as error:
            self._refuse(("options", option.name), str(error), written, option.name)
            return None

    def _refuse(self, way: tuple[str, ...], message: str, owner: Any, key: object) -> None:
        line, column = owner.lc.key(key) if key in owner and owner.lc.data else (owner.lc.line or 0, owner.lc.col or 0)
        self.problems.append(SpecProblem(line=line + 1, column=column + 1, path=".".join(way), message=message))


def _plain(value: Any) -> Any:
    """A value as ruamel.yaml read it, as plain Python."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return value


def _strange(value: Any) -> str | None:
    """The first thing in a value that is no finite number, text, truth value or nothing; None where there is none."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    if items is not None:
        return next((found for found in map(_strange, items) if found is not None), None)
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return None
    return str(value) if isinstance(value, float) else f"a {type(value).__name__}"
