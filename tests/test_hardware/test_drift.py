"""Measurements between references: what is repeated, what is refused, on a simulated device and clock."""

from collections.abc import Iterator
from itertools import chain, repeat

import pytest

from paretune.core.errors import UnstableMeasurement
from paretune.hardware.measured.drift import DriftLimits, DriftWatch, drift_of
from paretune.hardware.measured.reference_network import REFERENCE_SHAPE, reference_network


class Heating:
    """Everything that runs, reference or candidate, takes the next of the given factors times its true time."""

    def __init__(self, factors: Iterator[float], **limits: float) -> None:
        self.factors, self.now_s, self.slept_s = factors, 0.0, list[float]()
        self.num_references = 0
        self.watch = DriftWatch(self.reference, DriftLimits(**limits), clock=lambda: self.now_s, sleep=self.sleep)  # type: ignore[arg-type]

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept_s.append(seconds)

    def run(self, true_s: float) -> float:
        taken_s = true_s * next(self.factors)
        self.now_s += taken_s
        return taken_s

    def reference(self) -> float:
        self.num_references += 1
        return self.run(0.1)

    def candidate(self) -> float:
        return self.run(0.3)


def test_steady_device_is_measured_once_and_a_fresh_reference_serves_twice() -> None:
    device = Heating(repeat(1.0))
    for _ in range(3):
        found, check = device.watch.bracketed(device.candidate)
        assert (found, check.repeats) == (pytest.approx(0.3), 0)
        assert (check.before, check.after) == (pytest.approx(1), pytest.approx(1))
    # Two for the baseline, then one behind each candidate.
    assert device.num_references == 5


def test_an_old_reference_is_measured_anew_before_a_candidate() -> None:
    device = Heating(repeat(1.0), fresh_s=2.0)
    device.watch.bracketed(device.candidate)
    before = device.num_references
    device.now_s += 10
    device.watch.bracketed(device.candidate)
    assert device.num_references == before + 2


def test_a_slowdown_behind_a_candidate_repeats_it() -> None:
    # Baseline twice; candidate and reference at half speed; then both in order.
    device = Heating(chain([1, 1, 2, 2], repeat(1.0)))
    found, check = device.watch.bracketed(device.candidate)
    assert found == pytest.approx(0.3)
    assert check.repeats == 1
    assert device.slept_s == [0.5]


def test_a_slowdown_only_before_a_candidate_repeats_it_too() -> None:
    device = Heating(chain([1, 1], [1, 1], [1.2, 1, 1], repeat(1.0)), max_drift=0.5)
    device.watch.bracketed(device.candidate)
    device.now_s += 10
    _, check = device.watch.bracketed(device.candidate)
    assert check.repeats == 1
    assert check.drift == pytest.approx(0)


def test_pauses_between_repetitions_double_and_lasting_drift_is_refused() -> None:
    device = Heating(chain([1, 1], repeat(2.0)), max_repeats=3)
    with pytest.raises(UnstableMeasurement, match=r"takes 2.00 times its baseline of 0.1 s, also after 3 repetitions"):
        device.watch.bracketed(device.candidate)
    assert device.slept_s == [0.5, 1.0, 2.0]


def test_of_drifts_that_are_tolerated_the_smallest_counts() -> None:
    # Drifts of 30, 10 and 20 % behind the three candidates; the references before the repetitions are in order.
    device = Heating(chain([1, 1], [1, 1.3], [1, 1.01, 1.1], [1, 1.02, 1.2]), max_drift=0.5, max_repeats=2)
    found, check = device.watch.bracketed(device.candidate)
    assert found == pytest.approx(0.3 * 1.01)
    assert (check.repeats, check.drift) == (1, pytest.approx(0.1))


def test_faster_than_the_baseline_is_drift_as_well() -> None:
    assert drift_of(0.5) == drift_of(2.0) == pytest.approx(1.0)
    device = Heating(chain([1, 1], repeat(0.5)), max_repeats=1)
    with pytest.raises(UnstableMeasurement, match=r"0.50 times"):
        device.watch.bracketed(device.candidate)


