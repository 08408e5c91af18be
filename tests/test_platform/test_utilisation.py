"""The busy share of each stage, from what candidates recorded."""

from pathlib import Path

import pytest

from paretune.core.trial import Outcome
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Evaluation
from paretune.platform.record.ledger import read_events
from paretune.platform.report.utilisation import uses, utilisation_part
from paretune.searchers.random_search import RandomSearch
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.studies import open_formula_study

SPACE = DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1)
METRICS = {"accuracy": 0.9, "host.latency_s": 1e-5}


def make_study(folder: Path, *, staged: bool) -> History:
    """Two candidates: 6 s and 2 s of training, 1 s and 3 s on one of two devices; the second ended after 10 s."""
    study = open_formula_study(folder, space=SPACE, make_searcher=lambda space, problem: RandomSearch(space, problem, seed=1), trials=2)
    study.phase.context.record([("staffed", {"stations": {"training": 1, "pi4": 2}})])
    for trained_s, measured_s, waited_s, elapsed_s in ((6.0, 1.0, 0.5, 7.5), (2.0, 3.0, 2.5, 10.0)):
        job = study.phase.next_job()
        pi4 = {"busy_s": measured_s, "waited_s": waited_s, "device": "pi4#1"}
        stages = {"stages": {"training": {"busy_s": trained_s}, "pi4": pi4}} if staged else {}
        evaluation = Evaluation(outcome=Outcome.OK, metrics=METRICS, details=stages, duration_s=trained_s + measured_s)
        object.__setattr__(study.phase.context, "clock", lambda elapsed_s=elapsed_s: elapsed_s)
        study.phase.finished(job.id, evaluation)  # type: ignore[union-attr]
    study.phase.next_job()
    study.ledger.close()
    return History.fold(read_events(folder))


def test_shares_are_of_all_places_and_the_time_of_the_study(tmp_path: Path) -> None:
    history = make_study(tmp_path / "s", staged=True)
    training, pi4 = uses(history)
    assert (training.stage, training.room, training.num_candidates, training.busy_s) == ("training", 1, 2, 8.0)
    assert training.share == pytest.approx(0.8)
    assert training.waited_s is None
    assert pi4.share == pytest.approx(4.0 / (2 * 10.0))
    assert pi4.waited_s == 1.5
    shown = utilisation_part(history)
    assert "80 %" in shown
    assert "20 %" in shown


def test_what_has_no_stages_counts_as_training(tmp_path: Path) -> None:
    [training] = uses(make_study(tmp_path / "s", staged=False))
    assert (training.stage, training.busy_s) == ("training", 12.0)
    assert training.share == 1.0
