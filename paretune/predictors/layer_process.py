"""A Gaussian process of the logarithm of a layer's cost over the logarithms of its sizes: a power law, bent where neighbours say so.

Legend: L layers, K layers learned from, F features, S sizes, O layouts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.rng import stream
from paretune.predictors.kernel import Kernel, Likelihood, tuned_kernel
from paretune.predictors.layer_features import Columns, layer_shapes
from paretune.predictors.prediction import FloatArray

MOST = 500
"""Layers learned from at most: the time grows with their cube."""
LAYOUT_APART = 2.0
"""What operands of another layout are apart, where sizes are as far as their logarithms."""
LEAST_SPREAD = 1e-9
"""What varies less in training is one value: nothing is learned of it, and another value is as far as its logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerProcess:
    """Cost of one kind of layer."""

    kernel: Kernel
    shapes_KF: FloatArray  # noqa: N815 -- a shape suffix
    """Standardised."""
    solved_K: FloatArray  # noqa: N815 -- a shape suffix
    """Inverse covariance times standardised logarithms of costs."""
    mean_F: FloatArray  # noqa: N815 -- a shape suffix
    scale_F: FloatArray  # noqa: N815 -- a shape suffix
    log_mean: float
    log_scale: float

    def predict(self, kind: str, columns: Columns) -> FloatArray:
        """`(L,)` median cost in SI units."""
        shapes_LF = (_features(kind, columns) - self.mean_F) / self.scale_F
        return np.asarray(np.exp(self.kernel.between(shapes_LF, self.shapes_KF) @ self.solved_K * self.log_scale + self.log_mean))


def fit_layer_process(kind: str, columns: Columns, costs_L: FloatArray) -> tuple[LayerProcess, FloatArray]:
    """The process with the likeliest kernel, and `(L,)` what it predicts for each layer where it is left out.

    Of more than 500 layers it learns from a random 500; the others count as left out as they are.

    Args:
        kind: of all the layers.
        columns: name -> `(L,)`.
        costs_L: measured, positive, SI.
    """
    from scipy.linalg import cho_factor, cho_solve

    features_LF, logs_L = _features(kind, columns), np.log(costs_L)
    kept_K = _kept(len(costs_L))
    (mean_F, scale_F), (log_mean, log_scale) = _standard(features_LF[kept_K]), _standard(logs_L[kept_K])
    shapes_KF, targets_K = (features_LF[kept_K] - mean_F) / scale_F, (logs_L[kept_K] - log_mean) / log_scale
    kernel = tuned_kernel(Likelihood(shapes_KF, targets_K, np.arange(shapes_KF.shape[1])))
    covariance_KK = kernel.between(shapes_KF, shapes_KF)
    covariance_KK[np.diag_indices(len(kept_K))] += kernel.noise
    factor = cho_factor(covariance_KK)
    solved_K = cho_solve(factor, targets_K)
    process = LayerProcess(
        kernel=kernel,
        shapes_KF=shapes_KF,
        solved_K=solved_K,
        mean_F=mean_F,
        scale_F=scale_F,
        log_mean=float(log_mean),
        log_scale=float(log_scale),
    )
    left_out_L = process.predict(kind, columns)
    # Rasmussen & Williams 2006, equation 5.12.
    precision_K = np.diag(cho_solve(factor, np.eye(len(kept_K))))
    left_out_L[kept_K] = np.exp((targets_K - solved_K / precision_K) * log_scale + log_mean)
    return process, left_out_L


def _standard(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation over the first axis, 1 for a deviation of nothing."""
    spread = values.std(axis=0)
    return values.mean(axis=0), np.where(spread > LEAST_SPREAD, spread, 1.0)


def _features(kind: str, columns: Columns) -> FloatArray:
    """`(L, F)` logarithms of the sizes, and the layouts."""
    sizes_LS, layouts_LO = layer_shapes(kind, columns)
    return np.hstack([np.log(np.maximum(sizes_LS, 1.0)), LAYOUT_APART * layouts_LO])


def _kept(num_layers: int) -> NDArray[np.int64]:
    if num_layers <= MOST:
        return np.arange(num_layers)
    return np.sort(stream(0, index=num_layers, purpose="layer_process.examples").choice(num_layers, size=MOST, replace=False))
