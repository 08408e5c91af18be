"""Pools of candidates for a predictor to look at: all of a small space, or generations bred towards what promises most.

Legend: N candidates, D decisions.
"""

from collections.abc import Callable
from math import prod

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Genotypes, num_choices
from paretune.core.protocols import GenotypeSpace, ListedSpace
from paretune.core.rng import stream
from paretune.searchers.operators import FloatArray, crossed, mutated, random_genotypes

LARGEST_LISTED = 2**17
"""Genotypes (before inactive decisions collapse), or architectures that a space lists itself, up to which all are screened."""
GENERATIONS = 5
ELITE = 256
"""Candidates of each generation from which the next is bred."""
MOST_DRAWS = 6
"""Times that a generation is filled up with others where some were there already; a converged one has few neighbours."""
KEPT = 4096
"""Candidates of all generations that are handed on."""


def listed(space: GenotypeSpace) -> Genotypes | None:
    """`(size, D)` every architecture of a small space, read-only; None for a large one."""
    choices_D = num_choices(space.decisions)
    num_genotypes = prod(int(count) for count in choices_D)
    if num_genotypes <= LARGEST_LISTED:
        genotypes_ND = np.stack(np.unravel_index(np.arange(num_genotypes), tuple(choices_D)), axis=1).astype(GENE)
        own_N = np.all(space.canonical(genotypes_ND) == genotypes_ND, axis=1) & space.valid(genotypes_ND)
        members_ND: Genotypes = genotypes_ND[own_N]
    elif isinstance(space, ListedSpace) and space.size <= LARGEST_LISTED:
        members_ND = space.members()
    else:
        return None
    members_ND.flags.writeable = False
    return members_ND


def bred(
    space: GenotypeSpace,
    parents_ND: Genotypes,
    score: Callable[[Genotypes], FloatArray],
    *,
    num_candidates: int,
    rng: np.random.Generator,
) -> tuple[Genotypes, FloatArray]:
    """Screen `num_candidates` of a large space in generations: the best of each are the parents of the next.

    The first generation is bred from `parents_ND`, a quarter of it is random. Crossover and mutation are those of NSGA-II. There are
    fewer candidates where the best are so much alike that their offspring are known.

    Args:
        space: what may be chosen.
        parents_ND: the best told so far; may be empty.
        score: `(N, D)` -> `(N,)`, larger promises more.
        num_candidates: how many are scored in all.
        rng: draws.

    Returns:
        Distinct canonical valid candidates, best first, and their scores.
    """
    choices_D, size = num_choices(space.decisions), max(num_candidates // GENERATIONS, 1)
    kept_ND, scores_N = np.zeros((0, len(choices_D)), dtype=GENE), np.zeros(0)
    elite_ND = parents_ND
    for generation in range(GENERATIONS):
        children_ND = kept_ND[:0]
        for _ in range(MOST_DRAWS):
            missing = size - len(children_ND)
            if missing == 0:
                break
            num_random = missing if len(elite_ND) == 0 else missing // (4 if generation == 0 else 50)
            drawn_ND = space.canonical(_drawn(choices_D, elite_ND, rng, num_random=num_random, num_bred=missing - num_random))
            known_ND = np.concatenate([kept_ND, children_ND])
            new_ND = _distinct(drawn_ND[space.valid(drawn_ND)], known_ND)
            children_ND = np.concatenate([children_ND, new_ND])
            if len(new_ND) < missing // 10 and missing > size // 10:
                break  # hardly anything is left to find
        children_ND.flags.writeable = False  # its features are remembered for the next objective
        if len(children_ND) == 0:
            continue
        kept_ND, scores_N = np.concatenate([kept_ND, children_ND]), np.concatenate([scores_N, score(children_ND)])
        order = np.argsort(-scores_N, kind="stable")[:KEPT]
        kept_ND, scores_N = kept_ND[order], scores_N[order]
        elite_ND = np.concatenate([kept_ND[:ELITE], parents_ND])
    kept_ND.flags.writeable = False
    return kept_ND, scores_N


def _drawn(choices_D: NDArray[np.int64], elite_ND: Genotypes, rng: np.random.Generator, *, num_random: int, num_bred: int) -> Genotypes:
    """Random candidates, then offspring of the elite; neither distinct nor canonical."""
    random_ND = random_genotypes(choices_D, rng, num_random)
    if num_bred == 0:
        return random_ND
    mothers_N, fathers_N = rng.integers(len(elite_ND), size=(2, num_bred))
    offspring_ND = crossed(elite_ND[mothers_N], elite_ND[fathers_N], probability=0.5, rng=rng)
    return np.concatenate([random_ND, mutated(offspring_ND, choices_D, probability=1 / len(choices_D), rng=rng)])


def _distinct(genotypes_ND: Genotypes, known_ND: Genotypes) -> Genotypes:
    """The rows that differ from each other and from the known ones, by a 64-bit hash: sorting whole rows takes ten times as long."""
    factors_D = stream(0, index=0, purpose="screening.hash").integers(2**63, size=genotypes_ND.shape[1], dtype=np.int64)
    hashes_N = np.concatenate([known_ND, genotypes_ND]).astype(np.int64) @ factors_D
    first = np.unique(hashes_N, return_index=True)[1] - len(known_ND)
    return np.asarray(genotypes_ND[np.sort(first[first >= 0])])
