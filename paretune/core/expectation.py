"""What a searcher expected of a candidate when it proposed it: written down before the result is known, to be held against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One metric of one candidate, as it was predicted."""

    predictor: str
    """Who predicted it, for example `gaussian_process:genes`."""
    bounds: tuple[float, float, float, float, float]
    """Two and one deviations below, the middle, one and two deviations above: five rising values of the metric, SI."""

    @property
    def middle(self) -> float:
        """What was expected."""
        return self.bounds[2]

    def within(self, value: float, *, deviations: int) -> bool:
        """Whether a value lies between the bounds of one or of two deviations."""
        return self.bounds[2 - deviations] <= value <= self.bounds[2 + deviations]

    def as_json(self) -> list[Any]:
        """As JSON values, to six digits: more are lost to the single precision of predictors."""
        return [self.predictor, [float(f"{bound:.6g}") for bound in self.bounds]]

    @classmethod
    def from_json(cls, values: Sequence[Any]) -> "Expectation":
        """The inverse of `as_json`."""
        first, second, third, fourth, fifth = values[1]
        return cls(predictor=values[0], bounds=(first, second, third, fourth, fifth))


@runtime_checkable
class ExpectingSearcher(Protocol):
    """What a searcher adds that predicts before it proposes."""

    def expected(self, ask_index: int, genotype: Sequence[int]) -> Mapping[str, Expectation]:
        """Metric -> what was expected of a candidate for which it was asked; empty where it was not chosen by a prediction.

        Known from the ask until the results of the next round have been told; no part of the state, since it decides nothing.
        """
        ...
