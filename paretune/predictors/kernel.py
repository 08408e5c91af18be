"""The covariance of architectures for the Gaussian process: a linear and a Matern part over weighted features, with its gradient.

Legend: N rows, K other rows, F features, G groups of features (one weight each).
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.predictors.prediction import FloatArray

AnyFloats: TypeAlias = NDArray[Any]
"""Single or double precision."""
STEPS = 25
"""Steps of the search for the parameters."""
ROOT5 = float(np.sqrt(5.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """`linear * <x, y> + matern * m(sum_g weight_g |x_g - y_g|^2)` with m of smoothness 5/2.

    The linear part learns additive costs from few examples, the Matern part what decisions do together. With one-hot features the
    distance counts the decisions that differ (Hamming), with positions it is the usual one: ordinal and categorical genes mix.
    """

    linear: float
    """Variance of the linear part, per unit of squared feature."""
    matern: float
    """Variance of the Matern part."""
    noise: float
    """Variance of what the features do not explain."""
    weights: FloatArray
    """`(G,)` inverse squared length scales."""
    groups: NDArray[np.int64]
    """`(F,)` group of each feature."""

    def between(self, rows_NF: AnyFloats, others_KF: AnyFloats) -> AnyFloats:
        """`(N, K)` covariance without noise, in the precision of the rows."""
        distance_NK = self._squared_distance(rows_NF, others_KF)
        covariance_NK = rows_NF @ (others_KF.T * rows_NF.dtype.type(self.linear))
        covariance_NK += _matern(distance_NK) * rows_NF.dtype.type(self.matern)
        return np.asarray(covariance_NK)

    def own(self, rows_NF: AnyFloats) -> FloatArray:
        """`(N,)` variance of each row without noise."""
        return np.asarray(self.linear * np.einsum("nf,nf->n", rows_NF, rows_NF, dtype=np.float64) + self.matern)

    def _squared_distance(self, rows_NF: AnyFloats, others_KF: AnyFloats) -> AnyFloats:
        root_F = np.sqrt(self.weights[self.groups]).astype(rows_NF.dtype)
        left_NF, right_KF = rows_NF * root_F, others_KF * root_F
        squares_NK = left_NF @ (-2 * right_KF.T)
        squares_NK += np.einsum("nf,nf->n", left_NF, left_NF)[:, np.newaxis]
        squares_NK += np.einsum("kf,kf->k", right_KF, right_KF)
        return np.asarray(np.maximum(squares_NK, 0, out=squares_NK))


def _matern(squares_NK: AnyFloats) -> AnyFloats:
    """Matern 5/2 of squared distances, in place of them as far as it goes."""
    root_NK = np.sqrt(squares_NK * 5)
    decay_NK = np.exp(-root_NK)
    squares_NK *= 5 / 3
    squares_NK += root_NK
    squares_NK += 1
    squares_NK *= decay_NK
    return squares_NK


class Likelihood:
    """Negative log marginal likelihood of targets with priors on the kernel's parameters, and its gradient.

    The parameters are logarithms: linear, matern, noise, then the weights. Priors are normal on the logarithms; the weights' one shrinks
    with the number of groups, so that a typical distance stays near 1 in spaces of many decisions.

    Source: Rasmussen & Williams, Gaussian processes for machine learning, 2006, chapter 5; Hvarfner et al., Vanilla Bayesian optimization
    performs great in high dimensions, ICML 2024 (the prior).
    """

    def __init__(self, features_NF: FloatArray, targets_N: FloatArray, groups_F: NDArray[np.int64]) -> None:
        self._features_NF, self._targets_N, self._groups_F = features_NF, targets_N, groups_F
        self._num_groups = int(groups_F.max()) + 1
        spread_F = 2 * features_NF.var(axis=0)
        spread = float(np.bincount(groups_F, weights=spread_F, minlength=self._num_groups).sum())
        per_unit = float(np.einsum("nf,nf->", features_NF, features_NF)) / len(features_NF)
        self.prior_mean = np.concatenate(
            [[np.log(0.5 / max(per_unit, 1e-9)), np.log(0.5), np.log(0.01)], np.full(self._num_groups, np.log(0.5 / max(spread, 1e-9)))]
        )
        self.prior_deviation = np.concatenate([[2.0, 1.5, 2.0], np.full(self._num_groups, 1.2)])
        self._gram_NN = features_NF @ features_NF.T
        self._squares_NF = features_NF**2

    def kernel(self, parameters: FloatArray) -> Kernel:
        """The kernel of logarithmic parameters."""
        linear, matern, noise = np.exp(parameters[:3])
        return Kernel(linear=linear, matern=matern, noise=noise, weights=np.exp(parameters[3:]), groups=self._groups_F)

    def __call__(self, parameters: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient at logarithmic parameters; infinite where the matrix is not positive definite."""
        from scipy.linalg.lapack import dpotrf, dpotri

        kernel, features_NF = self.kernel(parameters), self._features_NF
        num_rows = len(features_NF)
        root_NN = np.sqrt(5 * kernel._squared_distance(features_NF, features_NF))
        decay_NN = np.exp(-root_NN)
        matern_NN = kernel.matern * (1 + root_NN + root_NN**2 / 3) * decay_NN
        total_NN = kernel.linear * self._gram_NN + matern_NN
        total_NN[np.diag_indices(num_rows)] += kernel.noise + 1e-8
        factor_NN, failed = dpotrf(total_NN, lower=True)
        if failed:
            return 1e25, np.zeros_like(parameters)
        inverse_NN = dpotri(factor_NN, lower=True)[0]
        inverse_NN += np.tril(inverse_NN, -1).T
        solved_N = inverse_NN @ self._targets_N
        pull_NN = 0.5 * (inverse_NN - np.outer(solved_N, solved_N))
        slope_NN = pull_NN * (-5 / 6 * kernel.matern) * (1 + root_NN) * decay_NN
        gradient = np.empty_like(parameters)
        gradient[0] = kernel.linear * np.vdot(pull_NN, self._gram_NN)
        gradient[1] = np.vdot(pull_NN, matern_NN)
        gradient[2] = kernel.noise * np.trace(pull_NN)
        pulled_F = 2 * (slope_NN.sum(axis=1) @ self._squares_NF) - 2 * np.einsum("nf,nf->f", features_NF, slope_NN @ features_NF)
        gradient[3:] = kernel.weights * np.bincount(self._groups_F, weights=pulled_F, minlength=self._num_groups)
        value = 0.5 * float(self._targets_N @ solved_N) + float(np.log(np.diag(factor_NN)).sum())
        apart = (parameters - self.prior_mean) / self.prior_deviation
        return value + 0.5 * float(apart @ apart), gradient + apart / self.prior_deviation


def tuned_kernel(likelihood: Likelihood) -> Kernel:
    """The kernel of the likeliest parameters, found from the mean of the prior; rounded, so that every machine finds the same."""
    from scipy.optimize import minimize

    bounds = [
        (mean - 4 * deviation, mean + 4 * deviation)
        for mean, deviation in zip(likelihood.prior_mean, likelihood.prior_deviation, strict=True)
    ]
    found = minimize(likelihood, likelihood.prior_mean, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
    return likelihood.kernel(np.round(found.x, 2))
