"""Variation operators on genotype arrays: uniform sampling, uniform crossover, per-decision mutation, order of merit.

All of them work on whole arrays; the randomness comes in as a generator, or as a batch of them with a block of rows each.

Legend: N genotypes, D decisions, M objectives.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes
from paretune.core.option_checks import one_of
from paretune.core.pareto import constrained_ranks, crowding_distances
from paretune.core.protocols import GenotypeSpace, MutatingSpace, Mutation
from paretune.searchers.streams import Draws, StreamBatch

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
MutationSource: TypeAlias = Literal["decision", "space"]
"""Another choice for one decision, or the operators that a space brings."""


def random_genotypes(choices_D: IntArray, rng: Draws, count: int) -> Genotypes:
    """`(count, D)` genotypes, every choice of a decision equally likely."""
    return (rng.random((count, len(choices_D))) * choices_D).astype(GENE)


def crossed(mothers_ND: Genotypes, fathers_ND: Genotypes, *, probability: float, rng: Draws) -> Genotypes:
    """Uniform crossover: each gene from either parent alike; a row stays the mother's with `1 - probability`.

    Source: Syswerda, Uniform crossover in genetic algorithms, ICGA 1989.
    """
    draws_ND = rng.random(mothers_ND.shape)
    crossing_N1 = rng.random((len(mothers_ND), 1)) < probability
    return np.where(crossing_N1 & (draws_ND < 0.5), fathers_ND, mothers_ND)


def mutated(genotypes_ND: Genotypes, choices_D: IntArray, *, probability: float, rng: Draws) -> Genotypes:
    """Each gene changes to another choice with `probability`, and at least one gene of every row does.

    Decisions with a single choice never change; the other choices of a decision are equally likely.
    """
    changing_ND = rng.random(genotypes_ND.shape) < probability
    unchanged_N = ~np.asarray((changing_ND & (choices_D > 1)).any(axis=1))
    changing_ND[unchanged_N, _one_free_decision(choices_D, rng, unchanged_N)] = True
    return np.where(changing_ND, _other_choice(genotypes_ND, choices_D, rng.random(genotypes_ND.shape)), genotypes_ND)


def mutated_once(genotypes_ND: Genotypes, choices_D: IntArray, rng: Draws) -> Genotypes:
    """Exactly one gene of every row changes to another choice."""
    every_N = np.ones(len(genotypes_ND), dtype=np.bool_)
    changing = np.arange(len(genotypes_ND)), _one_free_decision(choices_D, rng, every_N)
    mutants_ND = np.array(genotypes_ND)
    mutants_ND[changing] = _other_choice(genotypes_ND[changing], choices_D[changing[1]], rng.random(genotypes_ND.shape)[changing])
    return mutants_ND


def mutated_by(operators: Mapping[str, Mutation], genotypes_ND: Genotypes, rng: np.random.Generator) -> Genotypes:
    """A mutant of every row by one of the operators, each equally likely."""
    chosen_N = rng.integers(len(operators), size=len(genotypes_ND))
    mutants_ND = np.array(genotypes_ND)
    for number, mutate in enumerate(operators.values()):
        own_N = chosen_N == number
        if own_N.any():
            mutants_ND[own_N] = mutate(genotypes_ND[own_N], rng)
    return mutants_ND


def space_mutations(space: GenotypeSpace, source: str) -> Mapping[str, Mutation] | None:
    """The space's own operators where `source` asks for them, None for a change of one decision.

    Raises:
        BadInput: the space has none, or there is no such source.
    """
    one_of("mutation", source, get_args(MutationSource))
    if source == "decision":
        return None
    if not isinstance(space, MutatingSpace):
        raise BadInput("mutation: this space brings no operators of its own; use decision")
    return space.mutation_operators()


def best_first(points_NM: FloatArray, violations_N: FloatArray) -> IntArray:
    """Indices from best to worst: by constrained rank, then by crowding distance (lonely first), then by position.

    Source: Deb et al., IEEE TEC 6(2), 2002, the crowded-comparison operator.
    """
    ranks_N = constrained_ranks(points_NM, violations_N)
    return np.lexsort((-crowding_distances(points_NM, ranks_N), ranks_N))


def _one_free_decision(choices_D: IntArray, rng: Draws, wanted_N: NDArray[np.bool_]) -> IntArray:
    """A decision with more than one choice for each wanted row; decision 0 where there is none."""
    free = np.flatnonzero(choices_D > 1)
    count = int(wanted_N.sum())
    if len(free) == 0:
        return np.zeros(count, dtype=np.int64)
    drawn = rng.integers_where(len(free), wanted_N) if isinstance(rng, StreamBatch) else rng.integers(len(free), size=count)
    return np.asarray(free[drawn])


def _other_choice(genes: Genotypes, choices: IntArray, draws: FloatArray) -> Genotypes:
    """Every gene replaced by another choice of its decision, the same where there is no other; the arrays go together elementwise."""
    steps = 1 + (draws * (choices - 1)).astype(np.int64)
    return np.asarray((genes + steps) % choices, dtype=GENE)
