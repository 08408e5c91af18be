"""Pictures of cost models as pages that need no network: predicted against measured, and rank correlations between devices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.files import write_durably
from paretune.core.metrics import symbol, unit_of

DRAWN = 4000
"""Points drawn; more only make the page slow."""


def write_scatter_page(path: Path, predicted: Mapping[str, NDArray[np.float64]], measured: Mapping[str, NDArray[np.float64]]) -> None:
    """Predicted against measured, one figure for each metric, with the line of equality.

    Raises:
        StorageError: the storage refuses.
    """
    figures = []
    for metric, measured_N in measured.items():
        rows = np.random.default_rng(0).permutation(len(measured_N))[:DRAWN]
        ends = [float(measured_N.min()), float(measured_N.max())]
        unit = symbol(unit_of(metric))
        points = {"x": measured_N[rows].tolist(), "y": predicted[metric][rows].tolist(), "mode": "markers", "name": "networks"}
        line = {"x": ends, "y": ends, "mode": "lines", "name": "equal"}
        layout = {
            "title": {"text": metric},
            "xaxis": {"title": {"text": f"measured ({unit})"}, "type": "log"},
            "yaxis": {"title": {"text": f"predicted ({unit})"}, "type": "log"},
        }
        figures.append({"data": [{"type": "scatter", **trace} for trace in (points, line)], "layout": layout})
    _write_page(path, figures)


def write_correlation_page(path: Path, names: Sequence[str], correlations_CC: NDArray[np.float64]) -> None:
    """Spearman's rank correlation of every two columns as a heat map.

    Raises:
        StorageError: the storage refuses.
    """
    trace = {
        "type": "heatmap",
        "x": list(names),
        "y": list(names),
        "z": correlations_CC.tolist(),
        "zmin": 0,
        "zmax": 1,
        "texttemplate": "%{z:.2f}",
        "colorbar": {"title": {"text": "rho"}},
    }
    layout = {
        "title": {"text": "Spearman's rank correlation of costs"},
        "yaxis": {"autorange": "reversed"},
        "height": 300 + 30 * len(names),
    }
    _write_page(path, [{"data": [trace], "layout": layout}])


def _write_page(path: Path, figures: Sequence[dict[str, Any]]) -> None:
    from plotly.io import to_html

    parts = [to_html(figure, full_html=False, include_plotlyjs=index == 0) for index, figure in enumerate(figures)]
    page = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>paretune</title></head><body>{"".join(parts)}</body></html>'
    write_durably(path, page.encode())
