import math

import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.predictors.fidelity import fidelity, kendall, noise_floor, rmspe, share_within, top_decile_kendall

MEASURED = np.array([1.0, 2.0, 4.0, 10.0])
PREDICTED = np.array([1.1, 1.8, 4.0, 9.95])  # relative errors +0.10, -0.10, 0, -0.005


def test_rmspe_is_the_root_of_the_mean_squared_relative_error():
    assert rmspe(PREDICTED, MEASURED) == pytest.approx(math.sqrt((0.01 + 0.01 + 0 + 0.000025) / 4))


def test_shares_count_errors_up_to_and_with_the_bound():
    assert share_within(PREDICTED, MEASURED, bound=0.01) == 0.5
    assert share_within(PREDICTED, MEASURED, bound=0.05) == 0.5
    assert share_within(PREDICTED, MEASURED, bound=0.10) == 1.0  # 1.1 for 1 counts although 1.1 / 1 - 1 > 0.1 in binary


def test_kendall_counts_ordered_pairs():
    # Of six pairs one is the wrong way round (2 before 1): (5 - 1) / 6.
    assert kendall(np.array([2.0, 1.0, 3.0, 4.0]), MEASURED) == pytest.approx(4 / 6)
    assert kendall(np.ones(4), MEASURED) == 0.0


def test_top_decile_looks_at_the_smallest_measurements_only():
    measured = np.arange(1.0, 31.0)
    predicted = measured[::-1].copy()
    predicted[:3] = [5.0, 4.0, 6.0]  # the three smallest: pairs (1,2) wrong, (1,3) and (2,3) right: (2 - 1) / 3
    assert top_decile_kendall(predicted, measured) == pytest.approx(1 / 3)
    assert math.isnan(top_decile_kendall(measured[:19], measured[:19]))


def test_noise_floor_is_the_error_of_a_right_model():
    # A normal deviation is the interquartile range over 1.349: 2.698 -> 2, of 10 that is 20 %; nothing of the other.
    assert noise_floor(np.array([10.0, 5.0]), np.array([2.698, 0.0])) == pytest.approx(math.sqrt(0.04 / 2))


def test_noise_floor_of_repeats_is_what_the_truth_scores():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 5, 4000)
    measured = truth * (1 + 0.05 * rng.standard_normal(4000))
    found = fidelity(truth, measured, iqr_N=1.349 * 0.05 * truth)
    assert found.noise_floor == pytest.approx(found.rmspe, rel=0.1)


def test_figures_of_a_right_model_are_best():
    found = fidelity(np.arange(1.0, 41.0), np.arange(1.0, 41.0))
    assert (found.rmspe, found.within_1_percent, found.kendall, found.top_decile_kendall) == (0, 1, 1, 1)
    assert found.spearman == pytest.approx(1)
    assert math.isnan(found.noise_floor)


@pytest.mark.parametrize(("predicted", "measured"), [([1.0], [0.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_relative_errors_need_pairs_of_positive_measurements(predicted, measured):
    with pytest.raises(BadInput, match="fidelity"):
        rmspe(np.array(predicted), np.array(measured))
