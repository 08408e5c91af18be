"""Normal variates by counter: any draw can be repeated from its seed and its name, whatever was drawn before it.

What is programmed is drawn afresh. Noise of outputs, by far the most, comes from a pool: a block of variates that is drawn once and read
from places and with signs that the counter decides. It costs a tenth of fresh variates; two uses of the same block are shifted against
each other, so no two outputs of an image share a variate but by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from paretune.core.rng import derive_seed

POOL = 1 << 20
"""Variates in a pool at least; it doubles until it is twice as large as the largest output."""
IMAGE_DIMS = 4
"""Of outputs of a convolution over images."""


def normals(shape: tuple[int, ...], *parts: int | str) -> Tensor:
    """Standard normal variates on the CPU, a function of the named parts alone."""
    generator = torch.Generator().manual_seed(derive_seed(*parts))
    return torch.randn(shape, generator=generator)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPart:
    """Some images of a batch that run by themselves."""

    first: int = 0
    """Number of the first one in the batch."""
    count: int = 1
    """How many they are."""
    of: int = 1
    """Images of the batch."""


WHOLE = BatchPart()


class OutputNoise:
    """Standard normal variates for outputs of tiles; one for a network, shared by its layers.

    Args:
        seed: of all of them.
        pooled: read them from a pool; otherwise draw them afresh.
    """

    def __init__(self, *, seed: int, pooled: bool = True) -> None:
        self.pooled = pooled
        self._seed, self._draws, self._pool = seed, 0, torch.empty(0)
        self._places: tuple[tuple[int | str, ...], ...] = ((),)
        self._part = WHOLE

    def reseed(self, *parts: int | str) -> None:
        """Start again at a named place, for example at each epoch; the pool stays."""
        self.reseed_each((parts,))

    def reseed_each(self, places: Sequence[tuple[int | str, ...]], *, part: BatchPart = WHOLE) -> None:
        """Start again at several places: outputs then are as many equal parts, one after another, each with the noise of its place.

        Outputs of a part of a batch get, from the pool, their part of the noise of the whole batch.
        """
        self._places, self._part, self._draws = tuple(places), part, 0

    def add_to(self, values: Tensor, deviation: float, *, channels_last: bool = False) -> Tensor:
        """`values` with noise of a deviation added in place.

        Variates are taken in the order of the dimensions; with `channels_last` that of images is so, however they lie in memory.
        """
        self._draws += 1
        # Detached: what is added is constant, so gradients need not know.
        for place, part in zip(self._places, values.detach().chunk(len(self._places)), strict=True):
            ordered = part.movedim(1, -1) if channels_last and part.dim() == IMAGE_DIMS else part
            add = self._add_pooled if self.pooled else self._add_fresh
            add(ordered, deviation, derive_seed(self._seed, *place, self._draws))
        return values

    def _add_fresh(self, values: Tensor, deviation: float, key: int) -> None:
        generator = torch.Generator(values.device).manual_seed(derive_seed(key, self._part.first))
        values.add_(torch.randn(values.shape, generator=generator, device=values.device, dtype=values.dtype), alpha=deviation)

    def _add_pooled(self, values: Tensor, deviation: float, key: int) -> None:
        each = values.numel() // self._part.count
        block, size = each * self._part.of, POOL
        while size < 2 * block:
            size *= 2
        start = (key >> 1) % (size - block + 1) + each * self._part.first
        variates = self._pool_of(size, values.device)[start : start + values.numel()]
        values.add_(variates.view(values.shape), alpha=deviation if key & 1 else -deviation)

    def _pool_of(self, size: int, device: torch.device) -> Tensor:
        """At least `size` variates; a larger pool begins with the smaller one, so a layer's noise does not hang on what ran before."""
        if len(self._pool) < size or self._pool.device != device:
            # Drawn on the CPU, so that every device reads the same noise.
            parts = [normals((POOL,), self._seed, "pool", number) for number in range(size // POOL)]
            self._pool = torch.cat(parts).to(device)
        return self._pool

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": torch.empty(0)}  # drawn again where it is needed: 4 MB a network otherwise
