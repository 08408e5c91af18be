"""How long MLflow's pages of a large study take in a browser, with the server on PostgreSQL, and pictures of them for the docs.

    python benchmarks/mlflow_ui.py [--quick] [--images FOLDER]

A ledger of 1,000 candidates is mirrored; then Chromium opens the front as a table (the filter on its tag), as charts, and side by side,
a few times each in turn. A page is there when what it is for is drawn: every run of the front, both charts, the parallel coordinates.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from chromium import Browser
from goals import Goal, report_goals
from mlflow_postgres import mirrored, write_ledger
from team_server import mlflow_server, postgres

from paretune.platform.mirror.ui import COMPARED_RUNS, study_url
from paretune.platform.mirror.view import View

STUDY = "large"
PROMISED_S = 5.0
ROWS = "new Set([...document.querySelectorAll('.ag-row a')].map((link) => link.innerText)).size"
CLEAR = """[...document.querySelectorAll('button')]
  .filter((button) => /close/i.test(button.ariaLabel ?? '')).forEach((button) => button.click())"""
"""Closes what lies beside the page, as a reader would."""


def conditions(num_front: int) -> dict[View, str]:
    """When each page is there, in JavaScript."""
    parallel = "document.querySelectorAll('.parcoords canvas, .js-plotly-plot .parcoords').length > 0"
    return {
        View.FRONT: f"document.body?.innerText.includes('{min(num_front, 100)} matching run') && {ROWS} > 0",
        View.CHARTS: f"{parallel} && document.querySelectorAll('.scatterlayer .point').length >= {min(num_front, 100)}",
        View.COMPARE: f"document.body?.innerText.includes('Comparing {min(num_front, COMPARED_RUNS)} Runs') && {parallel}",
    }


def load_s(browser: Browser, url: str, condition: str) -> float:
    start_s = time.monotonic()
    browser.open(url, width=1500, height=1080)  # charts are drawn when they come into view
    browser.until(condition, 120)
    return time.monotonic() - start_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 candidates, each page twice")
    parser.add_argument("--images", type=Path, help="write PNG pictures of the pages there")
    options = parser.parse_args()
    count, rounds = (200, 2) if options.quick else (1000, 5)
    with tempfile.TemporaryDirectory() as scratch, postgres() as database:
        folder = Path(scratch)
        history = write_ledger(folder / STUDY, count)
        with mlflow_server(database, folder) as server:
            mirrored(folder / STUDY, history, server)
            browser = Browser(folder / "profile")
            try:
                times_s = measure(browser, server, folder / STUDY, conditions(len(history.archive)), rounds, options.images)
            finally:
                browser.close()
    print(f"{count:,} candidates, front of {len(history.archive)}; s until a page is there: first time, median of {rounds} more")
    medians_s = {view: statistics.median(found[1:]) for view, found in times_s.items()}
    for view, found in times_s.items():
        print(f"{view.value:>8} {found[0]:>6.2f} {medians_s[view]:>6.2f}")
    return report_goals(
        [Goal(name=f"{view.value}_page_s", value=median_s, sense="<=", bound=PROMISED_S) for view, median_s in medians_s.items()]
    )


def measure(
    browser: Browser, server: str, study: Path, awaited: dict[View, str], rounds: int, images: Path | None
) -> dict[View, list[float]]:
    """Load times in seconds by page, the first ones with an empty cache."""
    times_s: dict[View, list[float]] = {view: [] for view in awaited}
    for _ in range(rounds + 1):
        for view, condition in awaited.items():
            times_s[view].append(load_s(browser, study_url(server, study, view), condition))
    for view, condition in awaited.items() if images else ():
        assert images is not None
        load_s(browser, study_url(server, study, view), condition)
        browser.evaluate(CLEAR)
        time.sleep(3)  # until what moved has come to rest
        (images / f"mlflow-{view.value}.png").write_bytes(browser.picture())
    return times_s


if __name__ == "__main__":
    sys.exit(main())
