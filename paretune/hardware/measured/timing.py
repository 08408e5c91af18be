"""How long something takes: warm-up, blocks of runs, robust statistics, and when to stop."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import UnstableMeasurement

Clock = Callable[[], int]
"""Monotonic time in nanoseconds."""

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""
OUTLIER_DEVIATIONS = 5.0
"""A block this many deviations from the median was interrupted by something else."""
MAX_RUNS_PER_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingPlan:
    """How thoroughly to measure."""

    warm_up_s: float = 0.05
    """Run this long before measuring: clocks rise, caches fill."""
    block_s: float = 0.0002
    """Blocks are at least this long, so that the clock's own cost (0.1 us) does not count. Much longer ones are worse: on a busy machine
    the scheduler takes the core away every few milliseconds, which short blocks show as outliers and long ones as a latency (with two
    busy neighbours on two cores, blocks of 2 ms gave 90 to 190 us for a network that takes 30 us, blocks of 0.2 ms gave 32 to 60 us)."""
    min_blocks: int = 30
    """At least so many blocks, also beyond the cap."""
    max_s: float = 0.2
    """Stop here."""
    relative_interval: float = 0.01
    """Stop earlier once the 95 % confidence interval of the median is this narrow, half its width over the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What repeated runs took; every time is that of one run."""

    median_s: float
    iqr_s: float
    """75th minus 25th percentile."""
    min_s: float
    p90_s: float
    relative_interval: float
    """Half the 95 % confidence interval of the median over the median."""
    num_blocks: int
    """Blocks that count."""
    num_outliers: int
    """Blocks left out."""
    runs_per_block: int

    @property
    def relative_iqr(self) -> float:
        """Interquartile range over median: how noisy the measurement was."""
        return self.iqr_s / self.median_s if self.median_s > 0 else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a measurement is believed, and when to give up."""

    quiet_relative_iqr: float = 0.1
    """An attempt noisier than this does not end the measurement."""
    agreement: float = 0.05
    """It ends when the two fastest attempts differ by no more than this: a core that is shared for a second is quiet, and wrong."""
    max_relative_iqr: float = 0.5
    """An attempt noisier than this does not count."""
    max_attempts: int = 5


def time_until_quiet(
    run: Callable[[], object], plan: TimingPlan, patience: Patience, *, clock: Clock = time.perf_counter_ns
) -> tuple[Timing, int]:
    """Measure until two quiet attempts agree; gives the fastest attempt that counts and the number of attempts.

    The fastest, because neighbours can only slow a run down.

    Raises:
        UnstableMeasurement: no attempt was quiet enough to count.
    """
    return attempts_until_quiet(lambda: time_runs(run, plan, clock=clock), patience)


def attempts_until_quiet(attempt: Callable[[], Timing], patience: Patience) -> tuple[Timing, int]:
    """`time_until_quiet` for attempts that are made elsewhere.

    Raises:
        UnstableMeasurement: no attempt was quiet enough to count.
    """
    attempts: list[Timing] = []
    while not enough_attempts(attempts, patience):
        attempts.append(attempt())
    return fastest_that_counts(attempts, patience), len(attempts)


def enough_attempts(attempts: Sequence[Timing], patience: Patience) -> bool:
    """Whether two quiet attempts agree, or there may be no more."""
    return len(attempts) >= patience.max_attempts or _reproduced(attempts, patience)


def fastest_that_counts(attempts: Sequence[Timing], patience: Patience) -> Timing:
    """The fastest of the attempts that are quiet enough to count.

    Raises:
        UnstableMeasurement: none is.
    """
    counting = [attempt for attempt in attempts if attempt.relative_iqr <= patience.max_relative_iqr]
    if counting:
        return min(counting, key=lambda attempt: attempt.median_s)
    quietest = min(attempts, key=lambda attempt: attempt.relative_iqr)
    raise UnstableMeasurement(
        f"the latency is too noisy: median {quietest.median_s:.3g} s with an interquartile range of {quietest.relative_iqr:.0%} in the "
        f"quietest of {len(attempts)} attempts, allowed {patience.max_relative_iqr:.0%}. Run less beside it, or raise max_relative_iqr"
    )


