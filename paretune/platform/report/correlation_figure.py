"""Rank correlations between columns of costs as a heat map.

Legend: C columns.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from paretune.platform.report.front_figure import Figure
from paretune.platform.report.markup import escaped

COLOURS = ((0.0, "@ramp1.000"), (0.5, "@paper"), (1.0, "@front"))
"""From -1, the other order, over 0 to 1, the same order."""


def correlation_figure(names: Sequence[str], correlations_CC: NDArray[np.float64]) -> Figure:
    """Spearman's rank correlation of every two columns; cells that have none (NaN) stay empty."""
    cells = [[None if math.isnan(value) else round(value, 4) for value in row] for row in correlations_CC.tolist()]
    shown = [escaped(name) for name in names]
    trace = {
        "type": "heatmap",
        "x": shown,
        "y": shown,
        "z": cells,
        "zmin": -1,
        "zmax": 1,
        "colorscale": [list(stop) for stop in COLOURS],
        "showscale": False,
        "texttemplate": "%{z:.2f}",
        "hovertemplate": "%{y}<br>%{x}<br>rank correlation %{z:.3f}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }
    layout = {
        "xaxis": {"type": "category", "showgrid": False, "tickangle": -40},
        "yaxis": {"type": "category", "showgrid": False, "autorange": "reversed"},
    }
    return {"data": [trace], "layout": layout}
