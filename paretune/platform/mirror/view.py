"""Views of a study in the MLflow UI: which runs, in which order, which columns and charts.

MLflow keeps a view that somebody shares as JSON in a tag of the experiment and opens it by its key; the tags written here are such views.
Without them its table shows neither metrics nor decisions, and of nested runs only the parent: it unfolds them where the order is
that of a metric. It draws the charts from the runs that are loaded, 100 at first, so the best come first.
"""

import json
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from paretune.core.metrics import Direction
from paretune.platform.mirror.content import FRONT_TAG, OUTCOME_TAG, PURPOSE_TAG, STUDY_ID_TAG, choice_tag
from paretune.platform.mirror.names import entity_name, metric_name
from paretune.platform.record.header import Header

SHARED_VIEW_TAG = "mlflow.sharedViewState."
VIEW_CHARACTERS = 4900
"""A tag of an experiment holds 5,000."""
MAX_DECISIONS = 12
"""Decisions shown as columns and axes; a screen has no room for more."""
MAX_METRICS = 10
MAX_CHARTS = 6
SECTION = "paretune"
WORKFLOW = "workflowType=machine_learning"
"""Has MLflow show its pages for trained models. Its default is pages for language models, for which it loads the newest 50 runs besides."""


class View(StrEnum):
    """What a page shows."""

    FRONT = "front"
    """The Pareto front as a table."""
    CHARTS = "charts"
    """The Pareto front as charts: parallel coordinates and the objectives against each other."""
    CANDIDATES = "candidates"
    """Every candidate of the search as a table, best in the first objective first."""
    COMPARE = "compare"
    """The runs of the front side by side."""


def shared_views(header: Header, study_id: str) -> dict[str, str]:
    """Tags of the experiment that hold the views of a study."""
    return {f"{SHARED_VIEW_TAG}{_key(view, study_id)}": _text(header, _filter(view, study_id)) for view in (View.FRONT, View.CANDIDATES)}


def page(view: View, experiment_id: str, study_id: str) -> str:
    """Address of a table or chart page, relative to the server's."""
    shown = View.CANDIDATES if view is View.CANDIDATES else View.FRONT
    mode = "CHART" if view is View.CHARTS else "TABLE"
    return f"#/experiments/{experiment_id}/runs?compareRunsMode={mode}&viewStateShareKey={_key(shown, study_id)}&{WORKFLOW}"


def compare_page(experiment_id: str, run_ids: list[str]) -> str:
    """Address of the page that compares runs, relative to the server's."""
    return f"#/compare-runs?runs={_quoted(run_ids)}&{WORKFLOW}&experiments={_quoted([experiment_id])}"


def order(header: Header) -> tuple[str, bool]:
    """What the runs of a study are ordered by, and whether the smallest come first: the best in the first objective do."""
    objective = header.problem.objectives[0]
    return f"metrics.`{metric_name(objective.metric)}`", objective.direction is Direction.MIN


def _quoted(values: list[str]) -> str:
    return quote(json.dumps(values, separators=(",", ":")))


def _key(view: View, study_id: str) -> str:
    return f"paretune-{view.value}-{study_id[:12]}"


def _filter(view: View, study_id: str) -> str:
    of_study = f"tags.`{STUDY_ID_TAG}` = '{study_id}'"
    return f"{of_study} and tags.`{FRONT_TAG}` = 'true'" if view is View.FRONT else f"{of_study} and tags.`{PURPOSE_TAG}` = 'search'"


def _text(header: Header, search: str) -> str:
    """The view as MLflow reads it, with as many decisions as its tag has room for."""
    for num_decisions in range(MAX_DECISIONS, -1, -1):
        text = json.dumps(_state(header, search, num_decisions), separators=(",", ":"))
        if len(text) <= VIEW_CHARACTERS:
            return text
    return json.dumps({"searchFilter": search, "selectedColumns": []})


def _state(header: Header, search: str, num_decisions: int) -> dict[str, Any]:
    objectives = header.problem.objectives
    metrics = [metric_name(item.metric) for item in objectives]
    more = [metric_name(name) for name in header.metrics if metric_name(name) not in metrics]
    decisions = header.decisions[:num_decisions]
    numeric = [entity_name(decision.name) for decision in decisions if decision.is_numeric]
    columns = [f"metrics.`{name}`" for name in [*metrics, *more[: MAX_METRICS - len(metrics)]]]
    columns += [f"params.`{entity_name(item.name)}`" if item.is_numeric else f"tags.`{choice_tag(item.name)}`" for item in decisions]
    key, ascending = order(header)
    return {
        "searchFilter": search,
        "orderByKey": key,
        "orderByAsc": ascending,
        "selectedColumns": [*columns, f"tags.`{FRONT_TAG}`", f"tags.`{OUTCOME_TAG}`"],
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "compareRunCharts": _charts(metrics, numeric),
        "compareRunSections": [
            {"uuid": SECTION, "name": "Objectives", "display": True, "isReordered": False, "columns": 1, "cardHeight": 360}
        ],
    }


def _charts(metrics: list[str], numeric: list[str]) -> list[dict[str, Any]]:
    """Parallel coordinates, then every pair of objectives."""
    parallel = {"type": "PARALLEL", "selectedParams": numeric, "selectedMetrics": metrics, "showAllRuns": True, "displayName": ""}
    charts = [parallel] if numeric or len(metrics) > 1 else []
    pairs = [(first, second) for number, first in enumerate(metrics) for second in metrics[number + 1 :]]
    for first, second in pairs[:MAX_CHARTS]:
        axes = {"xaxis": {"key": second, "type": "METRIC"}, "yaxis": {"key": first, "type": "METRIC"}}
        charts.append({"type": "SCATTER", "runsCountToCompare": 100, "displayName": "", **axes})
    own = {"metricSectionId": SECTION, "deleted": False, "isGenerated": False}
    return [{"uuid": f"{SECTION}-{number}", **own, **chart} for number, chart in enumerate(charts)]