def _reproduced(attempts: Sequence[Timing], patience: Patience) -> bool:
    """Whether the two fastest attempts are quiet and agree."""
    fastest = sorted(attempts, key=lambda attempt: attempt.median_s)[:2]
    return (
        len(fastest) == 2
        and all(attempt.relative_iqr <= patience.quiet_relative_iqr for attempt in fastest)
        and fastest[1].median_s <= (1 + patience.agreement) * fastest[0].median_s
    )


def time_runs(run: Callable[[], object], plan: TimingPlan, *, clock: Clock = time.perf_counter_ns) -> Timing:
    """One attempt: warm-up and blocks of runs, without garbage collection meanwhile."""
    samples_s, runs_per_block = sample_runs(run, plan, clock=clock)
    return summarise(samples_s, runs_per_block=runs_per_block)


def sample_runs(run: Callable[[], object], plan: TimingPlan, *, clock: Clock = time.perf_counter_ns) -> tuple[NDArray[np.float64], int]:
    """The raw samples of one attempt: `(num_blocks,)` seconds of one run in each block, and the runs in a block."""
    with _no_garbage_collection():
        runs_per_block = _warm_up(run, plan, clock)
        samples_s: list[float] = []
        start_ns = clock()
        while True:
            before_ns = clock()
            for _ in range(runs_per_block):
                run()
            after_ns = clock()
            samples_s.append((after_ns - before_ns) * 1e-9 / runs_per_block)
            if len(samples_s) >= plan.min_blocks and (
                after_ns - start_ns >= plan.max_s * 1e9 or median_interval(np.array(samples_s)) <= plan.relative_interval
            ):
                break
    return np.array(samples_s), runs_per_block


def summarise(samples_s: NDArray[np.float64], *, runs_per_block: int) -> Timing:
    """Robust statistics of `(num_blocks,)` times of a run, without the blocks that something else interrupted.

    Median, not mean: the times have a long tail to the right, and what is in it depends on the neighbours, not on the network.
    """
    median_s = float(np.median(samples_s))
    deviation_s = MAD_TO_DEVIATION * float(np.median(np.abs(samples_s - median_s)))
    # Where more than half of the blocks agree to the nanosecond the deviation is 0 and says nothing about the others.
    kept_s = samples_s[np.abs(samples_s - median_s) <= OUTLIER_DEVIATIONS * deviation_s] if deviation_s > 0 else samples_s
    low, middle, high, p90 = (float(value) for value in np.percentile(kept_s, [25, 50, 75, 90]))
    return Timing(
        median_s=middle,
        iqr_s=high - low,
        min_s=float(kept_s.min()),
        p90_s=p90,
        relative_interval=median_interval(kept_s),
        num_blocks=len(kept_s),
        num_outliers=len(samples_s) - len(kept_s),
        runs_per_block=runs_per_block,
    )


def median_interval(samples_s: NDArray[np.float64]) -> float:
    """Half the 95 % confidence interval of the median over the median, from order statistics, so for any distribution.

    Source: Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2 (normal approximation of the binomial ranks).
    """
    ordered_s = np.sort(samples_s)
    count, spread = len(ordered_s), 0.98 * np.sqrt(len(ordered_s))
    low, high = max(int(np.floor(count / 2 - spread)), 0), min(int(np.ceil(count / 2 + spread)), count - 1)
    median_s = float(np.median(ordered_s))
    return float(ordered_s[high] - ordered_s[low]) / 2 / median_s if median_s > 0 else float("inf")


def _warm_up(run: Callable[[], object], plan: TimingPlan, clock: Clock) -> int:
    """Run for the warm-up time; gives the number of runs that fill a block at the speed reached."""
    start_ns, runs_per_block, num_full = clock(), 1, 0
    while True:
        before_ns = clock()
        for _ in range(runs_per_block):
            run()
        after_ns = clock()
        block_ns = after_ns - before_ns
        if block_ns < plan.block_s * 1e9 and runs_per_block < MAX_RUNS_PER_BLOCK:
            # At most twice as many as before: the first runs are slow and say little about the later ones.
            runs_per_block, num_full = 2 * runs_per_block, 0
            continue
        num_full += 1  # two, since an interruption fills a block too
        if num_full >= 2 and after_ns - start_ns >= plan.warm_up_s * 1e9:
            return runs_per_block


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
