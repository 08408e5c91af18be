"""The report as one HTML page that needs no network: its parts put together, its figures embedded, written whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from paretune.core.files import write_durably
from paretune.platform.record.history import History, Record
from paretune.platform.record.ledger import read_events
from paretune.platform.record.summary import summary_json
from paretune.platform.report.comparison import check_comparable
from paretune.platform.report.facts import failures_part, head, provenance_part, reference_text, volume_unit
from paretune.platform.report.fidelity import fidelity_parts
from paretune.platform.report.figures import curve_figures, front_figures, hypervolume_figures, parallel_figure
from paretune.platform.report.front_figure import Figure
from paretune.platform.report.front_table import front_table
from paretune.platform.report.markup import escaped, note, section
from paretune.platform.report.measurements import measurements_part
from paretune.platform.report.points import Points, collect, hover_text
from paretune.platform.report.predictions import foreseen, prediction_figures, prediction_tables
from paretune.platform.report.utilisation import utilisation_part

REPORT_FILE = "report.html"
POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
"""The page may load nothing from anywhere; plotly's parallel coordinates compile their drawing code, hence eval."""


def write_report(folder: Path, *, compare: Sequence[Path] = ()) -> Path:
    """Write the report of a study from its ledger.

    Args:
        folder: the study's folder; the page becomes `report.html` in it.
        compare: folders of other studies of the same problem, drawn into the hypervolume figures against this study's reference point.

    Returns:
        The page.

    Raises:
        BadInput: there is no study, or a study to compare has other objectives, limits or another protocol.
        StorageError: the page cannot be written.
    """
    history = History.fold(read_events(folder))
    others = [History.fold(read_events(other), details=False) for other in compare]
    for other in others:
        check_comparable(history, other)
    path = folder / REPORT_FILE
    write_durably(path, render(history, others, folder=folder).encode("utf-8"))
    return path


def render(history: History, others: Sequence[History] = (), *, folder: Path) -> str:
    """The page as HTML."""
    front = history.front()
    points = collect(history, front)
    summary = summary_json(history)
    figures: dict[str, Figure] = {}
    parts = [
        head(history, front, summary),
        section("Pareto front", "front", _front_part(history, front, points, figures)),
        section("Hypervolume", "hypervolume", _hypervolume_part(history, others, figures)),
        section("Decisions and metrics", "parallel", _parallel_part(history, points, figures)),
        section("Learning curves of the front", "curves", _curves_part(front, figures)),
        *(section(title, anchor, part) for title, anchor, part in fidelity_parts(history)),
        *_predictions(history, figures),
        section("Outcomes and failures", "failures", failures_part(history, summary)),
        section("How busy each resource was", "utilisation", utilisation_part(history)),
        section("Where the numbers come from", "numbers", measurements_part(history)),
        section("Provenance", "provenance", provenance_part(history, folder)),
    ]
    objectives = [objective.metric for objective in history.problem.objectives]
    data = {"figures": figures, "hover": [hover_text(point, objectives) for point in points.all]}
    return _document(history.header.name, "".join(parts), data)


def _front_part(history: History, front: Sequence[Record], points: Points, figures: dict[str, Figure]) -> str:
    if not points.all:
        return note("No candidate has finished with every objective yet, so there is nothing to draw.")
    shown = _drawn(front_figures(history, points), "front", figures, one_at_a_time=True, tall=True)
    remarks = [f"Reference point: {reference_text(history.problem)}. Double-click a figure to see everything, drag to zoom in."]
    if not points.front:
        remarks.append("No candidate meets every limit.")
    if points.num_left_out:
        remarks.append(f"{points.num_left_out:,} dominated candidates are not drawn, to keep the page small; the ledger has them all.")
    return shown + note(" ".join(remarks)) + (front_table(history, front, points.scales) if front else "")


def _hypervolume_part(history: History, others: Sequence[History], figures: dict[str, Figure]) -> str:
    shown = _drawn(hypervolume_figures([history, *others]), "hypervolume", figures)
    reference = reference_text(history.problem)
    text = f"Volume that the front dominates, from the reference point {reference}, in {volume_unit(history.problem)}."
    if others:
        text += " All studies are judged by this one's reference point and limits."
    return shown + note(text)


def _parallel_part(history: History, points: Points, figures: dict[str, Figure]) -> str:
    figure, left_out = parallel_figure(history, points)
    if figure is None:
        return note("Nothing varies yet that could be drawn.")
    figures["parallel-0"] = figure
    width_px = 70 * len(figure["data"][0]["dimensions"])
    remark = "The front is highlighted. Drag along an axis to keep only candidates within a range, drag its name to move it."
    if left_out:
        remark += f" Not drawn, because they are no numbers or there is no room: {', '.join(left_out)}."
    return f'<div class="scroll"><div class="figure tall" id="parallel-0" style="min-width:{width_px}px"></div></div>' + note(remark)


def _predictions(history: History, figures: dict[str, Figure]) -> list[str]:
    """The section on predictions; none where no candidate was predicted."""
    found = foreseen(history)
    if not found:
        return []
    drawn = _drawn(prediction_figures(found), "prediction", figures)
    return [section("Expected and observed", "predictions", drawn, prediction_tables(history, found))]


def _curves_part(front: Sequence[Record], figures: dict[str, Figure]) -> str:
    shown = _drawn(curve_figures(front), "curve", figures)
    if not shown:
        return note("No learning curves were recorded.")
    return shown + note("From the search. Colours run from the best candidate in the first objective (blue) to the last of the front.")


def _drawn(found: Mapping[str, Figure], anchor: str, figures: dict[str, Figure], *, one_at_a_time: bool = False, tall: bool = False) -> str:
    """Places for figures: side by side, or one at a time with a button for each."""
    size = "figure tall" if tall else "figure"
    places, buttons = [], []
    for number, (name, figure) in enumerate(found.items()):
        key = f"{anchor}-{number}"
        figures[key] = figure
        chosen = one_at_a_time and number > 0
        caption = "" if one_at_a_time else f"<figcaption>{escaped(name)}</figcaption>"
        places.append(f'<figure id="{key}-box"{" hidden" if chosen else ""}>{caption}<div class="{size}" id="{key}"></div></figure>')
        buttons.append(f'<button type="button" data-shows="{key}-box" aria-pressed="{str(not chosen).lower()}">{escaped(name)}</button>')
    choice = f'<div class="choice">{"".join(buttons)}</div>' if one_at_a_time and len(buttons) > 1 else ""
    layout = "one" if one_at_a_time or len(places) == 1 else "pair"
    return f'{choice}<div class="{layout}">{"".join(places)}</div>' if places else ""


def _document(title: str, body: str, data: Mapping[str, Any]) -> str:
    from plotly.offline import get_plotlyjs  # 0.2 s, and needed only here

    here = files("paretune.platform.report")
    style, script = (here.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    # "<" would end the script element if it began "</script"; JSON may write it as an escape.
    embedded = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta name="color-scheme" content="light dark">'
        f'<title>{escaped(title)} · paretune</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        f"<body><main>{body}<noscript><p>The figures need JavaScript; the tables do not.</p></noscript></main>"
        f'<script type="application/json" id="data">{embedded}</script>'
        f"<script>{get_plotlyjs()}</script><script>{script}</script></body></html>\n"
    )
