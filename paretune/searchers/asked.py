"""The architectures a searcher has asked, in order: no network is proposed twice, and a used-up space is recognised.

Legend: N genotypes, D decisions.
"""

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, SearchFailed
from paretune.core.genotype import GENE, Genotypes, as_genotypes, num_choices, row_keys
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream
from paretune.searchers.operators import random_genotypes

Propose: TypeAlias = Callable[[int, np.random.Generator, int], Genotypes]
"""`(ask index, generator, count) -> (count, D)` genotypes, repeats and invalid ones allowed."""

PROPOSALS = (8, 64)
"""Proposals looked at, a batch at a time, before random samples are."""
RANDOM_SAMPLES = 2048
"""Random samples looked at before the whole space is."""
LARGEST_ENUMERATED = 2**20
"""Genotypes (before inactive decisions collapse) up to which a space is enumerated to find what is left."""
LITTLE_ENDIAN = np.dtype(GENE).newbyteorder("<")


class Asked:
    """What has been asked, and where the next new architecture comes from.

    Draws for ask number i come from `stream(seed, index=i, purpose=purpose)`, so they do not depend on what was drawn before.
    """

    def __init__(self, space: GenotypeSpace, *, seed: int, purpose: str) -> None:
        if seed < 0:
            raise BadInput(f"seed: must not be negative (got {seed})")
        self._space, self._seed, self._purpose = space, seed, purpose
        self._size = space.size
        self._choices_D = num_choices(space.decisions)
        self._keys: dict[bytes, None] = {}
        self._left: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space has been asked."""
        return len(self._keys) >= self._size

    def extend(self, count: int, propose: Propose) -> Genotypes:
        """Ask `count` new architectures: the first new one of the proposals for each, fewer at the end of the space.

        Raises:
            SearchFailed: nothing new can be found though the space says that there is more.
        """
        rows: list[Genotypes] = []
        for index in range(len(self), len(self) + count):
            if self.exhausted:
                break
            row_D = self._next(index, propose)
            self._keys[row_keys(row_D[np.newaxis])[0]] = None
            if self._left is not None:
                self._left[self._code(row_D)] = False
            rows.append(row_D)
        return as_genotypes(np.array(rows, dtype=GENE), len(self._choices_D))

    def state(self) -> str:
        """Every asked genotype in order, as text."""
        rows_ND = np.frombuffer(b"".join(self._keys), dtype=GENE).astype(LITTLE_ENDIAN)
        return b64encode(zlib.compress(rows_ND.tobytes())).decode("ascii")

    def load(self, state: str) -> None:
        """Go on from a state.

        Raises:
            BadInput: it is damaged or belongs to another space.
        """
        try:
            genes = np.frombuffer(zlib.decompress(b64decode(state, validate=True)), dtype=LITTLE_ENDIAN)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise BadInput(f"searcher state: 'asked' cannot be read ({error})") from error
        if genes.size % len(self._choices_D):
            raise BadInput(f"searcher state: 'asked' does not hold genotypes of {len(self._choices_D)} decisions; was the space changed?")
        rows_ND = as_genotypes(genes.reshape(-1, len(self._choices_D)), len(self._choices_D))
        if np.any((rows_ND < 0) | (rows_ND >= self._choices_D)):
            raise BadInput("searcher state: 'asked' holds choices that the space does not have; was the space changed?")
        self._keys = dict.fromkeys(row_keys(rows_ND))
        self._left = None

    def _next(self, index: int, propose: Propose) -> Genotypes:
        rng = stream(self._seed, index=index, purpose=self._purpose)
        for count in PROPOSALS:
            found_D = self._first_new(propose(index, rng, count))
            if found_D is not None:
                return found_D
        found_D = self._first_new(random_genotypes(self._choices_D, rng, RANDOM_SAMPLES))
        return self._left_over(rng) if found_D is None else found_D

    def _first_new(self, proposals_ND: Genotypes) -> Genotypes | None:
        canonical_ND = self._space.canonical(proposals_ND)
        valid_N = self._space.valid(canonical_ND)
        for row, key in enumerate(row_keys(canonical_ND)):
            if valid_N[row] and key not in self._keys:
                return np.asarray(canonical_ND[row], dtype=GENE)
        return None

    def _left_over(self, rng: np.random.Generator) -> Genotypes:
        """One of the architectures never asked, all alike likely."""
        if self._left is None:
            self._left = self._enumerate()
        codes = np.flatnonzero(self._left)
        if len(codes) == 0:
            raise SearchFailed(f"the space says that it has {self._size:,} architectures, but only {len(self):,} exist; correct its size")
        code = codes[rng.integers(len(codes))]
        return np.array(np.unravel_index(code, tuple(self._choices_D)), dtype=GENE)

    def _enumerate(self) -> NDArray[np.bool_]:
        """Mask over the codes of all genotypes: canonical, valid and not asked."""
        num_genotypes = prod(int(count) for count in self._choices_D)
        if num_genotypes > LARGEST_ENUMERATED:
            raise SearchFailed(
                f"no new architecture in {sum(PROPOSALS) + RANDOM_SAMPLES:,} proposals after {len(self):,} of {self._size:,} were asked, "
                f"and {num_genotypes:,} genotypes are too many to enumerate. Ask for fewer candidates or enlarge the space"
            )
        genotypes_ND = np.stack(np.unravel_index(np.arange(num_genotypes), tuple(self._choices_D)), axis=1).astype(GENE)
        canonical_ND = self._space.canonical(genotypes_ND)
        left_N = np.all(canonical_ND == genotypes_ND, axis=1) & self._space.valid(genotypes_ND)
        asked_ND = np.frombuffer(b"".join(self._keys), dtype=GENE).reshape(-1, len(self._choices_D))
        left_N[np.ravel_multi_index(tuple(asked_ND.T.astype(np.int64)), tuple(self._choices_D))] = False
        return np.asarray(left_N)

    def _code(self, row_D: Genotypes) -> int:
        return int(np.ravel_multi_index(tuple(row_D.astype(np.int64)), tuple(self._choices_D)))
