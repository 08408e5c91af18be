"""Which predicted candidates promise most: expected hypervolume improvement on a grid, for batches, with limits.

Legend: N candidates, M objectives (minimised), G grid intervals of one objective.
"""

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np

from paretune.searchers.operators import FloatArray

MOST_CELLS = 6400
"""Cells of the grid over all objectives: 6,400 intervals of one, 80 x 80 of two, 18 x 18 x 18 of three."""
MOST_INTERVALS = 256


class ImprovementGrid:
    """The part of the objective space that the front leaves open, as weighted boxes.

    The expected hypervolume improvement of a candidate with independent normal objectives is the integral, over the open part, of the
    probability that the candidate dominates a point. Between the grid lines that probability is a product of closed integrals, so the
    grid is exact while its lines hold every coordinate of the front, and costs one matrix product for all candidates. What a chosen
    candidate probably dominates is taken off the weights, so the next one brings something else.

    Args:
        front_KM: non-dominated points, in the scale of the predictions.
        reference_M: the worst corner, in that scale.
        means_NM: predictions of the candidates, which say where lines are needed.
        natural: for each objective, the scale of the predictions -> the objective's own, in which volume counts.
        most_cells: cells of the grid over all objectives; fewer are faster and coarser.

    Source: Emmerich et al., Hypervolume-based expected improvement, CEC 2011; Daulton et al., NeurIPS 2020 (batches).
    """

    def __init__(
        self,
        front_KM: FloatArray,
        reference_M: FloatArray,
        means_NM: FloatArray,
        natural: Sequence[Callable[[FloatArray], FloatArray]],
        *,
        most_cells: int = MOST_CELLS,
    ) -> None:
        num_objectives = len(reference_M)
        most = min(MOST_INTERVALS, max(3, int(most_cells ** (1 / num_objectives))))
        self._lines = [_lines(front_KM[:, m], float(reference_M[m]), means_NM[:, m], most) for m in range(num_objectives)]
        self._factors = self._weighing(natural)
        middles = [np.concatenate([[-np.inf], (lines_G[1:] + lines_G[:-1]) / 2]) for lines_G in self._lines]
        self._open = np.ones(tuple(len(lines_G) for lines_G in self._lines))
        for point_M in front_KM:
            self._open[np.ix_(*[np.flatnonzero(middle_G >= value) for middle_G, value in zip(middles, point_M, strict=True)])] = 0.0

    def recounted(self, natural: Sequence[Callable[[FloatArray], FloatArray]]) -> "ImprovementGrid":
        """A grid of its own with the same lines, in which volume counts otherwise; their integrals are the same."""
        other = copy(self)
        other._factors, other._open = self._weighing(natural), self._open.copy()
        return other

    def _weighing(self, natural: Sequence[Callable[[FloatArray], FloatArray]]) -> list[FloatArray]:
        """For each objective `(G,)`: what the width of each interval counts, in units of the width."""
        factors = []
        for lines_G, to_natural in zip(self._lines, natural, strict=True):
            widths_G = np.diff(to_natural(lines_G)) / np.maximum(np.diff(lines_G), 1e-300)
            factors.append(np.concatenate([widths_G[:1] if len(widths_G) else [1.0], widths_G]))
        return factors

    def gains(self, means_NM: FloatArray, deviations_NM: FloatArray) -> FloatArray:
        """`(N,)` expected improvement of each candidate alone, in the product of the objectives' units."""
        return self.weighted(self.integrals(means_NM, deviations_NM))

    def weighted(self, parts: Sequence[FloatArray]) -> FloatArray:
        """`(N,)` expected improvements of the candidates whose integrals these are, by this grid or by one that it was recounted from."""
        gains = np.tensordot(parts[0] * self._factors[0], self._open, axes=(1, 0))
        for part_NG, factors_G in zip(parts[1:], self._factors[1:], strict=True):
            gains = np.einsum("ng...,ng->n...", gains, part_NG * factors_G)
        return np.asarray(gains)

    def take(self, mean_M: FloatArray, deviation_M: FloatArray) -> None:
        """Take off what a chosen or pending candidate probably dominates."""
        dominated = np.ones(())
        for lines_G, mean, deviation in zip(self._lines, mean_M, deviation_M, strict=True):
            before_G = np.concatenate([lines_G[:1], (lines_G[1:] + lines_G[:-1]) / 2])
            dominated = np.multiply.outer(dominated, _normal_below((before_G - mean) / deviation))
        self._open *= 1 - dominated

    def integrals(self, means_NM: FloatArray, deviations_NM: FloatArray) -> list[FloatArray]:
        """For each objective `(N, G)`: the integral, over each interval, of the probability to be below; whatever volume counts."""
        parts = []
        for objective, lines_G in enumerate(self._lines):
            deviation_N1 = deviations_NM[:, objective, np.newaxis]
            standard_NG = (lines_G - means_NM[:, objective, np.newaxis]) / deviation_N1
            density_NG = np.exp(-0.5 * standard_NG**2) / np.sqrt(2 * np.pi)
            below_NG = deviation_N1 * (standard_NG * _normal_below(standard_NG) + density_NG)
            parts.append(np.diff(below_NG, axis=1, prepend=0.0))
        return parts


def _lines(front_K: FloatArray, reference: float, means_N: FloatArray, most: int) -> FloatArray:
    """Ascending grid lines of one objective, ending at the reference; the first interval is everything below the first line."""
    inside_N = means_N[means_N < reference]
    best = min([*front_K[front_K < reference], *([inside_N.min()] if len(inside_N) else []), reference])
    front_lines = np.unique(front_K[front_K < reference])
    if len(front_lines) > most * 2 // 3:
        front_lines = np.quantile(front_lines, np.linspace(0, 1, most * 2 // 3), method="nearest")
    num_more = max(2, most - len(front_lines) - 2)
    between = np.quantile(inside_N, np.linspace(0, 1, num_more)) if len(inside_N) else np.linspace(best, reference, num_more)
    return np.unique(np.concatenate([front_lines, between, [best, reference]]))


def _normal_below(standard: FloatArray) -> FloatArray:
    from scipy.special import ndtr

    return np.asarray(ndtr(standard))


def log_feasibility(means_NC: FloatArray, deviations_NC: FloatArray, limits: Sequence[tuple[float, float]]) -> FloatArray:
    """`(N,)` logarithm of the probability that every constrained metric lies between its limits.

    Args:
        means_NC: predicted metrics, one column for each constraint.
        deviations_NC: their deviations.
        limits: `(lower, upper)` of each constraint, infinite where there is none.
    """
    from scipy.special import log_ndtr

    total_N = np.zeros(len(means_NC))
    for column, (lower, upper) in enumerate(limits):
        mean_N, deviation_N = means_NC[:, column], deviations_NC[:, column]
        if np.isfinite(upper):
            total_N += log_ndtr((upper - mean_N) / deviation_N)
        if np.isfinite(lower):
            total_N += log_ndtr((mean_N - lower) / deviation_N)
    return total_N
