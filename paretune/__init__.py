"""paretune: hardware-aware neural architecture search on Ray Tune. Names are imported when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretune.core.genotype import Decision
    from paretune.core.objectives import Constraint, Objective, Problem
    from paretune.platform.execution.adapter import TuneSearcher
    from paretune.platform.execution.scheduler import MultiObjectiveASHA
    from paretune.platform.study.api import resume, run
    from paretune.platform.study.study import StudyResult
    from paretune.searchers.nsga2 import NSGA2
    from paretune.searchers.random_search import RandomSearch
    from paretune.searchers.regularized_evolution import RegularizedEvolution

__version__ = "0.1.0"

__all__ = [
    "NSGA2",
    "Constraint",
    "Decision",
    "MultiObjectiveASHA",
    "Objective",
    "Problem",
    "RandomSearch",
    "RegularizedEvolution",
    "StudyResult",
    "TuneSearcher",
    "resume",
    "run",
]

_HOMES = {
    "Constraint": "paretune.core.objectives",
    "Decision": "paretune.core.genotype",
    "MultiObjectiveASHA": "paretune.platform.execution.scheduler",
    "NSGA2": "paretune.searchers.nsga2",
    "Objective": "paretune.core.objectives",
    "Problem": "paretune.core.objectives",
    "RandomSearch": "paretune.searchers.random_search",
    "RegularizedEvolution": "paretune.searchers.regularized_evolution",
    "StudyResult": "paretune.platform.study.study",
    "TuneSearcher": "paretune.platform.execution.adapter",
    "resume": "paretune.platform.study.api",
    "run": "paretune.platform.study.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'paretune' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
