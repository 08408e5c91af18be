"""The order in which candidates deserve more training: non-dominated fronts, each spread by an epsilon-net.

Source: Schmucker, Donini, Zafar, Salinas & Archambeau, Multi-objective Asynchronous Successive Halving, arXiv 2106.12639, 2021.

Legend: N candidates, M objectives, all minimised.
"""

import numpy as np

from paretune.core.pareto import FloatArray, IntArray, constrained_ranks


def epsilon_net_order(points_NM: FloatArray, earlier_KM: FloatArray | None = None) -> IntArray:
    """`(N,)` order of the points in which every prefix covers them evenly.

    It starts with the best point of the first objective, or with the one farthest from `earlier_KM`; the next one is always the point
    farthest from those already taken (Gonzalez' farthest-first traversal, the greedy way to an epsilon-net). Of points equally far the
    earlier row comes first.

    Departs: each objective is scaled to the range of the points. The paper leaves them as they are, so that seconds would not count
    beside percents.

    Args:
        points_NM: the points.
        earlier_KM: points that were taken before and belong to the net; may be empty.
    """
    num_points = len(points_NM)
    if num_points == 0:
        return np.zeros(0, dtype=np.int64)
    earlier_KM = np.zeros((0, points_NM.shape[1])) if earlier_KM is None else earlier_KM
    together = _scaled(np.concatenate([points_NM, earlier_KM]))
    scaled_NM, earlier_KM = together[:num_points], together[num_points:]
    order_N = np.zeros(num_points, dtype=np.int64)
    order_N[0] = int(np.argmin(points_NM[:, 0]))
    nearest_N = np.full(num_points, np.inf)
    for taken_M in earlier_KM:
        nearest_N = np.minimum(nearest_N, np.linalg.norm(scaled_NM - taken_M, axis=1))
    taken_N = np.zeros(num_points, dtype=bool)
    for place in range(num_points):
        if place > 0 or len(earlier_KM):
            order_N[place] = int(np.argmax(np.where(taken_N, -1.0, nearest_N)))
        latest = order_N[place]
        taken_N[latest] = True
        nearest_N = np.minimum(nearest_N, np.linalg.norm(scaled_NM - scaled_NM[latest], axis=1))
    return order_N


def most_deserving(points_NM: FloatArray, violations_N: FloatArray, count: int, *, earlier_KM: FloatArray | None = None) -> IntArray:
    """`(min(count, N),)` the candidates that deserve more training most, best first.

    Feasible candidates come by non-dominated front and within each front as an epsilon-net; then the others by violation. With one
    objective this is the order of its values, so that multi-objective successive halving becomes the plain one.

    Args:
        points_NM: objectives; a candidate without a value has infinite ones and comes last of its kind.
        violations_N: how far each breaks the limits; 0.0 is feasible.
        count: how many are wanted.
        earlier_KM: objectives of others that were chosen before, which the net of a front goes on from.
    """
    if points_NM.shape[1] == 1:
        excess_N = np.maximum(violations_N, 0.0)
        return np.lexsort((np.where(excess_N > 0, 0.0, points_NM[:, 0]), excess_N))[:count]
    ranks_N = constrained_ranks(points_NM, violations_N)
    chosen: list[int] = []
    for rank in np.unique(ranks_N):
        if len(chosen) >= count:
            break
        members = np.flatnonzero(ranks_N == rank)
        chosen += members[epsilon_net_order(points_NM[members], earlier_KM)].tolist()
    return np.array(chosen[:count], dtype=np.int64)


def _scaled(points_NM: FloatArray) -> FloatArray:
    """Each objective from 0 to 1 over the points; what is infinite lies at 1, an objective that is the same for all at 0."""
    finite_NM = np.where(np.isfinite(points_NM), points_NM, np.nan)
    scaled_NM = np.ones_like(points_NM)
    for column in range(points_NM.shape[1]):
        values_N = finite_NM[:, column]
        known_N = ~np.isnan(values_N)
        if known_N.any():
            least, most = values_N[known_N].min(), values_N[known_N].max()
            scaled_NM[known_N, column] = (values_N[known_N] - least) / (most - least) if most > least else 0.0
    return scaled_NM
