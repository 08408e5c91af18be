"""The part of the page on accuracy over time since programming: the networks of the front against the same networks trained digitally.

Bands are one standard deviation, over programmings and, where there are several, over seeds of the training.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.trial import Outcome
from paretune.platform.record.history import History, Record
from paretune.platform.report.front_figure import Figure
from paretune.platform.report.markup import Cell, escaped, note, table
from paretune.platform.report.measurements import details_of

CANDIDATES_DRAWN = 12
"""Candidates with a figure of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Accuracy over time of one or several networks, in per cent."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifting:
    """The front on one target."""

    target: str
    names: tuple[str, ...]
    """Of the times: `1s`, `1d`."""
    times_s: tuple[float, ...]
    networks: Mapping[int, Course]
    """By the number of the candidate, in the order of the front."""
    baselines: Mapping[int, Course]
    """The same architectures, trained without the target in mind; empty where nothing was trained for it."""


def drifting(history: History, front: Sequence[Record]) -> list[Drifting]:
    """Every target on which the accuracy of the front changes with time; final trainings take the place of the search's."""
    finals = history.finals()
    groups = {record.job.ask_index: _finished(finals.get(record.job.ask_index, [])) or [record] for record in front}
    targets = dict.fromkeys(target for group in groups.values() for record in group for target in _drifts(details_of(record)))
    return [found for target in targets if (found := _on_target(target, groups)) is not None]


def drift_figures(found: Drifting) -> dict[str, Figure]:
    """All networks together, then each of the first ones with its baseline."""
    figures = {"all": _figure(found, _together(found.networks), _together(found.baselines), thin=True)}
    for index in list(found.networks)[:CANDIDATES_DRAWN]:
        figures[f"candidate {index}"] = _figure(found, found.networks[index], found.baselines.get(index))
    return figures if len(found.networks) > 1 else dict(list(figures.items())[1:])


def drift_table(found: Drifting) -> str:
    """First and last accuracy of each network, beside its baseline."""
    first, last = found.names[0], found.names[-1]
    with_baseline = bool(found.baselines)
    own: list[Cell] = [f"after {first} (%)", f"after {last} (%)", "lost"]
    head: list[Cell] = [
        "candidate",
        *own,
        *([f"digitally trained, after {first} (%)", f"after {last} (%)", "lost"] if with_baseline else []),
    ]
    rows: list[list[Cell]] = []
    for index, course in found.networks.items():
        row: list[Cell] = [str(index), *_ends(course)]
        if with_baseline:
            row += _ends(found.baselines[index]) if index in found.baselines else ["–"] * 3
        rows.append(row)
    return table(head, rows, numeric_from=0) + note(_remark(found))


def _remark(found: Drifting) -> str:
    text = "Mean and standard deviation over programmings of the validation accuracy. "
    if not found.baselines:
        return text
    both = [index for index in found.networks if index in found.baselines]
    gain = statistics.fmean(found.networks[index].means[-1] - found.baselines[index].means[-1] for index in both)
    text += "Dashed: the same architectures, trained from the same seeds without the target in mind; their input ranges are set from "
    text += "training images. "
    over = f" on average over {len(both):,} networks" if len(both) > 1 else ""
    return text + f"After {found.names[-1]} training for the target is worth {gain:+.1f} points{over}."


def _finished(group: Sequence[Record]) -> list[Record]:
    return [record for record in group if record.outcome is Outcome.OK]


def _drifts(details: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Mapping[str, float]]]:
    """Target -> time -> numbers, of those targets that gave them."""
    found = {target: told.get("drift") for target, told in details.items()}
    return {target: drift for target, drift in found.items() if isinstance(drift, Mapping) and drift}


def _baseline_of(record: Record) -> Mapping[str, Any]:
    found = record.evaluation.details.get("baseline", {}) if record.evaluation else {}
    measurements = found.get("measurements", {}) if isinstance(found, Mapping) else {}
    return measurements if isinstance(measurements, Mapping) else {}


def _on_target(target: str, groups: Mapping[int, Sequence[Record]]) -> Drifting | None:
    """What one target tells of the front; None where there is nothing to draw."""
    networks, baselines, known = dict[int, Course](), dict[int, Course](), dict[str, float]()
    for index, group in groups.items():
        drifts = [drift for record in group if (drift := _drifts(details_of(record)).get(target))]
        if not drifts:
            continue
        known = known or {name: float(numbers["time_s"]) for name, numbers in drifts[0].items()}
        networks[index] = _course(drifts, known)
        if digital := [drift for record in group if (drift := _drifts(_baseline_of(record)).get(target))]:
            baselines[index] = _course(digital, known)
    names = tuple(sorted(known, key=lambda name: known[name]))
    times_s = tuple(known[name] for name in names)
    return Drifting(target=target, names=names, times_s=times_s, networks=networks, baselines=baselines) if networks else None


