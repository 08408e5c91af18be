"""LEMONADE-style sampling: parents and children where the front is sparse in the cheap objectives (Elsken et al., ICLR 2019).

Legend: N genotypes, K members of the population, D decisions, C choices of all decisions together, Q cheap objectives.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import Genotypes, num_choices
from paretune.core.objectives import Problem
from paretune.core.pareto import constrained_ranks
from paretune.core.protocols import GenotypeSpace
from paretune.core.trial import Trial
from paretune.searchers.asked import PROPOSALS, Asked
from paretune.searchers.operators import FloatArray, MutationSource, mutated_by, mutated_once, random_genotypes, space_mutations
from paretune.searchers.population import Population

Costs: TypeAlias = Callable[[Genotypes], Mapping[str, FloatArray]]
"""`(N, D)` genotypes -> metric -> `(N,)`: what is known before anything runs."""

NUM_KNOWN = 300
"""Results kept: those of the front, and the best others for the additive estimate of costs."""
RIDGE = 1e-3
"""Penalty of the additive estimate, for choices that were never tried."""
LEAST_DENSITY = 1e-12


class Lemonade:
    """LEMONADE sampling: the population is the front; parents and children come from where it is sparse in the cheap objectives.

    Many children cost nothing as long as they are not trained: of `pool` mutants one is asked, drawn by the inverse density of the
    population at its cheap objectives. Those come from the platform's free costs where it has them; else they are estimated as a sum
    over decisions, fitted to what was told.

    Args:
        space: what may be chosen.
        problem: objectives and constraints.
        seed: decides every draw.
        costs: what is known before anything runs; the platform supplies it.
        cheap: metrics of the objectives whose density counts; none: those that `costs` knows, or else all but the first.
        initial: random candidates at the start.
        pool: children looked at for one that is asked; at least 8.
        generation: candidates asked between two looks at the results in `mode: sync`.
        mutation: `decision`: another choice for one decision; `space`: the space's own operators, where it has them.

    Raises:
        BadInput: an option is out of range, or `cheap` names no objective.

    Source: Elsken et al., Efficient multi-objective neural architecture search via Lamarckian evolution, ICLR 2019.
    Departs: mutations stand for network morphisms and no weights are inherited, since a searcher knows genotypes only; where nothing
        meets the limits, the least violating candidates are the population.
    """

    def __init__(
        self,
        space: GenotypeSpace,
        problem: Problem,
        *,
        seed: int,
        costs: Costs | None = None,
        cheap: tuple[str, ...] = (),
        initial: int = 20,
        pool: int = 64,
        generation: int = 10,
        mutation: MutationSource = "decision",
    ) -> None:
        for name, value, least in (("initial", initial, 1), ("pool", pool, PROPOSALS[0]), ("generation", generation, 1)):
            if value < least:
                raise BadInput(f"{name}: must be at least {least} (got {value})")
        names = [objective.metric for objective in problem.objectives]
        for metric in cheap:
            if metric not in names:
                raise BadInput(f"cheap: '{metric}' is no objective.{did_you_mean(metric, names)} ({', '.join(names)})")
        self._problem, self._costs = problem, costs
        self._initial, self._pool, self._generation = initial, pool, generation
        self._operators = space_mutations(space, mutation)
        self._choices_D = num_choices(space.decisions)
        known = _known_costs(space, costs)
        self._cheap = [names.index(name) for name in cheap or [name for name in names if name in known] or names[1:]]
        self._computed = [names[index] if names[index] in known else None for index in self._cheap]
        self._asked = Asked(space, seed=seed, purpose="lemonade.ask")
        self._known = self._told = self._nobody = Population.of((), problem=problem, num_decisions=len(self._choices_D))
        self._front: tuple[Genotypes, _Density] | None = None
        self._weights: dict[int, FloatArray] = {}

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new genotypes: random at first, then children from sparse regions of the front."""
        self._select()
        return self._asked.extend(count, self._propose)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep the results for the selection that precedes the next ask, so that their grouping does not matter."""
        self._told = self._told.joined(Population.of(trials, problem=self._problem, num_decisions=len(self._choices_D)))

    def tells_before(self, ask_index: int) -> int:
        """0 for the initial candidates, then every result of the generations before."""
        if ask_index < self._initial:
            return 0
        return self._initial + (ask_index - self._initial) // self._generation * self._generation

    @property
    def exhausted(self) -> bool:
        """Whether every architecture of the space has been asked."""
        return self._asked.exhausted

    def state_dict(self) -> dict[str, Any]:
        """What was asked, what is known (best first) and what was told since the last ask."""
        return {"asked": self._asked.state(), "known": self._known.state(), "told": self._told.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked.load(state["asked"])
        self._known, self._told = (
            Population.from_state(state[part], problem=self._problem, num_decisions=len(self._choices_D)) for part in ("known", "told")
        )
        self._front, self._weights = None, {}

    def _select(self) -> None:
        if len(self._told) == 0:
            return
        known = self._known.joined(self._told)
        self._known, self._told = known.take(known.best_first()[:NUM_KNOWN]), self._nobody
        self._front, self._weights = None, {}

    def _propose(self, index: int, rng: np.random.Generator, count: int) -> Genotypes:
        if index < self._initial or len(self._known) == 0:
            return random_genotypes(self._choices_D, rng, count)
        front_KD, density = self._population()
        parents_N = rng.choice(len(front_KD), size=max(self._pool, count), p=_shares(density.at_members))
        children_ND = self._mutants(front_KD[parents_N], rng)
        # Drawn without replacement in proportion to 1 / density (Efraimidis & Spirakis, 2006): the order in which they are tried.
        keys_N = rng.exponential(size=len(children_ND)) / _shares(density.at(self._cheap_objectives(children_ND)))
        return np.asarray(children_ND[np.argsort(keys_N, kind="stable")[:count]])

    def _population(self) -> "tuple[Genotypes, _Density]":
        """The front and its density, worked out once after every look at the results."""
        if self._front is None:
            front_KD = self._known.genotypes[constrained_ranks(self._known.points, self._known.violations) == 0]
            self._front = front_KD, _Density(self._cheap_objectives(front_KD))
        return self._front

    def _mutants(self, parents_ND: Genotypes, rng: np.random.Generator) -> Genotypes:
        if self._operators is None:
            return mutated_once(parents_ND, self._choices_D, rng)
        return mutated_by(self._operators, parents_ND, rng)

    def _cheap_objectives(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N, Q)` computed where the platform can, estimated where it cannot; as they are, since only their density counts."""
        costs = self._costs(genotypes_ND) if self._costs is not None and any(self._computed) else {}
        columns = [
            np.asarray(costs[name], dtype=np.float64) if name is not None else self._estimated(genotypes_ND, index)
            for index, name in zip(self._cheap, self._computed, strict=True)
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(genotypes_ND), 0))

    def _estimated(self, genotypes_ND: Genotypes, objective: int) -> FloatArray:
        """`(N,)` an objective as a sum over decisions, up to a constant."""
        if objective not in self._weights:
            self._weights[objective] = self._fitted(objective)
        return np.asarray(self._one_hot(genotypes_ND) @ self._weights[objective])

    def _fitted(self, objective: int) -> FloatArray:
        """`(C,)` what each choice adds to an objective, by ridge regression on what is known."""
        good_K = np.isfinite(self._known.points[:, objective])
        features_KC = self._one_hot(self._known.genotypes[good_K])
        values_K = self._known.points[good_K, objective]
        if len(values_K) == 0:
            return np.zeros(features_KC.shape[1])
        # The dual form, K x K, is the smaller one: K is bounded.
        kernel_KK = features_KC @ features_KC.T + RIDGE * np.eye(len(features_KC))
        return np.asarray(features_KC.T @ np.linalg.solve(kernel_KK, values_K - values_K.mean()))

    def _one_hot(self, genotypes_ND: Genotypes) -> FloatArray:
        starts_D = np.cumsum(self._choices_D) - self._choices_D
        features_NC = np.zeros((len(genotypes_ND), int(self._choices_D.sum())))
        np.put_along_axis(features_NC, genotypes_ND.astype(np.int64) + starts_D, 1.0, axis=1)
        return features_NC


