"""The part of the page on predictions: what the searcher expected of each candidate before it was evaluated, against what came.

The ledger holds the expectation with the ask, so nothing that was learned later can slip in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from paretune.core.expectation import Expectation
from paretune.core.metrics import Direction
from paretune.core.trial import Outcome
from paretune.platform.record.history import History
from paretune.platform.report.front_figure import Figure
from paretune.platform.report.markup import Cell, escaped, note, table
from paretune.platform.report.units import label, scale
from paretune.predictors.selection import Calibration, calibration_of

FEWEST = 5
"""Candidates below which a correlation says nothing."""
DRAWN = 2000
"""Candidates drawn; more are thinned evenly over the search."""
HEAD = ("metric", "candidates", "Spearman", "Kendall", "Kendall, best tenth", "best tenth foreseen", "within 1 deviation", "within 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """One metric of a candidate: expected and observed."""

    ask_index: int
    expectation: Expectation
    observed: float


def foreseen(history: History) -> dict[str, list[Foreseen]]:
    """By metric, every candidate that was predicted when it was proposed and then trained fully, in ask order."""
    expected = {record.job.ask_index: record.expected for record in history.evaluations() if record.expected}
    found: dict[str, list[Foreseen]] = {}
    for record in history.search_records():
        if record.outcome is Outcome.OK and record.job.is_full:
            for metric, expectation in expected.get(record.job.ask_index, {}).items():
                if metric in record.metrics:
                    item = Foreseen(ask_index=record.job.ask_index, expectation=expectation, observed=record.metrics[metric])
                    found.setdefault(metric, []).append(item)
    return {metric: items for metric, items in found.items() if len(items) >= FEWEST}


def calibrated(history: History, metric: str, items: Sequence[Foreseen]) -> Calibration:
    """How well one metric was foreseen; the best tenth is that of the metric's direction."""
    sign = -1.0 if history.header.metrics[metric].direction is Direction.MAX else 1.0
    return calibration_of(
        sign * np.array([item.expectation.middle for item in items]),
        sign * np.array([item.observed for item in items]),
        within_one_N=np.array([item.expectation.within(item.observed, deviations=1) for item in items]),
        within_two_N=np.array([item.expectation.within(item.observed, deviations=2) for item in items]),
    )


def prediction_figures(found: dict[str, list[Foreseen]]) -> dict[str, Figure]:
    """For each metric the observed values over the expected ones, with bars of one deviation."""
    figures = {}
    for metric, items in found.items():
        kept = np.unique(np.linspace(0, len(items) - 1, min(len(items), DRAWN)).round().astype(int))
        figures[label(metric)] = _figure(metric, [items[place] for place in kept])
    return figures


def _figure(metric: str, items: Sequence[Foreseen]) -> Figure:
    observed = [item.observed for item in items]
    shown = scale(metric, observed)
    middles = [item.expectation.middle for item in items]
    low, high = min(observed), max(observed)
    margin = 0.08 * (high - low) or abs(high) or 1.0
    # The view holds all that was observed; what was expected far outside stands at its edge.
    view = (low - margin, high + margin)
    xs = [min(max(middle, view[0]), view[1]) for middle in middles]
    less = [item.expectation.bounds[1] for item in items]
    more = [item.expectation.bounds[3] for item in items]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": shown.values(xs),
        "y": shown.values(observed),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": shown.values([max(bound - x, 0.0) for bound, x in zip(more, xs, strict=True)]),
            "arrayminus": shown.values([max(x - bound, 0.0) for bound, x in zip(less, xs, strict=True)]),
            "thickness": 0.6,
            "width": 0,
            "color": "@dim",
        },
        "marker": {
            "size": 6,
            "color": [f"@ramp{place / max(len(items) - 1, 1):.3f}" for place in range(len(items))],
        },
        "customdata": [[item.ask_index, escaped(item.expectation.predictor)] for item in items],
        "hovertemplate": "candidate %{customdata[0]}<br>expected %{x}, observed %{y}<br>%{customdata[1]}<extra></extra>",
        "showlegend": False,
    }
    ends = shown.values(view)
    diagonal = {
        "type": "scatter",
        "mode": "lines",
        "x": ends,
        "y": ends,
        "line": {"width": 1, "dash": "dash", "color": "@dim"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    layout = {
        "xaxis": {"title": {"text": f"expected {escaped(shown.title)}"}, "range": ends},
        "yaxis": {"title": {"text": f"observed {escaped(shown.title)}"}, "range": ends},
        "hovermode": "closest",
    }
    return {"data": [diagonal, points], "layout": layout}


def prediction_tables(history: History, found: dict[str, list[Foreseen]]) -> str:
    """Order and calibration of each metric, and which predictor foresaw it when."""
    rows: list[list[Cell]] = []
    for metric, items in found.items():
        figures = calibrated(history, metric, items)
        correlations = (figures.spearman, figures.kendall, figures.top_decile_kendall)
        shares = (figures.top_decile_found, figures.within_one_deviation, figures.within_two_deviations)
        rows.append([label(metric), f"{len(items):,}", *map(_correlation, correlations), *(f"{100 * share:.0f} %" for share in shares)])
    remark = "Bars are one deviation; points run from the first candidates (blue) to the last (orange). "
    remark += "Each candidate was predicted from the results known when it was proposed, and is compared after its full training. "
    remark += "68 % and 95 % of the candidates should lie within one and two deviations. The search proposes where it expects much or "
    remark += "knows little, so these candidates are harder to put in order than random ones."
    return table(HEAD, rows) + note(remark) + "<h3>Predictors over time</h3>" + _stretches(found)


def _stretches(found: dict[str, list[Foreseen]]) -> str:
    rows: list[list[Cell]] = []
    for metric, items in found.items():
        for predictor, group in groupby(items, key=lambda item: item.expectation.predictor):
            members = list(group)
            rows.append([label(metric), predictor, f"{members[0].ask_index} to {members[-1].ask_index}", f"{len(members):,}"])
    remark = "Chosen by the rank correlation of left-out results whenever what was told has doubled, unless the study names one."
    return table(["metric", "predictor", "candidates", "of them predicted and trained fully"], rows, numeric_from=2) + note(remark)


def _correlation(value: float) -> str:
    return "too few or all alike" if np.isnan(value) else f"{value:+.2f}"
