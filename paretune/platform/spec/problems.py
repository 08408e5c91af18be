"""pydantic's errors -> problems with a place in the file and words for the person who wrote it."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from paretune.core.errors import ParetuneError, SpecProblem
from paretune.platform.spec.model import StudySpec
from paretune.platform.spec.nodes import ListNode, Loc, MapNode, Node, Scalar, dotted, find, key_place, place, shape, shortened
from paretune.platform.spec.plugins import PluginSpec
from paretune.platform.spec.suggest import nearest

NAMED = {"hardware": "a target", "derived": "a metric"}
"""Section that names its members -> what it names."""
LIMITS = {"greater_than_equal": ("ge", "must be at least"), "less_than_equal": ("le", "is above the limit")}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The section inside `tuple[X, ...]`, `dict[str, X]`, `X | None` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    arguments = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return next((found for found in map(_model_in, arguments) if found), None)


def sections(model: type[BaseModel] = StudySpec, loc: Loc = ()) -> Iterator[tuple[Loc, type[BaseModel]]]:
    """Every section of the spec with its way; list indices and names of targets are `*`."""
    yield loc, model
    for name, info in model.model_fields.items():
        inner = _model_in(info.annotation)
        if inner is not None:
            many = get_origin(info.annotation) in (tuple, dict)
            yield from sections(inner, (*loc, info.alias or name, *(("*",) if many else ())))


SECTIONS = dict(sections())


def section_at(loc: Loc) -> type[BaseModel] | None:
    """The section that a way leads to, or None where it leads elsewhere (a list, an option)."""
    general = tuple("*" if isinstance(part, int) or (position == 1 and loc[0] in NAMED) else part for position, part in enumerate(loc))
    return SECTIONS.get(general)


def written_fields(model: type[BaseModel]) -> dict[str, Any]:
    """The fields of a section as they are written: alias or name -> pydantic's field; the options of a plugin stand beside its name."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    if issubclass(model, PluginSpec):
        for name in ("options", "origin"):
            fields.pop(name, None)
    return fields


