"""What a command of measuring names, opened: a target that measures, and a search space by its name or that of a study file."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from paretune.core.errors import BadInput, UnknownName
from paretune.core.protocols import Device, SearchSpace
from paretune.core.registry import Registry
from paretune.hardware import HARDWARE
from paretune.hardware.target_files import SUFFIXES, load_target, target_names
from paretune.platform.spec.options import option_values
from paretune.platform.study.api import read_spec
from paretune.platform.study.plan import build_plan
from paretune.spaces import SPACES

SPEC_ENDINGS = (".yaml", ".yml")
DEFAULT_SHAPE, DEFAULT_CLASSES = (1, 8, 8), 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChoice:
    """A device as the command line names it."""

    name: str
    """Of a target or a kind of hardware, or the path of a target file."""
    options: tuple[str, ...] = ()
    """`NAME=VALUE` each."""

    @property
    def title(self) -> str:
        """What tables of the device are called: its name, of a file the name without ending."""
        return Path(self.name).stem if _is_file(self.name) else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceChoice:
    """A search space as the command line names it."""

    name: str
    """A registered name, or a study file."""
    options: tuple[str, ...] = ()
    input_shape: tuple[int, ...] | None = None
    classes: int | None = None

    @property
    def title(self) -> str:
        """What tables of its networks are called: its name, of a study file the name without ending."""
        return Path(self.name).stem if self.name.endswith(SPEC_ENDINGS) else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSpace:
    """A search space and how it was made."""

    name: str
    """Registered."""
    space: SearchSpace
    input_shape: tuple[int, ...]
    num_classes: int
    options: dict[str, Any]
    """Of the space, as JSON."""


def open_both(target: TargetChoice, choice: SpaceChoice) -> tuple[Device, OpenSpace]:
    """The device and the space.

    Raises:
        BadInput: what is wrong with either, or with both.
    """
    problems: list[str] = []
    device = _tried(lambda: open_device(target), problems)
    opened = _tried(lambda: open_space(choice), problems)
    if device is None or opened is None:
        raise BadInput("\n".join(problems))
    return device, opened


def open_device(target: TargetChoice) -> Device:
    """The device of a target, or of a kind of hardware with its defaults; a target comes before a kind of its name.

    Raises:
        BadInput: there is neither, it measures nothing, or an option cannot be used.
    """
    kind, options = kind_and_options(target.name)
    made = HARDWARE.create(kind, **{**options, **_options(HARDWARE, kind, target.options, known=options)})
    if not isinstance(made, Device):
        raise BadInput(f"target '{target.name}' computes costs and measures nothing; name one that measures, such as host")
    return made


def kind_and_options(name: str) -> tuple[str, dict[str, Any]]:
    """Kind and options of a target, of a target file, or of a kind of hardware by itself.

    Raises:
        BadInput: there is none of this name, or the file has mistakes.
    """
    if _is_file(name) or name in target_names():
        found = load_target(name)
        return found.kind, dict(found.options)
    if name not in HARDWARE.names():
        raise UnknownName("target", name, sorted({*target_names(), *HARDWARE.names()}))
    return name, {}


def _is_file(name: str) -> bool:
    return "/" in name or name.endswith(SUFFIXES)


def open_space(choice: SpaceChoice) -> OpenSpace:
    """A space by its name, or that of a study file.

    Raises:
        BadInput: there is no such space, or an option cannot be used.
    """
    if choice.name.endswith(SPEC_ENDINGS):
        given = [
            name
            for name, value in (("--input", choice.input_shape), ("--classes", choice.classes), ("--space-option", choice.options))
            if value
        ]
        if given:
            raise BadInput(f"{', '.join(given)}: the study file says that already; use --set with 'paretune run', or name the space")
        plan = build_plan(read_spec(choice.name))
        chosen = plan.spec.space
        return OpenSpace(
            name=chosen.name,
            space=plan.costs.network,
            input_shape=tuple(plan.task.input_shape),
            num_classes=plan.task.num_classes,
            options=_as_json(option_values(SPACES, chosen.name, chosen.options)),
        )
    options = _options(SPACES, choice.name, choice.options)
    shape, classes = choice.input_shape or DEFAULT_SHAPE, choice.classes or DEFAULT_CLASSES
    space = SPACES.create(choice.name, input_shape=shape, num_classes=classes, **options)
    return OpenSpace(name=choice.name, space=space, input_shape=shape, num_classes=classes, options=_as_json(options))


def _as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


def _options(registry: Registry, name: str, pairs: Sequence[str], known: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Options of a plugin from `NAME=VALUE` pairs, checked like those of a study file; `known` are those that a target file gives."""
    values: dict[str, Any] = {}
    for pair in pairs:
        option, equals, text = pair.partition("=")
        if not equals or not option:
            raise BadInput(f"option {pair!r} of {registry.kind} {name}: expected NAME=VALUE")
        try:
            values[option] = json.loads(text)
        except ValueError:
            values[option] = text
    registry.check_options(name, {**known, **values})
    return {option: value for option, value in option_values(registry, name, {**known, **values}).items() if option in values}


def _tried(action: Callable[[], Any], problems: list[str]) -> Any:
    try:
        return action()
    except BadInput as error:
        problems.append(str(error))
        return None
