"""Checks of numbers that make up a preset: each raises `BadInput` naming the option."""

import math

from paretune.core.errors import BadInput


def finite(name: str, *values: float) -> None:
    """Finite numbers, at least one."""
    if not values or not all(math.isfinite(value) for value in values):
        raise BadInput(f"{name}: must be finite numbers; got {values!r}")


def positive(name: str, value: float) -> None:
    """A finite number above 0."""
    if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise BadInput(f"{name}: must be a finite number above 0; got {value!r}")


def not_negative(name: str, value: float) -> None:
    """A finite number of at least 0."""
    if isinstance(value, bool) or not (math.isfinite(value) and value >= 0):
        raise BadInput(f"{name}: must be a finite number of at least 0; got {value!r}")


def whole(name: str, value: int, *, minimum: int) -> None:
    """A whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise BadInput(f"{name}: must be a whole number of at least {minimum}; got {value!r}")
