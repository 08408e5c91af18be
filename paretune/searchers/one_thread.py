"""Linear algebra on one thread: how sums are split shows in their last digits, and idle threads of small problems only wait for work."""

import sys
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

POOLED = ("scipy.linalg", "xgboost", "torch")
"""Modules that bring libraries with threads of their own, besides numpy."""


def one_thread() -> AbstractContextManager[Any]:
    """Within it the libraries that are loaded by now use one thread of the process; cheap enough for every ask."""
    limited: AbstractContextManager[Any] = _controller(tuple(name in sys.modules for name in POOLED)).limit(limits=1)
    return limited


@cache
def _controller(_loaded: tuple[bool, ...]) -> ThreadpoolController:
    # Kept, since looking for the libraries takes milliseconds.
    return ThreadpoolController()
