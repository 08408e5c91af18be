"""Pareto mathematics: dominance, non-dominated ranks, crowding, hypervolume and an incremental archive.

Everything is minimised here; signs are flipped in `objectives`. Ranks and hypervolume are moocore's C code
(LGPL-2.1-or-later, dynamically linked).

Legend: N points, M objectives.
"""

import math
from collections.abc import Iterator
from typing import TypeAlias

import moocore
import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


def dominates(a_M: FloatArray, b_M: FloatArray) -> bool:
    """Whether `a` is nowhere worse and somewhere better than `b`."""
    return bool(np.all(a_M <= b_M) and np.any(a_M < b_M))


def non_dominated(points_NM: FloatArray) -> BoolArray:
    """`(N,)` mask of the points that no other point dominates; equal points are all kept."""
    return np.asarray(pareto_ranks(points_NM) == 0)


def pareto_ranks(points_NM: FloatArray) -> IntArray:
    """`(N,)` index of the non-dominated front of each point, 0 is best; equal points share a rank.

    Source: Deb et al., IEEE TEC 6(2), 2002.
    """
    if len(points_NM) == 0:
        return np.zeros(0, dtype=np.int64)
    return np.asarray(moocore.pareto_rank(_finite(points_NM)), dtype=np.int64)


def constrained_ranks(points_NM: FloatArray, violations_N: FloatArray) -> IntArray:
    """`(N,)` ranks under constrained dominance: feasible points by front, then the others by violation.

    Source: Deb et al., IEEE TEC 6(2), 2002, section VI.
    """
    ranks_N = np.zeros(len(points_NM), dtype=np.int64)
    feasible_N = violations_N <= 0
    if feasible_N.any():
        ranks_N[feasible_N] = pareto_ranks(points_NM[feasible_N])
    if not feasible_N.all():
        first_N = ranks_N[feasible_N].max() + 1 if feasible_N.any() else 0
        ranks_N[~feasible_N] = first_N + np.unique(violations_N[~feasible_N], return_inverse=True)[1]
    return ranks_N


def crowding_distances(points_NM: FloatArray, ranks_N: IntArray) -> FloatArray:
    """`(N,)` crowding distance of each point within its front; infinite at the ends of a front.

    Source: Deb et al., IEEE TEC 6(2), 2002, section III-B.
    """
    distances_N = np.zeros(len(points_NM))
    for rank in np.unique(ranks_N):
        members = np.flatnonzero(ranks_N == rank)
        distances_N[members] = _crowding(points_NM[members])
    return distances_N


def _crowding(front_NM: FloatArray) -> FloatArray:
    num_points, num_objectives = front_NM.shape
    if num_points <= 2:
        return np.full(num_points, math.inf)
    distances_N = np.zeros(num_points)
    for objective in range(num_objectives):
        values_N = front_NM[:, objective]
        order = np.argsort(values_N, kind="stable")
        least, most = float(values_N[order[0]]), float(values_N[order[-1]])
        distances_N[order[[0, -1]]] = math.inf
        if least < most and math.isfinite(most - least):
            distances_N[order[1:-1]] += (values_N[order[2:]] - values_N[order[:-2]]) / (most - least)
    return distances_N


def hypervolume(points_NM: FloatArray, reference_M: FloatArray) -> float:
    """Volume that `points` dominate and `reference` bounds, all objectives minimised.

    Points not better than `reference` in every objective add nothing.

    Args:
        points_NM: `(num_points, num_objectives)`, in the units of the problem.
        reference_M: `(num_objectives,)`, the worst corner.

    Returns:
        Volume in the product of the objectives' units; 0.0 for no points.

    Raises:
        ValueError: `points` and `reference` disagree on the number of objectives.

    Source: Zitzler & Thiele, IEEE TEC 3(4), 1999.
    """
    if len(points_NM) == 0:
        return 0.0
    if points_NM.shape[1] != len(reference_M):
        raise ValueError(f"points have {points_NM.shape[1]} objectives, the reference {len(reference_M)}")
    inside_NM = points_NM[np.all(points_NM < reference_M, axis=1)]
    if len(inside_NM) == 0:
        return 0.0
    if inside_NM.shape[1] == 1:
        return float(reference_M[0] - inside_NM.min())
    return float(moocore.hypervolume(inside_NM, ref=reference_M))


def _finite(points_NM: FloatArray) -> FloatArray:
    """Infinite objectives (failed candidates) as the largest float, since the C code wants finite numbers."""
    return np.nan_to_num(np.asarray(points_NM, dtype=np.float64), nan=np.finfo(float).max)


class ParetoArchive:
    """The non-dominated feasible points seen so far, kept up to date one by one.

    Equal points are all kept, in the order they came. An insert compares with the front only.
    """

    def __init__(self, num_objectives: int) -> None:
        self._points_NM = np.zeros((0, num_objectives))
        self._keys: list[int] = []

    def insert(self, key: int, point_M: FloatArray, violation: float = 0.0) -> bool:
        """Offer a point under a key (for example its ask index); whether it is on the front now.

        Infeasible points and points with an infinite objective never enter.
        """
        if violation > 0 or not np.all(np.isfinite(point_M)):
            return False
        front_NM = self._points_NM
        no_worse_N = np.all(front_NM <= point_M, axis=1)
        if np.any(no_worse_N & np.any(front_NM < point_M, axis=1)):
            return False
        keep_N = ~(np.all(point_M <= front_NM, axis=1) & np.any(point_M < front_NM, axis=1))
        self._points_NM = np.vstack([front_NM[keep_N], point_M])
        self._keys = [kept for kept, keep in zip(self._keys, keep_N, strict=True) if keep] + [key]
        return True

    @property
    def keys(self) -> tuple[int, ...]:
        """Keys of the front, in the order of arrival."""
        return tuple(self._keys)

    @property
    def points(self) -> FloatArray:
        """`(front size, num_objectives)` minimised, in the order of `keys`."""
        return self._points_NM.copy()

    def hypervolume(self, reference_M: FloatArray) -> float:
        """Hypervolume of the front against a reference point."""
        return hypervolume(self._points_NM, reference_M)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)
