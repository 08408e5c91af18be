"""What to try next: knows neither spaces, devices nor Ray."""

from paretune.core.registry import Registry

SEARCHERS = Registry(
    kind="searcher",
    group="paretune.searchers",
    builtins={
        "auto": "paretune.searchers.auto:Auto",
        "random": "paretune.searchers.random_search:RandomSearch",
        "nsga2": "paretune.searchers.nsga2:NSGA2",
        "predictor_guided": "paretune.searchers.predictor_guided:PredictorGuided",
        "lemonade": "paretune.searchers.lemonade:Lemonade",
        "rl_controller": "paretune.searchers.rl_controller:RLController",
        "regularized_evolution": "paretune.searchers.regularized_evolution:RegularizedEvolution",
    },
    supplied=("seed", "costs", "scores"),
)
"""Factories `(space, problem, *, seed, ...)` of `core.protocols.Searcher`; one that has a parameter `costs` gets the free costs,
`(N, D)` genotypes -> metric -> `(N,)`; one that has a parameter `scores` gets the task's zero-cost proxies in the same form, which take
tens of milliseconds a genotype."""