def test_a_baseline_from_a_busy_moment_is_taken_anew_where_only_neighbours_slow_the_device_down() -> None:
    # Twice as slow while the baseline is taken; from then on in order, with a breath of noise.
    device = Heating(chain([2, 2], repeat(1.02)), max_drift=0.5, quiet_drift=0.1, adopts_faster=True)
    found, check = device.watch.bracketed(device.candidate)
    assert found == pytest.approx(0.306)
    assert check.baseline_s == pytest.approx(0.102)
    assert check.drift == pytest.approx(0)
    found, check = device.watch.bracketed(device.candidate)
    assert (check.baseline_s, check.repeats) == (pytest.approx(0.102), 0)


def test_a_quiet_moment_is_no_reason_for_another_baseline() -> None:
    # Twice as fast for 15 s, then as before: the candidate is refused, and the next one measured as all before it.
    device = Heating(chain([1, 1], repeat(1.0)), max_drift=0.5, quiet_drift=0.1, adopts_faster=True, fresh_s=-1)
    busy = device.factors
    end_s = device.now_s + 15
    device.watch.baseline_s()
    device.factors = (0.5 if device.now_s < end_s else next(busy) for _ in repeat(None))
    with pytest.raises(UnstableMeasurement, match=r"0.50 times"):
        device.watch.bracketed(device.candidate)
    _, check = device.watch.bracketed(device.candidate)
    assert (check.baseline_s, check.repeats) == (pytest.approx(0.1), 0)


def test_a_device_that_is_busy_again_gets_its_earlier_baseline_back() -> None:
    device = Heating(repeat(1.0), max_drift=0.5, quiet_drift=0.1, adopts_faster=True, fresh_s=-1)
    found = []
    for factor in (1.0, 0.5, 1.1, 0.5, 1.0):
        device.factors = repeat(factor)
        found += [device.watch.bracketed(device.candidate) for _ in range(3)]
    assert [check.baseline_s for _, check in found[::3]] == pytest.approx([0.1, 0.05, 0.1, 0.05, 0.1])
    assert [seconds for seconds, _ in found[::3]] == pytest.approx([0.3, 0.15, 0.33, 0.15, 0.3])
    assert [check.repeats for _, check in found[1::3]] == [0, 0, 0, 0, 0]


def test_an_earlier_baseline_comes_back_only_where_it_is_the_nearer_one() -> None:
    # 0.19, then 0.1 for good, then 0.13: that is 1.3 of the present baseline and 1 / 1.46 of the earlier one, both tolerated.
    device = Heating(repeat(1.9), max_drift=0.5, quiet_drift=0.1, adopts_faster=True, fresh_s=-1)
    found = []
    for factor in (1.9, 1.0, 1.3):
        device.factors = repeat(factor)
        found.append(device.watch.bracketed(device.candidate)[1])
    assert [check.baseline_s for check in found] == pytest.approx([0.19, 0.1, 0.1])
    assert found[-1].drift == pytest.approx(0.3)


def test_a_baseline_somewhat_too_slow_is_replaced_without_a_refusal() -> None:
    # 0.8 of the baseline: tolerated, and measured three times, until it has lasted.
    device = Heating(chain([1, 1], repeat(0.8)), max_drift=0.5, quiet_drift=0.1, max_repeats=2, adopts_faster=True)
    checks = []
    while device.now_s < 60:
        checks.append(device.watch.bracketed(device.candidate)[1])
        device.now_s += 5
    assert checks[0].drift == pytest.approx(0.25)
    assert checks[-1].baseline_s == pytest.approx(0.08)
    assert checks[-1].repeats == 0
    assert sorted({round(check.baseline_s, 6) for check in checks}) == [0.08, 0.1]


def test_references_too_noisy_to_tell_are_called_that() -> None:
    device = Heating(chain([1, 1], repeat(1.0)), max_repeats=1, fresh_s=-1)
    device.watch.baseline_s()

    def reference() -> float:
        raise UnstableMeasurement("noisy")

    device.watch._reference = reference
    with pytest.raises(UnstableMeasurement, match="too noisy to tell"):
        device.watch.bracketed(device.candidate)


