"""The report as text: complete for every state of a study, and safe whatever its names and messages hold."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import BadInput
from paretune.core.pareto import hypervolume
from paretune.platform.record.history import History
from paretune.platform.record.ledger import read_events
from paretune.platform.record.redaction import plain, redacted
from paretune.platform.record.summary import summary_json
from paretune.platform.report import write_report
from paretune.platform.report.units import duration, label, scale


def history_of(folder: Path) -> History:
    return History.fold(read_events(folder))


class Page(HTMLParser):
    """Text outside scripts, names of elements, addresses that the page refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "data", "action")]

    def handle_data(self, data: str) -> None:
        if self.elements[-1:] not in (["script"], ["style"]):
            self.text += data + "\n"

    @property
    def data(self) -> Any:
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', self.source, re.DOTALL)
        assert found
        return json.loads(found[1])


def test_a_finished_study_is_told_with_its_reference_point_winners_curse_and_provenance(sample_study: Any) -> None:
    study = sample_study("digits").search(40).screen(3)
    study.retrain(history_of(study.folder).front())
    page = Page(write_report(study.folder))
    history = history_of(study.folder)
    assert "finished (search: budget of 43 candidates spent" in page.text
    assert "from accuracy 80.00 %, host latency 2 ms" in page.text
    assert "parameters ≤ 60,000" in page.text
    assert f"{summary_json(history)['hypervolume']:.4g}" in page.text
    assert all(record.job.id[:12] in page.text for record in history.front())
    assert "winner" not in page.text
    assert "fresh seeds" in page.text
    assert re.search(r"\d\d\.\d\d ± \d\.\d\d \(n=3\)", page.text)
    assert "0123456789abcdef+" in page.text
    assert "measured on host" in page.text
    assert "analytic" in page.text
    assert "median 2.0 %, worst 2.0 %" in page.text  # the sample's interquartile range is 2 % of its latency
    front = next(trace for trace in page.data["figures"]["front-0"]["data"] if trace.get("name", "").startswith("Pareto front"))
    assert len(front["x"]) == len(history.front())
    hover = [page.data["hover"][at] for at in front["meta"]["hover"]]
    assert all("stage1: " in text and "host latency" in text for text in hover)


