"""Checks of the options that spaces take: each gives the value back, or says what is expected."""

import math
from collections.abc import Sequence
from typing import TypeVar

from paretune.core.errors import BadInput
from paretune.core.option_checks import whole

Item = TypeVar("Item")


def checked_numbers(name: str, values: Sequence[int], *, minimum: int = 1) -> tuple[int, ...]:
    """Different whole numbers in rising order, so that neighbouring choices are alike."""
    numbers = [whole(name, value, minimum=minimum) for value in values]
    return tuple(sorted(_checked_different(name, numbers)))


def checked_factors(name: str, values: Sequence[float], *, minimum: float) -> tuple[float, ...]:
    """Different finite factors of at least `minimum`, in rising order."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < minimum:
            raise BadInput(f"{name}: must be numbers of at least {minimum:g}; got {value!r}")
    return tuple(sorted(_checked_different(name, [float(value) for value in values])))


def checked_names(name: str, values: Sequence[str], *, known: Sequence[str]) -> tuple[str, ...]:
    """Different names, each of them known, in the order of `known`."""
    for value in values:
        if value not in known:
            raise BadInput(f"{name}: {value!r} is not one of {', '.join(known)}")
    different = _checked_different(name, list(values))
    return tuple(item for item in known if item in different)


def checked_odd(name: str, kernel: int) -> int:
    """A kernel size that has a middle."""
    if whole(name, kernel, minimum=1) % 2 == 0:
        raise BadInput(f"{name}: {kernel} is even; a kernel needs a middle, so use odd sizes such as 3, 5, 7")
    return kernel


def checked_image(shape: Sequence[int]) -> tuple[int, int]:
    """Channels and size of square images."""
    if len(shape) != 3 or shape[1] != shape[2]:
        raise BadInput(f"input_shape: must be (channels, size, size), square images; got {tuple(shape)}")
    return whole("input_shape", shape[0], minimum=1), whole("input_shape", shape[1], minimum=1)


def _checked_different(name: str, values: list[Item]) -> list[Item]:
    if not values:
        raise BadInput(f"{name}: needs at least one value")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise BadInput(f"{name}: {value} is listed twice")
    return values
