"""Parts of a spec that name a plugin with its options: task, space, searcher, hardware, derived metrics."""

import re
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from paretune.core.derived import DERIVED
from paretune.core.errors import BadInput, UnknownName
from paretune.core.registry import Registry
from paretune.hardware import HARDWARE
from paretune.hardware.target_files import Target
from paretune.platform.spec.nodes import Scalar, shortened
from paretune.platform.spec.options import options_model
from paretune.platform.spec.suggest import did_you_mean, nearest
from paretune.platform.spec.values import mistake, text, whole_number
from paretune.searchers import SEARCHERS
from paretune.spaces import SPACES
from paretune.tasks import TASKS

WRITTEN = "written"
"""Validation context of the written form."""

Text = Annotated[str, BeforeValidator(text)]


class Section(BaseModel):
    """Settings common to every part of the spec."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=False, validate_default=False)


class PluginSpec(Section):
    """A plugin by its registered name, and its options."""

    registry: ClassVar[Registry]
    key: ClassVar[str] = "name"
    other_keys: ClassVar[tuple[str, ...]] = ()
    """What may be written instead of `key`."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Fields that are no options of the plugin."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Every option with its value, also those left at their defaults; JSON values."""

    @model_validator(mode="before")
    @classmethod
    def _read_options(cls, value: object, info: ValidationInfo) -> object:
        """Written form: split the name from the options, and check those against the signature."""
        if info.context != WRITTEN or not isinstance(value, dict):
            return value
        written = dict(value)
        beside = {field: written.pop(field) for field in cls.beside if field in written}
        if isinstance(target := written.get("target"), Target):
            del written["target"]
            given = {option: item for option, item in target.options.items() if option not in written}
            sources = {option: source for option, source in target.sources.items() if option in given}
            origin = {"description": target.description, "file": target.file, "sources": sources}
            return {**cls._checked(target.kind, {**given, **written}), "target": target.name, "origin": origin, **beside}
        chosen = written.pop(cls.key, None)
        if not isinstance(chosen, Scalar) or chosen.is_null:
            misspelt = {field: item for field, item in written.items() if nearest(field, [cls.key, *cls.other_keys])}
            return misspelt if chosen is None else {cls.key: chosen}
        return {**cls._checked(cls._registered(chosen), written), **beside}

    @classmethod
    def _checked(cls, name: str, written: dict[str, Any]) -> dict[str, Any]:
        """Name and options, these checked against the signature."""
        try:
            model = options_model(cls.registry, name)
        except ImportError as error:
            package = f"the package '{error.name}', which is not installed: pip install {error.name}" if error.name else str(error)
            raise at_key(cls.key, f"{cls.registry.kind} '{name}' needs {package}") from error
        except BadInput as error:
            raise at_key(cls.key, str(error)) from error
        options = model.model_validate(written).model_dump(mode="json", serialize_as_any=True)
        return {cls.key: name, "options": options}

    @classmethod
    def _registered(cls, chosen: Scalar) -> str:
        """The registered name that was meant; case does not matter."""
        names = cls.registry.names()
        for name in names:
            if name.lower() == chosen.text.lower():
                return name
        error = UnknownName(cls.registry.kind, chosen.text, names)
        raise at_key(cls.key, f"unknown {error.kind} '{shortened(chosen.text)}'.{did_you_mean(chosen.text, names)} ({', '.join(names)})")


def at_key(key: str, message: str) -> PydanticCustomError:
    """A mistake of a section that is shown at one of its fields."""
    return PydanticCustomError("spec", "{text}", {"text": message, "field": key})


class TaskSpec(PluginSpec):
    """What the networks must do."""

    registry: ClassVar[Registry] = TASKS
    name: Text = Field(examples=["name: digits"])


class SpaceSpec(PluginSpec):
    """What may be built."""

    registry: ClassVar[Registry] = SPACES
    name: Text = Field(examples=["name: digits_conv"])


class StartSpec(Section):
    """Candidates that a search starts from, as they are recorded; `spec.starts` reads what is written."""

    source: str = ""
    """The file or study that they are from, as it was written; empty where they stand in the spec itself."""
    candidates: tuple[dict[str, bool | int | float | str], ...]
    """Decision -> choice, each."""


class SearcherSpec(PluginSpec):
    """What decides which candidate is tried next."""

    registry: ClassVar[Registry] = SEARCHERS
    beside: ClassVar[tuple[str, ...]] = ("start",)
    name: Text = Field(examples=["name: nsga2"])
    start: tuple[StartSpec, ...] = ()
    """Candidates that are tried first, in their order."""


RESERVED_TAGS = ("CPU", "GPU", "memory", "object_store_memory", "TPU")


def tag_name(value: object) -> object:
    """The name of a custom resource of a cluster."""
    read = text(value)
    if isinstance(read, str) and (read in RESERVED_TAGS or not TAG.fullmatch(read)):
        told = "is a resource that Ray has already" if read in RESERVED_TAGS else "is no name of a resource"
        raise mistake(f"'{shortened(read)}' {told}; expected a letter, then letters, digits, _ or -, such as edge_pi4")
    return read


TAG = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
Tag = Annotated[str, BeforeValidator(tag_name)]


class TargetSpec(PluginSpec):
    """Hardware that the networks are meant for: a kind with options, or a target whose file has them."""

    registry: ClassVar[Registry] = HARDWARE
    key: ClassVar[str] = "kind"
    other_keys: ClassVar[tuple[str, ...]] = ("target",)
    beside: ClassVar[tuple[str, ...]] = ("tag", "count", "labels")
    kind: Text = Field(examples=["kind: host, or target: NAME (paretune list targets)"])
    target: str | None = None
    """Name of a shipped target or path of a target file, as it was written; `options` holds what it gave, with what the spec overrides."""
    origin: dict[str, Any] = Field(default_factory=dict)
    """Of a target: its description, its file and the sources of its numbers. Never written by hand."""
    tag: Tag | None = None
    """Where its devices are: the custom resource of their nodes, one for each device; None is any node."""
    count: Annotated[int, BeforeValidator(whole_number), Field(ge=1, le=1000)] = 1
    """Devices that may measure at the same time."""
    labels: dict[str, Text] = Field(default_factory=dict)
    """Labels that the node of a device must carry."""


class DerivedSpec(PluginSpec):
    """A metric worked out from others."""

    registry: ClassVar[Registry] = DERIVED
    key: ClassVar[str] = "kind"
    kind: Text = Field(examples=["kind: ratio"])
