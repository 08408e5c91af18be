"""Stop programming a candidate of a study as soon as the programmings that are left cannot save it.

What must be foreseen are the values that the study would record after all programmings, not those after infinitely many. Of R
programmings n are known, so less is open than in a confidence interval of the mean: the mean over R differs from that over n by a
deviation of s sqrt(1/n - 1/R), Student's t with n - 1 degrees of freedom (values independent and normal). Besides, whatever comes,
an accuracy lies between 0 and 1, and a sum of squares about the mean never falls. Both kinds of bound hold, so the tighter counts.

Legend: n programmings so far, R planned, T times.
"""

import math
from dataclasses import dataclass

import numpy as np

from paretune.core.contest import Contest, Fate
from paretune.hardware.analog.drift_report import DriftReport, Floats
from paretune.hardware.analog.times import time_name

MINIMUM = 3
"""Programmings before the first look: with two, Student's t at the errors wanted here is above 50."""

CERTAIN = ("deviation_", "digital_accuracy")
"""Metrics whose bounds hold whatever comes, so that no error is spent on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStopping:
    """Stops programming where limits are missed or a rival is better, with confidence; a `StopRule`."""

    contest: Contest
    confidence: float
    """That a candidate which is stopped would have lost after all programmings too, over all looks and bounds together."""

    def check(self, times_s: tuple[float, ...]) -> None:
        """Any times will do: an objective at one that is not evaluated decides nothing."""

    def decided(self, report: DriftReport) -> bool:
        """Whether the programmings so far are enough, where they are a number at which a look is due."""
        return report.programmings in looks(report.planned) and self.fate(report) is not Fate.OPEN

    def fate(self, report: DriftReport) -> Fate:
        """What is certain after the programmings so far."""
        uncertain = sum(not metric.startswith(CERTAIN) for metric, _ in self.contest.ends)
        shares = max(len(looks(report.planned)) * uncertain, 1)
        return self.contest.fate(intervals(report, error=(1 - self.confidence) / shares))


def looks(planned: int) -> tuple[int, ...]:
    """Numbers of programmings after which it is looked whether more are needed: each leaves at least one to be saved."""
    return tuple(range(MINIMUM, planned))


def intervals(report: DriftReport, *, error: float) -> dict[str, tuple[float, float]]:
    """Metric of the target -> what it may come to after all planned programmings.

    Args:
        report: the programmings so far.
        error: probability that an end does not hold, for each end of each interval.
    """
    planned, least = report.planned, 1 / report.num_images
    found = {"digital_accuracy": (report.digital_accuracy, report.digital_accuracy)}
    for values_n, time_s in zip(report.accuracies.T, report.times_s, strict=True):
        name = time_name(time_s)
        found[f"accuracy_{name}"] = mean_interval(values_n, planned, error=error, lowest=0.0, least=least)
        found[f"deviation_{name}"] = (least_deviation(values_n, planned), math.inf)
    losses_n = report.accuracies[:, 0] - report.accuracies[:, -1]
    found["avm"] = mean_interval(losses_n, planned, error=error, lowest=-1.0, least=least)
    return found


def mean_interval(values_n: Floats, planned: int, *, error: float, lowest: float, least: float) -> tuple[float, float]:
    """What the mean over all planned values may be.

    Args:
        values_n: the first of them.
        planned: R of them.
        error: probability that an end does not hold, each.
        lowest: that a value can be; the highest is 1.
        least: deviation at least to count with: values go in steps of an image, and a few may be equal by chance.
    """
    from scipy.special import stdtrit

    known, left, mean = len(values_n), planned - len(values_n), float(values_n.mean())
    ends = (known * mean + left * lowest) / planned, (known * mean + left) / planned
    if known < 2 or not left:
        return ends
    deviation = max(float(values_n.std(ddof=1)), least)
    half = -float(stdtrit(known - 1, error)) * deviation * math.sqrt(1 / known - 1 / planned)
    return max(mean - half, ends[0]), min(mean + half, ends[1])


def least_deviation(values_n: Floats, planned: int) -> float:
    """What the standard deviation over all planned values cannot fall below, whatever the others are."""
    return float(math.sqrt(np.square(values_n - values_n.mean()).sum() / (planned - 1)))
