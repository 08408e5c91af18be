"""Candidates that people write down: named decisions -> genotypes, and every mistake at once.

Legend: N candidates, D decisions, L of them left out.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import GENE, Choice, Decision, Genotypes, as_genotypes, index_of, row_keys
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream

Mistake: TypeAlias = tuple[tuple[int | str, ...], str]
"""`(number of the candidate, decision where it is about one)` and the message."""

NUM_FILLED = 256
"""Ways to fill in decisions that are tried to learn which have an effect."""


def given_genotypes(space: GenotypeSpace, candidates: Sequence[Mapping[str, Choice]]) -> tuple[Genotypes, list[Mistake]]:
    """The canonical genotypes of candidates by their named decisions; decisions without effect may be left out.

    Args:
        space: what they are members of.
        candidates: decision -> choice, each.

    Returns:
        `(N, D)` of the candidates without mistakes, in their order, and the mistakes.
    """
    rows: list[Genotypes] = []
    mistakes: list[Mistake] = []
    first: dict[bytes, int] = {}
    for number, choices in enumerate(candidates):
        found_D, told = _genotype(space, choices)
        mistakes += [((number, *way), message) for way, message in told]
        if found_D is None:
            continue
        key = row_keys(found_D[np.newaxis])[0]
        if first.setdefault(key, number) != number:
            mistakes.append(((number,), f"is the same network as candidate {first[key]}; remove one"))
            continue
        rows.append(found_D)
    return as_genotypes(np.array(rows, dtype=GENE), len(space.decisions)), mistakes


def _genotype(space: GenotypeSpace, choices: Mapping[str, Choice]) -> tuple[Genotypes | None, list[Mistake]]:
    """`(D,)` of one candidate; None and the mistakes where it has some."""
    names = [decision.name for decision in space.decisions]
    mistakes: list[Mistake] = [
        ((name,), f"the space has no such decision.{did_you_mean(name, names)} ({', '.join(names)})")
        for name in choices
        if name not in names
    ]
    genes_D = np.zeros(len(names), dtype=GENE)
    left_out = []
    for position, decision in enumerate(space.decisions):
        if decision.name not in choices:
            left_out.append(position)
            continue
        try:
            genes_D[position] = index_of(decision, choices[decision.name])
        except BadInput as error:
            mistakes.append(((decision.name,), str(error).removeprefix(f"{decision.name}: ")))
    if mistakes:
        return None, mistakes
    needed = _with_effect(space, genes_D, left_out)
    if needed:
        listed = "; ".join(f"{decision.name} (one of {_listed(decision.choices)})" for decision in needed)
        return None, [((), f"leaves open what matters: {listed}")]
    canonical_1D = space.canonical(genes_D[np.newaxis])
    if not space.valid(canonical_1D)[0]:
        return None, [((), "is no member of the space: its choices exclude each other")]
    return canonical_1D[0].astype(GENE), []


def _with_effect(space: GenotypeSpace, genes_D: Genotypes, left_out: Sequence[int]) -> list[Decision]:
    """Decisions left out of a candidate on which its network depends: their canonical choice differs between ways to fill them in."""
    num_choices_L = [len(space.decisions[position].choices) for position in left_out]
    filled_ND = np.repeat(genes_D[np.newaxis], NUM_FILLED, axis=0)
    filled_ND[:, left_out] = stream(0, index=0, purpose="given.fill").integers(0, num_choices_L, size=(NUM_FILLED, len(left_out)))
    canonical_ND = space.canonical(filled_ND)
    return [space.decisions[position] for position in left_out if len(np.unique(canonical_ND[:, position])) > 1]


def _listed(choices: Sequence[Choice], most: int = 8) -> str:
    shown = ", ".join(str(choice) for choice in choices[:most])
    return f"{shown}, ..." if len(choices) > most else shown
