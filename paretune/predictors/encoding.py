"""Genotypes as numbers: one-hot and ordinal genes, the space's own features, products of pairs, raw and pruned graphs.

Legend: N genotypes, D decisions, F features, V nodes, O operations, P pairs of operations.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, TypeAlias, get_args
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from paretune.core.by_array import ByArray
from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes, num_choices
from paretune.core.option_checks import one_of
from paretune.core.protocols import GenotypeSpace, GraphSpace, SearchSpace
from paretune.core.rng import stream

Features: TypeAlias = NDArray[np.float32]
EncodingName: TypeAlias = Literal["genes", "onehot", "space", "pairwise", "graph", "pruned_graph", "genes_graph"]
"""`genes`: ordinal decisions as positions, others one-hot; `onehot`: all one-hot; `space`: what the space says itself; `pairwise`: one-hot
and the products of every two decisions; `graph`, `pruned_graph`: what `graph_features` counts; `genes_graph`: genes and pruned graph."""

BLOCK = 512
"""Genotypes encoded at once: what comes between stays in the cache."""
SAMPLED = 2048
"""Random architectures looked at to find the columns that never differ, which are left out."""
MOST_TRIPLES = 512
"""Operations cubed up to which chains of three operations are counted."""
MOST_PAIR_FEATURES = 4000
"""Columns of the pairwise encoding above which it is refused."""


class Encoding:
    """Turns genotypes of one space into features.

    The features of the read-only arrays that came last are remembered.

    Raises:
        BadInput: the space has no such encoding.
    """

    def __init__(self, space: GenotypeSpace, name: EncodingName) -> None:
        one_of("encoding", name, get_args(EncodingName))
        if name not in encodings_of(space):
            raise BadInput(f"encoding: '{name}' needs a space with {'encode()' if name == 'space' else 'graphs()'}, or fewer decisions")
        self._space, self.name = space, name
        sample_ND = _sample(space)
        features_NF, groups_F = self._encoded(sample_ND)
        used_F = np.ptp(features_NF, axis=0) > 0
        if not used_F.any():
            used_F[:] = True
        self._used = np.flatnonzero(used_F)
        self.groups: NDArray[np.int64] = np.unique(groups_F[self._used], return_inverse=True)[1]
        """`(F,)` number of the decision, node or count that each column belongs to: one length scale each."""
        self._known: ByArray[Features] = ByArray()

    @property
    def num_features(self) -> int:
        """F: the columns that differ between architectures of the space."""
        return len(self._used)

    def __call__(self, genotypes_ND: Genotypes) -> Features:
        """`(N, F)` features of canonical genotypes."""
        return self._known(genotypes_ND, lambda: self._features(genotypes_ND))

    def _features(self, genotypes_ND: Genotypes) -> Features:
        features_NF = np.empty((len(genotypes_ND), self.num_features), dtype=np.float32)
        for first in range(0, len(genotypes_ND), BLOCK):
            block = slice(first, first + BLOCK)
            features_NF[block] = self._encoded(genotypes_ND[block])[0][:, self._used]
        return features_NF

    def _encoded(self, genotypes_ND: Genotypes) -> tuple[Features, NDArray[np.int64]]:
        decisions = self._space.decisions
        if self.name == "space":
            assert isinstance(self._space, SearchSpace)
            features_NF = np.asarray(self._space.encode(genotypes_ND), dtype=np.float32)
            return features_NF, np.arange(features_NF.shape[1])
        if self.name == "pairwise":
            return _pairs(*_genes(decisions, genotypes_ND, ordinal=False))
        if self.name in ("graph", "pruned_graph"):
            assert isinstance(self._space, GraphSpace)
            return graph_features(self._space, genotypes_ND, pruned=self.name == "pruned_graph")
        genes_NF, groups_F = _genes(decisions, genotypes_ND, ordinal=self.name != "onehot")
        if self.name != "genes_graph":
            return genes_NF, groups_F
        assert isinstance(self._space, GraphSpace)
        graph_NF, graph_groups_F = graph_features(self._space, genotypes_ND, pruned=True)
        return np.hstack([genes_NF, graph_NF]), np.concatenate([groups_F, groups_F.max() + 1 + graph_groups_F])


_KNOWN: "WeakKeyDictionary[GenotypeSpace, dict[str, Encoding]]" = WeakKeyDictionary()


def encoding_of(space: GenotypeSpace, name: EncodingName) -> Encoding:
    """The encoding of a space, one for all predictors that use it, so that a pool is encoded once for all objectives.

    Raises:
        BadInput: the space has no such encoding.
    """
    try:
        known = _KNOWN.setdefault(space, {})
    except TypeError:  # a space that cannot be hashed or referred to weakly
        return Encoding(space, name)
    if name not in known:
        known[name] = Encoding(space, name)
    return known[name]


def _sample(space: GenotypeSpace) -> Genotypes:
    """Architectures that show which columns ever differ: random ones, and every choice of each decision on two backgrounds."""
    choices_D = num_choices(space.decisions)
    random_ND = (stream(0, index=0, purpose="encoding.sample").random((SAMPLED, len(choices_D))) * choices_D).astype(GENE)
    rows = [random_ND]
    for decision, count in enumerate(choices_D):
        for background in (np.zeros_like(choices_D), choices_D - 1):
            varied_ND = np.tile(background, (int(count), 1)).astype(GENE)
            varied_ND[:, decision] = np.arange(count)
            rows.append(varied_ND)
    sample_ND = space.canonical(np.concatenate(rows))
    valid_ND = sample_ND[space.valid(sample_ND)]
    return valid_ND if len(valid_ND) else sample_ND[:1]


def encodings_of(space: GenotypeSpace) -> tuple[EncodingName, ...]:
    """The encodings that a space has."""
    num_onehot = sum(len(decision.choices) for decision in space.decisions)
    names: list[EncodingName] = ["genes", "onehot"]
    if hasattr(space, "encode"):
        names.append("space")
    if num_onehot**2 / 2 <= MOST_PAIR_FEATURES:
        names.append("pairwise")
    if isinstance(space, GraphSpace):
        names += ["graph", "pruned_graph", "genes_graph"]
    return tuple(names)


def _genes(decisions: Sequence[Decision], genotypes_ND: Genotypes, *, ordinal: bool) -> tuple[Features, NDArray[np.int64]]:
    """Ordinal genes as a position from 0 to 1, the others one-hot with squared distance 1 between two choices."""
    choices_D = num_choices(decisions)
    single_D = np.array([ordinal and (decision.ordinal or len(decision.choices) == 2) for decision in decisions], dtype=np.bool_)
    widths_D = np.where(single_D, 1, choices_D)
    firsts_D = np.concatenate([[0], np.cumsum(widths_D)[:-1]])
    features_NF = np.zeros((len(genotypes_ND), int(widths_D.sum())), dtype=np.float32)
    positions_D = (1 / np.maximum(choices_D - 1, 1)).astype(np.float32)
    features_NF[:, firsts_D[single_D]] = genotypes_ND[:, single_D] * positions_D[single_D]
    rows_N1 = np.arange(len(genotypes_ND))[:, np.newaxis]
    features_NF[rows_N1, firsts_D[~single_D] + genotypes_ND[:, ~single_D]] = np.sqrt(0.5)
    return features_NF, np.repeat(np.arange(len(decisions)), widths_D)


def _pairs(features_NF: Features, groups_F: NDArray[np.int64]) -> tuple[Features, NDArray[np.int64]]:
    """The features and the products of every two of different decisions, one group each."""
    pairs = [(first, second) for first, second in combinations(range(len(groups_F)), 2) if groups_F[first] != groups_F[second]]
    if not pairs:
        return features_NF, groups_F
    first_P, second_P = np.array(pairs).T
    joined_NF = np.hstack([features_NF, 2 * features_NF[:, first_P] * features_NF[:, second_P]])
    return joined_NF, np.arange(joined_NF.shape[1])


def graph_features(space: GraphSpace, genotypes_ND: Genotypes, *, pruned: bool) -> tuple[Features, NDArray[np.int64]]:
    """What a graph holds, whatever its nodes are called, and where: features that isomorphic graphs mostly share.

    Counts of operations, of operations that follow each other (two and three in a row: the subtrees of Weisfeiler and Lehman, as
    chains), length of the longest way, number of ways; then each node's operation, one-hot.

    Source: White et al., A study on encodings for NAS, NeurIPS 2020 (paths); Ru et al., NAS-BOWL, ICLR 2021 (subtrees).
    """
    graphs = space.graphs(genotypes_ND, pruned=pruned)
    num_nodes, num_operations = graphs.operations.shape[1], graphs.num_operations
    onehot_NVO = (graphs.operations[:, :, np.newaxis] == np.arange(1, num_operations)).astype(np.float32)
    adjacency_NVV = graphs.adjacency.astype(np.float32)
    counts_NO = onehot_NVO.sum(axis=1)
    after_NVO = adjacency_NVV @ onehot_NVO
    onehot_NOV = onehot_NVO.transpose(0, 2, 1)
    parts = [counts_NO, (onehot_NOV @ after_NVO).reshape(len(genotypes_ND), -1)]
    if (num_operations - 1) ** 3 <= MOST_TRIPLES:
        before_NVO = adjacency_NVV.transpose(0, 2, 1) @ onehot_NVO
        into_NVP = (before_NVO[:, :, :, np.newaxis] * onehot_NVO[:, :, np.newaxis, :]).reshape(*onehot_NVO.shape[:2], -1)
        parts.append((into_NVP.transpose(0, 2, 1) @ after_NVO).reshape(len(genotypes_ND), -1))
    longest_N, ways_N = _ways(adjacency_NVV)
    parts += [longest_N[:, np.newaxis], np.log1p(ways_N)[:, np.newaxis], onehot_NVO.reshape(len(genotypes_ND), -1)]
    sizes = [part.shape[1] for part in parts]
    # Counts of single operations have a length scale each; so has each node; every other part has one for all of its columns.
    groups, first = [np.arange(sizes[0])], sizes[0]
    for size in sizes[1:-1]:
        groups.append(np.full(size, first))
        first += 1
    groups.append(first + np.repeat(np.arange(num_nodes), num_operations - 1))
    scales = np.concatenate([np.full(size, 1 / np.sqrt(max(size, 1))) for size in sizes[:-1]])
    features_NF = np.hstack([*parts[:-1]]) * scales / max(num_nodes / 4, 1)
    return np.hstack([features_NF, parts[-1] * np.sqrt(0.5)]).astype(np.float32), np.concatenate(groups)


def _ways(adjacency_NVV: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`(N,)` edges of the longest way from the first to the last node, 0 for none, and the number of ways."""
    num_graphs, num_nodes, _ = adjacency_NVV.shape
    ways_NV = np.zeros((num_graphs, num_nodes), dtype=np.float32)
    longest_NV = np.full((num_graphs, num_nodes), -np.inf, dtype=np.float32)
    ways_NV[:, 0], longest_NV[:, 0] = 1, 0
    for node in range(1, num_nodes):
        into_NV = adjacency_NVV[:, :node, node]
        ways_NV[:, node] = (into_NV * ways_NV[:, :node]).sum(axis=1)
        longest_NV[:, node] = np.where(into_NV > 0, longest_NV[:, :node] + 1, -np.inf).max(axis=1)
    return np.maximum(longest_NV[:, -1], 0), ways_NV[:, -1]
