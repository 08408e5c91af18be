"""What devices have in common: architectures as features whose weights are learned on known devices, in parts of one covariance.

Legend: N architectures, F features, S known devices, K rows, V nodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import Genotypes
from paretune.core.protocols import Graphs, GraphSpace, SearchSpace
from paretune.predictors.kernel import _matern
from paretune.predictors.prediction import FloatArray, IntArray

COMPONENTS = 8
"""Principal components of the known devices that may count as much as the first."""
LIVE = "live."
"""Begins the names of parts that leave out what does not lead to the output."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the covariance."""

    features: FloatArray
    """`(N, F)` centred, of mean squared norm 1."""
    smooth: bool = False
    """Matern of smoothness 5/2 and length scale 1 instead of the inner product."""

    def between(self, rows_K: IntArray, others: IntArray) -> FloatArray:
        """`(K, M)` covariance of two sets of rows."""
        left_KF, right_MF = self.features[rows_K], self.features[others]
        product_KM = left_KF @ right_MF.T
        if not self.smooth:
            return np.asarray(product_KM)
        squares_KM = np.einsum("kf,kf->k", left_KF, left_KF)[:, np.newaxis] + np.einsum("mf,mf->m", right_MF, right_MF) - 2 * product_KM
        return np.asarray(_matern(np.maximum(squares_KM, 0)))

    def own(self, rows_K: IntArray) -> FloatArray:
        """`(K,)` variance of rows."""
        features_KF = self.features[rows_K]
        return np.ones(len(rows_K)) if self.smooth else np.asarray(np.einsum("kf,kf->k", features_KF, features_KF))


def covariances(parts: Mapping[str, Part], rows_K: IntArray, others_M: IntArray) -> FloatArray:
    """`(P, K, M)` covariance by each part, a constant first."""
    return np.stack([np.ones((len(rows_K), len(others_M))), *(part.between(rows_K, others_M) for part in parts.values())])


def weighed_covariance(parts: Mapping[str, Part], weights: FloatArray, rows_K: IntArray, others_M: IntArray) -> FloatArray:
    """`(K, M)` sum of all parts by their weights, the constant's first; needs no more memory than one part."""
    total_KM = np.full((len(rows_K), len(others_M)), weights[0])
    for weight, part in zip(weights[1:], parts.values(), strict=True):
        total_KM += weight * part.between(rows_K, others_M)
    return total_KM


def variances(parts: Mapping[str, Part], rows_K: IntArray) -> FloatArray:
    """`(P, K)` variance by each part, a constant first."""
    return np.stack([np.ones(len(rows_K)), *(part.own(rows_K) for part in parts.values())])


def device_parts(costs_NS: FloatArray) -> dict[str, Part]:
    """How known devices rate the architectures: principal components as they weigh, the first of them alike, and what is smooth in them."""
    scaled_NS = (costs_NS - costs_NS.mean(axis=0)) / np.maximum(costs_NS.std(axis=0), 1e-30)
    left_NS, values_S, _ = np.linalg.svd(scaled_NS, full_matrices=False)
    weighed_NF = _unit(left_NS * values_S)
    return {
        "devices": Part(weighed_NF),
        "components": Part(_unit(left_NS[:, :COMPONENTS])),
        "devices.smooth": Part(weighed_NF, smooth=True),
    }


def architecture_parts(space: SearchSpace, genotypes_ND: Genotypes) -> dict[str, Part]:
    """What is in the architectures: how often each choice is there, where it is, and what choices do together.

    Where the space has graphs, also without what has no way to the output (`live`: runtimes that go back from the output leave it out),
    since devices differ in whether they run it.
    """
    places = {"": _choices(space, genotypes_ND)}
    if isinstance(space, GraphSpace):
        places[LIVE] = _live_operations(space, genotypes_ND)
    parts: dict[str, Part] = {}
    for name, onehot_NDO in places.items():
        where_NF = _unit(onehot_NDO.reshape(len(genotypes_ND), -1))
        parts |= {
            f"{name}counts": Part(_unit(onehot_NDO.sum(axis=1))),
            f"{name}places": Part(where_NF),
            f"{name}smooth": Part(where_NF, smooth=True),
        }
    return parts


def _choices(space: SearchSpace, genotypes_ND: Genotypes) -> FloatArray:
    """`(N, D, O)` choices one-hot; decisions with equal choices share their columns, so that counts add up over them."""
    firsts: dict[Sequence[object], int] = {}
    width = 0
    for decision in space.decisions:
        if decision.choices not in firsts:
            firsts[decision.choices] = width
            width += len(decision.choices)
    offsets_D = np.array([firsts[decision.choices] for decision in space.decisions])
    return np.asarray((genotypes_ND + offsets_D)[:, :, np.newaxis] == np.arange(width), dtype=np.float64)


def _live_operations(space: GraphSpace, genotypes_ND: Genotypes) -> FloatArray:
    """`(N, V, O)` operations one-hot, those left out from which no way leads to the output."""
    raw, pruned = space.graphs(genotypes_ND, pruned=False), space.graphs(genotypes_ND, pruned=True)
    live_NV = _leads_to_output(raw, carries_O=np.bincount(pruned.operations.ravel(), minlength=raw.num_operations) > 0)
    onehot_NVO = raw.operations[:, :, np.newaxis] == np.arange(1, raw.num_operations)
    return np.asarray(onehot_NVO & live_NV[:, :, np.newaxis], dtype=np.float64)


def _leads_to_output(graphs: Graphs, *, carries_O: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`(N, V)` nodes from which a way leads to the last one, over operations that carry anything: those that survive pruning somewhere."""
    carries_NV = carries_O[graphs.operations]
    live_NV = np.zeros(graphs.operations.shape, dtype=np.bool_)
    live_NV[:, -1] = True
    for node in range(graphs.operations.shape[1] - 2, -1, -1):  # edges run from lower to higher numbers
        live_NV[:, node] = carries_NV[:, node] & (graphs.adjacency[:, node, :] & live_NV).any(axis=1)
    return live_NV


def _unit(features_NF: FloatArray) -> FloatArray:
    """Centred columns that differ, scaled to a mean squared norm of 1."""
    centred_NF = features_NF - features_NF.mean(axis=0)
    differing_NF = centred_NF[:, np.ptp(features_NF, axis=0) > 1e-12]
    norm = np.sqrt((differing_NF**2).sum(axis=1).mean()) if differing_NF.size else 1.0
    return np.asarray(differing_NF / (norm or 1.0))
