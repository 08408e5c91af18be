"""The other figures of the report: hypervolume, parallel coordinates, learning curves."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from paretune.core.metrics import Direction
from paretune.core.objectives import Objective
from paretune.platform.record.history import History, Record
from paretune.platform.record.summary import Progress, progress
from paretune.platform.report.front_figure import Figure, best_so_far_figure, front_figure
from paretune.platform.report.markup import escaped
from paretune.platform.report.points import Points
from paretune.platform.report.units import label, scale

SERIES = ("@front", "@series2", "@series3", "@series4", "@series5")
"""Colours of the studies that are compared, this one first."""
STEPS_DRAWN = 2000
AXES_DRAWN = 40
CURVES_DRAWN = 40
CURVE_FIGURES = 4


def front_figures(history: History, points: Points) -> dict[str, Figure]:
    """The front for every pair of objectives, by the name that its button shows."""
    objectives = history.problem.objectives
    if len(objectives) == 1:
        return {label(objectives[0].metric): best_so_far_figure(history, points)}
    figures = {}
    for first, second in combinations(objectives, 2):
        x, y = _axes(first, second)
        figures[f"{label(y.metric)} against {label(x.metric)}"] = front_figure(history, points, x, y)
    return figures


def _axes(first: Objective, second: Objective) -> tuple[Objective, Objective]:
    """Costs go along, qualities up, as papers draw them."""
    if first.direction is Direction.MAX and second.direction is Direction.MIN:
        return second, first
    return first, second


def hypervolume_figures(histories: Sequence[History]) -> dict[str, Figure]:
    """Hypervolume over evaluations and over time; all studies are judged by the problem of the first, so by one reference point."""
    runs = [(history.header.name, progress(history.arrivals(), histories[0].problem)) for history in histories]
    over_trials = [_volume_trace(index, name, steps, [step.num_finished for step in steps]) for index, (name, steps) in enumerate(runs)]
    longest_s = max((steps[-1].elapsed_s for _, steps in runs if steps), default=0.0)
    unit, factor = ("h", 3600.0) if longest_s >= 7200 else ("min", 60.0) if longest_s >= 180 else ("s", 1.0)
    over_time = [
        _volume_trace(index, name, steps, [round(step.elapsed_s / factor, 4) for step in steps]) for index, (name, steps) in enumerate(runs)
    ]
    volume_axis = {"title": {"text": "hypervolume"}, "rangemode": "tozero", "exponentformat": "power"}
    titles = {"over evaluations": "candidates evaluated", "over time": f"search time ({unit})"}
    return {
        name: {
            "data": traces,
            "layout": {"xaxis": {"title": {"text": title}, "rangemode": "tozero"}, "yaxis": volume_axis, "hovermode": "x unified"},
        }
        for (name, title), traces in zip(titles.items(), (over_trials, over_time), strict=True)
    }


def _volume_trace(index: int, name: str, steps: Sequence[Progress], xs: Sequence[float]) -> Figure:
    """Steps where something changed, and the ends; a step line needs no others."""
    changed = [at for at, step in enumerate(steps) if at in (0, len(steps) - 1) or step.hypervolume != steps[at - 1].hypervolume]
    if len(changed) > STEPS_DRAWN:
        changed = [changed[round(at * (len(changed) - 1) / (STEPS_DRAWN - 1))] for at in range(STEPS_DRAWN)]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escaped(name),
        "x": [xs[at] for at in changed],
        "y": [float(f"{steps[at].hypervolume:.6g}") for at in changed],
        "line": {"shape": "hv", "width": 2, "color": SERIES[index % len(SERIES)]},
        "showlegend": True,
    }


def parallel_figure(history: History, points: Points) -> tuple[Figure | None, list[str]]:
    """Numeric decisions and metrics of every candidate as parallel axes, and the names of decisions left out.

    The figure is None where there is nothing to draw: no candidates, or fewer than two axes that vary.
    """
    drawn = [*points.infeasible, *points.others, *points.front]
    axes: list[dict[str, Any]] = []
    for name in dict.fromkeys([*(item.metric for item in history.problem.objectives), *points.scales]):
        values = [point.record.metrics.get(name, math.nan) for point in drawn]
        if all(math.isfinite(value) for value in values):
            axes.append({"label": escaped(points.scales[name].title), "values": points.scales[name].values(values)})
    for decision in history.header.decisions:
        if decision.is_numeric:
            values = [float(point.record.choices[decision.name]) for point in drawn]
            ticks = sorted({float(choice) for choice in decision.choices})
            axes.append({"label": escaped(decision.name), "values": values, "tickvals": ticks, "range": [ticks[0], ticks[-1]]})
    axes = [axis for axis in axes if len(set(axis["values"])) > 1]
    left_out = [decision.name for decision in history.header.decisions if not decision.is_numeric]
    left_out += [axis["label"] for axis in axes[AXES_DRAWN:]]
    axes = axes[:AXES_DRAWN]
    if len(axes) < 2:
        return None, left_out
    trace = {
        "type": "parcoords",
        "dimensions": axes,
        "line": {
            "color": [float(point.on_front) for point in drawn],
            "colorscale": [[0, "@faint"], [1, "@front"]],
            "cmin": 0,
            "cmax": 1,
            "showscale": False,
        },
        "labelangle": -25,
        "labelside": "top",
    }
    return {"data": [trace], "layout": {"margin": {"l": 60, "r": 60, "t": 120, "b": 24}}}, left_out


def curve_figures(front: Sequence[Record]) -> dict[str, Figure]:
    """Learning curves of the front, one figure for each quantity that was recorded, by its name."""
    curves = [(record, _curve(record)) for record in front[:CURVES_DRAWN]]
    names = list(dict.fromkeys(name for _, curve in curves for epoch in curve for name in epoch if name != "epoch"))
    figures = {}
    for name in names[:CURVE_FIGURES]:
        having = [(record, curve) for record, curve in curves if any(name in epoch for epoch in curve)]
        shown = scale(name, [epoch[name] for _, curve in having for epoch in curve if name in epoch])
        traces = [_curve_trace(record, curve, name, index / max(len(having) - 1, 1)) for index, (record, curve) in enumerate(having)]
        for trace in traces:
            trace["y"] = shown.values(trace["y"])
        layout = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": escaped(shown.title)}}, "hovermode": "closest"}
        figures[label(name)] = {"data": traces, "layout": layout}
    return figures


def _curve(record: Record) -> list[Mapping[str, float]]:
    """The finite numbers of each epoch of a record; evaluators of users may have left anything there."""
    found = record.evaluation.details.get("curve", ()) if record.evaluation else ()
    if not isinstance(found, list | tuple):
        return []
    return [{name: float(value) for name, value in epoch.items() if _is_number(value)} for epoch in found if isinstance(epoch, Mapping)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _curve_trace(record: Record, curve: Sequence[Mapping[str, float]], name: str, share: float) -> Figure:
    epochs = [(epoch.get("epoch", float(number)), epoch[name]) for number, epoch in enumerate(curve, start=1) if name in epoch]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"candidate {record.job.ask_index}",
        "x": [epoch for epoch, _ in epochs],
        "y": [value for _, value in epochs],
        "line": {"width": 1.5, "color": f"@ramp{share:.3f}"},
        "hovertemplate": f"candidate {record.job.ask_index}<br>epoch %{{x}}: %{{y}}<extra></extra>",
        "showlegend": False,
    }
