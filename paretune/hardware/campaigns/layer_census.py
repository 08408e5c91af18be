"""Which layers the networks of a search space are made of.

Legend: N networks, L layers of all networks together, E distinct layers, D decisions.
"""

from dataclasses import dataclass

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes, num_choices, row_keys
from paretune.core.protocols import GenotypeSpace, SearchSpace
from paretune.core.rng import stream
from paretune.core.workload import Kind
from paretune.hardware.tables.layer_signature import SIGNATURE, Integers, SignatureIndex, as_rows, in_words, signature_columns

ROUND = 500
"""Networks looked at together."""
QUIET_ROUNDS = 10
"""After so many rounds without a new layer, all are taken to be found."""
MAX_ROUNDS = 400
CHECK_NETWORKS = 1000
"""Other random networks on which the coverage of a sample is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """The distinct layers of a space's networks."""

    signatures: Integers
    """The most frequent first."""
    num_networks: int
    """Networks looked at."""
    layer_coverage: float
    """Share of the layers of other random networks that are among them."""
    network_coverage: float
    """Share of other random networks that are made of them alone."""


def random_networks(space: GenotypeSpace, count: int, *, seed: int, index: int = 0) -> Genotypes:
    """`(count, D)` canonical valid genotypes, every choice equally likely; equal ones may occur.

    Raises:
        BadInput: hardly any genotype of the space is valid.
    """
    sizes_D = num_choices(space.decisions)
    rng = stream(seed, index=index, purpose="census")
    found: list[Genotypes] = []
    for _ in range(100):
        rows_ND = rng.integers(0, sizes_D, size=(count, len(sizes_D))).astype(GENE)
        found.append(rows_ND[space.valid(rows_ND)])
        if sum(map(len, found)) >= count:
            return space.canonical(np.concatenate(found)[:count])
    raise BadInput("fewer than one in a hundred random genotypes of this space is valid; networks cannot be drawn at random")


def distinct_networks(space: GenotypeSpace, count: int, *, seed: int) -> Genotypes:
    """`(count, D)` random networks, each once; all of them where the space has no more."""
    rows_ND = np.zeros((0, len(space.decisions)), dtype=GENE)
    for index in range(100):
        rows_ND = np.concatenate([rows_ND, random_networks(space, max(2 * count, 100), seed=seed, index=index)])
        first = list({key: row for row, key in reversed(list(enumerate(row_keys(rows_ND))))}.values())
        rows_ND = rows_ND[sorted(first)]
        if len(rows_ND) >= min(count, space.size):
            break
    return rows_ND[:count]


def census(space: SearchSpace, *, sample: int | None = None, seed: int = 0, batch: int = 1, skip: tuple[Kind, ...] = ()) -> Census:
    """The distinct layers of a space.

    Args:
        space: any.
        sample: random networks to look at; None looks at more and more until nothing new turns up.
        seed: of the random networks.
        batch: images of an inference.
        skip: kinds that are left out.
    """
    counts: dict[tuple[int, ...], int] = {}
    looked, quiet = 0, 0
    for index in range(MAX_ROUNDS):
        count = ROUND if sample is None else min(ROUND, sample - looked)
        before = len(counts)
        rows, numbers = np.unique(
            _layers(space, random_networks(space, count, seed=seed, index=index), batch, skip), axis=0, return_counts=True
        )
        for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
            counts[tuple(row)] = counts.get(tuple(row), 0) + number
        looked += count
        quiet = quiet + 1 if len(counts) == before else 0
        if looked == sample or (sample is None and quiet == QUIET_ROUNDS):
            break
    ordered = sorted(counts, key=lambda row: (-counts[row], row))
    signatures_EF = np.array(ordered, dtype=np.int64).reshape(-1, len(SIGNATURE))
    layers, networks = coverage(space, signatures_EF, seed=seed + 1, batch=batch, skip=skip)
    return Census(signatures=signatures_EF, num_networks=looked, layer_coverage=layers, network_coverage=networks)


def coverage(space: SearchSpace, signatures_EF: Integers, *, seed: int, batch: int = 1, skip: tuple[Kind, ...] = ()) -> tuple[float, float]:
    """Share of the layers of random networks that are known, and of the networks that are made of known ones alone."""
    workloads = space.workloads(random_networks(space, CHECK_NETWORKS, seed=seed))
    columns = signature_columns(workloads)
    columns["batch"] = np.full_like(columns["batch"], batch)
    known_L = (SignatureIndex.of(signatures_EF).find(columns) >= 0) | np.isin(columns["kind"], [int(kind) for kind in skip])
    return float(known_L.mean()), float(np.logical_and.reduceat(known_L, workloads.offsets[:-1]).mean())


def refuse_unmeasurable(signatures_EF: Integers, measurable: tuple[Kind, ...]) -> None:
    """Refuse layers that cannot be measured one by one, before anything is measured.

    Raises:
        BadInput: all such kinds, each with an example.
    """
    kinds_E = signatures_EF[:, SIGNATURE.index("kind")]
    wrong = sorted(set(kinds_E.tolist()) - {int(kind) for kind in measurable})
    if wrong:
        examples = ", ".join(in_words(signatures_EF[np.flatnonzero(kinds_E == kind)[0]]) for kind in wrong)
        known = ", ".join(kind.name.lower() for kind in measurable)
        raise BadInput(
            f"this space has layers that cannot be measured one by one: {examples}; kinds that can: {known}. Use --networks instead"
        )


def _layers(space: SearchSpace, genotypes_ND: Genotypes, batch: int, skip: tuple[Kind, ...]) -> Integers:
    """`(L, F)` signatures of all layers of N networks."""
    columns = signature_columns(space.workloads(genotypes_ND))
    columns["batch"] = np.full_like(columns["batch"], batch)
    rows_LF = as_rows(columns)
    return rows_LF[~np.isin(columns["kind"], [int(kind) for kind in skip])]
