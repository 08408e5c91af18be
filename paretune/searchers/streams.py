"""The random streams of several asks at once, so that a batch of proposals is made on whole arrays.

Each ask keeps the draws that `core.rng.stream` gives for its index: a batch proposes what its asks would have proposed one by one.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.rng import stream


class StreamBatch:
    """Some streams; arrays drawn from them have as many blocks of rows, one a stream, in their order."""

    def __init__(self, generators: Sequence[np.random.Generator], rows: int) -> None:
        self._generators, self.rows = generators, rows

    def __len__(self) -> int:
        return len(self._generators)

    def with_rows(self, rows: int) -> "StreamBatch":
        """The same streams, where they stand, with another number of rows each."""
        return StreamBatch(self._generators, rows)

    def random(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Uniform draws from 0 to 1; `shape[0]` is the number of streams times the rows of each."""
        draws = np.empty((len(self._generators), self.rows, shape[1]))
        for generator, block in zip(self._generators, draws, strict=True):
            generator.random(out=block)
        return draws.reshape(shape)

    def exponential(self) -> NDArray[np.float64]:
        """`(number of streams * rows,)` exponential draws of mean 1."""
        return np.concatenate([generator.exponential(size=self.rows) for generator in self._generators])

    def integers(self, high: int, *, size: tuple[int, ...]) -> NDArray[np.int64]:
        """`(*size, number of streams * rows)` integers from 0 to `high` - 1."""
        return np.concatenate([generator.integers(high, size=(*size, self.rows)) for generator in self._generators], axis=-1)

    def integers_where(self, high: int, wanted_N: NDArray[np.bool_]) -> NDArray[np.int64]:
        """An integer for each wanted row, drawn from the stream of the row's block."""
        counts = wanted_N.reshape(-1, self.rows).sum(axis=1).tolist()
        drawn = [generator.integers(high, size=count) for generator, count in zip(self._generators, counts, strict=True) if count]
        return np.concatenate(drawn) if drawn else np.zeros(0, dtype=np.int64)


Draws: TypeAlias = np.random.Generator | StreamBatch
"""Where an operator's random numbers come from."""


class Streams:
    """The streams of one seed and purpose. Generators are kept and set anew: that takes a tenth of the time of making them."""

    def __init__(self, *, seed: int, purpose: str) -> None:
        self._seed, self._purpose = seed, purpose
        self._generators: list[np.random.Generator] = []
        self._state = stream(seed, index=0, purpose=purpose).bit_generator.state

    def at(self, first: int, count: int, *, rows: int) -> StreamBatch:
        """The streams number `first` to `first + count - 1` at their beginning, valid until the next call."""
        while len(self._generators) < count:
            self._generators.append(stream(self._seed, index=0, purpose=self._purpose))
        for offset, generator in enumerate(self._generators[:count]):
            self._state["state"]["counter"][-1] = first + offset  # the index is the highest word of the counter, see core.rng
            generator.bit_generator.state = self._state
        return StreamBatch(self._generators[:count], rows)
