"""The next batch of a predictor-guided search: screens a pool and picks, one after another, what adds most to the batch so far.

Legend: N candidates, D decisions, M objectives, S shortlisted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from paretune.core.genotype import Genotypes, row_keys
from paretune.core.objectives import Problem
from paretune.core.pareto import BoolArray, constrained_ranks, crowding_distances, non_dominated
from paretune.searchers.acquisition import MOST_CELLS, ImprovementGrid, log_feasibility
from paretune.searchers.operators import FloatArray, IntArray
from paretune.searchers.surrogate import Surrogate
from paretune.searchers.told import Told

Acquisition: TypeAlias = Literal["hypervolume", "rank", "thompson"]

SHORTLIST = 300
"""Candidates among which the batch is picked with covariances."""
COARSE_CELLS = 576
"""Cells of the grid that orders whole pools."""
BLOCK = 1024
"""Candidates scored at once: what comes between stays in the cache."""
TINY = 1e-9
"""Deviation, of the scale of the predictions, of what is taken as known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picker:
    """Scores candidates by what a fitted surrogate expects of them, and picks batches."""

    surrogate: Surrogate
    """Fitted to everything told."""
    problem: Problem
    """Objectives, constraints, reference point."""
    told: Told
    """What the front is made of."""
    acquisition: Acquisition
    """How the picks are made."""

    def scores(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N,)` logarithm of the expected improvement times the probability of meeting the limits; larger promises more."""
        means_NM, deviations_NM = self.surrogate.predicted_objectives(genotypes_ND)
        return self._scores(means_NM, deviations_NM, self._feasibility(genotypes_ND), COARSE_CELLS)[0]

    def pick(self, pool_ND: Genotypes, allowed_N: BoolArray, count: int, *, pending_ND: Genotypes, rng: np.random.Generator) -> Genotypes:
        """Up to `count` rows of the pool, best first.

        Args:
            pool_ND: distinct candidates. Those that certainly miss a limit are left out, unless all of them do.
            allowed_N: mask of those that were not asked.
            count: size of the batch.
            pending_ND: asked and not told: counted as if they had given what is predicted.
            rng: draws of the Thompson samples and of the wider picks by rank.
        """
        means_NM, deviations_NM = self.surrogate.predicted_objectives(pool_ND)
        feasibility_N = self._feasibility(pool_ND)
        if self.surrogate.known is not None:
            meets_N = self.surrogate.known.violations(pool_ND) <= 0
            allowed_N = allowed_N & meets_N if meets_N.any() else allowed_N
        if self.acquisition == "rank":
            return pool_ND[self._by_rank(means_NM, feasibility_N, allowed_N, count, rng)]
        short = np.flatnonzero(allowed_N)
        for cells, most in ((COARSE_CELLS, 8 * SHORTLIST), (MOST_CELLS, max(SHORTLIST, 2 * count))):
            scores = self._scores(means_NM[short], deviations_NM[short], feasibility_N[short], cells)
            best = [np.argsort(-np.round(scores_N, 9), kind="stable")[:most] for scores_N in scores]
            # In turn from both orders, each once.
            merged = np.stack(best, axis=1).ravel()
            short = short[merged[np.sort(np.unique(merged, return_index=True)[1])][:most]]
        if self._anything_feasible() and len(short):
            chosen = self._greedily(pool_ND[short], feasibility_N[short], count, pending_ND, rng)
            short = np.concatenate([short[chosen], np.delete(short, chosen)])
        return pool_ND[short[:count]]

    def _anything_feasible(self) -> bool:
        return bool(((self.told.violations <= 0) & np.isfinite(self.told.points).all(axis=1)).any())

    def _feasibility(self, genotypes_ND: Genotypes) -> FloatArray:
        predicted_N = log_feasibility(*self.surrogate.predicted_constraints(genotypes_ND), self.surrogate.limits)
        known = self.surrogate.known
        return predicted_N if known is None else predicted_N + known.log_feasibility(genotypes_ND)

    def _scores(self, means_NM: FloatArray, deviations_NM: FloatArray, feasibility_N: FloatArray, cells: int) -> list[FloatArray]:
        """`(N,)` scores by each of the two ways to count volume; integrals are worked out once for both."""
        if not self._anything_feasible():
            return [feasibility_N, feasibility_N]
        grids = self._grids(means_NM, cells)
        gains_NE = np.empty((len(means_NM), len(grids)))
        for first in range(0, len(means_NM), BLOCK):
            block = slice(first, first + BLOCK)
            parts = grids[0].integrals(means_NM[block], deviations_NM[block])
            gains_NE[block] = np.stack([grid.weighted(parts) for grid in grids], axis=1)
        return [feasibility_N + np.log(np.maximum(gains_N, 1e-300)) for gains_N in gains_NE.T]

    def _grids(self, means_NM: FloatArray, cells: int) -> tuple[ImprovementGrid, ImprovementGrid]:
        """Two grids over the front: with volume in the objectives' units, and alike between any two neighbours of the front."""
        good_N = (self.told.violations <= 0) & np.isfinite(self.told.points).all(axis=1)
        front_KM = np.unique(self.told.points[good_N], axis=0)
        front_KM = self.surrogate.points(front_KM[non_dominated(front_KM)])
        reference_M = self.surrogate.points(self.problem.reference[np.newaxis])[0]
        natural = [model.warp.natural for model in self.surrogate.objectives]
        evened = [_evened(np.append(front_KM[:, m], reference_M[m])) for m in range(len(reference_M))]
        grid = ImprovementGrid(front_KM, reference_M, means_NM, natural, most_cells=cells)
        return grid, grid.recounted(evened)

    def _greedily(
        self, short_SD: Genotypes, feasibility_S: FloatArray, count: int, pending_ND: Genotypes, rng: np.random.Generator
    ) -> list[int]:
        """Positions in the shortlist: each pick takes what it promises off the grid and the doubt it removes off the deviations.

        Every other pick counts volume evenly along the front: what the objectives' units call little, at the ends above all, is found too.
        """
        joint_ND = np.concatenate([short_SD, pending_ND])
        joint_ND.flags.writeable = False  # its features are remembered for the next objective
        means_NM, deviations_NM = self.surrogate.predicted_objectives(joint_ND)
        covariances = self.surrogate.covariances(joint_ND)
        grids = self._grids(means_NM, MOST_CELLS)
        doubts = _Doubts(deviations_NM, covariances)
        for row in range(len(short_SD), len(joint_ND)):
            for grid in grids:
                grid.take(means_NM[row], doubts.deviations_NM[row])
            doubts.settle(row)
        chosen: list[int] = []
        num_short = len(short_SD)
        for turn in range(min(count, num_short)):
            grid = grids[turn % 2]
            if self.acquisition == "thompson":
                sample_NM = means_NM + doubts.sample(rng)
                gains_S = grid.gains(sample_NM[:num_short], np.full((num_short, means_NM.shape[1]), TINY * np.ptp(means_NM) + 1e-300))
            else:
                gains_S = grid.gains(means_NM[:num_short], doubts.deviations_NM[:num_short])
            scores_S = np.round(np.log(np.maximum(gains_S, 1e-300)) + feasibility_S, 9)
            scores_S[chosen] = -np.inf
            best = int(np.argmax(scores_S))
            for grid in grids:
                grid.take(means_NM[best], doubts.deviations_NM[best])
            doubts.settle(best)
            chosen.append(best)
        return chosen

    def _by_rank(
        self, means_NM: FloatArray, feasibility_N: FloatArray, allowed_N: BoolArray, count: int, rng: np.random.Generator
    ) -> IntArray:
        """Half of the batch from the top of the predicted ranking, half at random from a top share that halves as the search goes on.

        Source: Dudziak et al., BRP-NAS, NeurIPS 2020, section 4 (iterative data selection).
        """
        allowed = np.flatnonzero(allowed_N)
        ranks_N = constrained_ranks(means_NM[allowed], np.maximum(-feasibility_N[allowed] - np.log(2), 0))
        order = allowed[np.lexsort((-crowding_distances(means_NM[allowed], ranks_N), ranks_N))]
        num_best = (count + 1) // 2
        # The share is halved at every doubling of what was told.
        doublings = np.log2(max(len(self.told), 2)) - 3
        share = order[num_best : max(num_best + count, int(len(order) / 2 ** max(doublings, 1)))]
        others = rng.choice(share, size=min(count - num_best, len(share)), replace=False)
        return np.concatenate([order[:num_best], others])


def _evened(coordinates_K: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """A rising map under which neighbouring coordinates are all 1 apart, and 1 wide is what lies below the first by a typical step."""
    steps = np.unique(coordinates_K)
    typical = float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0

    def even(values: FloatArray) -> FloatArray:
        inside = np.interp(values, steps, np.arange(len(steps), dtype=np.float64))
        return np.asarray(inside + np.minimum(values - steps[0], 0) / typical)

    return even


class _Doubts:
    """Deviations of a shortlist's objectives, smaller for the neighbours of what is taken as known."""

    def __init__(self, deviations_NM: FloatArray, covariances: list[FloatArray | None]) -> None:
        self.deviations_NM = deviations_NM.copy()
        self._covariances = [None if item is None else item.copy() for item in covariances]
        self._least = deviations_NM.min(axis=0) * 1e-3 + 1e-300
        self._noise_M = [
            None if item is None else float(np.maximum(deviations_NM[:, m] ** 2 - np.diag(item), 0).mean())
            for m, item in enumerate(covariances)
        ]

    def settle(self, row: int) -> None:
        """Take a candidate's value as known: Gaussian conditioning, where the covariance is known."""
        for objective, covariance_NN in enumerate(self._covariances):
            if covariance_NN is None:
                continue
            noise = self._noise_M[objective] or 0.0
            column_N = covariance_NN[:, row] / np.sqrt(max(covariance_NN[row, row] + noise, 1e-300))
            covariance_NN -= np.outer(column_N, column_N)
            variance_N = np.maximum(np.diag(covariance_NN), 0) + noise
            self.deviations_NM[:, objective] = np.maximum(np.sqrt(variance_N), self._least[objective])

    def sample(self, rng: np.random.Generator) -> FloatArray:
        """`(N, M)` one joint draw of what the values are apart from their means."""
        draws_NM = rng.standard_normal(self.deviations_NM.shape)
        for objective, covariance_NN in enumerate(self._covariances):
            if covariance_NN is None:
                draws_NM[:, objective] *= self.deviations_NM[:, objective]
                continue
            values_N, vectors_NN = np.linalg.eigh(covariance_NN)
            draws_NM[:, objective] = vectors_NN @ (np.sqrt(np.maximum(values_N, 0)) * draws_NM[:, objective])
        return draws_NM


def not_asked(pool_ND: Genotypes, asked: Mapping[bytes, None]) -> BoolArray:
    """`(N,)` mask of the rows whose key was not asked."""
    return np.array([key not in asked for key in row_keys(pool_ND)], dtype=np.bool_)
