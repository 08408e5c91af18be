"""The report as one HTML page that needs no network: its parts put together, its figures embedded, written whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

from paretune.core.files import write_durably
from paretune.platform.record.history import History, Record
from paretune.platform.record.ledger import read_events
from paretune.platform.record.summary import summary_json
from paretune.platform.report.comparison import check_comparable
from paretune.platform.report.document import document, drawn
from paretune.platform.report.drift import drift_figures, drift_table, drifting
from paretune.platform.report.facts import failures_part, head, provenance_part, reference_text, volume_unit
from paretune.platform.report.fidelity import fidelity_parts
from paretune.platform.report.figures import curve_figures, front_figures, hypervolume_figures, parallel_figure
from paretune.platform.report.front_figure import Figure
from paretune.platform.report.front_table import front_table
from paretune.platform.report.markup import note, section
from paretune.platform.report.measurements import measurements_part
from paretune.platform.report.points import Points, collect, hover_text
from paretune.platform.report.predictions import foreseen, prediction_figures, prediction_tables
from paretune.platform.report.rank_agreement import rank_agreement
from paretune.platform.report.utilisation import utilisation_part

REPORT_FILE = "report.html"
FRONT_PAGE = "figures/pareto-front.html"
FIGURE_PAGES = {FRONT_PAGE: "Pareto front", "figures/parallel-coordinates.html": "Decisions and metrics"}
"""Name below the study's folder -> title."""


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


def write_figures(folder: Path) -> list[Path]:
    """Write the front and the parallel coordinates of a study as pages of their own, which MLflow shows beside its runs.

    Returns:
        The pages, in `figures/` below the study's folder; none while there is nothing to draw.

    Raises:
        BadInput: there is no study.
        StorageError: a page cannot be written.
    """
    history = History.fold(read_events(folder), details=False)
    front = history.front()
    points = collect(history, front)
    objectives = [objective.metric for objective in history.problem.objectives]
    hover = [hover_text(point, objectives) for point in points.all]
    written = []
    for name, title in FIGURE_PAGES.items():
        figures: dict[str, Figure] = {}
        body = _front_part(history, front, points, figures) if name == FRONT_PAGE else _parallel_part(history, points, figures)
        if figures:
            (folder / name).parent.mkdir(exist_ok=True)
            page = document(f"{history.header.name} · {title}", section(title, "figure", body), {"figures": figures, "hover": hover})
            write_durably(folder / name, page.encode("utf-8"))
            written.append(folder / name)
    return written


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
        *_drift(history, front, figures),
        *(section(title, anchor, part) for title, anchor, part in fidelity_parts(history)),
        *_predictions(history, figures),
        *_agreement(history, figures),
        section("Outcomes and failures", "failures", failures_part(history, summary)),
        section("How busy each resource was", "utilisation", utilisation_part(history)),
        section("Where the numbers come from", "numbers", measurements_part(history)),
        section("Provenance", "provenance", provenance_part(history, folder)),
    ]
    objectives = [objective.metric for objective in history.problem.objectives]
    data = {"figures": figures, "hover": [hover_text(point, objectives) for point in points.all]}
    return document(history.header.name, "".join(parts), data)


def _front_part(history: History, front: Sequence[Record], points: Points, figures: dict[str, Figure]) -> str:
    if not points.all:
        return note("No candidate has finished with every objective yet, so there is nothing to draw.")
    shown = drawn(front_figures(history, points), "front", figures, one_at_a_time=True, tall=True)
    remarks = [f"Reference point: {reference_text(history.problem)}. Double-click a figure to see everything, drag to zoom in."]
    if not points.front:
        remarks.append("No candidate meets every limit.")
    if points.num_left_out:
        remarks.append(f"{points.num_left_out:,} dominated candidates are not drawn, to keep the page small; the ledger has them all.")
    return shown + note(" ".join(remarks)) + (front_table(history, front, points.scales) if front else "")


def _hypervolume_part(history: History, others: Sequence[History], figures: dict[str, Figure]) -> str:
    shown = drawn(hypervolume_figures([history, *others]), "hypervolume", figures)
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
    shown = drawn(prediction_figures(found), "prediction", figures)
    return [section("Expected and observed", "predictions", shown, prediction_tables(history, found))]


def _agreement(history: History, figures: dict[str, Figure]) -> list[str]:
    """The section on rank correlations between targets; none where there is nothing to compare."""
    found = rank_agreement(history)
    return [] if found is None else [section("How alike the targets order the candidates", "targets", found.html(figures))]


def _drift(history: History, front: Sequence[Record], figures: dict[str, Figure]) -> list[str]:
    """A section for each target on which accuracy changes with time."""
    parts = []
    for found in drifting(history, front):
        anchor = f"drift-{found.target}"
        shown = drawn(drift_figures(found), anchor, figures, one_at_a_time=True, tall=True)
        parts.append(section(f"Accuracy over time on {found.target}", anchor, shown, drift_table(found)))
    return parts


def _curves_part(front: Sequence[Record], figures: dict[str, Figure]) -> str:
    shown = drawn(curve_figures(front), "curve", figures)
    if not shown:
        return note("No learning curves were recorded.")
    return shown + note("From the search. Colours run from the best candidate in the first objective (blue) to the last of the front.")
