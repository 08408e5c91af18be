"""What is known of a network's accuracy on an analog target over time: every programming at every time."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.option_checks import whole

Floats = NDArray[np.float64]


def half_width(values_R: Floats, confidence: float) -> float:
    """Half of Student's interval of a mean; infinite for a single value."""
    from scipy.stats import t

    if len(values_R) < 2:
        return math.inf
    quantile = t.ppf((1 + confidence) / 2, len(values_R) - 1)
    return float(quantile * np.std(values_R, ddof=1) / math.sqrt(len(values_R)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """Accuracy over programmings and times."""

    preset: str
    """Name of the target."""
    times_s: tuple[float, ...]
    """After programming, ascending: T of them."""
    accuracies: Floats
    """`(R, T)` share of right answers for each of R programmings."""
    logit_errors: Floats
    """`(R, T)` root mean square deviation of the outputs from those of the digital network."""
    digital_accuracy: float
    """Of the same network without an analog target, on the same images."""
    num_images: int
    """It was judged on."""
    planned: int
    """Programmings that were asked for; a race may have needed fewer."""

    @property
    def programmings(self) -> int:
        """Programmings that ran."""
        return len(self.accuracies)

    @property
    def means_T(self) -> Floats:
        """Mean accuracy at each time."""
        means_T: Floats = self.accuracies.mean(axis=0)
        return means_T

    @property
    def deviations_T(self) -> Floats:
        """Standard deviation over programmings at each time; NaN for a single one."""
        if self.programmings < 2:
            return np.full(len(self.times_s), math.nan)
        deviations_T: Floats = self.accuracies.std(axis=0, ddof=1)
        return deviations_T

    @property
    def avm(self) -> float:
        """Accuracy variation: mean accuracy at the first time less that at the last."""
        return float(self.means_T[0] - self.means_T[-1])

    def at(self, time_s: float) -> int:
        """Index of a time.

        Raises:
            BadInput: it was not evaluated.
        """
        if time_s not in self.times_s:
            raise BadInput(f"time_s: must be one of {', '.join(f'{known:g}' for known in self.times_s)}; got {time_s:g}")
        return self.times_s.index(time_s)

    def interval(self, time_s: float, *, confidence: float = 0.95) -> tuple[float, float]:
        """Confidence interval of the mean accuracy over programmings, on these images; infinite for a single programming.

        Raises:
            BadInput: the time was not evaluated.
        """
        values_R = self.accuracies[:, self.at(time_s)]
        half = half_width(values_R, confidence)
        return float(values_R.mean() - half), float(values_R.mean() + half)

    def avm_interval(self, *, confidence: float = 0.95) -> tuple[float, float]:
        """Confidence interval of `avm`, from the difference within each programming."""
        values_R = self.accuracies[:, 0] - self.accuracies[:, -1]
        half = half_width(values_R, confidence)
        return float(values_R.mean() - half), float(values_R.mean() + half)


class StopRule(Protocol):
    """Says after each round of programmings whether more are needed."""

    def check(self, times_s: tuple[float, ...]) -> None:
        """Called before the first programming.

        Raises:
            BadInput: it needs a time that is not evaluated.
        """
        ...

    def decided(self, report: DriftReport) -> bool:
        """Whether the programmings so far, which are fewer than planned or all, are enough."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Stop programming a network when its mean accuracy is surely above or below a rival's; a `StopRule`."""

    against: float
    """Mean accuracy of the rival."""
    time_s: float
    """At which both are compared."""
    confidence: float = 0.95
    """That a stop is right, over all looks together (each look gets its share of the error)."""
    minimum: int = 3
    """Programmings before the first look."""

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            BadInput: one cannot be used.
        """
        whole("minimum", self.minimum, minimum=2)
        if not 0 < self.confidence < 1:
            raise BadInput(f"confidence: must be above 0 and below 1; got {self.confidence!r}")

    def check(self, times_s: tuple[float, ...]) -> None:
        """See `StopRule`.

        Raises:
            BadInput: the time of the race is not evaluated.
        """
        if self.time_s not in times_s:
            raise BadInput(f"race: its time must be among times_s; got {self.time_s:g}")

    def decided(self, report: DriftReport) -> bool:
        """Whether the mean is surely above or below the rival's."""
        return self.separated(report.accuracies[:, report.at(self.time_s)], planned=report.planned)

    def separated(self, values_R: Floats, *, planned: int) -> bool:
        """Whether the programmings so far decide it, of those planned."""
        if len(values_R) < self.minimum:
            return False
        looks = max(planned - self.minimum + 1, 1)
        half = half_width(values_R, 1 - (1 - self.confidence) / looks)
        return bool(abs(values_R.mean() - self.against) > half)
