"""When a predictor-guided search fits anew: rounds that grow with what was told.

A pure function of the ask index, so that `mode: sync` proposes the same whatever the number of workers.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """A first round of `initial` asks, then rounds of `batch` asks, or of a share of what was asked where that is more."""

    initial: int
    """Asks of the first round."""
    batch: int
    """Least asks of a later round."""
    growth: float
    """Share of the asks before a round that the round may add."""

    def of(self, ask_index: int) -> tuple[int, int]:
        """First ask of the round that an ask belongs to, and the number of asks in it."""
        first, size = 0, self.initial
        while ask_index >= first + size:
            first += size
            size = max(self.batch, int(self.growth * first))
        return first, size
