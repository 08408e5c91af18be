"""What ensembles share whose members each leave out another part of the examples.

Legend: N genotypes, K examples, B members.
"""

from typing import Any

import numpy as np

from paretune.predictors.networks_training import standardised
from paretune.predictors.prediction import FloatArray, IntArray, Prediction, not_fitted

LEAST_MISS = 1e-6


class Ensemble:
    """Scales values, remembers what each member said of the examples it did not see, and turns that and the spread into a deviation."""

    def __init__(self) -> None:
        self._networks: list[Any] = []

    def _begin(self, targets_K: FloatArray) -> FloatArray:
        """Forget everything; the values with mean 0 and deviation 1."""
        scaled_K, self._mean, self._scale = standardised(targets_K)
        self._networks, self._left_out_K = [], np.zeros(len(scaled_K))
        return scaled_K

    def _end(self, scaled_K: FloatArray) -> None:
        """All members are trained and have filled in `_left_out_K`."""
        self._missed = max(float(np.sqrt(((scaled_K - self._left_out_K) ** 2).mean())), LEAST_MISS)

    def _prediction(self, values_BN: FloatArray) -> Prediction:
        """What the members say, as one."""
        deviation_N = np.sqrt(values_BN.var(axis=0, ddof=1) + 0.5 * self._missed**2)
        return Prediction(mean=self._mean + self._scale * values_BN.mean(axis=0), deviation=self._scale * deviation_N)

    def left_out(self) -> Prediction:
        """Predictions of each example by the member that did not see it."""
        if not self._networks:
            raise not_fitted()
        missed_K = np.full(len(self._left_out_K), self._scale * self._missed)
        return Prediction(mean=self._mean + self._scale * self._left_out_K, deviation=missed_K)

    def kept(self) -> IntArray:
        """`(K,)` every example."""
        return np.arange(len(self._left_out_K))
