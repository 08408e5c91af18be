"""A paretune searcher in an ordinary Ray Tune script: any trainable, any objectives, no study and no ledger."""

from typing import Any

from ray import tune

import paretune
from paretune.testing.problems import TabulatedSpace

space = TabulatedSpace(
    [
        paretune.Decision(name="width", choices=(8, 16, 32, 64), ordinal=True),
        paretune.Decision(name="depth", choices=(1, 2, 3, 4), ordinal=True),
        paretune.Decision(name="kernel", choices=(3, 5, 7), ordinal=True),
    ]
)
problem = paretune.Problem(
    objectives=(
        paretune.Objective(metric="accuracy", direction="max", reference=0.0),
        paretune.Objective(metric="latency_s", direction="min", reference=1e-2),
    )
)


def train(config: dict[str, Any]) -> None:
    """Your training: the named decisions come in, the metrics of the problem go out."""
    work = config["width"] * config["depth"] * config["kernel"] ** 2
    tune.report({"accuracy": 1 - 1 / (1 + work**0.5), "latency_s": 1e-6 * work})


def search(num_samples: int = 20) -> tune.ResultGrid:
    """Run the search on the Ray that is there, or a local one."""
    searcher = paretune.NSGA2(space, problem, seed=1, population=8)
    tuner = tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            search_alg=paretune.TuneSearcher(searcher, space, problem), num_samples=num_samples, max_concurrent_trials=2, reuse_actors=True
        ),
        run_config=tune.RunConfig(verbose=0),
    )
    return tuner.fit()


if __name__ == "__main__":
    for result in search():
        print(result.config, result.metrics["accuracy"], result.metrics["latency_s"])
