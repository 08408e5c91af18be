"""Rewards against worked examples and published figures."""

import math

import pytest

from paretune.core.errors import BadInput
from paretune.core.rewards import (
    codesign,
    fbnet,
    feasible_first,
    fnas,
    hotnas,
    mnasnet,
    monas,
    monas_bounded,
    nasaic,
    proxyless,
    proxyless_add_linear,
    proxyless_mul_log,
    ratio,
    weighted_sum,
)


@pytest.mark.parametrize(
    ("latency_s", "alpha", "beta", "reward"),
    [
        (0.150, -0.07, -0.07, 0.714478),  # soft: .75 * 2 ** -.07
        (0.0375, -0.07, -0.07, 0.787287),  # .75 * 2 ** .07
        (0.075, -0.07, -0.07, 0.75),
        (0.150, 0.0, -1.0, 0.375),  # hard: halved at twice the target
        (0.0375, 0.0, -1.0, 0.75),  # and nothing gained below it
    ],
)
def test_mnasnet_rewards_soft_and_hard(latency_s, alpha, beta, reward):
    assert mnasnet(0.75, latency_s, target=0.075, alpha=alpha, beta=beta) == pytest.approx(reward, abs=1e-6)


def test_fnas_punishes_what_is_missed_and_rewards_what_is_used():
    # (10 - 12) / 10 - 1 = -1.2; .99 - .985 + 8 / 10 = .805; at the target itself the accuracy counts.
    assert fnas(0.99, 12e-3, target=10e-3) == pytest.approx(-1.2)
    assert fnas(0.99, 8e-3, target=10e-3, baseline=0.985) == pytest.approx(0.805)
    assert fnas(0.9, 10e-3, target=10e-3) == pytest.approx(1.9)


@pytest.mark.parametrize(
    ("accuracy", "latency_ms", "reward"),
    [
        (0.89, 7.0, 0.7 + 0.3),
        (0.95, 3.0, 0.7 + 0.3),  # clipped
        (0.80, 10.0, -0.7 - 0.3),
        (0.70, 8.5, -0.7 + 0.0),  # the middle of the latency range is 0
        (0.845, 7.0, 0.0 + 0.3),
        (0.845, 12.0, 0.3 * -2.0),  # published: 10 - 12 ms
    ],
)
def test_hotnas_maps_ranges(accuracy, latency_ms, reward):
    assert hotnas(accuracy, latency_ms / 1000, fast=7e-3, slow=10e-3) == pytest.approx(reward)


def test_hotnas_jumps_as_published_unless_continuous():
    def speed(latency_s, continuous):
        return hotnas(0.8, latency_s, fast=7e-3, slow=10e-3, weight=0.0, continuous=continuous)

    assert [speed(latency_s, False) for latency_s in (10e-3, 10.1e-3)] == pytest.approx([-1, -0.1])
    assert [speed(latency_s, True) for latency_s in (10e-3, 11.5e-3)] == pytest.approx([-1, -1.5])


NASAIC = {"limits": (8e5, 2e9, 4e9), "bounds": (1.6e6, 4e9, 8e9)}


@pytest.mark.parametrize(
    ("accuracies", "costs", "reward"),
    [
        ((0.9285, 0.8374), (7.77e5, 1.43e9, 2.03e9), 0.88295),  # the published design meets every limit
        # (.945 - .8) / .8 + (3.56 - 2) / 2 + (4.71 - 4) / 4 = 1.13875, times 10, from .89055
        ((0.9417, 0.8394), (9.45e5, 3.56e9, 4.71e9), -10.49695),
    ],
)
def test_nasaic_takes_penalties_off_the_weighted_accuracy(accuracies, costs, reward):
    assert nasaic(accuracies, costs, **NASAIC) == pytest.approx(reward, abs=5e-6)
    assert nasaic(accuracies, costs, **NASAIC, weights=(0.5, 0.5)) == pytest.approx(reward, abs=5e-6)


CODESIGN = {"least": (50.0, 10.0), "most": (250.0, 400.0), "lowest": 0.8, "highest": 0.95}  # area in mm2, latency


def test_codesign_weighs_normalised_metrics_where_thresholds_are_met():
    # area (250 - 150) / 200 = .5, latency (400 - 88) / 390 = .8, accuracy (.92 - .8) / .15 = .8: .05 + .64 + .08
    weights = {"weights": (0.1, 0.8), "accuracy_weight": 0.1}
    assert codesign(0.92, (150.0, 88.0), **CODESIGN, **weights) == pytest.approx(0.77)
    one_limit = {"weights": (0.1, 0.0), "accuracy_weight": 0.9, "limits": (250.0, 100.0)}
    assert codesign(0.92, (150.0, 88.0), **CODESIGN, **one_limit) == pytest.approx(0.05 + 0.72)
    # 139 against 100: 39 / 390 = .1; accuracy .89 against .92: .03 / .15 = .2
    assert codesign(0.92, (150.0, 139.0), **CODESIGN, **one_limit) == pytest.approx(-0.1)
    assert codesign(0.89, (150.0, 139.0), **CODESIGN, **one_limit, accuracy_limit=0.92) == pytest.approx(-0.3)


