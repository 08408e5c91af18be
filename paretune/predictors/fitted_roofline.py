"""A roofline whose peak and bandwidth are those that explain measurements best: what polynomials of layers are compared with.

Legend: L layers.
"""

from dataclasses import dataclass

import numpy as np

from paretune.predictors.fidelity import rmspe
from paretune.predictors.prediction import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRoofline:
    """The larger of compute and transfer time, with the rates that explain measurements best."""

    flops_per_s: float
    bytes_per_s: float

    def predict(self, flops_L: FloatArray, bytes_L: FloatArray) -> FloatArray:
        """`(L,)` seconds."""
        return np.maximum(flops_L / self.flops_per_s, bytes_L / self.bytes_per_s)


def fit_roofline(flops_L: FloatArray, bytes_L: FloatArray, latency_L: FloatArray) -> FittedRoofline:
    """Effective peak and bandwidth with the least RMSPE, from nine starts.

    Source: Williams et al., Roofline, CACM 52(4), 2009.
    """
    from scipy.optimize import minimize

    def error(log_rates: FloatArray) -> float:
        return rmspe(np.maximum(flops_L / np.exp(log_rates[0]), bytes_L / np.exp(log_rates[1])), latency_L)

    quantiles = (0.3, 0.6, 0.9)
    starts = [
        (np.log(np.quantile(flops_L / latency_L, first)), np.log(np.quantile(bytes_L / latency_L, second)))
        for first in quantiles
        for second in quantiles
    ]
    best = min((minimize(error, start, method="Nelder-Mead") for start in starts), key=lambda found: float(found.fun))
    peak, bandwidth = np.exp(best.x)
    return FittedRoofline(flops_per_s=float(peak), bytes_per_s=float(bandwidth))
