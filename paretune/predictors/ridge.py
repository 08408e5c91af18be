"""Ridge regression on features or pairs of features: the baseline, and exact for costs that add up.

Legend: N genotypes, K examples, F features.
"""

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.protocols import GenotypeSpace
from paretune.predictors.encoding import EncodingName, encoding_of
from paretune.predictors.gaussian_process import kept_examples
from paretune.predictors.prediction import FloatArray, IntArray, Prediction, checked_examples, not_fitted

PENALTIES = 10.0 ** np.arange(-4, 4)
"""Penalties tried, per unit of the mean eigenvalue."""


class Ridge:
    """Linear regression with the penalty that predicts left-out examples best; `encoding: pairwise` adds every product of two genes.

    Solved on the examples' inner products, so many features cost nothing; the deviation is the Bayesian one.

    Args:
        space: what may be chosen.
        seed: decides which examples are left out where there are too many.
        encoding: which features.
        most_examples: examples kept.

    Raises:
        BadInput: an option is out of range or the space lacks the encoding.

    Source: Hoerl & Kennard, Technometrics 12(1), 1970; Golub et al., Technometrics 21(2), 1979 (left-out errors in closed form).
    """

    def __init__(self, space: GenotypeSpace, *, seed: int, encoding: EncodingName = "pairwise", most_examples: int = 2000) -> None:
        if most_examples < 10:
            raise BadInput(f"most_examples: must be at least 10 (got {most_examples})")
        self._seed, self._most, self._encoding = seed, most_examples, encoding_of(space, encoding)
        self._weights_F: FloatArray | None = None

    def fit(self, genotypes_ND: Genotypes, targets_N: FloatArray) -> None:
        """Learn from examples."""
        targets_N = checked_examples(genotypes_ND, targets_N)
        self._kept_K = kept_examples(targets_N, self._most, seed=self._seed)
        features_KF, targets_K = self._encoding(genotypes_ND)[self._kept_K].astype(np.float64), targets_N[self._kept_K]
        self._centre_F, self._mean = features_KF.mean(axis=0), float(targets_K.mean())
        features_KF, centred_K = features_KF - self._centre_F, targets_K - self._mean
        values_K, vectors_KK = np.linalg.eigh(features_KF @ features_KF.T)
        values_K = np.maximum(values_K, 0)
        turned_K, least = vectors_KK.T @ centred_K, np.inf
        for penalty in PENALTIES * max(float(values_K.mean()), 1e-12):
            residual_K = vectors_KK @ (turned_K * penalty / (values_K + penalty))
            kept_K = np.maximum((vectors_KK**2) @ (penalty / (values_K + penalty)) - 1 / len(targets_K), 1e-12)  # 1 / K: the fitted mean
            error = float(((residual_K / kept_K) ** 2).mean())
            if error < least * (1 - 1e-9):
                least, best, self._left_out_K = error, penalty, targets_K - residual_K / kept_K
        self._noise = max(least, 1e-18)
        self._weights_F = features_KF.T @ (vectors_KK @ (turned_K / (values_K + best)))
        # Posterior variance: noise * (1 + |x|^2 / penalty - what the examples explain of it / penalty), by the same eigenvectors.
        shrunk_K = np.sqrt(1 / (values_K + best))
        self._penalty, self._explain_FK = best, features_KF.T @ (vectors_KK * shrunk_K)

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation."""
        if self._weights_F is None:
            raise not_fitted()
        features_NF = self._encoding(genotypes_ND) - self._centre_F.astype(np.float32)
        root_NK = features_NF @ self._explain_FK.astype(np.float32)
        explained_N = np.einsum("nk,nk->n", root_NK, root_NK)
        open_N = np.maximum(np.einsum("nf,nf->n", features_NF, features_NF) - explained_N, 0) / self._penalty
        # The left-out error holds a typical part of the posterior variance already: half for each keeps the sum honest.
        deviation_N = np.sqrt(self._noise * (0.5 + np.minimum(open_N, 8.0)))
        return Prediction(mean=self._mean + features_NF @ self._weights_F, deviation=deviation_N)

    def left_out(self) -> Prediction:
        """Leave-one-out predictions of the examples kept, in closed form."""
        if self._weights_F is None:
            raise not_fitted()
        return Prediction(mean=self._left_out_K, deviation=np.full(len(self._left_out_K), np.sqrt(self._noise)))

    def kept(self) -> IntArray:
        """`(K,)` indices of the examples that were kept."""
        return self._kept_K
