"""Live progress of a study on the terminal; without a terminal a line now and then."""

import contextlib
import io
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from paretune.core.metrics import readable
from paretune.core.trial import Outcome
from paretune.platform.record.history import History, Record
from paretune.platform.record.summary import best_feasible
from paretune.platform.report.units import label

LINE_EVERY_S = 10.0
READ_EVERY_S = 0.25
"""How often the history is read for the display."""
RECENT = 20
"""Results from which the time left is estimated."""


class Progress:
    """Shows where a study is. Give it the history after every change; it draws at most four times a second.

    A terminal that goes away, or a pipe whose reader has enough, ends the display and never the study.

    Args:
        stream: where to; a terminal gets a live display, anything else a line every ten seconds.
        quiet: show nothing at all.
    """

    def __init__(self, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._console = Console(file=cast("IO[str]", _Patient(stream or sys.stderr)), quiet=quiet, highlight=False)
        self._live: Live | None = None
        self._title, self._count = "", 0
        self._total: int | None = None
        self._begun_s, self._read_s, self._line_s = 0.0, 0.0, 0.0
        self._finished_at: deque[float] = deque(maxlen=RECENT)
        self._seen_seq, self._read_seq = -1, -1
        self._history: History | None = None
        self._told: set[Outcome] = set()
        self._front = ""
        self._best: Table | None = None

    def message(self, text: str) -> None:
        """One line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def begin(self, title: str, *, total: int | None, done: int, history: History) -> None:
        """A phase begins with `done` of its `total` jobs known already; no total where time or rungs decide how many there are."""
        self.end()
        self._title, self._total, self._count = title, total, done
        self._begun_s = time.monotonic()
        self._finished_at.clear()
        self._read(history)
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4)
            self._live.start()
        else:
            if total is None:
                self.message(f"{title}: {done} done, as many as the budget allows")
            else:
                self.message(f"{title}: {f'{done} of {total} done' if done <= total else self._counts()}")

    def step(self, history: History, count: int) -> None:
        """The history may have changed; `count` jobs of the phase have ended."""
        now_s = time.monotonic()
        if history.last_seq != self._seen_seq:
            self._seen_seq = history.last_seq
            if count > self._count:
                self._finished_at.extend([now_s] * min(count - self._count, RECENT))
                self._count = count
        if self._read_seq == self._seen_seq or now_s - self._read_s < READ_EVERY_S:
            return
        self._read(history)
        if self._live is None and self._finished_at and now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            self.message(f"  {self._counts()}; {self._front}")

    def end(self) -> None:
        """The phase is over; what it showed last stays."""
        if self._live is not None:
            if self._history is not None:
                self._read(self._history)
            self._live.stop()
            self._live = None

    def _read(self, history: History) -> None:
        """Take from the history what is shown: here, since the thread that draws must not look into what is being changed."""
        self._history, self._seen_seq, self._read_seq, self._read_s = history, history.last_seq, history.last_seq, time.monotonic()
        failed = [record for record in history.records.values() if record.outcome not in (None, Outcome.OK, Outcome.INFEASIBLE)]
        self._tell_new_kinds(failed)
        parts = [f"front {len(history.archive)}", f"hypervolume {history.archive.hypervolume(history.problem.reference):.4g}"]
        parts += [f"{history.num_screened:,} screened out"] if history.num_screened else []
        parts += [f"{len(failed)} failed"] if failed else []
        self._front, self._best = " · ".join(parts), _best_table(history)

    def _tell_new_kinds(self, failed: Sequence[Record]) -> None:
        """Say why the first candidate of each kind of failure failed; those after it are only counted."""
        for record in failed:
            if record.evaluation is not None and record.evaluation.outcome not in self._told:
                self._told.add(record.evaluation.outcome)
                self.message(f"candidate #{record.job.ask_index} failed, {record.evaluation.outcome.value}: {record.evaluation.reason}")

    def _render(self) -> RenderableType:
        bar = Table.grid(padding=(0, 1))
        total = self._total or 0
        completed = min(self._count, total)
        bar.add_row(Text(self._title, style="bold"), ProgressBar(total=max(total, 1), completed=completed, width=24), self._counts())
        spent = _duration(time.monotonic() - self._begun_s)
        lines: list[RenderableType] = [bar, Text(f"{self._front} · {spent}", style="cyan", no_wrap=True, overflow="ellipsis")]
        if self._best is not None:
            lines.append(self._best)
        elif self._count == 0:
            lines.append(Text("the workers are starting", style="dim"))
        else:
            lines.append(Text("no feasible candidate yet", style="dim"))
        return Group(*lines)

    def _counts(self) -> str:
        text = f"{self._count:,} of {self._total:,}" if self._total else f"{self._count:,} done"
        if self._total and self._count > self._total:  # a resume may ask for fewer than there are
            return f"{self._count:,} done, {self._total:,} asked for"
        left_s = self._left_s()
        return text + (f", about {_duration(left_s)} left" if left_s is not None else "")

    def _left_s(self) -> float | None:
        """From the pace of the recent results; None before there are three, as the first waits for the workers to start."""
        if not self._total or len(self._finished_at) < 3 or self._count >= self._total:
            return None
        pace_s = (self._finished_at[-1] - self._finished_at[0]) / (len(self._finished_at) - 1)
        left_s = pace_s * (self._total - self._count) - (time.monotonic() - self._finished_at[-1])
        return left_s if left_s >= 1 else None


class _Patient(io.TextIOBase):
    """A stream that swallows everything once it is broken."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As the stream's; rich draws with ASCII where it has to."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Of the stream, for the terminal's size."""
        if self._stream is None:
            raise OSError("no stream")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write, or not."""
        try:
            if self._stream is not None:
                self._stream.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            self._stream = None
        return len(text)

    def flush(self) -> None:
        """Flush, or not."""
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


def _best_table(history: History) -> Table | None:
    """The best candidate in each objective; None while nothing is feasible."""
    best = best_feasible(history)
    if not best:
        return None
    metrics = history.problem.metrics
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", style="dim", no_wrap=True)
    table.add_column("candidate", justify="right", no_wrap=True)
    for name in metrics:
        table.add_column(label(name), justify="right", no_wrap=True, overflow="ellipsis")
    for objective, record in best.items():
        table.add_row(f"best {label(objective)}", f"#{record.job.ask_index}", *(readable(name, record.metrics[name]) for name in metrics))
    return table


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
