"""`paretune.MultiObjectiveASHA` in ordinary Ray Tune scripts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune

import paretune
from paretune.core.errors import BadInput

EPOCHS = 9
ACCURACY = paretune.Objective(metric="accuracy", direction="max", reference=0.0)
LATENCY = paretune.Objective(metric="latency_s", direction="min", reference=1.0)
PROBLEM = paretune.Problem(objectives=(ACCURACY, LATENCY))


def fit(scheduler: paretune.MultiObjectiveASHA, train: Any, candidates: list[Any], storage: Path, **config: Any) -> tune.ResultGrid:
    tuner = tune.Tuner(
        train,
        param_space={"candidate": tune.grid_search(candidates)},
        tune_config=tune.TuneConfig(scheduler=scheduler, max_concurrent_trials=1, reuse_actors=True, **config),
        run_config=tune.RunConfig(verbose=0, storage_path=str(storage)),
    )
    return tuner.fit()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestOnRay:
    def test_dominated_trials_end_at_their_rung_and_the_front_is_trained_fully(self, tmp_path: Path) -> None:
        def train(config: dict[str, Any]) -> None:
            accuracy, latency_s = config["candidate"]
            for epoch in range(1, 101):
                tune.report({"accuracy": accuracy * (1 - 0.5**epoch), "latency_s": latency_s})

        # One at a time, so in this order. The first two are a front; the others are dominated by the first.
        candidates = [(0.9, 0.5), (0.8, 0.6), (0.95, 0.7), (0.5, 0.9), (0.3, 0.8), (0.2, 0.1)]
        grid = fit(paretune.MultiObjectiveASHA(PROBLEM, max_t=EPOCHS), train, candidates, tmp_path)
        epochs = {tuple(result.config["candidate"]): result.metrics["training_iteration"] for result in grid}
        # 0: leads. 1: dominated. 2: best accuracy of three. 3, 4: dominated. 5: quota 2 of six, the net takes 2 (best accuracy) and
        # 5 (farthest). At rung 1 (3 epochs): 0 leads, 2 leads in accuracy, 5 is not the one of three.
        expected = {(0.9, 0.5): 9, (0.8, 0.6): 1, (0.95, 0.7): 9, (0.5, 0.9): 1, (0.3, 0.8): 1, (0.2, 0.1): 3}
        assert epochs == expected
        assert not grid.errors

    def test_it_stands_beside_a_paretune_searcher(self, tmp_path: Path) -> None:
        from paretune.testing.problems import TabulatedSpace

        space = TabulatedSpace([paretune.Decision(name=name, choices=tuple(range(6)), ordinal=True) for name in ("width", "depth")])

        def train(config: dict[str, Any]) -> None:
            for epoch in range(1, EPOCHS + 1):
                size = config["width"] * config["depth"]
                tune.report({"accuracy": (1 - 1 / (2 + size)) * (1 - 0.5**epoch), "latency_s": 0.01 * size})

        search = paretune.TuneSearcher(paretune.NSGA2(space, PROBLEM, seed=1, population=6), space, PROBLEM)
        scheduler = paretune.MultiObjectiveASHA(PROBLEM, max_t=EPOCHS)
        tuner = tune.Tuner(
            train,
            tune_config=tune.TuneConfig(search_alg=search, scheduler=scheduler, num_samples=18, max_concurrent_trials=2, reuse_actors=True),
            run_config=tune.RunConfig(verbose=0, storage_path=str(tmp_path)),
        )
        grid = tuner.fit()
        lengths = [result.metrics["training_iteration"] for result in grid]
        assert len(lengths) == 18
        assert not grid.errors
        assert set(lengths) <= {1, 3, 9}
        assert lengths.count(1) == sum(length < EPOCHS for length in lengths) - lengths.count(3) > 0
        assert scheduler.num_stopped == sum(length < EPOCHS for length in lengths)

    def test_a_metric_in_the_tune_config_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"TuneConfig\(metric='accuracy'\): leave it out"):
            fit(paretune.MultiObjectiveASHA(PROBLEM, max_t=EPOCHS), lambda config: None, [1], tmp_path, metric="accuracy", mode="max")


def decisions(problem: paretune.Problem, reports: list[tuple[int, dict[str, Any]]], **options: Any) -> list[str]:
    """What a scheduler says to reports of (trial, result)."""
    scheduler = paretune.MultiObjectiveASHA(problem, **{"max_t": EPOCHS, **options})
    trials: dict[int, Any] = {}
    said = []
    for number, result in reports:
        if number not in trials:
            trials[number] = SimpleNamespace(trial_id=f"trial{number}")
            scheduler.on_trial_add(None, trials[number])
        said.append(scheduler.on_trial_result(None, trials[number], result))
    return said


def test_one_objective_is_plain_asha() -> None:
    reports = [(number, {"training_iteration": 1, "accuracy": value}) for number, value in enumerate([0.5, 0.6, 0.4, 0.7])]
    assert decisions(paretune.Problem(objectives=(ACCURACY,)), reports) == ["CONTINUE", "CONTINUE", "STOP", "CONTINUE"]


def test_limits_come_before_objectives() -> None:
    problem = paretune.Problem(objectives=(ACCURACY,), constraints=(paretune.Constraint(metric="latency_s", upper=0.1),))
    reports = [
        (0, {"training_iteration": 1, "accuracy": 0.5, "latency_s": 0.05}),
        (1, {"training_iteration": 1, "accuracy": 0.9, "latency_s": 0.2}),
    ]
    assert decisions(problem, reports) == ["CONTINUE", "STOP"]


def test_what_is_no_number_counts_as_the_worst() -> None:
    values: list[Any] = [0.1, float("nan"), "high", None, float("inf")]
    reports = [(number, {"training_iteration": 1, "accuracy": value}) for number, value in enumerate(values)]
    assert decisions(paretune.Problem(objectives=(ACCURACY,)), reports) == ["CONTINUE", "STOP", "STOP", "STOP", "STOP"]


def test_a_trial_that_reports_rarely_is_judged_at_the_highest_rung_it_passed() -> None:
    reports = [
        (0, {"steps": 4, "accuracy": 0.9}),  # passes rungs 1 and 3
        (1, {"steps": 1, "accuracy": 0.1}),  # alone in rung 1
        (1, {"steps": 2, "accuracy": 0.1}),
        (1, {"accuracy": 0.1}),  # says nothing of its progress
        (1, {"steps": 3, "accuracy": 0.2}),  # beaten in rung 3
        (0, {"steps": 9, "accuracy": 0.9}),  # complete
    ]
    said = decisions(paretune.Problem(objectives=(ACCURACY,)), reports, time_attr="steps")
    assert said == ["CONTINUE", "CONTINUE", "CONTINUE", "CONTINUE", "STOP", "STOP"]