class Translator:
    """Turns the errors of one document into problems.

    Args:
        root: the document.
        kinds: way to a hardware target that a file describes -> its kind, which the document does not have.
    """

    def __init__(self, root: MapNode, kinds: Mapping[Loc, str]) -> None:
        self.root, self.kinds = root, kinds
        self.meant: set[Loc] = set()
        """Fields that a misspelt name stands for, so that they are not reported as missing too."""

    def problems(self, error: ValidationError | None, more: list[tuple[Loc, Loc, str]]) -> list[SpecProblem]:
        """All problems of a document.

        Args:
            error: what pydantic found.
            more: what checks across fields found: (place, field it is about, message); dropped where the field was misspelt.
        """
        items: list[Any] = list(error.errors(include_url=False, include_input=False)) if error else []
        items = [item for item in items if not self._is_broken(item["loc"])]
        unknown = [self._unknown(item["loc"]) for item in items if item["type"] == "extra_forbidden"]
        others = [self._other(item) for item in items if item["type"] != "extra_forbidden"]
        crossing = [self._at(at, about, message) for at, about, message in more if not self._is_meant(about)]
        return [*unknown, *(problem for problem in others if problem), *crossing]

    def _at(self, at: Loc, about: Loc, message: str) -> SpecProblem:
        line, column = place(self.root, at)
        return SpecProblem(line=line, column=column, path=dotted(about), message=message)

    def _is_broken(self, loc: Loc) -> bool:
        node = find(self.root, loc)[1]
        return isinstance(node, Scalar) and node.is_broken

    def _is_meant(self, loc: Loc) -> bool:
        return loc in self.meant or any(item[: len(loc)] == loc for item in self.meant)

    def _other(self, item: Any) -> SpecProblem | None:
        loc: Loc = tuple(item["loc"])
        context = item.get("ctx", {})
        if loc and loc[-1] == "[key]":
            line, column = key_place(self.root, loc[:-1])
            told = f"is no name for {NAMED[str(loc[0])]}: a letter, then letters, digits, _ or -, up to 31 characters"
            return SpecProblem(line=line, column=column, path=dotted(loc[:-1]), message=f"'{shortened(str(loc[-2]))}' {told}")
        if item["type"] == "spec":
            loc = (*loc, context["field"]) if "field" in context else loc
            return self._at(loc, loc, context["text"])
        if item["type"] == "missing":
            return None if self._is_meant(loc) else self._at(loc, loc, self._missing(loc))
        _, node, followed = find(self.root, loc)
        if item["type"] == "too_short" and isinstance(node, ListNode) and len(node.items) >= context["min_length"]:
            return None  # pydantic counts the items without mistakes
        return self._at(loc, loc, self._message(item["type"], loc, node if followed == len(loc) else None, context, item["msg"]))

    def _missing(self, loc: Loc) -> str:
        model = section_at(loc[:-1])
        info = written_fields(model).get(str(loc[-1])) if model else None
        if info is not None and info.examples:
            return f"is missing. Example: {info.examples[0]}"
        return "is missing; it has no default"

    def _message(self, kind: str, loc: Loc, node: Node | None, context: Any, fallback: str) -> str:
        got = shortened(node.text) if isinstance(node, Scalar) else ""
        if kind in LIMITS:
            limit, words = LIMITS[kind]
            bound = f"{context[limit]:,}"
            return f"{words} {bound} (got {got})" if kind.startswith("greater") else f"{got} {words} {bound}"
        if kind in ("list_type", "tuple_type", "model_type", "model_attributes_type", "dict_type", "mapping_type"):
            return self._wrong_shape(loc, node, is_list=kind in ("list_type", "tuple_type"))
        if kind == "too_short":
            return f"needs at least {context['min_length']} value{'s' if context['min_length'] > 1 else ''}"
        if kind == "too_long":
            return f"has {context['actual_length']} values; at most {context['max_length']} are possible"
        return f"{fallback[:1].lower()}{fallback[1:]}{f' (got {got})' if got else ''}"

    def _wrong_shape(self, loc: Loc, node: Node | None, *, is_list: bool) -> str:
        model = section_at(loc)
        fields = list(written_fields(model)) if model else []
        expected = "a list" if is_list else f"a mapping with {', '.join(fields)}" if fields else "a mapping"
        if isinstance(node, Scalar) and node.is_null:
            return f"is empty; give {expected} or remove the line"
        hint = ""
        if is_list and isinstance(node, MapNode) and node.entries:
            hint = f". Put '- ' before '{next(iter(node.entries))}'"
        elif is_list and isinstance(node, Scalar):
            hint = f". Write [{shortened(node.text)}]"
        elif model is not None and issubclass(model, PluginSpec) and isinstance(node, Scalar):
            hint = f". Write {{{model.key}: {shortened(node.text)}}}"
        elif not is_list and isinstance(node, ListNode):
            hint = ". Remove the '- '"
        elif loc == ("tracking",):
            hint = ". To switch tracking off, write {uri: none}"
        return f"expected {expected}, got {shape(node) if node else 'something else'}{hint}"

    def _unknown(self, loc: Loc) -> SpecProblem:
        """An unknown field, with the field that was probably meant."""
        name, model = str(loc[-1]), section_at(loc[:-1])
        line, column = key_place(self.root, loc)
        known = list(written_fields(model)) if model else []
        owner = ""
        if model is not None and issubclass(model, PluginSpec):
            owner = self._plugin_name(model, loc[:-1])
            known += _options_of(model, owner) if owner else []
        near = nearest(name, known)
        if near:
            instead = {model.key, *model.other_keys} if model is not None and issubclass(model, PluginSpec) else set()
            self.meant |= {(*loc[:-1], field) for field in (instead if near in instead else {near})}
            told = f" Did you mean '{near}'?"
        else:
            told = self._elsewhere(name, model, owner)
        message = f"unknown field{f' of {owner}' if owner else ''}.{told} (fields: {', '.join(known)})"
        return SpecProblem(line=line, column=column, path=dotted(loc), message=message)

    def _plugin_name(self, model: type[PluginSpec], loc: Loc) -> str:
        if loc in self.kinds:
            return self.kinds[loc]
        _, node, _ = find(self.root, (*loc, model.key))
        names = model.registry.names()
        return next((name for name in names if isinstance(node, Scalar) and name.lower() == node.text.lower()), "")

    def _elsewhere(self, name: str, model: type[BaseModel] | None, owner: str) -> str:
        """Where an unknown field belongs instead."""
        if owner and name == "options":
            return " Write the options beside the name"
        if model is not None and issubclass(model, PluginSpec):
            for other in model.registry.names():
                if other != owner and name in _options_of(model, other):
                    return f" It belongs to {other}, not {owner}"
        paths: dict[str, Loc] = {}
        for loc, section in SECTIONS.items():
            if "*" not in loc and section is not model:
                for field in written_fields(section):
                    paths.setdefault(field, (*loc, field))
        searcher = SECTIONS[("searcher",)]
        assert issubclass(searcher, PluginSpec)
        for option in _options_of(searcher, self._plugin_name(searcher, ("searcher",))):
            paths.setdefault(option, ("searcher", option))
        found = nearest(name, [item for item in paths if item != "name"])
        if found is None:
            return ""
        self.meant.add(paths[found])
        belongs = f"It belongs under {dotted(paths[found][:-1])}: " if len(paths[found]) > 1 else "It belongs at the top: "
        return f" {belongs}{dotted(paths[found])}"


def _options_of(model: type[PluginSpec], name: str) -> list[str]:
    """Names of a plugin's options; none where it cannot be loaded, since that is another problem."""
    try:
        return [option.name for option in model.registry.options(name)] if name else []
    except (ParetuneError, ImportError):
        return []
