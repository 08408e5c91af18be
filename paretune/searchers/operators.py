"""Variation operators on genotype arrays: uniform sampling, uniform crossover, per-decision mutation, order of merit.

All of them work on whole arrays; the randomness comes in as a generator.

Legend: N genotypes, D decisions, M objectives.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Genotypes
from paretune.core.pareto import constrained_ranks, crowding_distances

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]


def random_genotypes(choices_D: IntArray, rng: np.random.Generator, count: int) -> Genotypes:
    """`(count, D)` genotypes, every choice of a decision equally likely."""
    return (rng.random((count, len(choices_D))) * choices_D).astype(GENE)


def crossed(mothers_ND: Genotypes, fathers_ND: Genotypes, *, probability: float, rng: np.random.Generator) -> Genotypes:
    """Uniform crossover: each gene from either parent alike; a row stays the mother's with `1 - probability`.

    Source: Syswerda, Uniform crossover in genetic algorithms, ICGA 1989.
    """
    draws_ND = rng.random(mothers_ND.shape)
    crossing_N1 = rng.random((len(mothers_ND), 1)) < probability
    return np.where(crossing_N1 & (draws_ND < 0.5), fathers_ND, mothers_ND)


def mutated(genotypes_ND: Genotypes, choices_D: IntArray, *, probability: float, rng: np.random.Generator) -> Genotypes:
    """Each gene changes to another choice with `probability`, and at least one gene of every row does.

    Decisions with a single choice never change; the other choices of a decision are equally likely.
    """
    changing_ND = rng.random(genotypes_ND.shape) < probability
    unchanged = np.flatnonzero(~(changing_ND & (choices_D > 1)).any(axis=1))
    changing_ND[unchanged, _one_free_decision(choices_D, rng, len(unchanged))] = True
    return np.where(changing_ND, _other_choice(genotypes_ND, choices_D, rng), genotypes_ND)


def mutated_once(genotypes_ND: Genotypes, choices_D: IntArray, rng: np.random.Generator) -> Genotypes:
    """Exactly one gene of every row changes to another choice."""
    changing_ND = np.zeros(genotypes_ND.shape, dtype=np.bool_)
    changing_ND[np.arange(len(genotypes_ND)), _one_free_decision(choices_D, rng, len(genotypes_ND))] = True
    return np.where(changing_ND, _other_choice(genotypes_ND, choices_D, rng), genotypes_ND)


def best_first(points_NM: FloatArray, violations_N: FloatArray) -> IntArray:
    """Indices from best to worst: by constrained rank, then by crowding distance (lonely first), then by position.

    Source: Deb et al., IEEE TEC 6(2), 2002, the crowded-comparison operator.
    """
    ranks_N = constrained_ranks(points_NM, violations_N)
    return np.lexsort((-crowding_distances(points_NM, ranks_N), ranks_N))


def _one_free_decision(choices_D: IntArray, rng: np.random.Generator, count: int) -> IntArray:
    """`(count,)` a decision with more than one choice for each row; decision 0 where there is none."""
    free = np.flatnonzero(choices_D > 1)
    if len(free) == 0:
        return np.zeros(count, dtype=np.int64)
    return np.asarray(free[rng.integers(len(free), size=count)])


def _other_choice(genotypes_ND: Genotypes, choices_D: IntArray, rng: np.random.Generator) -> Genotypes:
    """Every gene replaced by another choice of its decision, the same where there is no other."""
    steps_ND = 1 + (rng.random(genotypes_ND.shape) * (choices_D - 1)).astype(np.int64)
    return ((genotypes_ND + steps_ND) % choices_D).astype(GENE)
