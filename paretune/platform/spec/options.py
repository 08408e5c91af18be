"""Options of plugins: a pydantic model made from the signature of the factory, so that they are checked like every other field."""

import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo, WrapValidator, create_model
from pydantic_core import ErrorDetails, PydanticCustomError

from paretune.core.environment import resolve_env
from paretune.core.errors import BadInput
from paretune.core.metrics import si_name, unit_of
from paretune.core.registry import Registry
from paretune.core.rewards import UnitOf
from paretune.platform.spec.nodes import Scalar
from paretune.platform.spec.values import (
    anything,
    duration,
    memory_size,
    one_of,
    path_text,
    quantity,
    real_number,
    text,
    whole_number,
    yes_no,
)

Reader: TypeAlias = Callable[[object], object]
UNIONS = (Union, types.UnionType)


def options_model(registry: Registry, name: str) -> type[BaseModel]:
    """The options that users may set of a plugin, as a model that refuses every other field.

    Raises:
        UnknownName: no such plugin.
        BadInput: the plugin cannot be loaded or takes `**kwargs`.
        ImportError: a package the plugin needs is not installed.
    """
    fields: dict[str, Any] = {}
    for option in registry.options(name):
        fields[option.name] = (field_type(option.annotation, option.name), ... if option.required else option.default)
    config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(f"Options of {name}", __config__=config, **fields)


def option_values(registry: Registry, name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Stored (JSON) options as the objects that the plugin's signature asks for: tuples, paths, enum members.

    Raises:
        BadInput: they do not fit the signature, for example because the study was written by another version.
    """
    try:
        model = options_model(registry, name).model_validate(dict(stored))
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, item['loc']))}: {_refusal(item)}" for item in error.errors(include_url=False))
        raise BadInput(f"options of {registry.kind} {name}: {told}") from error
    return {field: _located(field, getattr(model, field)) for field in type(model).model_fields}


def _refusal(item: ErrorDetails) -> str:
    """A mistake in pydantic's words; where a list was expected, how it is written."""
    if item["type"] in ("list_type", "tuple_type"):
        return f"expected a list, got {item['input']!r}. Write [{item['input']}]"
    if item["type"] in ("missing", "extra_forbidden"):
        return "is missing; it has no default" if item["type"] == "missing" else "unknown option"
    return f"{item['msg'][:1].lower()}{item['msg'][1:]} (got {item['input']!r})"


def _located(field: str, value: Any) -> Any:
    """Paths with the values from the environment that they name; everything else as it is."""
    if isinstance(value, tuple) and any(isinstance(item, Path) for item in value):
        return tuple(_located(field, item) for item in value)
    try:
        return Path(resolve_env(str(value))) if isinstance(value, Path) else value
    except BadInput as error:
        raise BadInput(f"{field}: {error}") from error


def field_type(annotation: Any, name: str) -> Any:
    """The pydantic type that reads an option: names that end in `_s` or `_bytes` also take `90s` and `2GiB`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated and isinstance(arguments[1], UnitOf):
        return Annotated[arguments[0], BeforeValidator(_in_units_of(arguments[1].parameter))]
    if origin is Annotated:
        return Annotated[(field_type(arguments[0], name), *arguments[1:])]
    if origin in UNIONS:
        return _union(arguments, name)
    if origin is Literal:
        return Annotated[annotation, BeforeValidator(one_of(arguments, synonyms={}))]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return Annotated[annotation, BeforeValidator(one_of([member.value for member in annotation], synonyms={}))]
    if origin in (tuple, list, Sequence):
        item_types = [item for item in arguments if item is not Ellipsis]
        if origin is tuple and Ellipsis not in arguments and item_types:
            return tuple[tuple(field_type(item, name) for item in item_types)]  # type: ignore[misc]
        return tuple[field_type(item_types[0] if item_types else Any, name), ...]  # type: ignore[misc]
    if origin in (dict, Mapping):
        return dict[str, field_type(arguments[1], name)]  # type: ignore[misc]
    return _plain_type(annotation, name)


def _plain_type(annotation: Any, name: str) -> Any:
    readers: dict[Any, Reader] = {bool: yes_no, int: whole_number, float: real_number, str: text, Path: path_text}
    if annotation is float and name.endswith("_s"):
        return Annotated[float, BeforeValidator(_either(real_number, duration))]
    if annotation is int and name.endswith("_bytes"):
        return Annotated[int, BeforeValidator(_either(whole_number, memory_size))]
    if annotation in readers:
        return Annotated[annotation, BeforeValidator(readers[annotation])]
    return Annotated[Any, BeforeValidator(anything)]


def _in_units_of(parameter: str) -> Callable[[object, ValidationInfo], object]:
    """Reads a value, or a list of them, in the unit of the metric that another option names, or of each metric where it names several."""

    def read(value: object, info: ValidationInfo) -> object:
        names = info.data.get(parameter)
        if isinstance(value, list | tuple) and isinstance(names, tuple):
            return [_quantity(item, names[min(index, len(names) - 1)]) if names else item for index, item in enumerate(value)]
        if isinstance(names, tuple) and isinstance(value, Scalar):
            return value  # no list: told as such
        return _quantity(value, names)

    return read


def _quantity(value: object, metric: object) -> object:
    if not isinstance(metric, str):
        return 0.0 if isinstance(value, Scalar) else value  # the metric's own mistake is reported; the value cannot be judged
    inner, factor = si_name(metric)
    return quantity(value, metric=metric, unit=unit_of(inner), factor=factor)


def _either(first: Reader, second: Reader) -> Reader:
    """Reads a value by the first reader, or by the second where only that one takes it."""

    def read(value: object) -> object:
        try:
            return first(value)
        except PydanticCustomError as refused:
            try:
                return second(value)
            except PydanticCustomError:
                raise refused from None

    return read


def _union(arguments: tuple[Any, ...], name: str) -> Any:
    kinds = [argument for argument in arguments if argument is not types.NoneType]
    inner = field_type(kinds[0], name) if len(kinds) == 1 else Annotated[Any, BeforeValidator(anything)]
    return Annotated[inner | None, WrapValidator(null_is_none)] if len(kinds) < len(arguments) else inner


def null_is_none(value: object, handler: Callable[[object], object]) -> object:
    """Nothing written (or `null`) is None."""
    return handler(None if isinstance(value, Scalar) and value.is_null else value)
