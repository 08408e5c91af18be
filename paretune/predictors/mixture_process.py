"""Gaussian process over a sum of weighted covariances with heavy-tailed noise: the engine of transfer between devices.

Legend: K examples, P parts of the covariance, N rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.predictors.prediction import FloatArray

JITTER = 1e-8
FREEDOM = 4.0
"""Degrees of freedom of the noise's t distribution: latencies have outliers, and a normal distribution would follow them.

Source of the value: Lange et al., JASA 84(408), 1989."""
ROUNDS = 4
"""Times that the noise of each example is weighed anew."""
STEPS = 40
"""Steps of the search for the weights in each round."""
STRONG = 3.0
"""Logarithm of the Bayes factor from which evidence counts as strong: Kass & Raftery, JASA 90(430), 1995."""
RANGE = 8.0
"""The weights' logarithms are sought within so much of the prior's mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPrior:
    """Normal distributions of the logarithms of the parts' weights, and of the noise's variance."""

    mean: FloatArray
    """`(P + 1,)`, the noise last."""
    deviation: FloatArray
    """`(P + 1,)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedMixture:
    """Weights of the parts and the solved examples."""

    log_weights: FloatArray
    """`(P + 1,)`, the noise last."""
    solved: FloatArray
    """`(K,)` inverse covariance of the examples times their targets."""
    factor: FloatArray
    """`(K, K)` lower Cholesky factor of the examples' covariance with noise."""

    @property
    def weights(self) -> FloatArray:
        """`(P,)` variance of each part."""
        return np.asarray(np.exp(self.log_weights[:-1]))

    @property
    def noise(self) -> float:
        """Variance of the noise of a typical example."""
        return float(np.exp(self.log_weights[-1]))


def fit_mixture(parts_PKK: FloatArray, targets_K: FloatArray, prior: WeightPrior) -> FittedMixture:
    """Weights that explain the examples best under the prior, each example's noise weighed by how far off it lies.

    Noise is t-distributed: an example that the process misses by many deviations gets a larger noise, then the
    weights are sought again. Among few examples one that no other resembles is easily taken for an outlier, so outliers
    count only as long as there is no strong evidence for weights that need none.

    Args:
        parts_PKK: covariance of the examples by each part alone.
        targets_K: centred, in units of their deviation.
        prior: of the logarithms.

    Source: Rasmussen & Williams, Gaussian processes for machine learning, 2006, chapter 5; Lange et al., JASA 84(408), 1989.
    """
    even_K = np.ones(len(targets_K))
    # Weighed by the prior first: weights sought with an outlier of full weight would explain it.
    noise_K = _reweighed(targets_K, _solved(parts_PKK, targets_K, prior.mean, even_K), even_K)
    log_weights = prior.mean
    for step in range(ROUNDS):
        log_weights = _sought(parts_PKK, targets_K, prior, log_weights, noise_K)
        fitted = _solved(parts_PKK, targets_K, log_weights, noise_K)
        if step < ROUNDS - 1:
            noise_K = _reweighed(targets_K, fitted, noise_K)
    even_weights = _sought(parts_PKK, targets_K, prior, prior.mean, even_K)
    evidence = _surprise(parts_PKK, targets_K, prior, log_weights, noise_K) - _surprise(parts_PKK, targets_K, prior, even_weights, even_K)
    return _solved(parts_PKK, targets_K, even_weights, even_K) if evidence > STRONG else fitted


def _sought(parts_PKK: FloatArray, targets_K: FloatArray, prior: WeightPrior, log_weights: FloatArray, noise_K: FloatArray) -> FloatArray:
    """`(P + 1,)` most probable logarithms, sought from those given."""
    from scipy.optimize import minimize

    found = minimize(
        _objective,
        log_weights,
        args=(parts_PKK, targets_K, prior, noise_K),
        jac=True,
        method="L-BFGS-B",
        bounds=[(mean - RANGE, mean + RANGE) for mean in prior.mean],
        options={"maxiter": STEPS},
    )
    return np.asarray(found.x)


def _surprise(parts_PKK: FloatArray, targets_K: FloatArray, prior: WeightPrior, log_weights: FloatArray, noise_K: FloatArray) -> float:
    """Negative log density of examples, weights and noises together, but for a constant.

    T-distributed noise is normal noise whose variance is distributed like the inverse of a gamma variable.
    """
    noises = FREEDOM / 2 * (np.log(noise_K) + 1 / noise_K).sum()
    return _objective(log_weights, parts_PKK, targets_K, prior, noise_K)[0] + float(noises)


def _solved(parts_PKK: FloatArray, targets_K: FloatArray, log_weights: FloatArray, noise_K: FloatArray) -> FittedMixture:
    from scipy.linalg import cho_solve, cholesky

    factor_KK = cholesky(_total(parts_PKK, log_weights, noise_K), lower=True, check_finite=False)
    solved_K = cho_solve((factor_KK, True), targets_K, check_finite=False)
    return FittedMixture(log_weights=log_weights, solved=np.asarray(solved_K), factor=np.asarray(factor_KK))


def _total(parts_PKK: FloatArray, log_weights: FloatArray, noise_K: FloatArray) -> FloatArray:
    total_KK = np.tensordot(np.exp(log_weights[:-1]), parts_PKK, 1)
    total_KK[np.diag_indices(len(noise_K))] += np.exp(log_weights[-1]) * noise_K + JITTER
    return np.asarray(total_KK)


def _reweighed(targets_K: FloatArray, fitted: FittedMixture, noise_K: FloatArray) -> FloatArray:
    """`(K,)` noise of each example over the typical one, given how far the process misses it when it is left out.

    Departs: expectation maximisation takes the residuals of a process that has seen the example. With more parts than examples they are
    near 0 for outliers too.
    """
    from scipy.linalg import cho_solve

    precision_K = np.diag(cho_solve((fitted.factor, True), np.eye(len(targets_K)), check_finite=False))
    missed_K = fitted.solved / precision_K  # Rasmussen & Williams 2006, equations 5.10 to 5.12
    doubt_K = np.maximum(1 / precision_K - fitted.noise * noise_K, 0)
    return np.asarray((FREEDOM + np.maximum(missed_K**2 - doubt_K, 0) / fitted.noise) / (FREEDOM + 1))


def _objective(
    log_weights: FloatArray, parts_PKK: FloatArray, targets_K: FloatArray, prior: WeightPrior, noise_K: FloatArray
) -> tuple[float, NDArray[np.float64]]:
    """Negative log marginal likelihood with the prior, and its gradient; infinite where the matrix is not positive definite."""
    from scipy.linalg import cho_solve, cholesky

    try:
        factor_KK = cholesky(_total(parts_PKK, log_weights, noise_K), lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e25, np.zeros_like(log_weights)
    solved_K = cho_solve((factor_KK, True), targets_K, check_finite=False)
    pull_KK = 0.5 * (cho_solve((factor_KK, True), np.eye(len(targets_K)), check_finite=False) - np.outer(solved_K, solved_K))
    weights, gradient = np.exp(log_weights), np.empty_like(log_weights)
    gradient[:-1] = weights[:-1] * np.einsum("ij,pij->p", pull_KK, parts_PKK)
    gradient[-1] = weights[-1] * float(np.diag(pull_KK) @ noise_K)
    apart = (log_weights - prior.mean) / prior.deviation
    value = 0.5 * float(targets_K @ solved_K) + float(np.log(np.diag(factor_KK)).sum()) + 0.5 * float(apart @ apart)
    return value, gradient + apart / prior.deviation
