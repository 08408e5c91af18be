"""Registries of plugins: built-ins by import path, others by entry point, loaded only when used."""

import inspect
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_type_hints

from paretune.core.errors import BadInput, ParetuneError, UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One keyword option of a plugin, read from its signature."""

    name: str
    annotation: Any
    """The declared type."""
    default: Any
    """`inspect.Parameter.empty` where the option is required."""

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty


@cache
def _installed(group: str) -> dict[str, EntryPoint]:
    """Entry points of the installed packages, read once a process: it opens a file for each of them."""
    return {point.name: point for point in entry_points(group=group)}


class Registry:
    """Names -> factories of one kind of plugin.

    Args:
        kind: what the plugins are, in the singular, for messages.
        group: entry-point group in which other packages register theirs.
        builtins: name -> `module:attribute` of our own.
        supplied: parameters that paretune fills in itself; they are not options.
        all_named: whether nothing is given by position, so that a parameter that is not keyword-only would be no option.
    """

    def __init__(
        self, *, kind: str, group: str, builtins: Mapping[str, str], supplied: tuple[str, ...] = (), all_named: bool = False
    ) -> None:
        self.kind, self.group, self._builtins, self._supplied, self._all_named = kind, group, dict(builtins), supplied, all_named

    def _entry_points(self) -> dict[str, EntryPoint]:
        return _installed(self.group)

    def names(self) -> tuple[str, ...]:
        """Every registered name, sorted."""
        return tuple(sorted({*self._builtins, *self._entry_points()}))

    def factory(self, name: str) -> Callable[..., Any]:
        """The class or function behind a name.

        Raises:
            UnknownName: with the near matches.
            BadInput: the factory takes `**kwargs`, so nobody could tell a mistyped option, or options by position, or cannot be imported.
        """
        if name in self._builtins:
            module, _, attribute = self._builtins[name].partition(":")
            found = getattr(import_module(module), attribute)
        else:
            point = self._entry_points().get(name)
            if point is None:
                raise UnknownName(self.kind, name, self.names())
            try:
                found = point.load()
            except Exception as error:  # a module runs when it is imported, and may raise what it likes
                raise BadInput(f"{self.kind} '{name}' cannot be loaded from {point.value}: {_told(error)}") from error
        parameters = inspect.signature(found).parameters.values()
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            raise BadInput(f"{self.kind} '{name}' takes **kwargs; a plugin must name its options")
        unnamed = [
            parameter.name
            for parameter in parameters
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY and parameter.name not in self._supplied
        ]
        if self._all_named and unnamed:
            raise BadInput(
                f"{self.kind} '{name}' takes {', '.join(unnamed)} by position; its options must stand behind a '*' in its signature"
            )
        factory: Callable[..., Any] = found
        return factory

    def options(self, name: str) -> tuple[Option, ...]:
        """The options a user may set, in the order of the signature.

        Raises:
            UnknownName: no such plugin.
            BadInput: it cannot be loaded, or its signature names types that cannot be found when it runs.
        """
        factory = self.factory(name)
        try:
            hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)
        except (NameError, AttributeError, SyntaxError, TypeError) as error:
            advice = "; import it outside 'if TYPE_CHECKING', too" if isinstance(error, NameError) else ""
            raise BadInput(f"{self.kind} '{name}': {error}, and its signature needs it{advice}") from error
        return tuple(
            Option(name=parameter.name, annotation=hints.get(parameter.name, Any), default=parameter.default)
            for parameter in inspect.signature(factory).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in self._supplied
        )

    def wants(self, name: str, parameter: str) -> bool:
        """Whether a plugin takes something that paretune supplies."""
        return parameter in self._supplied and parameter in inspect.signature(self.factory(name)).parameters

    def describe(self, name: str) -> str:
        """First line of the plugin's docstring."""
        return (inspect.getdoc(self.factory(name)) or "").partition("\n")[0]

    def create(self, name: str, *supplied: object, **options: Any) -> Any:
        """Build a plugin from what paretune supplies and the user's options.

        Raises:
            UnknownName: no such plugin or option.
            BadInput: a required option is missing, the plugin refuses a value, or somebody's plugin fails with an error of its own.
        """
        self.check_options(name, options)
        try:
            return self.factory(name)(*supplied, **options)
        except ParetuneError:
            raise
        except Exception as error:
            if name in self._builtins:
                raise
            raise BadInput(f"{self.kind} '{name}' failed when it was made: {_told(error)}") from error

    def check_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Refuse unknown options and missing ones.

        Raises:
            UnknownName: no such plugin or option.
            BadInput: a required option is missing.
        """
        known = [option.name for option in self.options(name)] + list(self._supplied)
        for option in options:
            if option not in known:
                raise UnknownName(f"option of {self.kind} {name}", option, known)
        for required in self.options(name):
            if required.required and required.name not in options:
                raise BadInput(f"{self.kind} '{name}' needs the option '{required.name}'")


def _told(error: Exception) -> str:
    """What somebody's code raised, and the line that did."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    places = [frame for frame in frames if not frame.filename.startswith("<") and "importlib" not in frame.filename]
    place = f" ({places[-1].filename}:{places[-1].lineno})" if places else ""
    return f"{type(error).__name__}: {error}{place}"
