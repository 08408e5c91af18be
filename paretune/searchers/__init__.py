"""What to try next: knows neither spaces, devices nor Ray."""

from paretune.core.registry import Registry

SEARCHERS = Registry(
    kind="searcher",
    group="paretune.searchers",
    builtins={
        "random": "paretune.searchers.random_search:RandomSearch",
        "nsga2": "paretune.searchers.nsga2:NSGA2",
        "regularized_evolution": "paretune.searchers.regularized_evolution:RegularizedEvolution",
    },
    supplied=("seed",),
)
"""Factories `(space, problem, *, seed, ...)` of `core.protocols.Searcher`."""
