"""Report and MLflow pages in a real headless Chromium: what a user sees is drawn, and the console is silent."""

import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from paretune.core.trial import Outcome
from paretune.platform.mirror import sync
from paretune.platform.mirror.ui import study_url, ui_server
from paretune.platform.record.history import History
from paretune.platform.record.ledger import read_events
from paretune.platform.report import write_report

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MLflow's own imports, in `study_url`
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
FLAGS = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"]


class Browser:
    """Chromium, driven through the DevTools protocol over a pair of pipes: JSON messages that end with a zero byte."""

    def __init__(self, profile: Path) -> None:
        read_orders, self._orders = os.pipe()
        self._answers, write_answers = os.pipe()
        shell = f'exec "$@" 3<&{read_orders} 4>&{write_answers}'  # the protocol wants descriptors 3 and 4
        command = ["bash", "-c", shell, "bash", str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(read_orders, write_answers), start_new_session=True, **quiet)
        os.close(read_orders)
        os.close(write_answers)
        self._buffer, self._number, self._session = b"", 0, None
        self.complaints: list[str] = []
        pages = [target for target in self.call("Target.getTargets")["targetInfos"] if target["type"] == "page"]
        self._session = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": self._session} if self._session else {})
        os.write(self._orders, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _receive(self) -> Any:
        while b"\0" not in self._buffer:
            assert select.select([self._answers], [], [], 90)[0], "chromium does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "chromium ended"
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: Any) -> None:
        details = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(details["exceptionDetails"])[:500])
        elif event["method"] == "Runtime.consoleAPICalled" and details["type"] in ("error", "assert", "warning"):
            self.complaints.append(json.dumps(details["args"])[:500])
        elif event["method"] == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.complaints.append(json.dumps(details["entry"])[:500])

    def open(self, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url="about:blank")
        self.complaints.clear()
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, timeout_s: float = 90.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"never true: {expression}; page: {(self.evaluate('document.body?.innerText') or '')[:500]}"
            time.sleep(0.2)
        return value

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._orders)
        os.close(self._answers)


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
    study, uri = sample_study("digits").search(15), f"sqlite:///{tmp_path}/mlflow.db"
    sync(study.folder, uri)
    front = History.fold(read_events(study.folder)).front()
    with ui_server(uri) as base:
        url = study_url(base, study.folder)
        browser.open(url, width=1500)
        browser.until(f"document.body?.innerText.includes('Comparing {len(front)} Runs')")
        browser.until(f"document.body?.innerText.includes('candidate {front[0].job.ask_index}')")
        browser.until("document.querySelectorAll('.js-plotly-plot .parcoords, .js-plotly-plot canvas').length")
        (experiment,) = json.loads(unquote(url.partition("experiments=")[2]))
        browser.open(f"{base}/#/experiments/{experiment}/runs?compareRunsMode=CHART")
        browser.until("['hypervolume', 'front_size', 'digits'].every((word) => document.body?.innerText.includes(word))")
