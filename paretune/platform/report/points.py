"""The candidates as the figures draw them: which are drawn, their class, their hover text."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paretune.core.genotype import Choice
from paretune.core.metrics import readable
from paretune.core.trial import Outcome
from paretune.platform.record.history import History, Record
from paretune.platform.report.markup import escaped
from paretune.platform.report.units import Scale, label, scale

DRAWN_CANDIDATES = 4000
"""Most candidates that a figure draws: what a browser moves smoothly as SVG, and keeps the page below 10 MB."""
HOVER_COLUMNS = 72
"""Characters in a line of a hover label."""
CHOICE_CHARACTERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A candidate with every objective."""

    record: Record
    on_front: bool
    feasible: bool
    arrival: int
    """Number of its result in the order of arrival, from 1."""
    position: int
    """Number of its hover text in the page's list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """The candidates that the figures draw, in ask order."""

    all: tuple[Point, ...]
    num_left_out: int
    """Candidates beside the front that are not drawn, to keep the page small."""
    scales: Mapping[str, Scale]
    """How each metric is shown, by inner name."""

    @property
    def front(self) -> list[Point]:
        """Members of the front, best first in the first objective's direction of improvement."""
        return [point for point in self.all if point.on_front]

    @property
    def others(self) -> list[Point]:
        """Feasible and dominated."""
        return [point for point in self.all if point.feasible and not point.on_front]

    @property
    def infeasible(self) -> list[Point]:
        """Evaluated, but beyond a limit."""
        return [point for point in self.all if not point.feasible]


def collect(history: History, front: Sequence[Record]) -> Points:
    """The drawn candidates of a study: the whole front, and the others thinned evenly over the search where they are too many.

    Candidates that were stopped at a lower rung are not comparable and not drawn.
    """
    names = [objective.metric for objective in history.problem.objectives]
    complete = [
        record
        for record in history.search_records()
        if record.outcome is Outcome.OK and record.job.is_full and all(name in record.metrics for name in names)
    ]
    members = {record.job.id for record in front}
    rest = [record for record in complete if record.job.id not in members]
    room = max(DRAWN_CANDIDATES - len(front), 0)
    if len(rest) > room:
        kept = np.linspace(0, len(rest) - 1, room).round().astype(int)
        rest = [rest[index] for index in dict.fromkeys(kept.tolist())]
    drawn = [*front, *rest]
    arrival = {record.job.id: number for number, record in enumerate(history.arrivals(), start=1)}
    points = tuple(
        Point(
            record=record,
            on_front=record.job.id in members,
            feasible=history.problem.violation(record.metrics) <= 0,
            arrival=arrival[record.job.id],
            position=position,
        )
        for position, record in enumerate(drawn)
    )
    metric_names = list(dict.fromkeys([*names, *(name for record in complete for name in record.metrics)]))
    scales = {name: scale(name, [record.metrics[name] for record in complete if name in record.metrics]) for name in metric_names}
    return Points(all=points, num_left_out=len(complete) - len(drawn), scales=scales)


def architecture(choices: Mapping[str, Choice]) -> list[str]:
    """The architecture as plain text, a line for each part: `stage1: width 8, block1.kernel 5`; decisions without a part come first."""
    parts: dict[str, list[str]] = {"": []}
    for name, choice in choices.items():
        part, dot, rest = name.partition(".")
        parts.setdefault(part if dot else "", []).append(f"{rest if dot else name} {_shortened(str(choice))}")
    return [f"{part}: {', '.join(found)}" if part else ", ".join(found) for part, found in parts.items() if found]


def _shortened(text: str) -> str:
    return text if len(text) <= CHOICE_CHARACTERS else text[: CHOICE_CHARACTERS - 1] + "…"


def hover_text(point: Point, objectives: Sequence[str]) -> str:
    """What a figure shows when the pointer is on a candidate, as the HTML subset that plotly reads."""
    record = point.record
    place = "on the front" if point.on_front else "dominated" if point.feasible else "breaks a limit"
    others = [name for name in record.metrics if name not in objectives]
    lines = [f"<b>candidate {record.job.ask_index}</b> · {place}"]
    lines += [f"{escaped(label(name))} <b>{escaped(readable(name, record.metrics[name]))}</b>" for name in objectives]
    lines += _wrapped(" · ".join(f"{label(name)} {readable(name, record.metrics[name])}" for name in others))
    lines += ["", *(line for part in architecture(record.choices) for line in _wrapped(part)), f"<i>id {escaped(record.job.id[:12])}</i>"]
    return "<br>".join(lines)


def _wrapped(text: str) -> list[str]:
    return [escaped(line) for line in textwrap.wrap(text, HOVER_COLUMNS, break_long_words=True)]
