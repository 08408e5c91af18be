"""The candidates of a study as the table that `mlflow.log_table` would log: MLflow's UI shows it and `mlflow.load_table` reads it.

`log_table` itself appends to what it logged before, so that a resumed study would have its candidates twice.
"""

import json
import math
from typing import Any

from paretune.platform.mirror.names import metric_name, metric_value
from paretune.platform.record.history import History, Record
from paretune.platform.record.redaction import plain

TABLE_FILE = "candidates.json"
TABLE_TAG = {"mlflow.loggedArtifacts": json.dumps([{"path": TABLE_FILE, "type": "table"}])}
"""Says to MLflow that the artifact is a table."""


def candidates_table(history: History) -> bytes:
    """Every evaluated candidate of the search as one row, in the order of its proposal: outcome, metrics, decisions."""
    records = [record for record in history.search_records() if record.evaluation]
    front = {record.job.id for record in history.front()}
    metrics = list(dict.fromkeys([*history.problem.metrics, *(name for record in records for name in record.metrics)]))
    decisions = [decision.name for decision in history.header.decisions]
    facts = ["candidate", "outcome", "front", "search_time_s", "duration_s"]
    rows = [[*_facts(record, on_front=record.job.id in front), *_values(record, metrics, decisions)] for record in records]
    columns = [*facts, *(metric_name(name) for name in metrics), *decisions, "id", "message"]
    return json.dumps({"columns": columns, "data": rows}, allow_nan=False, separators=(",", ":")).encode()


def _facts(record: Record, *, on_front: bool) -> list[Any]:
    assert record.evaluation is not None
    times_s = [round(record.elapsed_s, 3), round(record.evaluation.duration_s, 3)]
    return [record.job.ask_index, record.evaluation.outcome.value, on_front, *times_s]


def _values(record: Record, metrics: list[str], decisions: list[str]) -> list[Any]:
    assert record.evaluation is not None
    found = [metric_value(name, record.metrics.get(name, math.nan)) for name in metrics]
    numbers = [value if math.isfinite(value) else None for value in found]
    return [*numbers, *(record.choices[name] for name in decisions), record.job.id, plain(record.evaluation.message)]
