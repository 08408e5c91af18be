"""What genotypes are worth, learned from the trials told: mean and deviation, for whole populations at once."""

from paretune.core.registry import Registry

PREDICTORS = Registry(
    kind="predictor",
    group="paretune.predictors",
    builtins={
        "gaussian_process": "paretune.predictors.gaussian_process:GaussianProcess",
        "ridge": "paretune.predictors.ridge:Ridge",
        "xgboost": "paretune.predictors.boosted_trees:BoostedTrees",
        "mlp": "paretune.predictors.mlp_ensemble:MLPEnsemble",
        "graph": "paretune.predictors.graph_network:GraphNetwork",
    },
    supplied=("seed",),
)
"""Factories `(space, *, seed, ...)` of `predictors.prediction.Predictor`."""
