"""NSGA-II, the elitist genetic algorithm with non-dominated sorting and crowding (Deb et al., IEEE TEC 6(2), 2002)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes, num_choices
from paretune.core.objectives import Problem
from paretune.core.protocols import GenotypeSpace
from paretune.core.trial import Trial
from paretune.searchers.asked import Asked, Starting
from paretune.searchers.operators import IntArray, crossed, mutated, random_genotypes
from paretune.searchers.population import Population
from paretune.searchers.streams import Draws, StreamBatch


class NSGA2(Starting):
    """NSGA-II with constrained dominance, uniform crossover, mutation of 1/D and no repeats.

    Survivors are the best `population` of the survivors and what was told since the last ask. Told a generation at a time this is
    NSGA-II as published; told one by one it is its steady-state form, which keeps asynchronous workers busy.

    Args:
        space: what may be chosen.
        problem: objectives and constraints.
        seed: decides every draw.
        population: survivors, and random candidates at the start. In `mode: sync` no more workers than these have something to do.
        crossover: probability that a child has two parents.
        mutation: probability that a gene changes; None is 1 / number of decisions. At least one gene always does.

    Raises:
        BadInput: an option is out of range.

    Source: Deb et al., IEEE TEC 6(2), 2002.
    Departs: integer genes, so uniform crossover and mutation to another choice stand for SBX and polynomial mutation;
        children that were asked before are drawn again.
    """

    def __init__(
        self,
        space: GenotypeSpace,
        problem: Problem,
        *,
        seed: int,
        population: int = 14,
        crossover: float = 0.5,
        mutation: float | None = None,
    ) -> None:
        if population < 2:
            raise BadInput(f"population: must be at least 2 (got {population})")
        if not 0 <= crossover <= 1:
            raise BadInput(f"crossover: must be between 0 and 1 (got {crossover})")
        if mutation is not None and not 0 <= mutation <= 1:
            raise BadInput(f"mutation: must be between 0 and 1 (got {mutation})")
        self._problem, self._population, self._crossover = problem, population, crossover
        self._choices_D = num_choices(space.decisions)
        self._mutation = 1 / len(self._choices_D) if mutation is None else mutation
        self._asked = Asked(space, seed=seed, purpose="nsga2.ask")
        self._nobody = self._scored(())
        self._survivors = self._told = self._nobody

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new genotypes: random at first, then children of the survivors."""
        self._select()
        grown = len(self._asked) >= self._population and len(self._survivors) > 0
        return self._asked.extend(count, self._propose, together=self._propose_together if grown else None)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep the results for the selection that precedes the next ask, so that their grouping does not matter."""
        self._told = self._told.joined(self._scored(trials))

    def tells_before(self, ask_index: int) -> int:
        """Every result of the generations before."""
        return ask_index // self._population * self._population

    def state_dict(self) -> dict[str, Any]:
        """What was asked, the survivors (best first) and what was told since the last ask."""
        return {"asked": self._asked.state(), "survivors": self._survivors.state(), "told": self._told.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked.load(state["asked"])
        self._survivors, self._told = (
            Population.from_state(state[part], problem=self._problem, num_decisions=len(self._choices_D)) for part in ("survivors", "told")
        )

    def _scored(self, trials: Sequence[Trial]) -> Population:
        return Population.of(trials, problem=self._problem, num_decisions=len(self._choices_D))

    def _select(self) -> None:
        if len(self._told) == 0:
            return
        candidates = self._survivors.joined(self._told)
        self._survivors = candidates.take(candidates.best_first()[: self._population])
        self._told = self._nobody

    def _propose(self, index: int, rng: np.random.Generator, count: int) -> Genotypes:
        if index < self._population or len(self._survivors) == 0:
            return random_genotypes(self._choices_D, rng, count)
        return self._children(rng.integers(len(self._survivors), size=(2, 2, count)), rng)

    def _propose_together(self, streams: StreamBatch) -> Genotypes:
        return self._children(streams.integers(len(self._survivors), size=(2, 2)), streams)

    def _children(self, drawn: IntArray, rng: Draws) -> Genotypes:
        """A child of each pair of winners of the binary tournaments `(2 rivals, 2 parents, N)` of drawn survivors."""
        # Survivors are sorted best first, so the smaller of two indices wins.
        mothers_N, fathers_N = drawn.min(axis=0)
        parents_ND = self._survivors.genotypes
        children_ND = crossed(parents_ND[mothers_N], parents_ND[fathers_N], probability=self._crossover, rng=rng)
        return mutated(children_ND, self._choices_D, probability=self._mutation, rng=rng)
