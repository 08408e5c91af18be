"""Scores of rankers on the scale of the values: isotonic regression, so that a ranking gives a mean and a deviation too."""

import numpy as np

from paretune.predictors.prediction import FloatArray


class ScoreScale:
    """A rising map from scores to values, linear between the steps of the isotonic fit and beyond its ends.

    Args:
        scores_K: scores of examples that the ranker did not see.
        values_K: the examples' values.
        monotone: False leaves scores as they are.

    Source: Barlow et al., Statistical inference under order restrictions, 1972 (pool adjacent violators).
    """

    def __init__(self, scores_K: FloatArray, values_K: FloatArray, *, monotone: bool) -> None:
        self._monotone = monotone
        if not monotone:
            return
        from scipy.optimize import isotonic_regression

        order_K = np.argsort(scores_K, kind="stable")
        rising_K = np.asarray(isotonic_regression(values_K[order_K]).x)
        levels, first, counts = np.unique(rising_K, return_index=True, return_counts=True)
        middles = np.array([scores_K[order_K][start : start + count].mean() for start, count in zip(first, counts, strict=True)])
        # Steps would tie what the ranker tells apart: values are joined from the middle of each step to the next.
        self._scores, self._values = middles, levels
        spread = float(scores_K.std()) or 1.0
        self._slope = 0.5 * float(values_K.std()) / spread

    def __call__(self, scores_N: FloatArray) -> FloatArray:
        """`(N,)` scores as values."""
        if not self._monotone:
            return scores_N
        inside_N = np.interp(scores_N, self._scores, self._values)
        beyond_N = np.maximum(scores_N - self._scores[-1], 0) + np.minimum(scores_N - self._scores[0], 0)
        return np.asarray(inside_N + self._slope * beyond_N)
