"""The progress display: what it says, at 80 columns, and that it never ends a study."""

import contextlib
import io
import os
import pty
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paretune.core.trial import Outcome
from paretune.platform.record.jobs import Evaluation
from paretune.platform.study import progress as progress_module
from paretune.platform.study.progress import Progress
from paretune.searchers.random_search import RandomSearch
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.studies import FormulaStudy, open_formula_study

SPACE = DigitsConv(input_shape=(1, 8, 8), num_classes=10)


@pytest.fixture
def study(tmp_path: Path) -> Iterator[FormulaStudy]:
    made = open_formula_study(
        tmp_path / "study", space=SPACE, make_searcher=lambda space, problem: RandomSearch(space, problem, seed=1), trials=6
    )
    yield made
    made.ledger.close()


def finish_one(study: FormulaStudy, tmp_path: Path) -> None:
    job = study.phase.next_job()
    study.phase.finished(job.id, study.evaluator.evaluate(job, tmp_path))
    study.phase.context.record()


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def test_a_phase_without_an_end_and_one_without_jobs_are_told_apart(study: FormulaStudy) -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream)
    progress.begin("search", total=None, done=3, history=study.history)
    progress.begin("final training", total=0, done=0, history=study.history)
    assert stream.getvalue() == "search: 3 done, as many as the budget allows\nfinal training: 0 of 0 done\n"


def test_pipe_gets_a_line_every_ten_seconds_with_the_time_left(study: FormulaStudy, clock: Clock, tmp_path: Path) -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream)
    progress.begin("search", total=6, done=0, history=study.history)
    clock.now_s += 60  # the workers start; it must not count for the pace
    for done in range(1, 5):
        finish_one(study, tmp_path)
        progress.step(study.history, done)
        clock.now_s += 6
    progress.end()
    lines = stream.getvalue().splitlines()
    # Results at 60, 66, 72 and 78 s; lines at 60 s and, ten seconds later, at 72 s: three of six, 6 s each, 18 s left.
    assert [line.partition(";")[0] for line in lines] == ["search: 0 of 6 done", "  1 of 6", "  3 of 6, about 18 s left"]


def read_all(descriptor: int) -> str:
    """What is written to a terminal until it is closed."""
    parts = []
    with contextlib.suppress(OSError):  # EIO: the other end was closed
        while part := os.read(descriptor, 65536):
            parts.append(part)
    return b"".join(parts).decode()


def test_terminal_of_80_columns_shows_bar_front_and_best_without_a_wrapped_line(
    study: FormulaStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    reader, writer = pty.openpty()
    with ThreadPoolExecutor(1) as pool, os.fdopen(writer, "w") as terminal:
        drained = pool.submit(read_all, reader)  # a terminal holds a few kB; a slow machine draws more
        progress = Progress(stream=terminal)
        progress.begin("final training", total=6, done=0, history=study.history)
        for done in range(1, 4):
            finish_one(study, tmp_path)
            progress.step(study.history, done)
        progress.end()
    shown = drained.result()
    os.close(reader)
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).strip("\r") for line in shown.replace("\r", "\n").split("\n")]
    assert max(map(len, lines)) <= 80
    assert any(re.match(r"final training \S+ 3 of 6", line) for line in lines)
    best = [line for line in lines if line.startswith("best host latency")]
    assert best
    assert re.search(r"#\d+ +\d+\.\d+ % +[\d.]+ µs +[\d,]+ *$", best[-1])


def test_resumed_study_shows_its_hypervolume_before_the_first_new_result(study: FormulaStudy, tmp_path: Path) -> None:
    for _ in range(3):
        finish_one(study, tmp_path)
    volume = study.history.archive.hypervolume(study.history.problem.reference)
    stream = io.StringIO()
    progress = Progress(stream=stream)
    progress.begin("search", total=6, done=3, history=study.history)
    finish_one(study, tmp_path)
    progress.step(study.history, 4)
    progress.end()
    assert volume > 0
    assert "hypervolume 0;" not in stream.getvalue()


def test_the_first_failure_of_each_kind_is_told_with_its_reason(study: FormulaStudy, clock: Clock) -> None:
    stream = io.StringIO()
    progress = Progress(stream=stream)
    progress.begin("search", total=6, done=0, history=study.history)
    failures = [
        (Outcome.DIVERGED, "Traceback\nthe loss is nan"),
        (Outcome.DIVERGED, "the loss is inf"),
        (Outcome.USER_ERROR, ""),
    ]
    for done, (outcome, message) in enumerate(failures, 1):
        job = study.phase.next_job()
        study.phase.finished(job.id, Evaluation(outcome=outcome, message=message))
        study.phase.context.record()
        clock.now_s += 60
        progress.step(study.history, done)
    progress.end()
    told = [line for line in stream.getvalue().splitlines() if line.startswith("candidate")]
    assert told == ["candidate #0 failed, diverged: the loss is nan", "candidate #2 failed, user_error: no message"]
    assert "3 failed" in stream.getvalue()


class Gone(io.StringIO):
    """A pipe whose reader left."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_reader_that_leaves_does_not_end_the_study(study: FormulaStudy, tmp_path: Path) -> None:
    progress = Progress(stream=Gone())
    progress.message("hello")
    progress.begin("search", total=6, done=0, history=study.history)
    finish_one(study, tmp_path)
    progress.step(study.history, 1)
    progress.end()


def test_more_done_than_a_resume_asks_for_is_said_so(study: FormulaStudy, tmp_path: Path) -> None:
    stream = io.StringIO()
    Progress(stream=stream).begin("search", total=5, done=10, history=study.history)
    assert stream.getvalue() == "search: 10 done, 5 asked for\n"
