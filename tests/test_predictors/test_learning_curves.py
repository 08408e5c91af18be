"""Learning-curve extrapolation: curves with known limits, choice by cross-validation, real curves of the digits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput
from paretune.core.pareto import FloatArray
from paretune.predictors.learning_curves import LearningCurves

EPOCHS = np.arange(1.0, 51.0)


def power_law(limit: float, fall: float, exponent: float) -> FloatArray:
    return np.asarray(limit - fall * EPOCHS**-exponent)


def exponential(limit: float, fall: float, rate: float) -> FloatArray:
    return np.asarray(limit - fall * np.exp(-rate * EPOCHS))


@pytest.mark.parametrize("curve", [power_law(0.9, 0.5, 0.7), power_law(0.8, 0.3, 1.5), exponential(0.95, 0.6, 0.3)])
def test_curves_of_the_families_are_foreseen_from_a_fifth(curve: FloatArray) -> None:
    forecast = LearningCurves(num_epochs=50, lower=0.0, upper=1.0).predict(curve[None, :10])
    assert forecast.method == "families"
    assert forecast.mean[0] == pytest.approx(curve[-1], abs=0.005)
    assert abs(curve[9] - curve[-1]) > 4 * abs(forecast.mean[0] - curve[-1])  # much nearer than the last value


def test_of_noisy_curves_the_deviation_is_that_of_the_error() -> None:
    rng = np.random.default_rng(11)
    curves = np.stack([power_law(0.9, 0.5, rng.uniform(0.4, 1.2)) for _ in range(200)])
    forecast = LearningCurves(num_epochs=50, lower=0.0, upper=1.0).predict(curves[:, :15] + 0.01 * rng.standard_normal((200, 15)))
    z = (forecast.mean - curves[:, -1]) / forecast.deviation
    assert 0.5 < np.sqrt(np.mean(z**2)) < 2.0


def test_a_flat_curve_stays_where_it_is() -> None:
    forecast = LearningCurves(num_epochs=50).predict(np.full((1, 5), 0.7))
    assert forecast.mean[0] == pytest.approx(0.7, abs=1e-9)


def test_losses_fall_towards_their_limit() -> None:
    losses = 1.0 - power_law(0.9, 0.5, 0.7)  # towards 0.1
    forecast = LearningCurves(num_epochs=50, lower=0.0, rising=False).predict(losses[None, :10])
    assert forecast.mean[0] == pytest.approx(losses[-1], abs=0.005)


def test_the_more_is_seen_the_smaller_the_deviation() -> None:
    rng = np.random.default_rng(3)
    curve = power_law(0.9, 0.5, 0.6) + 0.005 * rng.standard_normal(50)
    deviations = [LearningCurves(num_epochs=50, lower=0.0, upper=1.0).predict(curve[None, :seen]).deviation[0] for seen in (2, 6, 20, 50)]
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[-1] == 0.0


def test_one_epoch_and_nothing_known_is_the_last_value_and_all_above_it() -> None:
    forecast = LearningCurves(num_epochs=50, lower=0.0, upper=1.0).predict(np.array([[0.4], [0.7]]))
    assert forecast.method == "last"
    assert forecast.mean.tolist() == [0.4, 0.7]
    assert forecast.deviation == pytest.approx(np.array([0.6, 0.3]) / np.sqrt(12.0))


def test_finished_curves_teach_the_gain_that_is_still_to_come() -> None:
    finished = np.array([[0.2, 0.5, 0.6], [0.3, 0.5, 0.8], [0.4, 0.6, 0.7]])  # from epoch 1 on: .4, .5, .3
    model = LearningCurves(num_epochs=3, lower=0.0, upper=1.0).fit(finished)
    # Each gain foreseen as the mean of the other two: .4 - .4, .5 - .35, .3 - .45.
    assert model.cross_validation(1) == {"last": pytest.approx(np.sqrt((0.0 + 0.15**2 + 0.15**2) / 3))}
    forecast = model.predict(np.array([[0.1], [0.9]]))
    assert forecast.mean == pytest.approx([0.5, 1.0])  # 1.3 is no accuracy


def test_the_way_that_foresees_finished_curves_best_is_used() -> None:
    rng = np.random.default_rng(7)
    limits = rng.uniform(0.6, 0.95, 30)
    smooth = np.stack([power_law(limit, limit * rng.uniform(0.3, 0.6), rng.uniform(0.4, 1.2)) for limit in limits])
    assert LearningCurves(num_epochs=50, lower=0.0, upper=1.0).fit(smooth).predict(smooth[:1, :12]).method == "families"
    # Curves that turn into their opposite, as no law that levels off does: the end is 1 - the last value.
    starts = rng.uniform(0.1, 0.5, 30)
    turned = np.concatenate([np.repeat(starts[:, None], 6, axis=1), 1.0 - starts[:, None]], axis=1)
    model = LearningCurves(num_epochs=7, lower=0.0, upper=1.0).fit(turned)
    forecast = model.predict(np.full((1, 6), 0.2))
    assert forecast.method == "ridge"
    assert forecast.mean[0] == pytest.approx(0.8, abs=0.01)


def test_leave_one_out_of_the_linear_model_is_what_leaving_out_gives() -> None:
    rng = np.random.default_rng(1)
    curves = np.cumsum(rng.uniform(0.0, 0.1, (60, 6)), axis=1)
    error = LearningCurves(num_epochs=6).fit(curves).cross_validation(3)["ridge"]
    residuals = []
    for left_out in range(60):
        rest = np.delete(curves, left_out, axis=0)
        design = np.stack([np.ones(59), rest[:, 2], rest[:, 2] - rest[:, 1]], axis=1)
        weights = np.linalg.lstsq(design, rest[:, -1], rcond=None)[0]
        row = np.array([1.0, curves[left_out, 2], curves[left_out, 2] - curves[left_out, 1]])
        residuals.append(row @ weights - curves[left_out, -1])
    assert error == pytest.approx(float(np.sqrt(np.mean(np.square(residuals)))), rel=0.01)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5), st.integers(0, 12))
def test_forecasts_are_finite_and_within_the_range(curves: list[list[float]], num_finished: int) -> None:
    finished = np.random.default_rng(num_finished).random((num_finished, 8))
    forecast = LearningCurves(num_epochs=8, lower=0.0, upper=1.0).fit(finished).predict(np.array(curves))
    assert np.isfinite(forecast.mean).all()
    assert np.isfinite(forecast.deviation).all()
    assert (forecast.mean >= 0).all()
    assert (forecast.mean <= 1).all()
    assert (forecast.deviation >= 0).all()


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ([[0.1] * 9], "expected 1 to 8 epochs; got 9"),
        ([[]], "got 0"),
        ([[0.1, float("nan")]], "must be finite"),
        ([0.1], "expected an array"),
    ],
)
def test_what_is_no_curve_is_refused(curves: list[list[float]], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        LearningCurves(num_epochs=8).predict(np.array(curves))


def test_finished_curves_of_another_length_are_refused() -> None:
    with pytest.raises(BadInput, match="finished curves: expected an array"):
        LearningCurves(num_epochs=8).fit(np.zeros((3, 7)))
