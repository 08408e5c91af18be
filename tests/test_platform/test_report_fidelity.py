"""The report's parts on rungs and zero-cost proxies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.metrics import Direction, Metric
from paretune.platform.record.history import History
from paretune.platform.record.ledger import read_events
from paretune.platform.report import write_report
from paretune.platform.report.fidelity import fidelity_parts


def with_proxy(history: History) -> History:
    """The history with a proxy that orders the candidates as their accuracy does, and one that is constant."""
    for record in history.records.values():
        if record.evaluation is not None and "accuracy" in record.evaluation.metrics:
            metrics = {**record.evaluation.metrics, "proxy.synflow": record.evaluation.metrics["accuracy"] ** 3, "proxy.naswot": 1.0}
            record.evaluation = replace(record.evaluation, metrics=metrics)
    proxies = {name: Metric(name=name, unit="", direction=Direction.MAX) for name in ("proxy.synflow", "proxy.naswot")}
    history.header = replace(history.header, metrics={**history.header.metrics, **proxies})
    return history


def test_a_study_without_rungs_and_proxies_has_neither_part(sample_study: Any) -> None:
    study = sample_study("digits").search(10)
    assert fidelity_parts(History.fold(read_events(study.folder))) == []
    page = Path(write_report(study.folder)).read_text("utf-8")
    assert "Zero-cost proxies" not in page
    assert ">Rungs<" not in page


def test_rank_correlations_of_proxies_stand_beside_those_of_the_baselines(sample_study: Any) -> None:
    history = with_proxy(History.fold(read_events(sample_study("digits").search(20).folder)))
    [(title, anchor, part)] = fidelity_parts(history)
    assert (title, anchor) == ("Zero-cost proxies", "proxies")
    assert "+1.00" in part
    assert "too few or all alike" in part
    assert "parameters" in part


def test_rungs_tell_how_many_reached_them(sample_study: Any) -> None:
    history = History.fold(read_events(sample_study("digits").search(12).folder))
    for record in history.records.values():  # the last four climbed on: here only their highest rung is known
        full = record.job.ask_index >= 8
        record.job = replace(record.job, rung=int(full), epochs=6 if full else 2, schedule_epochs=6)
    [(title, _, part)] = fidelity_parts(history)
    assert title == "Rungs"
    assert "40 epochs were trained; without rungs it would have been 72." in part  # 8 x 2 + 4 x 6, 12 x 6