@pytest.mark.parametrize("num_objectives", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_any_number_of_candidates_and_objectives_gives_a_page(sample_study: Any, count: int, num_objectives: int) -> None:
    study = sample_study("digits", num_objectives=num_objectives).search(count)
    page = Page(write_report(study.folder))
    pairs = {1: 1, 2: 1, 3: 3}[num_objectives]
    drawn = [key for key in page.data["figures"] if key.startswith("front-")]
    assert len(drawn) == (pairs if page.data["hover"] else 0)
    assert page.addresses == ["data:,"]  # the icon; nothing else is fetched from anywhere


@pytest.mark.parametrize(("baselines_s", "told"), [((4.5e-5, 4.6e-5), False), ((4.5e-5, 8.1e-5), True)])
def test_measurements_against_different_baselines_are_told_apart(sample_study: Any, baselines_s: tuple[float, ...], told: bool) -> None:
    study = sample_study("digits")
    for baseline_s in baselines_s:
        for _ in range(2):
            job = study.ask()
            evaluation = study.evaluate(job, final=True)
            host = {**evaluation.details["measurements"]["host"], "reference": {"baseline_s": baseline_s, "before": 1.0, "after": 1.0}}
            study.finish(job, replace(evaluation, details={"measurements": {"host": host}}))
    text = Page(write_report(study.folder)).text
    assert ("45 µs (2 candidates); 81 µs (2 candidates)" in text, "up to 1.8 times" in text) == (told, told)


def test_a_study_in_which_everything_failed_lists_the_messages(sample_study: Any) -> None:
    study = sample_study("digits").fail(["KeyError: 'width'"] * 3 + ["ValueError: no"])
    page = Page(write_report(study.folder))
    assert "KeyError: 'width'\n\n3\n" in re.sub(r"\n+", "\n\n", page.text).replace("3\n\n", "3\n")
    assert "nothing to draw" in page.text


def test_names_and_messages_from_outside_cannot_leave_their_place(sample_study: Any) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    study = sample_study("digits", shown_name=evil).search(5)
    study.fail([f"{evil} \x1b[31mred\x1b]0;title\x07 http://me:s3cret@host/x \u202egnp.exe"])
    clean = Page(write_report(sample_study("clean").search(5).fail(["x"]).folder))
    page = Page(write_report(study.folder))
    assert (page.elements.count("script"), page.elements.count("img")) == (clean.elements.count("script"), 0)
    assert evil in page.text
    assert not any(mark in page.source for mark in ("\x1b", "s3cret", "\u202e"))
    assert "http://me:***@host/x" in page.text


def test_other_studies_are_judged_by_the_reference_point_of_this_one(sample_study: Any) -> None:
    study, other = sample_study("digits").search(20), sample_study("random", seed=9).search(15)
    page = Page(write_report(study.folder, compare=[other.folder]))
    curves = page.data["figures"]["hypervolume-0"]["data"]
    assert [curve["name"] for curve in curves] == ["digits", "random"]
    problem = history_of(study.folder).problem
    for curve, folder in zip(curves, (study.folder, other.folder), strict=True):
        points = history_of(folder).archive.points
        assert curve["y"][-1] == pytest.approx(hypervolume(points, problem.reference), rel=1e-5)
        assert curve["y"] == sorted(curve["y"])


def test_studies_of_other_problems_are_refused_by_name(sample_study: Any) -> None:
    study = sample_study("digits").search(1)
    with pytest.raises(BadInput, match=r"objectives: accuracy max, host\.latency_s min here, accuracy max there"):
        write_report(study.folder, compare=[sample_study("one", num_objectives=1).folder])
    with pytest.raises(BadInput, match=r"protocol digest .* p1 here, p2 there"):
        write_report(study.folder, compare=[sample_study("other", protocol="p2").folder])
    assert not (study.folder / "report.html").exists()


def test_many_candidates_are_thinned_but_the_front_is_whole(sample_study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paretune.platform.report.points.DRAWN_CANDIDATES", 25)
    study = sample_study("digits").search(80)
    page, history = Page(write_report(study.folder)), history_of(study.folder)
    assert len(page.data["hover"]) == 25
    complete = sum(record.outcome == "ok" for record in history.search_records())
    assert f"{complete - 25} dominated candidates are not drawn" in page.text
    assert f"Pareto front ({len(history.front())})" in json.dumps(page.data["figures"]["front-0"])


def test_final_trainings_of_other_epochs_do_not_count_as_seeds(sample_study: Any) -> None:
    study = sample_study("digits").search(10)
    front = history_of(study.folder).front()[:2]
    study.retrain(front)
    study.jobs = replace(study.jobs, final_epochs=50)
    study.retrain(front[:1], seeds=2)
    finals = history_of(study.folder).finals()
    lengths = {index: [record.job.epochs for record in group] for index, group in finals.items()}
    assert lengths == {front[0].job.ask_index: [50, 50], front[1].job.ask_index: [20, 20, 20]}
    # The user goes back to the shorter ones, which are all there.
    spec = {**history_of(study.folder).header.spec, "final": {"epochs": 20, "seeds": 3}}
    study.ledger.append([("changed", {"spec": spec, "spec_text": "", "overrides": {}})])
    assert {record.job.epochs for group in history_of(study.folder).finals().values() for record in group} == {20}


def test_the_summary_counts_and_aggregates(sample_study: Any) -> None:
    study = sample_study("digits").search(30).screen(4).fail(["boom"] * 2)
    study.retrain(history_of(study.folder).front()[:1])
    history = history_of(study.folder)
    summary = json.loads(json.dumps(summary_json(history), allow_nan=False))
    assert summary["counts"]["asked"] == 36
    assert (summary["counts"]["finished"], summary["counts"]["screened"], summary["counts"]["final"]) == (32, 4, 3)
    assert sum(summary["counts"]["outcomes"].values()) == 32
    assert summary["reference"] == {"accuracy": 0.8, "host.latency_s": 0.002}
    (final,) = summary["finals"]
    values = [record.metrics["accuracy"] for record in next(iter(history.finals().values()))]
    assert final["metrics"]["accuracy"]["mean"] == pytest.approx(sum(values) / 3)
    # sample standard deviation: squares over n - 1 = 2
    assert final["metrics"]["accuracy"]["std"] == pytest.approx((sum((v - sum(values) / 3) ** 2 for v in values) / 2) ** 0.5)
    assert summary["best"]["accuracy"]["metrics"]["accuracy"] == max(item["metrics"]["accuracy"] for item in summary["front"])
    assert summary["status"] == "finished"


def test_numbers_are_shown_in_units_people_use() -> None:
    assert scale("host.latency_s", [0.0004, 0.0005, 2.0]).title == "host latency (µs)"
    assert scale("accuracy", [0.5]).text(0.98765) == "98.77"
    assert (label("macs"), label("test.accuracy"), label("peak_memory_bytes")) == ("MACs", "test accuracy", "peak memory")
    assert [duration(seconds) for seconds in (0.5, 42.4, 200, 7500)] == ["0.5 s", "42 s", "3 min 20 s", "2 h 5 min"]


def test_secrets_and_control_characters_are_removed_from_text() -> None:
    assert (
        redacted("see http://u:p@h/ and postgresql+psycopg2://me:x%40y@db:5432/m")
        == "see http://u:***@h/ and postgresql+psycopg2://me:***@db:5432/m"
    )
    assert plain("\x1b[1;31mred\x1b[0m\r\n\tok\x00") == "red\n\tok"
