"""The watch for nodes that will go away: what it does with heads that answer, that do not, and that fail."""

import threading
import time

import pytest

from paretune.platform.execution import draining
from paretune.platform.execution.draining import DrainWatch


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LOOK_EVERY_S", 0.0)


def test_a_head_that_does_not_answer_is_asked_once_and_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "ANSWER_S", 0.05)
    asked, answer = [], threading.Event()

    def ask() -> bool:
        asked.append(True)
        return answer.wait(60)

    watch = DrainWatch(ask)
    assert [watch.leaving for _ in range(5)] == [False] * 5
    assert len(asked) == 1
    answer.set()
    end_s = time.monotonic() + 30.0
    while not watch.leaving and time.monotonic() < end_s:
        time.sleep(0.01)
    assert watch.leaving


def test_what_the_head_says_is_passed_on_and_a_question_that_fails_says_nothing() -> None:
    answers = iter([False, RuntimeError("no head"), True])

    def ask() -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = DrainWatch(ask)
    assert [watch.leaving for _ in range(3)] == [False, False, True]


def test_between_two_questions_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LOOK_EVERY_S", 60.0)
    assert not DrainWatch(lambda: True).leaving
