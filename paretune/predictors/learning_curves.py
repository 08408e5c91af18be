"""Learning-curve extrapolation: the value at the end of a training from its first epochs, with its uncertainty.

Three ways compete, and for each length of curve the one that foresees finished curves best (leave one out) is used:

    last      the last value seen, plus what finished curves gained from there on average
    families  power laws and exponentials that level off, fitted by least squares and averaged by how well they fit
    ridge     a linear model of the end from the last value and the last gain, learned from finished curves

Sources: Domhan, Springenberg & Hutter, IJCAI 2015 (families, averaged); Baker et al., Accelerating Neural Architecture Search using
Performance Prediction, ICLR workshop 2018 (regression on the curve's beginning); Egele et al., The Unreasonable Effectiveness of
Early Discarding, arXiv 2404.04111, 2024 (the last value is hard to beat).

Legend: N curves, E epochs of a full training, P epochs seen, R rates of a family, C curves that are finished.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.pareto import FloatArray

POWERS = np.geomspace(0.1, 4.0, 100)
"""Exponents b of `c - a t^-b`."""
RATES = np.geomspace(0.05, 4.0, 100)
"""Rates b of `c - a e^-bt`."""
LEAST_NOISE = 1e-3
"""Deviation of a single value below which differences between fits say nothing, relative to the range of the curve."""
POINTS_TO_FIT = 3
CURVES_TO_LEARN = 8
"""Finished curves below which no linear model of them is tried."""
RIDGE = 1e-3

Forecasts: TypeAlias = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveForecast:
    """The end of N trainings."""

    mean: FloatArray
    """`(N,)` expected value after the last epoch."""
    deviation: FloatArray
    """`(N,)` standard deviation of it."""
    method: str
    """`last`, `families` or `ridge`."""


class LearningCurves:
    """Extrapolates curves that rise towards a limit.

    Args:
        num_epochs: length of a full training.
        lower: smallest value that makes sense.
        upper: largest value that makes sense.
        rising: whether more is better; else curves fall, as losses do.
    """

    def __init__(self, *, num_epochs: int, lower: float = -math.inf, upper: float = math.inf, rising: bool = True) -> None:
        if num_epochs < 1:
            raise BadInput(f"num_epochs: must be at least 1; got {num_epochs}")
        self._num_epochs, self._sign = num_epochs, 1.0 if rising else -1.0
        self._lower, self._upper = (lower, upper) if rising else (-upper, -lower)
        self._finished_CE = np.zeros((0, num_epochs))

    def fit(self, finished_CE: FloatArray) -> "LearningCurves":
        """Learn from curves of full trainings, in place of those learned before.

        Raises:
            BadInput: they have another length, or values that are not finite.
        """
        finished_CE = np.asarray(finished_CE, dtype=np.float64).reshape(-1, self._num_epochs) if np.size(finished_CE) == 0 else finished_CE
        self._finished_CE = self._sign * _checked(finished_CE, length=self._num_epochs, what="finished curves")
        return self

    def predict(self, seen_NP: FloatArray) -> CurveForecast:
        """The end of N curves of which P epochs are seen; where all are, the last value with deviation 0.

        Raises:
            BadInput: no epoch or more than `num_epochs` are seen, or a value is not finite.
        """
        seen_NP = self._sign * _checked(seen_NP, length=None, what="curves")
        num_seen = seen_NP.shape[1]
        if not 1 <= num_seen <= self._num_epochs:
            raise BadInput(f"curves: expected 1 to {self._num_epochs} epochs; got {num_seen}")
        if num_seen == self._num_epochs:
            return CurveForecast(mean=self._sign * seen_NP[:, -1], deviation=np.zeros(len(seen_NP)), method="last")
        errors = self.cross_validation(num_seen)
        unproven = "families" if num_seen >= POINTS_TO_FIT else "last"
        method = min(errors, key=lambda name: errors[name]) if errors else unproven  # the first, and simplest, of equals
        mean_N, deviation_N = self._forecast(method, seen_NP)
        if errors:
            deviation_N = np.full(len(mean_N), errors[method])
        return CurveForecast(mean=self._sign * np.clip(mean_N, self._lower, self._upper), deviation=deviation_N, method=method)

    def cross_validation(self, num_seen: int) -> dict[str, float]:
        """Root mean square error of each way on the finished curves, each foreseen from the others; empty for fewer than two."""
        if len(self._finished_CE) < 2:
            return {}
        seen_CP, ends_C = self._finished_CE[:, :num_seen], self._finished_CE[:, -1]
        gains_C = ends_C - seen_CP[:, -1]
        num_curves = len(ends_C)
        errors = {"last": gains_C - (gains_C.sum() - gains_C) / (num_curves - 1)}
        if num_seen >= POINTS_TO_FIT:
            errors["families"] = np.clip(self._families(seen_CP)[0], self._lower, self._upper) - ends_C
        if num_curves >= CURVES_TO_LEARN:
            features_CF = _features(seen_CP)
            residual_C = ends_C - features_CF @ _ridge_weights(features_CF, ends_C)
            errors["ridge"] = residual_C / (1.0 - _leverage(features_CF))
        return {name: float(np.sqrt(np.mean(error_C**2))) for name, error_C in errors.items()}

    def _forecast(self, method: str, seen_NP: FloatArray) -> Forecasts:
        """Means and deviations by one of the ways; the deviation counts only where nothing can be validated."""
        if method == "families":
            return self._families(seen_NP)
        if method == "ridge":
            num_seen = seen_NP.shape[1]
            weights_F = _ridge_weights(_features(self._finished_CE[:, :num_seen]), self._finished_CE[:, -1])
            return _features(seen_NP) @ weights_F, np.zeros(len(seen_NP))
        return self._last(seen_NP)

    def _last(self, seen_NP: FloatArray) -> Forecasts:
        """The last value, plus the mean gain of finished curves; without any, the end lies anywhere up to the best possible value."""
        last_N = seen_NP[:, -1]
        gain = float(np.mean(self._finished_CE[:, -1] - self._finished_CE[:, seen_NP.shape[1] - 1])) if len(self._finished_CE) else 0.0
        room_N = self._upper - last_N if math.isfinite(self._upper) else np.maximum(np.abs(last_N), np.ptp(seen_NP, axis=1))
        return last_N + gain, room_N / math.sqrt(12.0)  # deviation of an even distribution

    def _families(self, seen_NP: FloatArray) -> Forecasts:
        """Average of all fitted curves at the last epoch, and their spread."""
        epochs_P, end = np.arange(1.0, seen_NP.shape[1] + 1.0), float(self._num_epochs)
        shapes_RP = np.concatenate([epochs_P[None] ** -POWERS[:, None], np.exp(-RATES[:, None] * epochs_P[None])])
        ends_R = np.concatenate([end**-POWERS, np.exp(-RATES * end)])
        values_NR, errors_NR = _level_off(seen_NP, shapes_RP, ends_R)
        noise_N = np.maximum(np.sqrt(errors_NR.min(axis=1) / len(epochs_P)), LEAST_NOISE * np.maximum(np.ptp(seen_NP, axis=1), 1e-12))
        excess_NR = (errors_NR - errors_NR.min(axis=1, keepdims=True)) / (2.0 * noise_N[:, None] ** 2)
        weights_NR = np.exp(-excess_NR)
        weights_NR /= weights_NR.sum(axis=1, keepdims=True)
        clipped_NR = np.clip(values_NR, self._lower, self._upper)
        mean_N = np.sum(weights_NR * clipped_NR, axis=1)
        spread_N = np.sqrt(np.sum(weights_NR * (clipped_NR - mean_N[:, None]) ** 2, axis=1))
        return mean_N, np.hypot(spread_N, noise_N)


def _level_off(seen_NP: FloatArray, shapes_RP: FloatArray, ends_R: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit `c - a shape(t)` with a >= 0 to every curve with every shape; values at the end and summed squared errors, `(N, R)` each."""
    shape_mean_R = shapes_RP.mean(axis=1)
    centred_RP = shapes_RP - shape_mean_R[:, None]
    seen_mean_N = seen_NP.mean(axis=1)
    rest_NP = seen_NP - seen_mean_N[:, None]
    squares_R = np.sum(centred_RP**2, axis=1)
    falls_NR = np.maximum(-(rest_NP @ centred_RP.T) / squares_R, 0.0)
    errors_NR = np.sum(rest_NP**2, axis=1)[:, None] + falls_NR * (2.0 * (rest_NP @ centred_RP.T) + falls_NR * squares_R)
    values_NR = seen_mean_N[:, None] + falls_NR * (shape_mean_R - ends_R)
    return values_NR, np.maximum(errors_NR, 0.0)