@pytest.mark.parametrize(
    ("name", "latency_ms", "area_mm2", "efficiency"),
    [("ResNet", 42.0, 186, 12.80), ("Cod-1", 41.8, 132, 18.12), ("GoogLeNet", 19.3, 132, 39.25), ("Cod-2", 18.5, 133, 40.64)],
)
def test_performance_per_area_of_the_published_designs_is_a_ratio(name, latency_ms, area_mm2, efficiency):
    # images a second and cm2
    assert ratio(1000 / latency_ms, area_mm2 / 100) == pytest.approx(efficiency, abs=0.01)


def test_proxyless_losses_and_reward():
    assert proxyless_mul_log(2.3, 0.090, target=0.080) == pytest.approx(0.463675, abs=1e-6)
    assert proxyless_add_linear(2.3, 0.090, target=0.080) == pytest.approx(2.3125)
    assert proxyless(0.75, 0.100, target=0.080) == pytest.approx(0.733450, abs=1e-6)


def test_fbnet_multiplies_cross_entropy_and_a_power_of_log_latency():
    # e ** 10 microseconds: 2 * .2 * 10 ** .6
    assert fbnet(2.0, 1e-6 * math.exp(10)) == pytest.approx(0.4 * 10**0.6)


def test_monas_mixed_and_bounded():
    assert monas(0.9, 30.0, most=60.0, weight=0.8) == pytest.approx(0.72 - 0.1)
    assert monas(0.9, 30.0, most=60.0, weight=1.0) == pytest.approx(0.9)
    assert monas_bounded(0.9, 59.0, limit=60.0) == 0.9
    assert monas_bounded(0.9, 60.0, limit=60.0) == 0.0


def test_any_feasible_candidate_beats_every_other():
    # 12 / 10 - 1 + 3 / 2 - 1 = .7
    assert feasible_first(0.3, (10.0, 2.0), limits=(10.0, 2.0)) == 0.3
    assert feasible_first(0.99, (12.0, 3.0), limits=(10.0, 2.0)) == pytest.approx(-0.7)
    assert feasible_first(0.0, (10.0, 2.0), limits=(10.0, 2.0)) > feasible_first(0.99, (10.001, 2.0), limits=(10.0, 2.0))


def test_ratio_and_weighted_sum():
    assert ratio(0.9, 0.02) == pytest.approx(45.0)
    assert ratio(0.9, 0.0001, floor=0.01) == pytest.approx(90.0)
    assert weighted_sum((0.9, 3.0), weights=(1.0, -0.1)) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mnasnet(0.7, 0.1, target=0.0), r"target: must be above 0 \(got 0\)"),
        (lambda: mnasnet(0.7, 0.0, target=0.1), "latency: must be above 0"),
        (lambda: ratio(1.0, 0.0), "floor: the denominator is 0"),
        (lambda: ratio(1.0, 1.0, floor=-1.0), "floor: must be at least 0"),
        (lambda: hotnas(0.8, 0.1, fast=0.2, slow=0.1), "slow: must be above fast"),
        (lambda: hotnas(0.8, 0.1, fast=0.1, slow=0.2, lowest=0.9, highest=0.9), "highest: must be above lowest"),
        (lambda: nasaic((0.9,), (1.0,), limits=(1.0, 2.0), bounds=(2.0,)), "limits: 2 given for 1 costs"),
        (lambda: nasaic((0.9,), (1.0,), limits=(2.0,), bounds=(2.0,)), "bounds: each must be above its limit"),
        (lambda: weighted_sum((0.9,), weights=(1.0, 2.0)), "weights: 2 given for 1 metrics"),
        (lambda: proxyless_mul_log(2.3, 0.0005, target=0.08), "above 1 ms"),
        (lambda: fbnet(2.3, 1e-6), "more than 1 us"),
        (lambda: codesign(0.9, (1.0,), least=(2.0,), most=(1.0,), weights=(1.0,), accuracy_weight=0.0), "most: must be above least"),
        (lambda: feasible_first(0.9, (1.0,), limits=(0.0,)), "limits: must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, message):
    with pytest.raises(BadInput, match=message):
        call()
