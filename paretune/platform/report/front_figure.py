"""The Pareto front as a figure: every candidate, the front as a step line, the reference point and the limits."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from paretune.core.metrics import Direction, readable
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.pareto import ParetoArchive
from paretune.platform.record.history import History
from paretune.platform.report.markup import escaped
from paretune.platform.report.points import Point, Points
from paretune.platform.report.units import label

Figure: TypeAlias = dict[str, Any]
"""A plotly figure as JSON values. Colours that begin with `@` are names that the page replaces by those of its theme;
`meta.hover` in a trace holds positions in the page's list of hover texts."""

REFERENCE_STRETCH = 1.0
"""The reference point is inside the first view if that makes an axis at most this share longer."""
PADDING = 0.06


def front_figure(history: History, points: Points, x: Objective, y: Objective) -> Figure:
    """Two objectives of all candidates; the step line and the dominated area only where there are no other objectives."""
    problem = history.problem
    planar = len(problem.objectives) == 2
    front = sorted(points.front, key=lambda point: (x.sign * point.record.metrics[x.metric], y.sign * point.record.metrics[y.metric]))
    traces = []
    if planar and front:
        traces += _attained(front, points, x, y)
    traces += [
        _candidates("beyond a limit", points.infeasible, points, x, y, {"symbol": "circle-open", "size": 7, "color": "@dim"}),
        _candidates("dominated", points.others, points, x, y, {"size": 6, "color": "@dim", "opacity": 0.55}),
        _candidates("Pareto front", front, points, x, y, {"size": 10, "color": "@front", "line": {"width": 1.5, "color": "@paper"}}),
        _reference(points, x, y),
    ]
    layout = {
        "xaxis": {"title": {"text": points.scales[x.metric].title}, "range": _range(points, x)},
        "yaxis": {"title": {"text": points.scales[y.metric].title}, "range": _range(points, y)},
        "hovermode": "closest",
        "shapes": _limits(problem, points, x, y),
    }
    return {"data": traces, "layout": layout}


def _candidates(name: str, drawn: Sequence[Point], points: Points, x: Objective, y: Objective, marker: dict[str, Any]) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{name} ({len(drawn):,})",
        "x": points.scales[x.metric].values([point.record.metrics[x.metric] for point in drawn]),
        "y": points.scales[y.metric].values([point.record.metrics[y.metric] for point in drawn]),
        "marker": marker,
        "visible": True if drawn else "legendonly",
        "showlegend": bool(drawn),
        "meta": {"hover": [point.position for point in drawn]},
    }


def _attained(front: Sequence[Point], points: Points, x: Objective, y: Objective) -> list[Figure]:
    """The edge of what the front dominates, out to the reference point: what the hypervolume measures."""
    x_scale, y_scale = points.scales[x.metric], points.scales[y.metric]
    inside = [
        (point.record.metrics[x.metric], point.record.metrics[y.metric])
        for point in front
        if all(axis.sign * point.record.metrics[axis.metric] < axis.sign * axis.reference for axis in (x, y))
    ]
    if not inside:
        return []
    edge = [(inside[0][0], y.reference), *inside, (x.reference, inside[-1][1])]
    xs, ys = x_scale.values([corner[0] for corner in edge]), y_scale.values([corner[1] for corner in edge])
    corner_x, corner_y = x_scale.values([x.reference])[0], y_scale.values([y.reference])[0]
    line = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    area = {"line": {"shape": "hv", "width": 0}, "fill": "toself", "fillcolor": "@shade"}
    return [
        {**line, **area, "x": [*xs, corner_x, xs[0]], "y": [*ys, corner_y, corner_y]},
        {**line, "line": {"shape": "hv", "width": 2, "color": "@front"}, "x": xs, "y": ys},
    ]


def _reference(points: Points, x: Objective, y: Objective) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "reference point",
        "x": points.scales[x.metric].values([x.reference]),
        "y": points.scales[y.metric].values([y.reference]),
        "marker": {"symbol": "x-thin", "size": 11, "line": {"width": 2, "color": "@limit"}},
        "hovertemplate": (
            f"reference point<br>{escaped(label(x.metric))} {escaped(readable(x.metric, x.reference))}"
            f"<br>{escaped(label(y.metric))} {escaped(readable(y.metric, y.reference))}<extra></extra>"
        ),
    }


def _range(points: Points, axis: Objective) -> list[float] | None:
    """The first view: every candidate, and the reference point and the limits unless they are far away."""
    values = [point.record.metrics[axis.metric] for point in points.all]
    if not values:
        return None
    low, high = min(values), max(values)
    span = high - low or abs(high) or 1.0
    if low - REFERENCE_STRETCH * span <= axis.reference <= high + REFERENCE_STRETCH * span:
        low, high = min(low, axis.reference), max(high, axis.reference)
    margin = PADDING * (high - low or abs(high) or 1.0)
    return points.scales[axis.metric].values([low - margin, high + margin])


def _limits(problem: Problem, points: Points, x: Objective, y: Objective) -> list[dict[str, Any]]:
    lines = []
    for constraint in problem.constraints:
        for letter, axis in (("x", x), ("y", y)):
            if constraint.metric == axis.metric:
                lines += [_limit_line(letter, points.scales[axis.metric].values([limit])[0]) for limit in _bounds(constraint)]
    return lines


def _bounds(constraint: Constraint) -> list[float]:
    return [limit for limit in (constraint.lower, constraint.upper) if math.isfinite(limit)]


def _limit_line(letter: str, value: float) -> dict[str, Any]:
    across = "y" if letter == "x" else "x"
    return {
        "type": "line",
        letter + "0": value,
        letter + "1": value,
        across + "0": 0,
        across + "1": 1,
        across + "ref": "paper",
        "line": {"color": "@limit", "width": 1.5, "dash": "dash"},
        "label": {"text": "limit", "textposition": "end", "font": {"color": "@limit", "size": 11}},
    }


def best_so_far_figure(history: History, points: Points) -> Figure:
    """The only objective over the order of arrival, with the best feasible value so far."""
    objective = history.problem.objectives[0]
    scale = points.scales[objective.metric]
    archive, xs, ys = ParetoArchive(1), [], []
    for number, record in enumerate(history.arrivals(), start=1):
        if record.job.is_full:
            archive.insert(number, *history.problem.score(record.trial()))
        if len(archive):
            xs.append(number)
            ys.append(history.problem.natural(archive.points[0])[objective.metric])
    best = {"type": "scatter", "mode": "lines", "name": "best so far", "hoverinfo": "skip", "x": xs, "y": scale.values(ys)}
    traces = [best | {"line": {"shape": "hv", "width": 2, "color": "@front"}}]
    styles: list[tuple[str, list[Point], dict[str, Any]]] = [
        ("beyond a limit", points.infeasible, {"symbol": "circle-open", "size": 7, "color": "@dim"}),
        ("other", points.others, {"size": 6, "color": "@dim", "opacity": 0.55}),
        ("best", points.front, {"size": 10, "color": "@front"}),
    ]
    for name, drawn, marker in styles:
        trace = _candidates(name, drawn, points, objective, objective, marker)
        traces.append(trace | {"x": [point.arrival for point in drawn]})
    direction = "higher" if objective.direction is Direction.MAX else "lower"
    layout = {
        "xaxis": {"title": {"text": "candidates evaluated"}},
        "yaxis": {"title": {"text": f"{scale.title}, {direction} is better"}},
        "hovermode": "closest",
    }
    return {"data": traces, "layout": layout}
