"""How true predicted costs are: relative errors, shares within a bound, rank correlations, and the noise no model can beat.

Legend: N networks.
"""

from dataclasses import dataclass

import numpy as np

from paretune.core.errors import BadInput
from paretune.predictors.prediction import FloatArray
from paretune.predictors.selection import spearman

IQR_TO_DEVIATION = 1 / 1.349
"""A normal distribution's standard deviation over its interquartile range."""
LEAST_TOP = 20
"""Networks below which the tenth with the smallest cost has too few members to be put in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Predicted against measured costs of networks that were not learned from."""

    num_networks: int
    rmspe: float
    """Root of the mean squared relative error."""
    within_1_percent: float
    """Share of the networks whose prediction is off by at most 1 % of the measurement."""
    within_5_percent: float
    within_10_percent: float
    spearman: float
    kendall: float
    top_decile_kendall: float
    """Kendall's tau within the tenth with the smallest measurements; NaN for fewer than 20 networks."""
    noise_floor: float
    """RMSPE of a model that is right, from the scatter of the repeats; NaN where nothing was repeated."""


def rmspe(predicted_N: FloatArray, measured_N: FloatArray) -> float:
    """Root of the mean squared error relative to the measurement.

    Source: Cai et al., NeuralPower, ACML 2017.

    Raises:
        BadInput: no pair, different lengths, or a measurement that is not positive.
    """
    return float(np.sqrt(np.mean(_relative_errors(predicted_N, measured_N) ** 2)))


def share_within(predicted_N: FloatArray, measured_N: FloatArray, *, bound: float) -> float:
    """Share of the predictions that are off by at most `bound` times the measurement.

    Raises:
        BadInput: as `rmspe`.
    """
    # One part in 10^12 forgives the rounding of the division: 1.1 counts as within 10 % of 1.
    return float(np.mean(np.abs(_relative_errors(predicted_N, measured_N)) <= bound * (1 + 1e-12) + 1e-15))


def kendall(predicted_N: FloatArray, measured_N: FloatArray) -> float:
    """Kendall's tau-b; 0.0 where one side is constant."""
    from scipy.stats import kendalltau

    if len(predicted_N) < 2 or np.ptp(predicted_N) == 0 or np.ptp(measured_N) == 0:
        return 0.0
    return float(kendalltau(predicted_N, measured_N).statistic)


def top_decile_kendall(predicted_N: FloatArray, measured_N: FloatArray) -> float:
    """Kendall's tau within the tenth with the smallest measurements, which a search looks at; NaN for fewer than 20 networks."""
    if len(measured_N) < LEAST_TOP:
        return float("nan")
    top = np.argsort(measured_N, kind="stable")[: len(measured_N) // 10]
    return kendall(predicted_N[top], measured_N[top])


def noise_floor(measured_N: FloatArray, iqr_N: FloatArray) -> float:
    """RMSPE that remains for a model that is right: the scatter of the repeats, as a normal deviation over the measurement.

    Raises:
        BadInput: as `rmspe`, or a range is negative.
    """
    if np.any(iqr_N < 0):
        raise BadInput(f"iqr: every interquartile range must be at least 0 (got {float(iqr_N.min())})")
    return rmspe(measured_N + iqr_N * IQR_TO_DEVIATION, measured_N)


def fidelity(predicted_N: FloatArray, measured_N: FloatArray, *, iqr_N: FloatArray | None = None) -> Fidelity:
    """Every figure at once.

    Args:
        predicted_N: `(N,)` in the unit of the measurements.
        measured_N: `(N,)`, positive.
        iqr_N: `(N,)` interquartile ranges of the repeats, where there are any.

    Raises:
        BadInput: as `rmspe`.
    """
    one, five, ten = (share_within(predicted_N, measured_N, bound=bound) for bound in (0.01, 0.05, 0.10))
    return Fidelity(
        num_networks=len(measured_N),
        rmspe=rmspe(predicted_N, measured_N),
        within_1_percent=one,
        within_5_percent=five,
        within_10_percent=ten,
        spearman=spearman(predicted_N, measured_N),
        kendall=kendall(predicted_N, measured_N),
        top_decile_kendall=top_decile_kendall(predicted_N, measured_N),
        noise_floor=float("nan") if iqr_N is None else noise_floor(measured_N, iqr_N),
    )


def _relative_errors(predicted_N: FloatArray, measured_N: FloatArray) -> FloatArray:
    if predicted_N.shape != measured_N.shape or measured_N.size == 0:
        raise BadInput(f"fidelity: predictions and measurements must pair up (got shapes {predicted_N.shape} and {measured_N.shape})")
    if not np.all(measured_N > 0):
        raise BadInput(f"fidelity: relative errors need positive measurements (got {float(measured_N.min())}); leave such networks out")
    return np.asarray(predicted_N / measured_N - 1)
