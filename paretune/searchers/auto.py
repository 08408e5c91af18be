"""The default searcher: picks one of the others by space and number of objectives, and says why in one line."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.errors import BadInput
from paretune.core.expectation import Expectation, ExpectingSearcher
from paretune.core.genotype import Genotypes
from paretune.core.objectives import Problem
from paretune.core.protocols import GenotypeSpace
from paretune.core.trial import Trial
from paretune.searchers.known_costs import Costs
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.predictor_guided import PredictorGuided
from paretune.searchers.screening import LARGEST_LISTED

MOST_OBJECTIVES = 4
"""Objectives above which the grid of the expected improvement becomes too coarse to be better than NSGA-II."""


def choose(*, size: int, num_objectives: int) -> tuple[str, str]:
    """Registered name of the searcher for a problem, and why, in one line.

    How many candidates will be tried has no say: a study may be continued with a larger budget, and must then propose what it proposed.
    Predictor-guided search itself goes by how many were tried (see `PredictorGuided`).

    Args:
        size: architectures of the space.
        num_objectives: how many.
    """
    facts = f"{size:,} architectures, {num_objectives} objective{'s' if num_objectives > 1 else ''}"
    if num_objectives > MOST_OBJECTIVES:
        return "nsga2", f"nsga2 ({facts}): too many objectives for an expected hypervolume improvement"
    how = "every architecture is screened each round" if size <= LARGEST_LISTED else "a pool bred from the front is screened each round"
    return "predictor_guided", f"predictor_guided ({facts}): {how}; the predictors are chosen by how they order results, NSGA-II fills in"


class Auto:
    """Chooses the searcher by space, number of objectives and what was tried; `choice` says which and why in one line.

    Args:
        space: what may be chosen.
        problem: objectives and constraints.
        seed: decides every draw.
        costs: what is known of genotypes before anything runs; the platform supplies it.
    """

    choice: str
    """Which searcher was chosen and why, in one line."""

    def __init__(self, space: GenotypeSpace, problem: Problem, *, seed: int, costs: Costs | None = None) -> None:
        self._name, self.choice = choose(size=space.size, num_objectives=len(problem.objectives))
        self._searcher: PredictorGuided | NSGA2 = (
            PredictorGuided(space, problem, seed=seed, costs=costs)
            if self._name == "predictor_guided"
            else NSGA2(space, problem, seed=seed)
        )

    def start_from(self, genotypes_ND: Genotypes) -> None:
        """Hand these to the chosen searcher."""
        self._searcher.start_from(genotypes_ND)

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new genotypes of the chosen searcher."""
        return self._searcher.ask(count)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Tell the chosen searcher."""
        self._searcher.tell(trials)

    def tells_before(self, ask_index: int) -> int:
        """As the chosen searcher."""
        return self._searcher.tells_before(ask_index)

    def expected(self, ask_index: int, genotype: Sequence[int]) -> Mapping[str, Expectation]:
        """As the chosen searcher; empty where that does not predict."""
        return self._searcher.expected(ask_index, genotype) if isinstance(self._searcher, ExpectingSearcher) else {}

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space has been asked."""
        return self._searcher.exhausted

    def state_dict(self) -> dict[str, Any]:
        """The chosen searcher and its state."""
        return {"searcher": self._name, "state": self._searcher.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            BadInput: it is of another searcher, since space or objectives differ.
        """
        if state["searcher"] != self._name:
            raise BadInput(f"searcher state: of '{state['searcher']}', but '{self._name}' was chosen now; was the space changed?")
        self._searcher.load_state_dict(state["state"])
