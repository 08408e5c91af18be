"""Race networks for the best accuracy under drift: programmings go on until one is surely best, losers drop out on the way.

All candidates see the same images and the same variates, so they are compared by differences within each programming.

Source: Maron & Moore, Hoeffding races, NIPS 1994 (drop out by interval); blocking on common random numbers as in its paired form.
Departs: Student's intervals of the differences in place of Hoeffding's bounds, which are far too wide for ten programmings.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.option_checks import whole
from paretune.hardware.analog.drift_report import Floats, half_width
from paretune.hardware.analog.evaluator import DriftEvaluator


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceResult:
    """How a race ended."""

    accuracies: Mapping[str, Floats]
    """Of each candidate `(R, T)`, as many programmings as it lived."""
    left: tuple[str, ...]
    """Candidates that none was surely better than, best mean first."""
    planned: int
    """Programmings of each without a race."""

    @property
    def saved(self) -> float:
        """Share of all programmings that were not needed."""
        return 1 - sum(len(values) for values in self.accuracies.values()) / (self.planned * len(self.accuracies))


def race(
    candidates: Mapping[str, DriftEvaluator], *, time_s: float, programmings: int, confidence: float = 0.95, minimum: int = 3
) -> RaceResult:
    """Programmings of each candidate until one is left or all are spent.

    Args:
        candidates: by name; of one seed, and with the same images.
        time_s: at which accuracy counts.
        programmings: of each at most.
        confidence: that no candidate drops out wrongly, over all looks and rivals together.
        minimum: programmings before the first look.

    Raises:
        BadInput: fewer than two candidates, the time is not evaluated by all, or candidates judge other times, images or variates.
    """
    whole("minimum", minimum, minimum=2)
    whole("programmings", programmings, minimum=minimum)
    if len(candidates) < 2:
        raise BadInput(f"candidates: a race needs at least two; got {len(candidates)}")
    if len({evaluator.comparison for evaluator in candidates.values()}) > 1:
        raise BadInput("candidates: must have the same times, images and seed, or their differences mean nothing")
    first = next(iter(candidates.values()))
    if time_s not in first.times_s:
        raise BadInput(f"time_s: must be one of {', '.join(f'{known:g}' for known in first.times_s)}; got {time_s:g}")
    column, looks = first.times_s.index(time_s), programmings - minimum + 1
    each = 1 - (1 - confidence) / (looks * (len(candidates) - 1))
    found: dict[str, list[Floats]] = {name: [] for name in candidates}
    left = list(candidates)
    for number in range(programmings):
        for name in left:
            found[name].append(candidates[name].programmings(number, 1)[0][0])
        if number + 1 >= minimum:
            left = _survivors({name: np.array(found[name])[:, column] for name in left}, each)
        if len(left) == 1:
            break
    return RaceResult(accuracies={name: np.array(values) for name, values in found.items()}, left=tuple(left), planned=programmings)


def _survivors(values: Mapping[str, Floats], confidence: float) -> list[str]:
    """Those that the one with the best mean does not surely beat, best first."""
    ranked = sorted(values, key=lambda name: -float(values[name].mean()))
    best = values[ranked[0]]
    return [name for name in ranked if name == ranked[0] or (best - values[name]).mean() <= half_width(best - values[name], confidence)]
