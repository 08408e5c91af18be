"""Values of a target file as the types that a kind's options declare: 3 is a float where a float is due, "3" is not a number."""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from paretune.core.errors import BadInput

UNIONS = (Union, types.UnionType)
SEQUENCES = (tuple, list, Sequence)


def has_number(value: object) -> bool:
    """Whether a value is a number or holds one, so that it needs a source."""
    if isinstance(value, Mapping):
        return any(has_number(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_number(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def declared(annotation: Any, value: Any, *, folder: Path) -> Any:
    """`value` as the type `annotation`.

    Args:
        annotation: of the option: int, float, str, bool, Path, Literal, tuple, Mapping, their unions with None; others are not checked.
        value: plain, as it was read.
        folder: what relative paths start from.

    Raises:
        BadInput: the value is of another type; the message says what is expected.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return declared(arguments[0], value, folder=folder)
    if origin in UNIONS:
        return _one_of_several(arguments, value, folder)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise BadInput(f"must be one of {', '.join(map(str, arguments))}; got {value!r}")
    if origin in SEQUENCES:
        return _sequence(arguments, value, folder)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise BadInput(f"must be a mapping; got {value!r}")
        return {str(key): declared(arguments[1], item, folder=folder) for key, item in value.items()}
    return _plain(annotation, value, folder)


def _plain(annotation: Any, value: Any, folder: Path) -> Any:
    if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if annotation is Path and isinstance(value, str):
        return Path(value) if value.startswith("${env:") else folder / value
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
    if annotation in words and (not isinstance(value, annotation) or isinstance(value, bool) is not (annotation is bool)):
        raise BadInput(f"must be {words[annotation]}; got {value!r}")
    return value


def _one_of_several(annotations: Sequence[Any], value: Any, folder: Path) -> Any:
    refusals = []
    for annotation in annotations:
        if annotation is types.NoneType:
            if value is None:
                return None
            continue
        try:
            return declared(annotation, value, folder=folder)
        except BadInput as error:
            refusals.append(error)
    raise refusals[0]


def _sequence(annotations: Sequence[Any], value: Any, folder: Path) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise BadInput(f"must be a list; got {value!r}")
    item_types = [item for item in annotations if item is not Ellipsis] or [Any]
    if Ellipsis in annotations or not annotations:
        item_types = item_types[:1] * len(value)
    if len(item_types) != len(value):
        raise BadInput(f"must have {len(item_types)} values; got {len(value)}")
    return tuple(declared(item_type, item, folder=folder) for item_type, item in zip(item_types, value, strict=True))
