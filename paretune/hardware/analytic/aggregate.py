"""How the costs of layers make that of a network: one after another, as a pipeline of layers, or scheduled over several engines.

Legend: N networks (or pairs of network and design), L layers of all of them, T tasks of one network, E engines, K predecessors at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NO_TASK = -1
"""Fills the rows of tasks that have fewer predecessors than others."""


def sequence_latency(durations_L: Floats, offsets: Integers) -> Floats:
    """`(N,)`: layers run one after another."""
    return np.asarray(np.add.reduceat(durations_L, offsets[:-1]))


def pipeline_latency(durations_L: Floats, gaps_L: Floats, tails_L: Floats, offsets: Integers) -> Floats:
    """`(N,)`: every layer has an engine of its own and starts as soon as its first input is there.

    Layer i starts `gaps_L[i - 1]` after the one before. It ends when its own work is done, but not before the last input came and what
    depends on that is computed: finish i = max(start i + duration i, finish i-1 + tail i). With gaps and tails no longer than durations
    the result lies between the longest layer and the sum of all.

    Args:
        durations_L: time that each layer's engine is busy.
        gaps_L: time from a layer's start to the next one's; those of last layers do not count.
        tails_L: time that a layer still needs after its last input.
        offsets: `(N + 1,)` layers of network i are `offsets[i]:offsets[i + 1]`.

    Whole numbers (clock cycles) stay exact however many networks there are; fractions are rounded like sums over all L layers.

    Source: start gaps after FNAS-Sched (Jiang et al., DAC 2019); the second term stands for the stalls of a layer that is faster than
    the one before.
    """
    # finish n = max over i of (start i + duration i + tails after i): sums up to a layer, taken from a network's first layer on.
    starts_L = _sums_before(gaps_L, offsets)
    tails_to_L = _sums_before(tails_L, offsets) + tails_L
    total_tails_N = tails_to_L[offsets[1:] - 1]
    return np.asarray(np.maximum.reduceat(starts_L + durations_L - tails_to_L, offsets[:-1]) + total_tails_N)


def _sums_before(values_L: Floats, offsets: Integers) -> Floats:
    """`(L,)` sum of the values of earlier layers of the same network."""
    before_L = np.cumsum(values_L) - values_L
    return np.asarray(before_L - np.repeat(before_L[offsets[:-1]], np.diff(offsets)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When and where each task runs."""

    start: Floats
    """`(..., T)`."""
    finish: Floats
    """`(..., T)`."""
    engine: Integers
    """`(..., T)` index of the engine."""

    @property
    def makespan(self) -> Floats:
        """`(...)` when the last task ends."""
        return np.asarray(self.finish.max(axis=-1))


def chain(num_tasks: int) -> Integers:
    """`(T, 1)` predecessors of tasks of which each needs the one before."""
    return np.arange(-1, num_tasks - 1, dtype=np.int64)[:, None]


def as_predecessors(lists: Sequence[Sequence[int]]) -> Integers:
    """`(T, K)` from the list of each task's predecessors, filled with `NO_TASK`."""
    widest = max((len(tasks) for tasks in lists), default=0)
    return np.array([[*tasks, *[NO_TASK] * (widest - len(tasks))] for tasks in lists], dtype=np.int64).reshape(len(lists), widest)


def list_schedule(durations: Floats, predecessors: Integers) -> Schedule:
    """Greedy list schedule: tasks in their order, each on the engine that ends it first (of equals the first one).

    An engine runs one task at a time; a task starts when all it needs is done and its engine has ended the tasks before it in the list.
    A task that takes no time keeps no engine from others.

    Args:
        durations: `(..., T, E)`; infinite where an engine cannot run a task. Leading axes are schedules apart from each other.
        predecessors: `(T, K)` or with the leading axes of `durations`: earlier tasks that each task needs, `NO_TASK` for none.

    Raises:
        ValueError: no engine can run some task, or a task needs one that is not before it in the list.
    """
    durations, predecessors = np.asarray(durations, dtype=np.float64), np.asarray(predecessors)
    *leading, num_tasks, num_engines = durations.shape
    if not np.isfinite(durations).any(axis=-1).all():
        raise ValueError("some task has no engine that can run it: a row of durations has no finite one")
    if np.any(predecessors >= np.arange(num_tasks)[:, None]) or np.any(predecessors < NO_TASK):
        raise ValueError("predecessors must stand before their task in the list")
    durations_NTE = durations.reshape(-1, num_tasks, num_engines)
    shape_NTK = (*leading, *predecessors.shape[-2:])
    predecessors_NTK = np.broadcast_to(predecessors, shape_NTK).reshape(len(durations_NTE), num_tasks, -1)
    # One column more than there are tasks: NO_TASK points to it, and it stays 0.
    finish_NT, start_NT = np.zeros((2, len(durations_NTE), num_tasks + 1))
    engine_NT = np.zeros((len(durations_NTE), num_tasks), dtype=np.int64)
    free_NE = np.zeros((len(durations_NTE), num_engines))
    rows_N = np.arange(len(durations_NTE))
    for task in range(num_tasks):
        ready_N = np.take_along_axis(finish_NT, predecessors_NTK[:, task], axis=1).max(axis=1, initial=0.0)
        begin_NE = np.maximum(free_NE, ready_N[:, None])
        end_NE = begin_NE + durations_NTE[:, task]
        best_N = end_NE.argmin(axis=1)
        engine_NT[:, task] = best_N
        start_NT[:, task] = begin_NE[rows_N, best_N]
        finish_NT[:, task] = end_NE[rows_N, best_N]
        busy_N = durations_NTE[rows_N, task, best_N] > 0
        free_NE[rows_N[busy_N], best_N[busy_N]] = finish_NT[busy_N, task]
    shape_NT = (*leading, num_tasks)
    return Schedule(
        start=start_NT[:, :-1].reshape(shape_NT), finish=finish_NT[:, :-1].reshape(shape_NT), engine=engine_NT.reshape(shape_NT)
    )
