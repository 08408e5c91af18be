"""The architectures a searcher has asked, in order: given ones first, none twice, and a used-up space is recognised.

Legend: N genotypes, D decisions.
"""

import binascii
import zlib
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, SearchFailed
from paretune.core.genotype import GENE, Genotypes, as_genotypes, num_choices, row_keys
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream
from paretune.searchers.operators import random_genotypes
from paretune.searchers.streams import StreamBatch, Streams

Propose: TypeAlias = Callable[[int, np.random.Generator, int], Genotypes]
"""`(ask index, generator, count) -> (count, D)` genotypes, repeats and invalid ones allowed."""
ProposeTogether: TypeAlias = Callable[[StreamBatch], Genotypes]
"""Streams of asks that follow each other -> `(asks * rows, D)`: what `Propose` gives for `rows` proposals of each, in their order."""

PROPOSALS = (8, 64)
"""Proposals looked at, a batch at a time, before random samples are."""
MOST_TOGETHER = 256
"""Asks whose first proposals are made at once."""
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
        self._streams = Streams(seed=seed, purpose=purpose)
        self._size = space.size
        self._choices_D = num_choices(space.decisions)
        self._keys: dict[bytes, None] = {}
        self._given: deque[Genotypes] = deque()
        self._left: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space has been asked."""
        return len(self._keys) >= self._size

    @property
    def keys(self) -> Mapping[bytes, None]:
        """Keys of what was asked, in order (see `core.genotype.row_keys`)."""
        return self._keys

    def start_from(self, genotypes_ND: Genotypes) -> None:
        """See `core.protocols.StartingSearcher`."""
        if self._keys or self._given:
            raise BadInput(f"start: must be given once, before the first ask; {len(self._keys) + len(self._given)} were asked or given")
        genotypes_ND = as_genotypes(genotypes_ND, len(self._choices_D))
        canonical_ND, valid_N = self._canonical(genotypes_ND.clip(0, self._choices_D - 1).astype(GENE))
        valid_N = valid_N & np.all((genotypes_ND >= 0) & (genotypes_ND < self._choices_D), axis=1)
        seen: set[bytes] = set()
        for index, (row_D, key, valid) in enumerate(zip(canonical_ND, row_keys(canonical_ND), valid_N, strict=True)):
            if not valid or key in seen:
                raise BadInput(f"start[{index}]: {'is the same network as one before it' if valid else 'is no member of the space'}")
            seen.add(key)
            self._given.append(row_D)

    def extend(self, count: int, propose: Propose, *, together: ProposeTogether | None = None) -> Genotypes:
        """Ask `count` new architectures: those given, then the first new one of the proposals for each; fewer at the end of the space.

        Args:
            count: how many.
            propose: makes proposals for one ask.
            together: makes the first proposals of all `count` asks at once, to save time; None where they have to be made one by one.

        Raises:
            SearchFailed: nothing new can be found though the space says that there is more.
        """
        rows = [self._ask(self._given.popleft()) for _ in range(min(count, len(self._given)))]
        count -= len(rows)
        found = self._found_together(len(self), count, together)
        for index in range(len(self), len(self) + count):
            if self.exhausted:
                break
            row_D = next(found, None)
            rows.append(self._ask(self._next(index, propose) if row_D is None else row_D))
        return as_genotypes(np.array(rows, dtype=GENE), len(self._choices_D))

    def state(self) -> str:
        """Every asked genotype in order, as text; behind a space those given and not asked yet, if any."""
        given = f" {_packed([row_D.tobytes() for row_D in self._given])}" if self._given else ""
        return f"{_packed(self._keys)}{given}"

    def load(self, state: str) -> None:
        """Go on from a state.

        Raises:
            BadInput: it is damaged or belongs to another space.
        """
        asked, _, given = state.partition(" ")
        self._keys = dict.fromkeys(row_keys(self._unpacked(asked)))
        self._given = deque(self._unpacked(given)) if given else deque()
        self._left = None

    def _unpacked(self, state: str) -> Genotypes:
        try:
            genes = np.frombuffer(zlib.decompress(b64decode(state, validate=True)), dtype=LITTLE_ENDIAN)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise BadInput(f"searcher state: 'asked' cannot be read ({error})") from error
        if genes.size % len(self._choices_D):
            raise BadInput(f"searcher state: 'asked' does not hold genotypes of {len(self._choices_D)} decisions; was the space changed?")
        rows_ND = as_genotypes(genes.reshape(-1, len(self._choices_D)), len(self._choices_D))
        if np.any((rows_ND < 0) | (rows_ND >= self._choices_D)):
            raise BadInput("searcher state: 'asked' holds choices that the space does not have; was the space changed?")
        return rows_ND

    def _ask(self, row_D: Genotypes) -> Genotypes:
        """Note an architecture as asked."""
        self._keys[row_D.tobytes()] = None
        if self._left is not None:
            self._left[self._code(row_D)] = False
        return row_D

    def _next(self, index: int, propose: Propose) -> Genotypes:
        rng = stream(self._seed, index=index, purpose=self._purpose)
        for count in PROPOSALS:
            found_D = self._first_new(*self._canonical(propose(index, rng, count)))
            if found_D is not None:
                return found_D
        found_D = self._first_new(*self._canonical(random_genotypes(self._choices_D, rng, RANDOM_SAMPLES)))
        return self._left_over(rng) if found_D is None else found_D

    def _found_together(self, first: int, count: int, together: ProposeTogether | None) -> Iterator[Genotypes | None]:
        """For each ask the first new one of its first proposals, or None; nothing where proposals are made one by one."""
        if together is None or count < 2:
            return
        for start in range(first, first + count, MOST_TOGETHER):
            streams = self._streams.at(start, min(MOST_TOGETHER, first + count - start), rows=PROPOSALS[0])
            canonical_ND, valid_N = self._canonical(together(streams))
            blocks = len(streams), streams.rows
            for row, valid in zip(canonical_ND.reshape(*blocks, -1), valid_N.reshape(blocks), strict=True):
                yield self._first_new(row, valid)

    def _canonical(self, proposals_ND: Genotypes) -> tuple[Genotypes, NDArray[np.bool_]]:
        canonical_ND = np.ascontiguousarray(self._space.canonical(proposals_ND), dtype=GENE)
        return canonical_ND, self._space.valid(canonical_ND)

    def _first_new(self, canonical_ND: Genotypes, valid_N: NDArray[np.bool_]) -> Genotypes | None:
        for row_D, valid in zip(canonical_ND, valid_N.tolist(), strict=True):
            if valid and row_D.tobytes() not in self._keys:
                return np.asarray(row_D)
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


class Starting:
    """What searchers have in common that keep what they ask in `Asked`, as `_asked`."""

    _asked: Asked

    def start_from(self, genotypes_ND: Genotypes) -> None:
        """Ask these first, in their order; see `core.protocols.StartingSearcher`."""
        self._asked.start_from(genotypes_ND)

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space has been asked."""
        return self._asked.exhausted


def _packed(keys: Iterable[bytes]) -> str:
    genes = np.frombuffer(b"".join(keys), dtype=GENE).astype(LITTLE_ENDIAN)
    return b64encode(zlib.compress(genes.tobytes())).decode("ascii")