def _course(drifts: Sequence[Mapping[str, Mapping[str, float]]], times: Mapping[str, float]) -> Course:
    """Of one architecture: the variances over programmings and over seeds add up."""
    names = sorted(times, key=lambda name: times[name])
    means = [[100 * float(drift[name]["mean"]) for drift in drifts] for name in names]
    within = [statistics.fmean((100 * float(drift[name]["deviation"])) ** 2 for drift in drifts) for name in names]
    between = [statistics.variance(values) if len(values) > 1 else 0.0 for values in means]
    return Course(
        means=tuple(statistics.fmean(values) for values in means),
        deviations=tuple(math.sqrt(first + second) for first, second in zip(within, between, strict=True)),
    )


def _together(courses: Mapping[int, Course]) -> Course | None:
    """Several networks as one: their mean, and how far a network and a programming lie from it."""
    if not courses:
        return None
    columns = list(zip(*(course.means for course in courses.values()), strict=True))
    variances = list(zip(*((value**2 for value in course.deviations) for course in courses.values()), strict=True))
    spread = [statistics.pvariance(values) + statistics.fmean(within) for values, within in zip(columns, variances, strict=True)]
    return Course(means=tuple(map(statistics.fmean, columns)), deviations=tuple(map(math.sqrt, spread)))


def _figure(found: Drifting, course: Course | None, baseline: Course | None, *, thin: bool = False) -> Figure:
    """Bands first, so that no line lies under one."""
    drawn = [
        ("trained for the target", course, "@front", "@shade", "solid"),
        ("trained digitally", baseline, "@series2", "@shade2", "dash"),
    ]
    xs = _positions(found.times_s)
    traces = [_band(xs, shown, shade) for _, shown, _, shade, _ in drawn if shown is not None]
    if thin:
        for courses, colour, dash in ((found.networks, "@front", "solid"), (found.baselines, "@series2", "dash")):
            traces += [_line(xs, found, f"candidate {index}", item, colour, dash, width=0.8) for index, item in courses.items()]
    words = ", mean of the front" if thin else ""
    traces += [
        _line(xs, found, name + words if found.baselines else f"accuracy{words}", shown, colour, dash, width=2.5)
        for name, shown, colour, _, dash in drawn
        if shown is not None
    ]
    axis = {"title": {"text": "time since programming"}, "type": "log", "tickvals": xs, "ticktext": list(found.names)}
    return {
        "data": traces,
        "layout": {"xaxis": axis, "yaxis": {"title": {"text": f"{escaped(found.target)} accuracy (%)"}}, "hovermode": "closest"},
    }


def _positions(times_s: Sequence[float]) -> list[float]:
    """Places on a logarithmic axis; the moment of programming stands a decade before the next time."""
    later = [time_s for time_s in times_s if time_s > 0]
    return [time_s if time_s > 0 else min(later, default=1.0) / 10 for time_s in times_s]


def _band(xs: Sequence[float], course: Course, shade: str) -> Figure:
    upper = [min(mean + deviation, 100.0) for mean, deviation in zip(course.means, course.deviations, strict=True)]
    lower = [max(mean - deviation, 0.0) for mean, deviation in zip(course.means, course.deviations, strict=True)]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*xs, *reversed(xs)],
        "y": _rounded([*upper, *reversed(lower)]),
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": shade,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _line(xs: Sequence[float], found: Drifting, name: str, course: Course, colour: str, dash: str, *, width: float) -> Figure:
    labels = [f"{time}: {mean:.2f} ± {off:.2f} %" for time, mean, off in zip(found.names, course.means, course.deviations, strict=True)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if width > 1 else "lines",
        "name": escaped(name),
        "x": list(xs),
        "y": _rounded(course.means),
        "text": labels,
        "line": {"width": width, "color": colour, "dash": dash},
        "hovertemplate": f"{escaped(name)}<br>%{{text}}<extra></extra>",
        "showlegend": width > 1,
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _ends(course: Course) -> list[Cell]:
    first, last = ((course.means[place], course.deviations[place]) for place in (0, -1))
    return [*(f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in (first, last)), f"{first[0] - last[0]:.2f}"]
