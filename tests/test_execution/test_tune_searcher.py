"""`paretune.TuneSearcher` in ordinary Ray Tune scripts."""

import math
from pathlib import Path
from typing import Any

import pytest
from ray import tune

import paretune
from paretune.core.errors import BadInput, BadOptions
from paretune.core.protocols import Searcher
from paretune.core.trial import Outcome, Trial
from paretune.testing.problems import TabulatedSpace

SPACE = TabulatedSpace(
    [
        paretune.Decision(name="width", choices=(8, 16, 32, 64), ordinal=True),
        paretune.Decision(name="depth", choices=(1, 2, 3, 4), ordinal=True),
        paretune.Decision(name="kernel", choices=(3, 5, 7), ordinal=True),
    ]
)
PROBLEM = paretune.Problem(
    objectives=(
        paretune.Objective(metric="accuracy", direction="max", reference=0.0),
        paretune.Objective(metric="latency_s", direction="min", reference=1e-2),
    ),
    constraints=(paretune.Constraint(metric="parameters", upper=500.0),),
)


def reported(config: dict[str, Any]) -> dict[str, float]:
    work = config["width"] * config["depth"] * config["kernel"] ** 2
    return {"accuracy": 1 - 1 / (1 + work**0.5), "latency_s": 1e-6 * work, "parameters": float(config["width"] * config["depth"])}


def make_searcher() -> Searcher:
    return paretune.NSGA2(SPACE, PROBLEM, seed=1, population=6)


class Listening(paretune.RandomSearch):
    """Keeps what it is told."""

    def __init__(self, space: TabulatedSpace) -> None:
        super().__init__(space, PROBLEM, seed=1)
        self.told: list[Trial] = []

    def tell(self, trials: Any) -> None:
        self.told.extend(trials)


