"""One-hot features of decisions that are mere names.

Legend: N candidates, D decisions, F features.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import Decision, Genotypes, num_choices


def one_hot(genotypes_ND: Genotypes, decisions: Sequence[Decision]) -> NDArray[np.float64]:
    """`(N, F)`: for each decision one feature a choice, 1.0 for the one that was made."""
    choices_D = num_choices(decisions)
    features_NF = np.zeros((len(genotypes_ND), int(choices_D.sum())))
    columns_ND = genotypes_ND.astype(np.int64) + np.concatenate([[0], np.cumsum(choices_D)[:-1]])
    np.put_along_axis(features_NF, columns_ND, 1.0, axis=1)
    return features_NF
