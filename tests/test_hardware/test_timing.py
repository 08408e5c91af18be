"""Statistics and stopping of repeated measurements, on given samples and with a simulated clock."""

import gc
from collections.abc import Callable, Iterator
from itertools import chain, cycle, repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import UnstableMeasurement
from paretune.hardware.measured.timing import Patience, TimingPlan, median_interval, summarise, time_runs, time_until_quiet


class SimulatedDevice:
    """A clock that only runs advance, each by the next of the given times."""

    def __init__(self, run_ns: Iterator[int]) -> None:
        self.now_ns, self.runs, self._run_ns = 0, 0, run_ns

    def run(self) -> None:
        self.now_ns += next(self._run_ns)
        self.runs += 1

    def clock(self) -> int:
        return self.now_ns


def test_median_quartiles_and_tail_of_given_samples() -> None:
    # 1, 2, 3, 4, 5 ms: quartiles 2 and 4, 90th percentile 4.6.
    timing = summarise(np.array([5e-3, 1e-3, 3e-3, 2e-3, 4e-3]), runs_per_block=7)
    assert (timing.median_s, timing.iqr_s, timing.min_s, timing.p90_s) == pytest.approx((3e-3, 2e-3, 1e-3, 4.6e-3))
    assert (timing.num_blocks, timing.num_outliers, timing.runs_per_block) == (5, 0, 7)
    assert timing.relative_iqr == pytest.approx(2 / 3)


def test_interrupted_blocks_are_left_out_and_counted() -> None:
    # Nine blocks of 10 to 14 us and one that lost its core for 4 ms: the deviation is about 1.5 us, the limit about 7 us above.
    samples = np.array([10, 11, 12, 13, 14, 10, 11, 12, 13, 4000]) * 1e-6
    timing = summarise(samples, runs_per_block=1)
    assert (timing.num_blocks, timing.num_outliers) == (9, 1)
    assert timing.median_s == pytest.approx(12e-6)
    assert timing.p90_s < 15e-6


def test_two_modes_are_noise_and_not_outliers() -> None:
    # A core shared half of the time: neither half may be called an accident.
    timing = summarise(np.array([30e-6, 60e-6] * 10), runs_per_block=1)
    assert timing.num_outliers == 0
    assert timing.relative_iqr == pytest.approx(30 / 45)


@settings(deadline=None, max_examples=50)
@given(samples=st.lists(st.floats(1e-6, 1e-2), min_size=20, max_size=60), factor=st.floats(0.1, 10))
def test_statistics_scale_with_the_samples_and_ignore_their_order(samples: list[float], factor: float) -> None:
    timing = summarise(np.array(samples), runs_per_block=1)
    scaled = summarise(np.array(samples[::-1]) * factor, runs_per_block=1)
    assert min(samples) <= timing.min_s <= timing.median_s <= timing.p90_s <= max(samples)
    if scaled.num_blocks == timing.num_blocks:  # rounding may move a block over the limit
        assert scaled.median_s == pytest.approx(timing.median_s * factor)
        assert scaled.relative_iqr == pytest.approx(timing.relative_iqr, abs=1e-9)


def test_confidence_interval_of_the_median_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        samples = rng.lognormal(0.0, 0.5, size=40)  # true median 1
        covered += abs(np.median(samples) - 1) <= 2 * median_interval(samples) * np.median(samples)
    # The interval is not symmetric about the median; twice its half-width covers at least the stated 95 %.
    assert covered >= 0.95 * 400


def test_steady_runs_stop_at_the_fewest_blocks() -> None:
    device = SimulatedDevice(repeat(50_000))
    plan = TimingPlan(warm_up_s=0.01, block_s=0.001, min_blocks=25, max_s=10.0)
    timing = time_runs(device.run, plan, clock=device.clock)
    assert timing.median_s == pytest.approx(50e-6)
    assert timing.num_blocks == 25
    # 1 ms of 50 us runs, doubled from one: 32.
    assert timing.runs_per_block == 32


def test_warm_up_is_not_measured() -> None:
    device = SimulatedDevice(chain(repeat(1_000_000, 100), repeat(10_000)))
    timing = time_runs(device.run, TimingPlan(warm_up_s=0.15), clock=device.clock)
    assert timing.p90_s == pytest.approx(10e-6)


def test_a_run_longer_than_a_block_is_a_block_of_its_own_and_the_cap_holds() -> None:
    noise = cycle([3_000_000, 5_000_000, 4_000_000])
    device = SimulatedDevice(noise)
    timing = time_runs(device.run, TimingPlan(min_blocks=10, max_s=0.1, relative_interval=1e-6), clock=device.clock)
    assert timing.runs_per_block == 1
    # 0.1 s of 4 ms runs on average.
    assert 25 <= timing.num_blocks + timing.num_outliers <= 26


def test_noise_beyond_the_limit_raises_after_every_attempt() -> None:
    device = SimulatedDevice(cycle([1_000_000, 9_000_000]))
    with pytest.raises(UnstableMeasurement, match="quietest of 3 attempts, allowed 50%"):
        time_until_quiet(device.run, TimingPlan(), Patience(max_attempts=3), clock=device.clock)


def test_noisy_attempt_is_repeated_and_the_quiet_ones_count() -> None:
    # 160 noisy runs, then quiet ones of 4 ms.
    device = SimulatedDevice(chain((1_000_000 + 8_000_000 * (index % 2) for index in range(160)), repeat(4_000_000)))
    timing, attempts = time_until_quiet(device.run, TimingPlan(max_s=0.5), Patience(), clock=device.clock)
    assert attempts >= 3
    assert timing.median_s == pytest.approx(4e-3)


def test_a_quiet_attempt_on_a_shared_core_is_not_believed_alone() -> None:
    # One attempt (warm-up of 50 ms and 30 blocks) runs at half speed, then the neighbour stops.
    slow_runs = 200_000 // 60_000 + 50_000_000 // 60_000 + 30 * 8
    device = SimulatedDevice(chain(repeat(60_000, slow_runs), repeat(30_000)))
    timing, attempts = time_until_quiet(device.run, TimingPlan(), Patience(), clock=device.clock)
    assert timing.median_s == pytest.approx(30e-6)
    assert attempts == 3


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_off_meanwhile_and_as_before_afterwards(enabled: bool) -> None:
    device = SimulatedDevice(repeat(100_000))
    seen: set[bool] = set()

    def run() -> None:
        seen.add(gc.isenabled())
        device.run()

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        time_runs(run, TimingPlan(), clock=device.clock)
        assert gc.isenabled() is enabled
        with pytest.raises(ZeroDivisionError):
            time_runs(_failing(), TimingPlan(), clock=device.clock)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == {False}


def _failing() -> Callable[[], object]:
    return lambda: 1 // 0
