"""What was worked out of arrays, found again by the array."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

Value = TypeVar("Value")

MOST = 3
"""Arrays that are remembered: a pool and shortlists of it."""


class ByArray(Generic[Value]):
    """Remembers what was worked out of the read-only arrays that came last.

    A searcher screens the same pool for each of its objectives, and in small spaces every round. An array that may be written to is not
    remembered, as it may hold something else when it comes again.
    """

    def __init__(self) -> None:
        self._known: list[tuple[NDArray[Any], Value]] = []

    def __call__(self, array: NDArray[Any], work_out: Callable[[], Value]) -> Value:
        """What was worked out of this array, or is now."""
        value = next((value for known, value in self._known if known is array), None)
        if value is None:
            value = work_out()
        if not array.flags.writeable:
            others = [item for item in self._known if item[0] is not array]
            self._known = [*others, (array, value)][-MOST:]
        return value
