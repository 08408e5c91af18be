"""Report and MLflow pages in a real headless Chromium: what a user sees is drawn, and the console is silent."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from paretune.core.trial import Outcome
from paretune.platform.mirror import sync
from paretune.platform.mirror.ui import study_url, ui_server
from paretune.platform.mirror.view import View
from paretune.platform.record.history import History
from paretune.platform.record.ledger import read_events
from paretune.platform.report import write_report

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from chromium import CHROMIUM, Browser

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own imports, in `study_url`
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    running = Browser(tmp_path_factory.mktemp("profile"))
    yield running
    running.close()


DRAWN = "document.querySelectorAll('.js-plotly-plot .main-svg, .js-plotly-plot .parcoords').length > 0 && !!window.Plotly"
FRONT_POINTS = "document.querySelectorAll('#front-0 .scatterlayer .point').length"
HOVER = """(() => {
  const trace = [...document.querySelectorAll('#front-0 .scatterlayer .trace')].find((t) => t.querySelectorAll('.point').length === %d);
  const box = trace.querySelector('.point').getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()"""


def test_the_report_draws_every_candidate_and_shows_its_architecture_on_hover(browser: Browser, sample_study: Any) -> None:
    study = sample_study("digits").search(40)
    study.retrain(History.fold(read_events(study.folder)).front()[:2], seeds=2)
    history = History.fold(read_events(study.folder))
    complete = [record for record in history.search_records() if record.outcome is Outcome.OK]
    front = history.front()
    browser.open(write_report(study.folder).as_uri())
    browser.until(DRAWN)
    browser.until(f"{FRONT_POINTS} > 0")
    assert browser.evaluate(FRONT_POINTS) == len(complete) + 1  # and the reference point
    assert browser.until("document.querySelectorAll('#parallel-0 canvas').length")
    assert browser.evaluate("document.querySelectorAll('#hypervolume-0 .lines path, #hypervolume-0 path.js-line').length") >= 1
    browser.evaluate("document.getElementById('front-0').scrollIntoView({block: 'center', behavior: 'instant'})")
    x, y = browser.evaluate(HOVER % len(front))
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - 3, y=y)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    shown = browser.until("document.querySelector('#front-0 .hoverlayer')?.textContent")
    assert "on the front" in shown
    assert any(all(f"{name.split('.')[-1]} {choice}" in shown for name, choice in record.choices.items()) for record in front)
    assert browser.complaints == []


NAMES = "[...document.querySelectorAll('.ag-row a')].map((link) => link.innerText)"
"""Of the runs that are rows of MLflow's table, from the top."""


@pytest.mark.parametrize(("count", "num_objectives"), [(0, 2), (1, 1), (25, 3)])
def test_reports_of_all_kinds_fit_a_small_dark_screen_without_complaints(
    browser: Browser, sample_study: Any, count: int, num_objectives: int
) -> None:
    study = sample_study("digits", num_objectives=num_objectives).search(count).fail(["<script>document.title = 'taken'</script>"])
    browser.open(write_report(study.folder).as_uri(), width=400, scheme="dark")
    browser.until(DRAWN)
    assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
    assert browser.evaluate("document.title") == "digits · paretune"
    for button in range(browser.evaluate("document.querySelectorAll('button[data-shows]').length")):
        browser.evaluate(f"document.querySelectorAll('button[data-shows]')[{button}].click()")
        browser.until(f"document.querySelectorAll('#front-{button} .scatterlayer .point').length > 1")
    assert browser.complaints == []


def test_several_targets_are_compared_in_a_heat_map(browser: Browser, sample_study: Any) -> None:
    targets = {"phone": lambda metrics: metrics["macs"] * 1e-9, "npu": lambda metrics: 1e-3 + 1e-8 * (metrics["macs"] % 7e5)}
    study = sample_study("digits", targets=targets).search(40)
    for width, scheme in ((1280, "light"), (400, "dark")):
        browser.open(write_report(study.folder).as_uri(), width=width, scheme=scheme)
        browser.until(DRAWN)
        cells = "[...document.querySelectorAll('#target-0 .heatmap-label text, #target-0 g.heatmap-label')].map((t) => t.textContent)"
        shown = browser.until(f"({cells}).length >= 9 && {cells}")
        assert shown.count("1.00") >= 3  # the diagonal
        assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.complaints == []


def test_the_mlflow_pages_show_the_study_and_its_front(browser: Browser, sample_study: Any, tmp_path: Path) -> None:
    study, uri = sample_study("digits").search(120), f"sqlite:///{tmp_path}/mlflow.db"
    sync(study.folder, uri)
    front = History.fold(read_events(study.folder)).front()
    with ui_server(uri) as base:
        url = study_url(base, study.folder)
        browser.open(url, width=1500)
        browser.until(f"document.body?.innerText.includes('Comparing {len(front)} Runs')")
        browser.until(f"document.body?.innerText.includes('candidate {front[0].job.ask_index}')")
        compared = browser.evaluate("[...document.body.innerText.matchAll(/^candidate (\\d+)$/gm)].map((found) => Number(found[1]))")
        assert compared[: len(front)] == [record.job.ask_index for record in front]  # the best in the first objective first
        browser.until("document.querySelectorAll('.js-plotly-plot .parcoords, .js-plotly-plot canvas').length")
        (experiment,) = json.loads(unquote(url.partition("experiments=")[2]))
        browser.open(f"{base}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
        browser.until("['hypervolume', 'front_size', 'digits'].every((word) => document.body?.innerText.includes(word))")
        check_views(browser, base, study.folder, [record.job.ask_index for record in front])
        check_link(browser, base, experiment, len(front))


def check_views(browser: Browser, base: str, folder: Path, front: list[int]) -> None:
    """The front as a table with its columns, best first, then as charts; then all candidates, unfolded."""
    browser.open(study_url(base, folder, View.FRONT), width=1500)
    browser.until(f"document.body?.innerText.includes('{len(front)} matching runs')")
    browser.until(
        "['accuracy', 'host.latency_ms', 'parameters'].every((word) => document.querySelector('.ag-header').innerText.includes(word))"
    )
    assert browser.evaluate(f"{NAMES}.slice(0, {len(front)})") == [f"candidate {number}" for number in front]
    browser.open(study_url(base, folder, View.CHARTS), width=1500, height=1100)  # charts are drawn when they come into view
    browser.until("document.querySelectorAll('.parcoords canvas').length && document.querySelectorAll('.scatterlayer .point').length")
    assert browser.evaluate("document.querySelectorAll('.scatterlayer .point').length") == len(front)
    assert browser.evaluate("document.querySelector('.parcoords').textContent.includes('stem.width')")
    browser.open(study_url(base, folder, View.CANDIDATES), width=1500)
    browser.until("document.body?.innerText.includes('100 matching runs')")  # and a button for more of the 120
    assert browser.until(f"{NAMES}.filter((name) => name.startsWith('candidate ')).length") > 20


LINK = "[...document.querySelectorAll('a')].find((link) => link.innerText === 'charts of the front')"


def check_link(browser: Browser, base: str, experiment: str, num_front: int) -> None:
    """The description of the study's run leads to the views of its front."""
    from mlflow import MlflowClient

    (parent,) = MlflowClient(base).search_runs([experiment], "tags.paretune.key = 'study'")
    browser.open(f"{base}/#/experiments/{experiment}/runs/{parent.info.run_id}", width=1500)
    address = browser.until(f"{LINK}?.href")
    browser.open(address, width=1500)
    browser.until(f"document.body?.innerText.includes('{num_front} matching runs')")
