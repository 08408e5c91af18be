"""Live progress of a study on the terminal; without a terminal a line now and then."""

import sys
import time
from collections import deque
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from paretune.core.metrics import readable
from paretune.core.trial import Outcome
from paretune.platform.record.history import History, Record
from paretune.platform.record.summary import best_feasible

LINE_EVERY_S = 10.0
RECENT = 20
"""Results from which the time left is estimated."""


class Progress:
    """Shows where a study is. Give it the history after every change; it draws at most four times a second.

    Args:
        stream: where to; a terminal gets a live display, anything else a line every ten seconds.
        quiet: show nothing at all.
    """

    def __init__(self, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._console = Console(file=stream or sys.stderr, quiet=quiet, highlight=False)
        self._live: Live | None = None
        self._title, self._total = "", 0
        self._finished_at: deque[float] = deque(maxlen=RECENT)
        self._count, self._last_seq, self._last_line_s = 0, -1, 0.0
        self._history: History | None = None
        self._hypervolume = 0.0

    def message(self, text: str) -> None:
        """One line that stays."""
        self._console.print(Text(text))

    def begin(self, title: str, *, total: int | None, done: int, history: History) -> None:
        """A phase begins with `done` of its `total` jobs known already; no total where only time limits it."""
        self.end()
        self._title, self._total, self._count, self._history = title, total or 0, done, history
        self._finished_at.clear()
        self._finished_at.append(time.monotonic())
        self._last_seq = -1
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=False)
            self._live.start()
        else:
            self.message(f"{title}: {done} of {total or 'as many as time allows'} done")

    def step(self, history: History, count: int) -> None:
        """The history may have changed; `count` jobs of the phase have ended."""
        if history.last_seq == self._last_seq:
            return
        self._last_seq, self._history = history.last_seq, history
        if count > self._count:
            self._finished_at.append(time.monotonic())
            self._count = count
            self._hypervolume = history.archive.hypervolume(history.problem.reference)
            if self._live is None and time.monotonic() - self._last_line_s >= LINE_EVERY_S:
                self._last_line_s = time.monotonic()
                self.message(f"  {self._counts()}; {self._front_line()}")

    def end(self) -> None:
        """The phase is over; what it showed last stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> RenderableType:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(self._title, style="bold"), ProgressBar(total=max(self._total, 1), completed=self._count, width=32), Text(self._counts())
        )
        lines = [Text(self._front_line(), style="cyan")]
        lines += [Text(line, style="dim") for line in self._best_lines()]
        return Group(bar, *lines)

    def _counts(self) -> str:
        text = f"{self._count} of {self._total}" if self._total else f"{self._count} done"
        left_s = self._left_s()
        return text + (f", about {_duration(left_s)} left" if left_s is not None else "")

    def _left_s(self) -> float | None:
        if self._total == 0 or len(self._finished_at) < 3 or self._count >= self._total:
            return None
        pace_s = (self._finished_at[-1] - self._finished_at[0]) / (len(self._finished_at) - 1)
        return max(0.0, pace_s * (self._total - self._count) - (time.monotonic() - self._finished_at[-1]))

    def _front_line(self) -> str:
        if self._history is None:
            return ""
        failed = sum(1 for record in self._failed())
        parts = [f"front {len(self._history.archive)}", f"hypervolume {self._hypervolume:.4g}"]
        if self._history.num_screened:
            parts.append(f"{self._history.num_screened:,} screened out")
        if failed:
            parts.append(f"{failed} failed")
        return " · ".join(parts)

    def _failed(self) -> list[Record]:
        assert self._history is not None
        records = self._history.records.values()
        return [record for record in records if record.outcome not in (None, Outcome.OK, Outcome.INFEASIBLE)]

    def _best_lines(self) -> list[str]:
        if self._history is None or len(self._history.archive) == 0:
            return ["no feasible candidate yet"]
        return [f"best {name}: {metrics_line(self._history, record)}" for name, record in best_feasible(self._history).items()]


def metrics_line(history: History, record: Record) -> str:
    """What a candidate reaches in every objective and limit, as people read it."""
    parts = [f"{name} {readable(name, record.metrics[name])}" for name in history.problem.metrics if name in record.metrics]
    return f"#{record.job.ask_index} " + ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
