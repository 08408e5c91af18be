"""Pareto local search: try the neighbours of the front (Paquete, Chiarandini & Stützle, 2004)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes, as_genotypes, num_choices
from paretune.core.objectives import Problem
from paretune.core.pareto import ParetoArchive
from paretune.core.protocols import GenotypeSpace
from paretune.core.trial import Trial
from paretune.searchers.asked import Asked, Starting
from paretune.searchers.operators import mutated_once, random_genotypes


class LocalSearch(Starting):
    """Changes one decision of a random member of the front; random candidates until something is feasible.

    Args:
        space: what may be chosen.
        problem: objectives and constraints.
        seed: decides every draw.
        window: candidates that may be under evaluation at once in `mode: sync`.
    """

    def __init__(self, space: GenotypeSpace, problem: Problem, *, seed: int, window: int = 4) -> None:
        if window < 1:
            raise BadInput(f"window: must be at least 1; got {window}")
        self._problem, self._window = problem, window
        self._choices_D = num_choices(space.decisions)
        self._asked = Asked(space, seed=seed, purpose="local_search.ask")
        self._archive = ParetoArchive(len(problem.objectives))
        self._genotypes: dict[int, tuple[int, ...]] = {}

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new neighbours of the front."""
        return self._asked.extend(count, self._propose)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep what is on the front; failures never are."""
        for trial in trials:
            point_M, violation = self._problem.score(trial)
            if self._archive.insert(trial.ask_index, point_M, violation):
                self._genotypes[trial.ask_index] = trial.genotype

    def tells_before(self, ask_index: int) -> int:
        """All but the `window` latest."""
        return max(0, ask_index + 1 - self._window)

    def state_dict(self) -> dict[str, Any]:
        """What was asked, and the front."""
        front = zip(self._archive.keys, self._archive.points.tolist(), strict=True)
        return {"asked": self._asked.state(), "front": [[key, point, list(self._genotypes[key])] for key, point in front]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked.load(state["asked"])
        self._archive, self._genotypes = ParetoArchive(len(self._problem.objectives)), {}
        for key, point, genotype in state["front"]:
            self._archive.insert(key, np.array(point))
            self._genotypes[key] = tuple(genotype)

    def _propose(self, index: int, rng: np.random.Generator, count: int) -> Genotypes:  # noqa: ARG002 - the signature that Asked calls
        if len(self._archive) == 0:
            return random_genotypes(self._choices_D, rng, count)
        front_ND = as_genotypes([self._genotypes[key] for key in self._archive.keys], len(self._choices_D))
        return mutated_once(front_ND[rng.integers(len(front_ND), size=count)], self._choices_D, rng)
