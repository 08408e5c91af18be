"""Torch settings under which the same seed gives the same bits, undone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic_torch() -> Iterator[None]:
    """One thread, deterministic algorithms, and torch's random state put back afterwards.

    One thread, because sums over several are split, and rounded, differently on every machine.
    """
    threads = torch.get_num_threads()
    algorithms, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
            torch.set_num_threads(threads)
