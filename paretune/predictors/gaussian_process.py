"""Gaussian process over genotypes: the surest predictor where few networks were trained.

Legend: N genotypes, K examples, F features.
"""

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream
from paretune.predictors.encoding import EncodingName, encoding_of
from paretune.predictors.kernel import Kernel, Likelihood, tuned_kernel
from paretune.predictors.prediction import FloatArray, IntArray, Prediction, checked_examples, not_fitted

BLOCK = 1024
"""Genotypes predicted at once: their covariance with the examples stays in the processor's cache."""


class GaussianProcess:
    """Gaussian process with a linear and a Matern kernel over ordinal and categorical genes, a length scale for each.

    The kernel's parameters maximise the marginal likelihood with priors, are found on at most `tuning_examples` of the examples, and are
    rounded to hundredths of a logarithm, so that rounding errors of another processor do not show.

    Args:
        space: what may be chosen.
        seed: decides which examples are left out where there are too many.
        encoding: which features.
        most_examples: examples kept; above, those with the smallest targets and a random sample of the others.
        tuning_examples: examples from which the kernel's parameters are found.

    Raises:
        BadInput: an option is out of range or the space lacks the encoding.

    Source: Rasmussen & Williams, Gaussian processes for machine learning, 2006, chapters 2 and 5.
    """

    def __init__(
        self,
        space: GenotypeSpace,
        *,
        seed: int,
        encoding: EncodingName = "genes",
        most_examples: int = 1000,
        tuning_examples: int = 128,
    ) -> None:
        for name, value in (("most_examples", most_examples), ("tuning_examples", tuning_examples)):
            if value < 10:
                raise BadInput(f"{name}: must be at least 10 (got {value})")
        self._seed, self._most, self._tuning = seed, most_examples, tuning_examples
        self._encoding = encoding_of(space, encoding)
        self._kernel: Kernel | None = None

    def fit(self, genotypes_ND: Genotypes, targets_N: FloatArray) -> None:
        """Learn from examples."""
        from scipy.linalg import cho_solve, cholesky

        targets_N = checked_examples(genotypes_ND, targets_N)
        kept_K = kept_examples(targets_N, self._most, seed=self._seed)
        features_KF, targets_K = self._encoding(genotypes_ND)[kept_K].astype(np.float64), targets_N[kept_K]
        self._centre_F = features_KF.mean(axis=0)
        self._mean, self._scale = float(targets_K.mean()), float(targets_K.std()) or 1.0
        self._features_KF, scaled_K = features_KF - self._centre_F, (targets_K - self._mean) / self._scale
        tuned = kept_examples(targets_K, self._tuning, seed=self._seed)
        kernel = tuned_kernel(Likelihood(self._features_KF[tuned], scaled_K[tuned], self._encoding.groups))
        covariance_KK: FloatArray = kernel.between(self._features_KF, self._features_KF)
        covariance_KK[np.diag_indices(len(scaled_K))] += kernel.noise + 1e-6
        self._factor_KK = cholesky(covariance_KK, lower=True, check_finite=False)
        self._solved_K, self._kernel, self._kept_K, self._scaled_K = (
            cho_solve((self._factor_KK, True), scaled_K, check_finite=False),
            kernel,
            kept_K,
            scaled_K,
        )

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation; the deviation holds what the features do not explain."""
        from scipy.linalg import solve_triangular

        kernel = self._fitted()
        features_NF = self._encoding(genotypes_ND) - self._centre_F.astype(np.float32)
        examples_KF, solved_K = self._features_KF.astype(np.float32), self._solved_K.astype(np.float32)
        factor_KK = self._factor_KK.astype(np.float32)
        mean_N, explained_N = np.empty(len(features_NF)), np.empty(len(features_NF))
        for first in range(0, len(features_NF), BLOCK):
            block = slice(first, first + BLOCK)
            covariance_NK = kernel.between(features_NF[block], examples_KF)
            mean_N[block] = covariance_NK @ solved_K
            root_KN = solve_triangular(factor_KK, covariance_NK.T, lower=True, check_finite=False)
            explained_N[block] = np.einsum("kn,kn->n", root_KN, root_KN)
        variance_N = np.maximum(kernel.own(features_NF) - explained_N, 1e-6) + kernel.noise
        return Prediction(mean=self._mean + self._scale * mean_N, deviation=self._scale * np.sqrt(variance_N))

    def means(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N,)` means alone, at a fraction of the cost of `predict`."""
        kernel = self._fitted()
        features_NF = self._encoding(genotypes_ND) - self._centre_F.astype(np.float32)
        examples_KF, solved_K = self._features_KF.astype(np.float32), self._solved_K.astype(np.float32)
        mean_N = np.empty(len(features_NF))
        for first in range(0, len(features_NF), BLOCK):
            mean_N[first : first + BLOCK] = kernel.between(features_NF[first : first + BLOCK], examples_KF) @ solved_K
        return self._mean + self._scale * mean_N

    def covariance(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N, N)` covariance of the predicted values, without noise."""
        from scipy.linalg import solve_triangular

        kernel = self._fitted()
        features_NF = self._encoding(genotypes_ND).astype(np.float64) - self._centre_F
        root_KN = solve_triangular(self._factor_KK, kernel.between(self._features_KF, features_NF), lower=True, check_finite=False)
        return np.asarray(self._scale**2 * (kernel.between(features_NF, features_NF) - root_KN.T @ root_KN))

    def left_out(self) -> Prediction:
        """Leave-one-out predictions of the examples kept, in closed form.

        Source: Rasmussen & Williams 2006, equations 5.10 to 5.12.
        """
        from scipy.linalg import cho_solve

        self._fitted()
        inverse_K = np.diag(cho_solve((self._factor_KK, True), np.eye(len(self._scaled_K)), check_finite=False))
        mean_K = self._scaled_K - self._solved_K / inverse_K
        return Prediction(mean=self._mean + self._scale * mean_K, deviation=self._scale / np.sqrt(inverse_K))

    def kept(self) -> IntArray:
        """`(K,)` indices of the examples that were kept."""
        self._fitted()
        return self._kept_K

    def _fitted(self) -> Kernel:
        if self._kernel is None:
            raise not_fitted()
        return self._kernel


def kept_examples(targets_N: FloatArray, most: int, *, seed: int) -> IntArray:
    """Indices of at most `most` examples, ascending: half of them those with the smallest targets, the others at random."""
    num_examples = len(targets_N)
    if num_examples <= most:
        return np.arange(num_examples)
    order_N = np.argsort(targets_N, kind="stable")
    num_best = most // 2
    rng = stream(seed, index=num_examples, purpose="predictor.examples")
    others_K = rng.choice(order_N[num_best:], size=most - num_best, replace=False)
    return np.sort(np.concatenate([order_N[:num_best], others_K]))
