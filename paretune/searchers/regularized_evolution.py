"""Regularised (aging) evolution: the oldest dies, whatever its fitness (Real et al., AAAI 2019)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes, num_choices
from paretune.core.objectives import Problem
from paretune.core.option_checks import one_of
from paretune.core.pareto import constrained_ranks
from paretune.core.protocols import GenotypeSpace
from paretune.core.trial import Trial
from paretune.searchers.asked import Asked, Starting
from paretune.searchers.operators import IntArray, MutationSource, mutated_by, mutated_once, random_genotypes, space_mutations
from paretune.searchers.population import Population
from paretune.searchers.streams import Draws, StreamBatch

Policy: TypeAlias = Literal["tournament", "fitness_proportionate", "youngest"]


class RegularizedEvolution(Starting):
    """Regularised (aging) evolution: mutates one decision of a good living candidate; the oldest dies.

    With several objectives the fitness is the constrained rank within the living, then the crowding distance.

    Args:
        space: what may be chosen.
        problem: objectives and constraints.
        seed: decides every draw.
        population: how many live, and random candidates at the start.
        sample: members of a tournament, drawn with replacement.
        policy: who becomes a parent. `tournament`: the best of `sample` random members; `fitness_proportionate`: anybody, the best of
            n members n times as likely as the worst; `youngest`: the one told last among the best rank.
        window: candidates that may be under evaluation at once in `mode: sync`.
        mutation: `decision`: another choice for one decision; `space`: one of the space's own operators, such as the depth and width
            mutations of AnalogNAS, which only some spaces have.

    Raises:
        BadInput: an option is out of range.

    Source: Real et al., Regularized evolution for image classifier architecture search, AAAI 2019; linear ranking from Baker, ICGA 1985.
    Departs: several objectives; mutants that were asked before are drawn again.
    """

    def __init__(
        self,
        space: GenotypeSpace,
        problem: Problem,
        *,
        seed: int,
        population: int = 50,
        sample: int = 10,
        policy: Policy = "tournament",
        window: int = 8,
        mutation: MutationSource = "decision",
    ) -> None:
        for name, value, least in (("population", population, 2), ("sample", sample, 1), ("window", window, 1)):
            if value < least:
                raise BadInput(f"{name}: must be at least {least} (got {value})")
        one_of("policy", policy, get_args(Policy))
        self._problem, self._population, self._sample = problem, population, sample
        self._policy, self._window = policy, window
        self._operators = space_mutations(space, mutation)
        self._choices_D = num_choices(space.decisions)
        self._asked = Asked(space, seed=seed, purpose="regularized_evolution.ask")
        self._living = self._scored(())
        self._order_N: IntArray | None = None

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new genotypes: random at first, then mutants of living parents."""
        # A space's operators take one generator, so their mutants are made ask by ask.
        grown = self._operators is None and len(self._asked) >= self._population and len(self._living) > 0
        return self._asked.extend(count, self._propose, together=self._propose_together if grown else None)

    def tell(self, trials: Sequence[Trial]) -> None:
        """The told are born in their order; the oldest beyond `population` die."""
        self._living = self._living.joined(self._scored(trials)).take(slice(-self._population, None))
        self._order_N = None

    def tells_before(self, ask_index: int) -> int:
        """0 for the initial population, then all but the `window` latest."""
        return 0 if ask_index < self._population else max(0, ask_index + 1 - self._window)

    def state_dict(self) -> dict[str, Any]:
        """What was asked, and the living from oldest to youngest."""
        return {"asked": self._asked.state(), "living": self._living.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked.load(state["asked"])
        self._living = Population.from_state(state["living"], problem=self._problem, num_decisions=len(self._choices_D))
        self._order_N = None

    def _scored(self, trials: Sequence[Trial]) -> Population:
        return Population.of(trials, problem=self._problem, num_decisions=len(self._choices_D))

    def _propose(self, index: int, rng: np.random.Generator, count: int) -> Genotypes:
        if index < self._population or len(self._living) == 0:
            return random_genotypes(self._choices_D, rng, count)
        if self._operators is not None:
            return mutated_by(self._operators, self._living.genotypes[self._parents(rng, count)], rng)
        return self._mutants(rng, count)

    def _propose_together(self, streams: StreamBatch) -> Genotypes:
        return self._mutants(streams, len(streams) * streams.rows)

    def _mutants(self, rng: Draws, count: int) -> Genotypes:
        return mutated_once(self._living.genotypes[self._parents(rng, count)], self._choices_D, rng)

    def _parents(self, rng: Draws, count: int) -> IntArray:
        """`(count,)` members chosen by the policy."""
        num_living = len(self._living)
        if self._policy == "youngest":
            ranks_N = constrained_ranks(self._living.points, self._living.violations)
            return np.full(count, np.flatnonzero(ranks_N == 0)[-1])
        if self._order_N is None:
            self._order_N = self._living.best_first()
        if self._policy == "tournament":
            size = (self._sample,) if isinstance(rng, StreamBatch) else (self._sample, count)
            standings_N = rng.integers(num_living, size=size).min(axis=0)
        else:
            shares_N = np.cumsum(np.arange(num_living, 0, -1))
            standings_N = np.searchsorted(shares_N, rng.random((count, 1))[:, 0] * shares_N[-1], side="right")
        return np.asarray(self._order_N[standings_N])
