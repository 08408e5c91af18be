"""The report of a study with several targets shows how alike they order its candidates."""

import json
import re
from typing import Any

import numpy as np
import pytest

from paretune.platform.record.history import History
from paretune.platform.record.ledger import read_events
from paretune.platform.report import write_report
from paretune.platform.report.correlation_figure import correlation_figure
from paretune.platform.report.rank_agreement import rank_agreement

ALIKE = {
    "faster": lambda metrics: 0.5 * metrics["host.latency_s"],  # the same order
    "contrary": lambda metrics: 1e-7 / metrics["host.latency_s"],  # the opposite order
    "constant": lambda metrics: 1e-3,
}


def test_targets_of_the_same_and_of_the_opposite_order_are_told_apart(sample_study: Any) -> None:
    history = History.fold(read_events(sample_study("digits", targets=ALIKE).search(20).close()))
    found = rank_agreement(history)
    assert found is not None
    assert found.names == ("contrary.latency_s", "faster.latency_s", "host.latency_s")  # what never varies orders nothing
    assert found.correlations == pytest.approx(np.array([[1, -1, -1], [-1, 1, 1], [-1, 1, 1]]))
    least = found.least()
    assert least is not None
    assert least[0] == "contrary.latency_s"
    assert least[2] == pytest.approx(-1)


@pytest.mark.parametrize(("targets", "count"), [({}, 20), ({"constant": ALIKE["constant"]}, 20), ({"faster": ALIKE["faster"]}, 3)])
def test_nothing_is_compared_where_there_is_one_target_or_too_few_candidates(sample_study: Any, targets: Any, count: int) -> None:
    folder = sample_study("digits", targets=targets).search(count).close()
    assert rank_agreement(History.fold(read_events(folder))) is None
    assert 'id="targets"' not in write_report(folder).read_text()


def test_the_report_holds_the_heat_map_of_several_targets(sample_study: Any) -> None:
    page = write_report(sample_study("digits", targets=ALIKE).search(20).close()).read_text()
    assert "How alike the targets order the candidates" in page
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    trace = json.loads(data)["figures"]["target-0"]["data"][0]
    assert (trace["type"], trace["x"]) == ("heatmap", ["contrary latency", "faster latency", "host latency"])
    assert trace["z"][0] == [1.0, -1.0, -1.0]
    assert "-1.00" in re.findall(r"Least alike: [^.]*\.[0-9]*", page)[0]


def test_pairs_without_a_correlation_stay_empty() -> None:
    trace = correlation_figure(["a", "b"], np.array([[1, np.nan], [np.nan, 1]]))["data"][0]
    assert trace["z"] == [[1.0, None], [None, 1.0]]
