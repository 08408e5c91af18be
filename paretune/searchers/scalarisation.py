"""Many objectives and limits as one reward: preferences, what a candidate is worth under them, and what it earns.

Legend: N candidates, K known candidates, M objectives, P preferences.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.pareto import non_dominated
from paretune.searchers.population import Population

FloatArray: TypeAlias = NDArray[np.float64]
Form: TypeAlias = Literal["chebyshev", "weighted", "value"]

AUGMENTATION = 0.05
"""Share of the plain sum in the augmented Chebyshev norm, so that of two equal maxima the dominating point wins."""
LEAST_FEASIBLE = -1.0
"""Reward that every candidate within the limits reaches under ranked rewards; what misses them earns less."""


def preferences(rng: np.random.Generator, num_objectives: int) -> FloatArray:
    """`(M,)` weights, not negative, sum 1, uniform on the simplex."""
    cuts = np.sort(rng.random(num_objectives - 1))
    return np.diff(cuts, prepend=0.0, append=1.0)


def merits(population: Population, known: Population, preferences_PM: FloatArray, form: Form) -> FloatArray:
    """`(P, N)` what each candidate is worth under each preference; larger is better, and anything feasible is better than the rest.

    Objectives are scaled so that the front of the known feasible candidates spans 0 to 1. `weighted` is the weighted sum; `chebyshev`
    the augmented weighted Chebyshev norm, which also reaches the concave parts of a front; `value` the one objective as it is.

    Source: Steuer & Choo, An interactive weighted Tchebycheff procedure, Mathematical Programming 26, 1983.
    """
    feasible_N, known_K = is_feasible(population), is_feasible(known)
    worth_PN = np.broadcast_to(-population.violations, (len(preferences_PM), len(population))).copy()
    if not feasible_N.any():
        return worth_PN
    points_NM = population.points[feasible_N]
    if form == "value":
        found_PN = np.broadcast_to(-points_NM[:, 0], (len(preferences_PM), len(points_NM)))
        offset = found_PN.min()
    else:
        weighted_PNM = preferences_PM[:, np.newaxis] * _scaled(points_NM, known.points[known_K] if known_K.any() else points_NM)
        found_PN = -weighted_PNM.sum(axis=2)
        if form == "chebyshev":
            found_PN = AUGMENTATION * found_PN - weighted_PNM.max(axis=2)
        offset = found_PN.min()
    worth_PN += min(offset, 0.0)
    worth_PN[:, feasible_N] = found_PN
    return worth_PN


def rewards(batch: Population, known: Population, preferences_NM: FloatArray, form: Form) -> FloatArray:
    """`(N,)` what each candidate of a batch earns under its own preferences, the known ones being its measure.

    Within the limits: the share of the known feasible candidates that are worth less, as -1 to 1, so that no unit and no scale
    matters; the objective itself where the form is `value`. Beyond them: -1 less v / (1 + v) for a violation of v, which is close to
    -1 - v, the reward of FNAS, and still tells the far from the farther. What failed earns -2. Where values of the form `value` lie
    below -1, both come below the least of them, by up to as much as the known ones span, or by up to 1 where that is more.
    """
    violations_N = batch.violations
    shares_N = np.divide(violations_N, 1 + violations_N, out=np.ones_like(violations_N), where=np.isfinite(violations_N))
    earned_N = LEAST_FEASIBLE - shares_N
    good_N, good_K = is_feasible(batch), is_feasible(known)
    if form == "value":
        values_N, values_K = -batch.points[good_N, 0], -known.points[good_K, 0]
        least, most = (float(found) for found in (values_K.min(initial=np.inf), values_K.max(initial=-np.inf)))
        if least < LEAST_FEASIBLE:
            earned_N = least - max(most - least, 1.0) * shares_N
        earned_N[good_N] = values_N
    elif good_N.any():
        good = known.take(np.flatnonzero(good_K))
        theirs_NK = merits(good, known, preferences_NM[good_N], form)
        own_N = np.diagonal(merits(batch.take(np.flatnonzero(good_N)), known, preferences_NM[good_N], form))[:, np.newaxis]
        beaten_N = (theirs_NK < own_N).sum(axis=1) + (theirs_NK == own_N).sum(axis=1) / 2
        earned_N[good_N] = 2 * beaten_N / theirs_NK.shape[1] - 1
    return earned_N


def is_feasible(population: Population) -> NDArray[np.bool_]:
    """`(N,)` mask of the candidates that ended well within every limit."""
    return np.asarray((population.violations <= 0) & np.isfinite(population.points).all(axis=1))


def _scaled(points_NM: FloatArray, known_KM: FloatArray) -> FloatArray:
    """Objectives with the range of the known front as 0 to 1; a range of nothing falls back to that of all known."""
    front_KM = known_KM[non_dominated(known_KM)]
    least_M = front_KM.min(axis=0)
    spans_M = front_KM.max(axis=0) - least_M
    all_M = known_KM.max(axis=0) - least_M
    spans_M = np.where(spans_M > 0, spans_M, np.where(all_M > 0, all_M, 1.0))
    return np.asarray((points_NM - least_M) / spans_M)