def test_a_baseline_only_a_little_beyond_what_is_tolerated_is_taken_anew_too() -> None:
    # References at 0.7 and 0.6 of the baseline in turn: some within max_drift, and never both of a bracket.
    device = Heating(
        chain([1, 1], [0.7, 0.6, 0.6], [0.7, 0.6, 0.6], [0.7, 0.6, 0.6], repeat(0.6)),
        max_drift=0.5,
        max_repeats=2,
        fresh_s=-1,
        adopts_faster=True,
    )
    _, check = device.watch.bracketed(device.candidate)
    assert check.baseline_s == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("then", "limits"),
    [
        # A burst of speed, and back: one reference is as it was.
        ([0.5, 0.5, 1.0, 0.5, 0.5, 0.5, 0.5], {"max_repeats": 2}),
        # Faster each time, so that none confirms another.
        ([0.6, 0.5, 0.4, 0.3, 0.2], {"max_repeats": 3}),
        # Slower: heat or a neighbour, and no reason for another baseline.
        ([2.0] * 8, {"max_repeats": 2}),
        # A baseline that the user vouches for stays.
        ([0.5] * 8, {"max_repeats": 2, "baseline_s": 0.1}),
    ],
)
def test_drift_that_is_no_busy_start_stays_an_error(then: list[float], limits: dict[str, float]) -> None:
    start = [] if "baseline_s" in limits else [1.0, 1.0]
    device = Heating(chain(start, then, repeat(5.0)), max_drift=0.5, quiet_drift=0.05, fresh_s=-1, adopts_faster=True, **limits)
    with pytest.raises(UnstableMeasurement, match=r"times its baseline of 0.1 s"):
        device.watch.bracketed(device.candidate)


def test_a_faster_reference_is_confirmed_by_others_without_repetitions() -> None:
    device = Heating(chain([3, 3], repeat(1.0)), max_drift=0.5, max_repeats=0, fresh_s=-1, adopts_faster=True)
    _, check = device.watch.bracketed(device.candidate)
    assert check.baseline_s == pytest.approx(0.1)


def test_the_baseline_is_where_two_references_agree() -> None:
    # 0.14, 0.1, 0.12, 0.103: the two fastest differ by 3 %.
    assert Heating(chain([1.4, 1, 1.2, 1.03], repeat(9.0))).watch.baseline_s() == pytest.approx(0.1)
    # A burst of speed that never comes again is not the device in order: 0.083 confirms 0.0815, 0.043 stands alone.
    assert Heating(iter([0.83, 0.43, 0.9, 1.2, 0.815]), max_drift=0.5).watch.baseline_s() == pytest.approx(0.0815)
    with pytest.raises(UnstableMeasurement, match="no two within 5%"):
        Heating(iter([1, 2, 4, 8, 16])).watch.baseline_s()


def test_a_reference_too_noisy_to_tell_counts_as_drift() -> None:
    device = Heating(chain([1, 1], [1], repeat(1.0)))
    device.watch.baseline_s()
    noisy = iter([UnstableMeasurement("noisy"), None])
    quiet = device.reference

    def reference() -> float:
        if error := next(noisy, None):
            raise error
        return quiet()

    device.watch._reference = reference
    _, check = device.watch.bracketed(device.candidate)
    assert check.repeats == 1


def test_the_reference_network_is_the_same_every_time_and_leaves_random_numbers_alone() -> None:
    import torch

    from paretune.networks.counting import count_macs

    before = torch.get_rng_state()
    one = reference_network()
    torch.manual_seed(5)
    other = reference_network()
    assert all(torch.equal(weights, other.state_dict()[name]) for name, weights in one.state_dict().items())
    torch.set_rng_state(before)
    reference_network()
    assert torch.equal(torch.get_rng_state(), before)
    # 256 positions * (27*16 + 9*16 + 16*32), 64 * (9*32*32 + 9*32 + 32*64), 640.
    assert count_macs(one, REFERENCE_SHAPE) == 256 * (432 + 144 + 512) + 64 * (9216 + 288 + 2048) + 640 == 1_018_496
