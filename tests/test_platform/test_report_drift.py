"""Accuracy over time in the report: what is drawn for each target, and what stands where nothing was trained for it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paretune.platform.record.history import History
from paretune.platform.record.jobs import Evaluation, Job
from paretune.platform.record.ledger import read_events
from paretune.platform.report import write_report
from paretune.platform.report.drift import drift_figures, drift_table, drifting

Make = Callable[..., Any]


def drift(first: float, last: float, deviation: float = 0.03) -> dict[str, Any]:
    times = {"30d": (2_592_000.0, last), "1s": (1.0, first)}
    numbers = {name: {"time_s": time_s, "mean": mean, "deviation": deviation} for name, (time_s, mean) in times.items()}
    return {"tiles": {"drift": numbers}}


def with_drift(study: Any, *, baseline: bool) -> None:
    """Candidates keep what they have learned; their baselines lose half."""
    plain = study.evaluate

    def evaluate(job: Job, *, final: bool = False) -> Evaluation:
        found: Evaluation = plain(job, final=final)
        details = {**found.details, "measurements": {**found.details.get("measurements", {}), **drift(0.95 + 0.01 * job.seed_index, 0.9)}}
        if final and baseline:
            details["baseline"] = {"outcome": "ok", "measurements": drift(0.8, 0.4, 0.1)}
        return replace(found, details=details)

    study.evaluate = evaluate


def told(folder: Path) -> Any:
    history = History.fold(read_events(folder))
    (found,) = drifting(history, history.front())
    return found, history


def test_final_networks_are_drawn_with_their_baselines_and_the_spread_over_seeds(sample_study: Make) -> None:
    study = sample_study()
    with_drift(study, baseline=True)
    study.search(12)
    study.retrain(History.fold(read_events(study.folder)).front(), seeds=2)
    found, history = told(study.close())
    assert found.names == ("1s", "30d")
    assert found.times_s == (1.0, 2_592_000.0)
    assert list(found.networks) == [record.job.ask_index for record in history.front()]
    course = next(iter(found.networks.values()))
    # Means of two seeds 95 and 96 %: 95.5. Variance 3**2 over programmings, and 0.5 between seeds.
    assert course.means == pytest.approx((95.5, 90.0))
    assert course.deviations == pytest.approx((9.5**0.5, 3.0))
    assert next(iter(found.baselines.values())).means == pytest.approx((80.0, 40.0))
    figures = drift_figures(found)
    assert next(iter(figures)) == "all"
    assert len(figures) == 1 + len(found.networks)
    bands = [trace for trace in figures["all"]["data"] if trace.get("fill") == "toself"]
    assert len(bands) == 2
    assert figures["all"]["layout"]["xaxis"]["ticktext"] == ["1s", "30d"]
    html = drift_table(found)
    assert "95.50 ± 3.08" in html
    assert f"worth +50.0 points on average over {len(found.networks)} networks" in html
    page = write_report(study.folder).read_text()
    assert "Accuracy over time on tiles" in page
    assert 'id="drift-tiles-0"' in page


def test_before_the_final_training_the_search_is_drawn_without_baselines(sample_study: Make) -> None:
    study = sample_study()
    with_drift(study, baseline=False)
    found, _ = told(study.search(6).close())
    assert not found.baselines
    assert next(iter(found.networks.values())).deviations == pytest.approx((3.0, 3.0))
    assert "digitally" not in drift_table(found)


def test_a_study_without_such_hardware_has_no_such_section(sample_study: Make) -> None:
    folder = sample_study().search(6).close()
    assert drifting(*(lambda history: (history, history.front()))(History.fold(read_events(folder)))) == []
    assert "Accuracy over time" not in write_report(folder).read_text()
