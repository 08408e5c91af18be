"""Pictures of cost models as pages that need no network: predicted against measured, and rank correlations between devices.

Legend: N networks or layers, C columns of costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.files import write_durably
from paretune.platform.report.correlation_figure import correlation_figure
from paretune.platform.report.document import document, drawn
from paretune.platform.report.front_figure import Figure
from paretune.platform.report.markup import escaped, note
from paretune.platform.report.units import scale

DRAWN = 4000
"""Points drawn; more only make the page slow."""
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Predicted and measured costs of many things."""

    title: str
    metric: str
    """Inner name: says the unit."""
    predicted: FloatArray
    """`(N,)`, SI."""
    measured: FloatArray
    """`(N,)`, SI."""
    labels: Sequence[str]
    """`(N,)` what each point is, shown when it is pointed at."""


def write_scatter_page(path: Path, comparisons: Sequence[Comparison], *, title: str) -> None:
    """Predicted against measured, one figure for each comparison, with the line of equality.

    Raises:
        StorageError: the storage refuses.
    """
    remark = "Each point is one network or one layer; on the dashed line model and measurement agree."
    _write_page(path, title, {item.title: _scatter(item) for item in comparisons}, remark)


def write_correlation_page(path: Path, names: Sequence[str], correlations_CC: FloatArray) -> None:
    """Spearman's rank correlation of every two columns as a heat map.

    Raises:
        StorageError: the storage refuses.
    """
    remark = "1: both order the networks alike; 0: one says nothing of the other."
    _write_page(path, "rank correlation of costs", {"Spearman's rank correlation": correlation_figure(names, correlations_CC)}, remark)


def _scatter(item: Comparison) -> Figure:
    # A logarithmic axis has no place for what the model calls free.
    shown_N = item.predicted > 0
    predicted_N, measured_N = item.predicted[shown_N], item.measured[shown_N]
    labels_N = [text for text, is_shown in zip(item.labels, shown_N, strict=True) if is_shown]
    rows = np.random.default_rng(0).permutation(len(measured_N))[:DRAWN]
    both = np.concatenate([measured_N, predicted_N, item.measured[:1]])
    ends = [float(both.min()), float(both.max())]
    shown = scale(item.metric, item.measured.tolist())
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": shown.values(measured_N[rows].tolist()),
        "y": shown.values(predicted_N[rows].tolist()),
        "marker": {"size": 6, "color": "@front", "opacity": 0.7},
        "hovertemplate": "measured %{x}, predicted %{y}<br>%{text}<extra></extra>",
        "text": [escaped(labels_N[row]) for row in rows.tolist()],
        "showlegend": False,
    }
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": shown.values(ends),
        "y": shown.values(ends),
        "line": {"width": 1, "dash": "dash", "color": "@dim"},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    layout = {
        "xaxis": {"title": {"text": f"measured {escaped(shown.title)}"}, "type": "log"},
        "yaxis": {"title": {"text": f"predicted {escaped(shown.title)}"}, "type": "log"},
        "hovermode": "closest",
    }
    return {"data": [line, points], "layout": layout}


def _write_page(path: Path, title: str, found: Mapping[str, Figure], remark: str) -> None:
    figures: dict[str, Figure] = {}
    body = f"<h1>{escaped(title)}</h1>" + drawn(found, "figure", figures, tall=len(found) == 1) + note(remark)
    write_durably(path, document(title, body, {"figures": figures, "hover": []}).encode())
