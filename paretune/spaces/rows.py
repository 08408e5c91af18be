"""What every space does with genotype rows in the same way: range check, encoding of active decisions, one checked genotype.

Legend: N candidates, D decisions.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import Decision, Genotypes, as_genotypes, num_choices


def in_range(decisions: Sequence[Decision], genotypes_ND: Genotypes) -> NDArray[np.bool_]:
    """`(N,)` whether every index of a row names a choice."""
    return np.asarray(np.all((genotypes_ND >= 0) & (genotypes_ND < num_choices(decisions)), axis=1))


def clipped(decisions: Sequence[Decision], genotypes_ND: Genotypes) -> NDArray[np.int64]:
    """`(N, D)` indices that name choices, for what must read rows before they are known to be valid."""
    return np.clip(genotypes_ND.astype(np.int64), 0, num_choices(decisions) - 1)


def encode_active(decisions: Sequence[Decision], genotypes_ND: Genotypes, active_ND: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`(N, D)`: (index + 1) / choices for each decision, 0.0 where it is inactive."""
    return np.where(active_ND, (genotypes_ND + 1.0) / num_choices(decisions), 0.0)


def checked_genotype(space: str, decisions: Sequence[Decision], genotype: Sequence[int]) -> Genotypes:
    """One genotype as an array `(1, D)`.

    Raises:
        BadInput: it has another length, or an index that names no choice.
    """
    if len(genotype) != len(decisions):
        raise BadInput(f"a genotype of {space} has {len(decisions)} indices; got {len(genotype)}")
    row = as_genotypes([[int(gene) for gene in genotype]], len(decisions))
    if not in_range(decisions, row)[0]:
        raise BadInput(f"{list(genotype)} is no genotype of {space}: an index is outside its decision's choices")
    return row
