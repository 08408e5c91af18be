"""What a searcher expected is recorded with the ask, before the result, and held against it in the report."""

from pathlib import Path
from typing import Any

import pytest

from paretune.core.expectation import Expectation, ExpectingSearcher
from paretune.core.genotype import Decision
from paretune.core.objectives import Objective, Problem
from paretune.core.protocols import Searcher
from paretune.platform.execution.phase import Done
from paretune.platform.execution.worker import Worker, WorkerLimits
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Job
from paretune.platform.record.ledger import read_events
from paretune.platform.report import write_report
from paretune.platform.report.predictions import Foreseen, calibrated, foreseen
from paretune.searchers import SEARCHERS
from paretune.searchers.auto import Auto
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.predictor_guided import PredictorGuided
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.problems import TabulatedSpace, known_front_problem
from paretune.testing.searcher import drive
from paretune.testing.studies import open_formula_study

SPACE = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1)
KNOWN = known_front_problem()


def guided(space: Any, problem: Problem) -> Searcher:
    return PredictorGuided(space, problem, seed=1, initial=8, predictor="gaussian_process", offspring=0.3)


def run(folder: Path, *, trials: int = 30, jobs: int | None = None) -> bool:
    """Run a study here, or only some jobs of it as if the driver died then; whether it ended."""
    study = open_formula_study(folder, space=SPACE, make_searcher=guided, trials=trials)
    worker, done = Worker(study.evaluator, folder.absolute(), WorkerLimits()), 0
    try:
        while jobs is None or done < jobs:
            step = study.phase.next_job()
            if isinstance(step, Done):
                return True
            assert isinstance(step, Job)
            study.phase.finished(step.id, worker.run(step))
            done += 1
        return False
    finally:
        study.ledger.close()


def asked(folder: Path) -> list[Any]:
    return [event.body for event in read_events(folder) if event.kind == "asked"]


def test_expectations_are_in_the_ledger_before_the_results_and_a_resume_records_the_same(tmp_path: Path) -> None:
    assert run(tmp_path / "whole")
    while not run(tmp_path / "killed", jobs=7):
        pass
    events = asked(tmp_path / "whole")
    for first, second in zip(asked(tmp_path / "killed"), events, strict=True):
        assert first["job"] == second["job"]
        assert first.keys() == second.keys()
        for metric, (predictor, bounds) in first.get("expected", {}).items():
            assert second["expected"][metric] == [predictor, pytest.approx(bounds, rel=1e-4)]  # predicted in single precision
    expecting = [body["job"]["ask_index"] for body in events if "expected" in body]
    assert set(expecting) < set(range(8, 30))  # neither the random ones of the first round nor those that were bred
    assert len(expecting) > 10
    assert all(set(body["expected"]) == {"accuracy", "host.latency_s", "parameters"} for body in events if "expected" in body)
    seqs = {body["id"]: seq for seq, kind, body in ((e.seq, e.kind, e.body) for e in read_events(tmp_path / "whole")) if kind == "finished"}
    for event in read_events(tmp_path / "whole"):
        if event.kind == "asked":
            assert event.seq < seqs[event.body["job"]["id"]]


def test_the_report_shows_what_was_expected_and_who_expected_it(tmp_path: Path) -> None:
    run(tmp_path / "study")
    history = History.fold(read_events(tmp_path / "study"))
    found = foreseen(history)
    assert set(found) == {"accuracy", "host.latency_s", "parameters"}
    for item in found["accuracy"]:
        assert list(item.expectation.bounds) == sorted(item.expectation.bounds)
    # The free costs are linear in nothing simple, but a Gaussian process orders them well from 20 examples on.
    assert calibrated(history, "parameters", found["parameters"]).spearman > 0.5
    page = write_report(tmp_path / "study").read_text("utf-8")
    assert "Expected and observed" in page
    assert "gaussian_process" in page


def test_figures_worked_by_hand(sample_study: Any) -> None:
    history = History.fold(read_events(sample_study("digits").search(1).folder))

    def item(index: int, middle: float, observed: float) -> Foreseen:
        bounds = (middle - 0.02, middle - 0.01, middle, middle + 0.01, middle + 0.02)
        return Foreseen(ask_index=index, expectation=Expectation(predictor="ridge", bounds=bounds), observed=observed)

    # Four of five in the right order but for the last two: 9 of 10 pairs agree, Kendall's tau (9 - 1) / 10.
    values = [(0.90, 0.905), (0.91, 0.915), (0.92, 0.935), (0.94, 0.99), (0.95, 0.95)]
    figures = calibrated(history, "accuracy", [item(index, *pair) for index, pair in enumerate(values)])
    assert figures.kendall == pytest.approx(0.8)
    assert figures.within_one_deviation == pytest.approx(3 / 5)
    assert figures.within_two_deviations == pytest.approx(4 / 5)
    assert figures.top_decile_found == 0.0  # the best was 0.99, foreseen as best was 0.95


def test_a_study_without_predictions_has_no_such_part(sample_study: Any) -> None:
    study = sample_study("digits").search(10)
    assert foreseen(History.fold(read_events(study.folder))) == {}
    assert "Expected and observed" not in write_report(study.folder).read_text("utf-8")


def test_asking_what_is_expected_changes_no_proposal() -> None:
    class Asking(PredictorGuided):
        def ask(self, count: int) -> Any:
            rows = super().ask(count)
            first = len(self._asked) - len(rows)
            for offset, row in enumerate(rows):
                self.expected(first + offset, row.tolist())
            return rows

    plain, asking = (
        drive(kind(KNOWN.space, KNOWN.problem, seed=3, predictor="gaussian_process"), KNOWN, num_candidates=40)
        for kind in (PredictorGuided, Asking)
    )
    assert [trial.genotype for trial in plain] == [trial.genotype for trial in asking]


def test_auto_passes_on_what_its_searcher_expects() -> None:
    few = TabulatedSpace([Decision(name=f"layer{index}", choices=(1, 2, 3), ordinal=True) for index in range(5)])
    searcher = Auto(few, KNOWN.problem, seed=0)
    assert isinstance(searcher, ExpectingSearcher)
    assert searcher.expected(0, searcher.ask(1)[0].tolist()) == {}
    many = Problem(objectives=tuple(Objective(metric=f"m{index}", direction="max", reference=0.0) for index in range(5)))
    assert Auto(few, many, seed=0).expected(0, (0,) * 5) == {}
    assert not isinstance(NSGA2(few, KNOWN.problem, seed=0), ExpectingSearcher)
    assert {"auto", "predictor_guided"} <= set(SEARCHERS.names())
