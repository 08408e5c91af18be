"""Linear algebra on one thread: how sums are split shows in their last digits, and idle threads of small problems only wait for work."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Within it numpy uses one thread of the process; cheap enough for every ask."""
    limited: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limited


@cache
def _controller() -> ThreadpoolController:
    # Kept, since looking for the libraries takes half a millisecond.
    return ThreadpoolController()
