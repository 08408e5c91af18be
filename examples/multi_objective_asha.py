"""Early stopping with two objectives in an ordinary Ray Tune script: bad trade-offs end early, the front is trained to the end."""

from typing import Any

from ray import tune

import paretune

EPOCHS = 27
problem = paretune.Problem(
    objectives=(
        paretune.Objective(metric="accuracy", direction="max", reference=0.0),
        paretune.Objective(metric="latency_s", direction="min", reference=1e-2),
    )
)


def train(config: dict[str, Any]) -> None:
    """Your training: the metrics of the problem after every epoch."""
    width = config["width"]
    for epoch in range(1, EPOCHS + 1):
        accuracy = (1 - 1 / width**0.5) * (1 - config["learning_rate"] ** 2 - 0.5**epoch)
        tune.report({"accuracy": accuracy, "latency_s": 1e-5 * width})


def search(num_samples: int = 27) -> tune.ResultGrid:
    """Run the trials on the Ray that is there, or a local one."""
    tuner = tune.Tuner(
        train,
        param_space={"width": tune.choice([4, 8, 16, 32, 64]), "learning_rate": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            scheduler=paretune.MultiObjectiveASHA(problem, max_t=EPOCHS, eta=3), num_samples=num_samples, max_concurrent_trials=2
        ),
        run_config=tune.RunConfig(verbose=0),
    )
    return tuner.fit()


if __name__ == "__main__":
    grid = search()
    epochs = sum(result.metrics["training_iteration"] for result in grid)
    print(f"{len(grid)} trials, {epochs} epochs instead of {EPOCHS * len(grid)}")
    for result in grid:
        if result.metrics["training_iteration"] == EPOCHS:
            print(result.config, result.metrics["accuracy"], result.metrics["latency_s"])
