"""Random search without repeats: the baseline that every other searcher has to beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paretune.core.genotype import Genotypes, num_choices
from paretune.core.objectives import Problem
from paretune.core.protocols import GenotypeSpace
from paretune.core.trial import Trial
from paretune.searchers.asked import Asked, Starting
from paretune.searchers.operators import random_genotypes


class RandomSearch(Starting):
    """Random search: every choice of a decision equally likely, no architecture twice.

    Args:
        space: what may be chosen.
        problem: not used; every searcher gets it.
        seed: decides every draw.

    Source: Bergstra & Bengio, JMLR 13, 2012; Li & Talwalkar, UAI 2019, for architectures.
    """

    def __init__(self, space: GenotypeSpace, problem: Problem, *, seed: int) -> None:  # noqa: ARG002 - the signature of all searchers
        self._choices_D = num_choices(space.decisions)
        self._asked = Asked(space, seed=seed, purpose="random.ask")

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new genotypes."""
        return self._asked.extend(count, self._propose)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learns nothing."""

    def tells_before(self, ask_index: int) -> int:  # noqa: ARG002 - the protocol's signature
        """0: no result is waited for."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """What was asked."""
        return {"asked": self._asked.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked.load(state["asked"])

    def _propose(self, index: int, rng: np.random.Generator, count: int) -> Genotypes:  # noqa: ARG002 - every ask alike
        return random_genotypes(self._choices_D, rng, count)
