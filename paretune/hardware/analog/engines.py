"""What simulates the tiles: plain torch of our own, or the IBM analog hardware acceleration kit, imported only where it is asked for."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from paretune.core.errors import BadInput

if TYPE_CHECKING:
    from paretune.hardware.analog.drift_report import DriftReport

Engine: TypeAlias = Literal["paretune", "aihwkit"]
Tiles: TypeAlias = Literal["torch", "cpp"]


def kit_problems(tiles: Tiles, *, deterministic: bool) -> list[tuple[str, str]]:
    """Why the kit cannot be used as asked: (option, what to do)."""
    found = []
    if told := kit_module("kit").kit_problem():
        found.append(("engine", told))
    try:
        kit_module("kit_config").check_tiles(tiles, deterministic=deterministic)
    except BadInput as error:
        found.append(("tiles", str(error).removeprefix("tiles: ")))
    return found


def chosen_evaluate(engine: Engine) -> "Callable[..., DriftReport]":
    """The function that evaluates networks, with the arguments of `evaluator.evaluate`."""
    if engine == "paretune":
        from paretune.hardware.analog.evaluator import evaluate

        return evaluate
    found: Callable[..., DriftReport] = kit_module("kit").evaluate_with_kit
    return found


def kit_module(name: str) -> Any:
    """One of the modules that know the kit."""
    return import_module(f"paretune.hardware.analog.{name}")
