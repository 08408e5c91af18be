"""Checks of one number or word that somebody gave as an option: each gives the value back, or raises `BadInput` naming the option."""

import math
from collections.abc import Sequence

from paretune.core.errors import BadInput, did_you_mean


def finite(name: str, *values: float) -> None:
    """Finite numbers, at least one."""
    if not values or not all(math.isfinite(value) for value in values):
        raise BadInput(f"{name}: must be finite numbers; got {values!r}")


def positive(name: str, value: float) -> float:
    """A finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise BadInput(f"{name}: must be a finite number above 0; got {value!r}")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """A finite number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BadInput(f"{name}: must be a finite number of at least 0; got {value!r}")
    return float(value)


def share(name: str, value: float) -> float:
    """A number above 0 and at most 1."""
    if positive(name, value) > 1:
        raise BadInput(f"{name}: must be at most 1; got {value!r}")
    return float(value)


def whole(name: str, value: int, *, minimum: int = 1) -> int:
    """A whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise BadInput(f"{name}: must be a whole number of at least {minimum}; got {value!r}")
    return value


def one_of(name: str, value: str, known: Sequence[str]) -> str:
    """One of the known words."""
    if value not in known:
        raise BadInput(f"{name}: must be one of {', '.join(known)}; got {value!r}.{did_you_mean(str(value), known)}")
    return value
