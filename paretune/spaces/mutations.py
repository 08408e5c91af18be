"""One random step of each row: the part that named mutation operators share.

Legend: N candidates, D decisions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Decision, Genotypes, num_choices


def with_random_inactive(
    decisions: Sequence[Decision], genotypes_ND: Genotypes, active_ND: NDArray[np.bool_], rng: np.random.Generator
) -> Genotypes:
    """The rows with fresh random indices where a decision is inactive, so that a part a mutation adds is not always the smallest."""
    random_ND = rng.integers(0, num_choices(decisions), size=genotypes_ND.shape)
    return np.where(active_ND, genotypes_ND, random_ND).astype(GENE)


def stepped(decisions: Sequence[Decision], genotypes_ND: Genotypes, allowed_ND: NDArray[np.bool_], rng: np.random.Generator) -> Genotypes:
    """Change one allowed decision of each row: to a neighbour where it is ordinal, to any other choice where not.

    A row of which no allowed decision has a second choice stays as it is.
    """
    genes_ND = genotypes_ND.copy()
    choices_D = num_choices(decisions)
    ordinal_D = np.array([decision.ordinal for decision in decisions])
    allowed_ND = allowed_ND & (choices_D > 1)
    rows_N = np.flatnonzero(allowed_ND.any(axis=1))
    # The largest of random keys picks evenly among the allowed decisions of a row.
    columns_N = np.where(allowed_ND, rng.random(allowed_ND.shape), -1.0).argmax(axis=1)[rows_N]
    genes_N, choices_N = genes_ND[rows_N, columns_N].astype(np.int64), choices_D[columns_N]
    up_N = np.where(genes_N == 0, True, np.where(genes_N == choices_N - 1, False, rng.random(len(rows_N)) < 0.5))
    neighbours_N = genes_N + np.where(up_N, 1, -1)
    others_N = (genes_N + rng.integers(1, np.maximum(choices_N, 2))) % choices_N
    genes_ND[rows_N, columns_N] = np.where(ordinal_D[columns_N], neighbours_N, others_N).astype(GENE)
    return genes_ND
