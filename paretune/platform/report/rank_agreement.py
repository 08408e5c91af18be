"""The part of the page on several targets: how alike they order the candidates of the study.

Legend: R candidates, C columns of costs.

Source of the question: Li et al., HW-NAS-Bench, ICLR 2021: what is fast on one device is often not on another.
"""

import math
from collections.abc import MutableMapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.platform.record.history import History
from paretune.platform.report.correlation_figure import correlation_figure
from paretune.platform.report.document import drawn
from paretune.platform.report.front_figure import Figure
from paretune.platform.report.markup import note
from paretune.platform.report.units import label
from paretune.predictors.selection import spearman

FEWEST = 5
"""Candidates below which a rank correlation says nothing."""
MOST = 16
"""Columns drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankAgreement:
    """Rank correlations between the costs on the targets of a study."""

    names: tuple[str, ...]
    """`(C,)` metrics as `TARGET.METRIC`."""
    correlations: NDArray[np.float64]
    """`(C, C)`; NaN where fewer than five candidates have both or all are alike."""
    num_candidates: int

    def html(self, figures: MutableMapping[str, Figure]) -> str:
        """The heat map, added to the page's figures, and the least alike pair of two targets in words."""
        found: dict[str, Figure] = {}
        place = drawn(
            {"Spearman's rank correlation": correlation_figure([label(name) for name in self.names], self.correlations)}, "target", found
        )
        figures.update(found)
        text = f"Over {self.num_candidates:,} candidates of the search, which are not a random sample of the space. 1: the same order."
        least = self.least()
        if least is not None:
            first, second, value = least
            text += f" Least alike: {label(first)} and {label(second)}, {value:+.2f}."
        return place + note(text + " Where targets differ, a network chosen for one is not the best for another.")

    def least(self) -> tuple[str, str, float] | None:
        """The two costs on different targets with the lowest correlation; None where none is known."""
        pairs = [
            (float(self.correlations[row, column]), self.names[row], self.names[column])
            for row in range(len(self.names))
            for column in range(row)
            if self.names[row].partition(".")[0] != self.names[column].partition(".")[0] and not math.isnan(self.correlations[row, column])
        ]
        value, first, second = min(pairs, default=(math.nan, "", ""))
        return None if math.isnan(value) else (second, first, value)


def rank_agreement(history: History) -> RankAgreement | None:
    """Rank correlations of the costs on all targets; None for fewer than two targets with costs that vary."""
    targets = set(history.header.spec.get("hardware", {}))
    records = [record for record in history.search_records() if record.metrics]
    columns: dict[str, NDArray[np.float64]] = {}
    for name in history.header.metrics:
        target, dot, metric = name.partition(".")
        values_R = np.array([record.metrics.get(name, math.nan) for record in records], dtype=np.float64)
        known_R = values_R[np.isfinite(values_R)]
        if dot and target in targets and metric != "excess" and len(known_R) >= FEWEST and np.ptp(known_R) > 0:
            columns[name] = values_R
    names = tuple(columns)[:MOST]
    if len({name.partition(".")[0] for name in names}) < 2:
        return None
    correlations_CC = np.array([[_correlation(columns[first], columns[second]) for second in names] for first in names])
    return RankAgreement(names=names, correlations=correlations_CC, num_candidates=len(records))


def _correlation(first_R: NDArray[np.float64], second_R: NDArray[np.float64]) -> float:
    both_R = np.isfinite(first_R) & np.isfinite(second_R)
    if both_R.sum() < FEWEST or not (np.ptp(first_R[both_R]) and np.ptp(second_R[both_R])):
        return math.nan
    return spearman(first_R[both_R], second_R[both_R])