def run(search: paretune.TuneSearcher, train: Any, storage: Path, *, num_samples: int, **config: Any) -> tune.ResultGrid:
    tuner = tune.Tuner(
        train,
        tune_config=tune.TuneConfig(search_alg=search, num_samples=num_samples, max_concurrent_trials=2, reuse_actors=True, **config),
        run_config=tune.RunConfig(verbose=0, storage_path=str(storage)),
    )
    return tuner.fit()


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestOnRay:
    def test_sync_asks_what_the_searcher_alone_would_ask(self, tmp_path: Path) -> None:
        def train(config: dict[str, Any]) -> None:
            work = config["width"] * config["depth"] * config["kernel"] ** 2
            parameters = float(config["width"] * config["depth"])
            tune.report({"accuracy": 1 - 1 / (1 + work**0.5), "latency_s": 1e-6 * work, "parameters": parameters})

        grid = run(paretune.TuneSearcher(make_searcher(), SPACE, PROBLEM, mode="sync"), train, tmp_path, num_samples=15)
        alone, asked = make_searcher(), []
        for index in range(15):
            due = alone.tells_before(index)
            told = len([trial for trial in asked if trial[1]])
            alone.tell([finished(*asked[place][0]) for place in range(told, due)])
            asked = [(trial, told or place < due) for place, (trial, told) in enumerate(asked)]
            asked.append(((index, tuple(int(gene) for gene in alone.ask(1)[0])), False))
        configs = [tuple(result.config[decision.name] for decision in SPACE.decisions) for result in grid]
        expected = [tuple(d.choices[gene] for d, gene in zip(SPACE.decisions, genotype, strict=True)) for (_, genotype), _ in asked]
        assert sorted(configs) == sorted(expected)
        assert not grid.errors

    def test_async_ends_by_itself_when_the_space_is_exhausted(self, tmp_path: Path) -> None:
        space = TabulatedSpace(SPACE.decisions[1:])

        def train(config: dict[str, Any]) -> None:
            tune.report({"accuracy": 0.1 * config["depth"], "latency_s": 1e-6 * config["kernel"], "parameters": 1.0})

        searcher = paretune.RandomSearch(space, PROBLEM, seed=1)
        grid = run(paretune.TuneSearcher(searcher, space, PROBLEM), train, tmp_path, num_samples=100)
        assert len(grid) == len({(result.config["depth"], result.config["kernel"]) for result in grid}) == 12

    def test_trials_that_fail_in_any_way_do_not_end_the_run(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        def train(config: dict[str, Any]) -> None:
            metrics: dict[str, Any] = {"accuracy": 0.5, "latency_s": 1e-6, "parameters": 1.0}
            if (config["width"], config["depth"]) == (8, 1):
                raise ValueError("too small")
            if config["width"] == 16:
                metrics["acuracy"] = metrics.pop("accuracy")
            if config["width"] == 32:
                metrics["accuracy"] = float("nan") if config["depth"] > 2 else "high"
            tune.report(metrics)

        space = TabulatedSpace(SPACE.decisions[:2])
        searcher = Listening(space)
        run(paretune.TuneSearcher(searcher, space, PROBLEM), train, tmp_path, num_samples=100)
        assert len(searcher.told) == space.size
        assert {trial.outcome for trial in searcher.told} == {Outcome.OK, Outcome.CRASHED, Outcome.USER_ERROR, Outcome.DIVERGED}
        assert all(math.isfinite(value) for trial in searcher.told for value in trial.metrics.values())
        assert "'accuracy' is missing. Did you mean 'acuracy'?" in caplog.text
        assert "'accuracy' is str 'high'" in caplog.text

    @pytest.mark.parametrize(
        ("param_space", "config", "message"),
        [
            ({"batch_size": 64}, {"metric": "accuracy", "mode": "max"}, r"TuneConfig\(metric='accuracy'\): leave it out, the problem"),
            ({"width": 8, "batch_size": 64}, {}, "param_space sets width, which the search space decides"),
        ],
    )
    def test_what_contradicts_the_searcher_is_refused_by_name(
        self, param_space: dict[str, Any], config: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        search = paretune.TuneSearcher(make_searcher(), SPACE, PROBLEM)
        tuner = tune.Tuner(
            lambda config: None,
            param_space=param_space,
            tune_config=tune.TuneConfig(search_alg=search, num_samples=1, **config),
            run_config=tune.RunConfig(verbose=0, storage_path=str(tmp_path)),
        )
        with pytest.raises(BadInput, match=message):
            tuner.fit()


def finished(index: int, genotype: tuple[int, ...]) -> Trial:
    config = {decision.name: decision.choices[gene] for decision, gene in zip(SPACE.decisions, genotype, strict=True)}
    return Trial(ask_index=index, genotype=genotype, outcome=Outcome.OK, metrics=reported(config))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_saved_searcher_goes_on_as_if_it_had_not_stopped(mode: Any, tmp_path: Path) -> None:
    def ask(search: paretune.TuneSearcher, names: range) -> list[Any]:
        return [search.suggest(f"trial{name}") for name in names]

    def end(search: paretune.TuneSearcher, configs: list[Any], names: range) -> None:
        for name in reversed(names):
            search.on_trial_complete(f"trial{name}", {**reported(configs[name]), "trial_id": f"trial{name}"})

    whole = paretune.TuneSearcher(make_searcher(), SPACE, PROBLEM, mode=mode)
    configs = ask(whole, range(6))
    end(whole, configs, range(2, 6))  # two are still running when it is saved
    whole.save(str(tmp_path / "state"))
    resumed = paretune.TuneSearcher(make_searcher(), SPACE, PROBLEM, mode=mode)
    resumed.restore(str(tmp_path / "state"))
    for search in (whole, resumed):
        end(search, configs, range(2))
    assert ask(resumed, range(6, 12)) == ask(whole, range(6, 12))
    assert len({tuple(config.items()) for config in configs}) == 6


def test_in_sync_mode_none_is_suggested_while_a_result_is_missing() -> None:
    search = paretune.TuneSearcher(make_searcher(), SPACE, PROBLEM, mode="sync")
    asked = 0
    while search.suggest(f"trial{asked}") is not None:
        asked += 1
    alone = make_searcher()
    assert asked == next(index for index in range(100) if alone.tells_before(index) > 0)
    assert search.suggest("later") is None


def test_given_candidates_are_suggested_first_and_mistakes_come_all_at_once() -> None:
    start = [{"width": 32, "depth": 2, "kernel": 5}, {"width": 8, "depth": 1, "kernel": 3}]
    search = paretune.TuneSearcher(make_searcher(), SPACE, PROBLEM, start=start)
    assert [search.suggest("a"), search.suggest("b")] == start
    assert search.suggest("c") not in start
    with pytest.raises(BadOptions) as caught:
        paretune.TuneSearcher(make_searcher(), SPACE, PROBLEM, start=[{"width": 12, "kernel": 3, "deep": 1}, start[0], start[0]])
    assert [way for way, _ in caught.value.problems] == [("start", 0, "deep"), ("start", 0, "width"), ("start", 2)]
    assert "Did you mean 'depth'?" in str(caught.value)
