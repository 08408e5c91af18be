"""The parts of the page on cheaper evaluations: how many candidates reached which rung, and what the zero-cost proxies were worth."""

import math
from collections import Counter

import numpy as np

from paretune.core.metrics import PROXY_PREFIX
from paretune.core.trial import Outcome
from paretune.platform.record.history import History, Record
from paretune.platform.report.markup import Cell, note, table
from paretune.platform.report.units import label
from paretune.predictors.selection import spearman

BASELINES = ("parameters", "macs")
"""What every proxy has to beat."""
FEWEST = 5
"""Candidates below which a rank correlation says nothing."""


def fidelity_parts(history: History) -> list[tuple[str, str, str]]:
    """(title, anchor, HTML) of the parts that this study has; none for a study without rungs and proxies."""
    parts = []
    if any(record.job.schedule_epochs for record in history.search_records()):
        parts.append(("Rungs", "rungs", _rungs_part(history)))
    if any(name.startswith(PROXY_PREFIX) for name in history.header.metrics):
        parts.append(("Zero-cost proxies", "proxies", _proxies_part(history)))
    return parts


def _rungs_part(history: History) -> str:
    """How many candidates reached each rung and stopped there."""
    finished = [record for record in history.evaluations() if record.evaluation is not None and not record.screened]
    reached = Counter(record.job.epochs for record in finished)
    stopped = Counter(record.job.epochs for record in history.search_records() if record.evaluation is not None)
    rows: list[list[Cell]] = [[f"{epochs:,}", f"{reached[epochs]:,}", f"{stopped[epochs]:,}"] for epochs in sorted(reached)]
    most = max(record.job.schedule_epochs for record in finished) if finished else 0
    all_epochs = most * len({record.job.ask_index for record in finished})
    told = f"{history.epochs_trained:,} epochs were trained; without rungs it would have been {all_epochs:,}. "
    return table(["epochs", "candidates", "of these ended here"], rows, numeric_from=0) + note(
        told + "Only candidates that were trained fully are drawn, and only they can be on the front."
    )


def _proxies_part(history: History) -> str:
    """Rank correlation of proxies and baselines with each trained metric that is an objective."""
    records = [record for record in history.search_records() if record.outcome is Outcome.OK and record.job.is_full]
    known = history.header.metrics
    targets = [
        item.metric
        for item in history.problem.objectives
        if "." not in item.metric and not (item.metric in known and known[item.metric].free)
    ]
    scores = [name for name in known if name.startswith(PROXY_PREFIX) or name in BASELINES]
    rows: list[list[Cell]] = [[label(name), *(_shown(_correlation(records, name, target)) for target in targets)] for name in scores]
    remark = f"Rank correlation (Spearman) over {len(records):,} fully trained candidates; parameters and MACs are the baseline. "
    remark += "The candidates are those that the search chose, so the correlation over the whole space may differ."
    return table(["known before training", *(label(target) for target in targets)], rows, numeric_from=1) + note(remark)


def _correlation(records: list[Record], first: str, second: str) -> float:
    pairs = [(record.metrics[first], record.metrics[second]) for record in records if first in record.metrics and second in record.metrics]
    columns = np.array(pairs).T
    return spearman(columns[0], columns[1]) if len(pairs) >= FEWEST and np.ptp(columns, axis=1).all() else math.nan


def _shown(correlation: float) -> str:
    return "too few or all alike" if math.isnan(correlation) else f"{correlation:+.2f}"