class _Density:
    """Gaussian kernel density of the population in the cheap objectives, each in units of its deviation.

    Source: Scott, Multivariate density estimation, 1992, for the bandwidth.
    """

    def __init__(self, members_KQ: FloatArray) -> None:
        deviations_Q = members_KQ.std(axis=0)
        num_members, num_objectives = members_KQ.shape
        self._scale_Q = np.where(deviations_Q > 0, deviations_Q, 1.0) * num_members ** (-1 / (num_objectives + 4))
        self._members_KQ = members_KQ / self._scale_Q
        self.at_members = self.at(members_KQ)

    def at(self, points_NQ: FloatArray) -> FloatArray:
        """`(N,)` density, up to a factor."""
        steps_NKQ = (points_NQ / self._scale_Q)[:, np.newaxis] - self._members_KQ
        return np.asarray(np.exp(-0.5 * (steps_NKQ**2).sum(axis=2)).mean(axis=1))


def _shares(densities_N: FloatArray) -> FloatArray:
    """Probabilities in proportion to the inverse density."""
    weights_N = 1 / np.maximum(densities_N, LEAST_DENSITY)
    return np.asarray(weights_N / weights_N.sum())


def _known_costs(space: GenotypeSpace, costs: Costs | None) -> list[str]:
    """Metrics that `costs` computes."""
    if costs is None:
        return []
    first_1D = space.canonical(np.zeros((1, len(space.decisions)), dtype=np.int16))
    return list(costs(first_1D)) if space.valid(first_1D).all() else []
