"""Layer-wise spaces in which a layer may be the identity: which genotypes are one network, and how many networks there are.

Layers of equal shape follow each other in a run; an identity in a run only makes the network shorter, so where in the run it stands does
not matter. The canonical form has the identities of a run last.

Legend: N candidates, D decisions (layers).
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from paretune.core.genotype import GENE, Genotypes


def identities_last(genotypes_ND: Genotypes, runs: Sequence[range], *, identity: int) -> Genotypes:
    """`(N, D)` with the identities of each run behind its other layers, which keep their order."""
    sorted_ND = genotypes_ND.astype(GENE)
    for run in runs:
        columns = list(run)
        part = sorted_ND[:, columns]
        order = np.argsort(part == identity, axis=1, kind="stable")
        sorted_ND[:, columns] = np.take_along_axis(part, order, axis=1)
    return sorted_ND


def num_networks(num_layers: int, runs: Sequence[range], *, num_choices: int) -> int:
    """Number of different networks: a run of n layers is a sequence of 0 to n layers that are no identities."""
    free = num_layers - sum(len(run) for run in runs)
    return prod([num_choices] * free) * prod(sum(prod([num_choices - 1] * length) for length in range(len(run) + 1)) for run in runs)
