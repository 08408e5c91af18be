"""Torch as a device runs it: eager or compiled, on the CPU or a CUDA GPU, timed by the GPU's own events there."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol

from paretune.hardware.measured.onnx_sessions import example_input
from paretune.hardware.measured.timing import Clock

if TYPE_CHECKING:
    from torch import nn


class Event(Protocol):
    """A mark in the work of a GPU, see `torch.cuda.Event`."""

    def record(self) -> None:
        """Put the mark behind what was started so far."""

    def synchronize(self) -> None:
        """Wait until the GPU came to the mark."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from this mark to a later one."""
        ...


class EventClock:
    """A clock that a GPU tells: nanoseconds between marks, each read after all work before it has ended.

    The steps are added up: one difference since the start would soon be too coarse, for events give milliseconds as float32.
    """

    def __init__(self, make_event: Callable[[], Event]) -> None:
        self._make, self._total_ns = make_event, 0.0
        self._last = self._marked()

    def __call__(self) -> int:
        """Nanoseconds since the clock was made."""
        mark = self._marked()
        self._total_ns += 1e6 * self._last.elapsed_time(mark)
        self._last = mark
        return round(self._total_ns)

    def _marked(self) -> Event:
        mark = self._make()
        mark.record()
        mark.synchronize()
        return mark


def cuda_is_available() -> bool:
    """Whether torch finds a CUDA GPU."""
    import torch

    return torch.cuda.is_available()


@contextmanager
def torch_run(
    network: "nn.Module", example_shape: tuple[int, ...], *, threads: int, processor: str, compiled: bool
) -> Iterator[tuple["nn.Module", Callable[[], object], Clock]]:
    """What runs, a function that runs one inference of it, and the clock to time that with.

    The network is left as it came; a GPU gets a copy, and so does the compiler, which writes on what it compiles.
    """
    import torch

    from paretune.networks.evaluation import evaluating

    inputs = torch.from_numpy(example_input(example_shape)).to(processor)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with evaluating(network), _random_state_kept():
            subject = deepcopy(network).to(processor) if processor == "cuda" or compiled else network
            if compiled:
                torch.compiler.reset()  # after eight networks it would run the ninth eagerly without a word
                subject = torch.compile(subject)  # type: ignore[assignment]  # a module stays a module
            subject(inputs)  # compiles
            yield subject, lambda: subject(inputs), EventClock(_cuda_event) if processor == "cuda" else time.perf_counter_ns
    finally:
        torch.set_num_threads(before)


def _cuda_event() -> Event:
    from torch import cuda

    return cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call,no-any-return,unused-ignore]


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """The compiler draws from torch's generator while it tries variants."""
    import torch

    with torch.random.fork_rng(devices=[]):
        yield


@contextmanager
def cuda_peak() -> Iterator[Callable[[], int]]:
    """How far torch's memory on the GPU grew since the block began: a function that tells the bytes at its peak."""
    from torch import cuda

    cuda.synchronize()
    cuda.reset_peak_memory_stats()
    before = cuda.memory_allocated()
    yield lambda: cuda.max_memory_allocated() - before