def _features(seen_NP: FloatArray) -> FloatArray:
    """One, the last value and the last gain."""
    last_N = seen_NP[:, -1]
    gain_N = last_N - seen_NP[:, -2] if seen_NP.shape[1] > 1 else np.zeros(len(seen_NP))
    return np.stack([np.ones(len(seen_NP)), last_N, gain_N], axis=1)


def _penalty(features_CF: FloatArray) -> FloatArray:
    return np.asarray(np.diag([0.0, *np.full(features_CF.shape[1] - 1, RIDGE * len(features_CF))]))


def _ridge_weights(features_CF: FloatArray, ends_C: FloatArray) -> FloatArray:
    gram_FF = features_CF.T @ features_CF + _penalty(features_CF) * np.var(features_CF, axis=0).clip(1e-12)
    return np.asarray(np.linalg.solve(gram_FF, features_CF.T @ ends_C))


def _leverage(features_CF: FloatArray) -> FloatArray:
    """How much each curve decides its own fit: the diagonal of the hat matrix."""
    gram_FF = features_CF.T @ features_CF + _penalty(features_CF) * np.var(features_CF, axis=0).clip(1e-12)
    return np.asarray(np.minimum(np.einsum("cf,fc->c", features_CF, np.linalg.solve(gram_FF, features_CF.T)), 1.0 - 1e-9))


def _checked(curves: FloatArray, *, length: int | None, what: str) -> FloatArray:
    checked = np.asarray(curves, dtype=np.float64)
    if checked.ndim != 2 or (length is not None and checked.shape[1] != length):
        raise BadInput(f"{what}: expected an array (curves, {length or 'epochs'}); got shape {checked.shape}")
    if not np.isfinite(checked).all():
        raise BadInput(f"{what}: every value must be finite")
    return checked
