"""LEMONADE-style sampling: parents and children where the front is sparse in the cheap objectives (Elsken et al., ICLR 2019).

Legend: N genotypes, K members of the population, D decisions, C choices of all decisions together, Q cheap objectives.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import Genotypes, num_choices
from paretune.core.objectives import Problem
from paretune.core.pareto import constrained_ranks
from paretune.core.protocols import GenotypeSpace
from paretune.core.trial import Trial
from paretune.searchers.asked import PROPOSALS, Asked, Starting
from paretune.searchers.known_costs import Costs, known_names
from paretune.searchers.one_thread import one_thread
from paretune.searchers.operators import FloatArray, IntArray, MutationSource, mutated_by, mutated_once, random_genotypes, space_mutations
from paretune.searchers.population import Population
from paretune.searchers.streams import StreamBatch

NUM_KNOWN = 200
"""Results kept: those of the front, and the best others for the additive estimate of costs."""
RIDGE = 1e-3
"""Penalty of the additive estimate, for choices that were never tried."""
LEAST_DENSITY = 1e-12
LEAST_EXPONENT = np.float32(-80.0)
"""Exponentials of less are subnormal numbers, which take processors many times as long, and count for nothing."""


class Lemonade(Starting):
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
        pool: int = 16,
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
        known = known_names(space, costs)
        self._cheap = [names.index(name) for name in cheap or [name for name in names if name in known] or names[1:]]
        self._computed = [names[index] if names[index] in known else None for index in self._cheap]
        self._asked = Asked(space, seed=seed, purpose="lemonade.ask")
        self._known = self._told = self._nobody = Population.of((), problem=problem, num_decisions=len(self._choices_D))
        self._front: tuple[Genotypes, _Density] | None = None
        self._weights: dict[int, FloatArray] = {}

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new genotypes: random at first, then children from sparse regions of the front."""
        self._select()
        grown = len(self._asked) >= self._initial and len(self._known) > 0 and self._operators is None
        return self._asked.extend(count, self._propose, together=self._propose_together if grown else None)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep the results for the selection that precedes the next ask, so that their grouping does not matter."""
        self._told = self._told.joined(Population.of(trials, problem=self._problem, num_decisions=len(self._choices_D)))

    def tells_before(self, ask_index: int) -> int:
        """0 for the initial candidates, then every result of the generations before."""
        if ask_index < self._initial:
            return 0
        return self._initial + (ask_index - self._initial) // self._generation * self._generation

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
        parents_N = rng.choice(len(front_KD), size=max(self._pool, count), p=density.shares_K)
        children_ND = self._mutants(front_KD[parents_N], rng)
        return self._tried_first(children_ND, rng.exponential(size=(1, len(children_ND))), count)

    def _propose_together(self, streams: StreamBatch) -> Genotypes:
        """What `_propose` gives for each ask alone, from one look at the children of all."""
        front_KD, density = self._population()
        pools = streams.with_rows(self._pool)
        num_children = len(streams) * self._pool
        # As `Generator.choice` draws, which knows one stream only.
        steps_K = np.cumsum(density.shares_K)
        parents_N = np.searchsorted(steps_K / steps_K[-1], pools.random((num_children, 1))[:, 0], side="right")
        children_ND = mutated_once(front_KD[parents_N], self._choices_D, pools)
        return self._tried_first(children_ND, pools.exponential().reshape(len(streams), self._pool), streams.rows)

    def _tried_first(self, children_ND: Genotypes, draws_AP: FloatArray, count: int) -> Genotypes:
        """For each of A asks `count` of its P children, in the order in which they are tried: A * `count` rows.

        Drawn without replacement in proportion to 1 / density.

        Source: Efraimidis & Spirakis, Information Processing Letters 97(5), 2006.
        """
        density_AP = self._population()[1].at(self._cheap_objectives(children_ND)).reshape(draws_AP.shape)
        weights_AP = _inverse(density_AP)
        keys_AP = draws_AP / (weights_AP / weights_AP.sum(axis=1, keepdims=True))
        order_AC = np.argsort(keys_AP, axis=1, kind="stable")[:, :count]
        first_A1 = np.arange(len(draws_AP))[:, np.newaxis] * draws_AP.shape[1]
        return np.asarray(children_ND[(order_AC + first_A1).ravel()])

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
        return np.asarray(self._weights[objective][self._columns(genotypes_ND)].sum(axis=1))

    def _fitted(self, objective: int) -> FloatArray:
        """`(C,)` what each choice adds to an objective, by ridge regression on what is known."""
        good_K = np.isfinite(self._known.points[:, objective])
        columns_KD = self._columns(self._known.genotypes[good_K])
        values_K = self._known.points[good_K, objective]
        num_known, num_columns = len(values_K), int(self._choices_D.sum())
        if num_known == 0:
            return np.zeros(num_columns)
        features_KC = np.zeros((num_known, num_columns), dtype=np.float32)  # their products are counts, exact in single precision
        features_KC[np.arange(num_known)[:, np.newaxis], columns_KD] = 1
        centred_K = values_K - values_K.mean()

        def summed(values_K: FloatArray) -> FloatArray:
            """`(C,)` sum over the known that made each choice."""
            return np.asarray(
                np.bincount(columns_KD.ravel(), np.repeat(values_K, columns_KD.shape[1]), minlength=num_columns), dtype=np.float64
            )

        primal = num_columns < num_known
        with one_thread():
            counts = (features_KC.T @ features_KC if primal else features_KC @ features_KC.T).astype(np.float64)
            counts[np.diag_indices(len(counts))] += RIDGE
            solved = np.asarray(np.linalg.solve(counts, summed(centred_K) if primal else centred_K))
        return solved if primal else summed(solved)

    def _columns(self, genotypes_ND: Genotypes) -> IntArray:
        """`(N, D)` each choice by its place among the choices of all decisions."""
        return np.asarray(genotypes_ND + (np.cumsum(self._choices_D) - self._choices_D))


class _Density:
    """Gaussian kernel density of the population in the cheap objectives, each in units of its deviation.

    Source: Scott, Multivariate density estimation, 1992, for the bandwidth.
    """

    def __init__(self, members_KQ: FloatArray) -> None:
        deviations_Q = members_KQ.std(axis=0)
        num_members, num_objectives = members_KQ.shape
        self._scale_Q = np.sqrt(2) * np.where(deviations_Q > 0, deviations_Q, 1.0) * num_members ** (-1 / (num_objectives + 4))
        # Single precision: exponentials take a fifth of the time, and only their order of magnitude counts.
        self._members_KQ = (members_KQ / self._scale_Q).astype(np.float32)
        weights_K = _inverse(self.at(members_KQ))
        self.shares_K = weights_K / weights_K.sum()
        """`(K,)` probabilities of the members as parents, in proportion to the inverse density."""

    def at(self, points_NQ: FloatArray) -> FloatArray:
        """`(N,)` density, up to a factor."""
        scaled_NQ = (points_NQ / self._scale_Q).astype(np.float32)
        exponents_NK = np.zeros((len(points_NQ), 1), dtype=np.float32)
        for point_N, member_K in zip(scaled_NQ.T, self._members_KQ.T, strict=True):
            steps_NK = np.subtract.outer(point_N, member_K)
            exponents_NK = np.subtract(exponents_NK, np.square(steps_NK, out=steps_NK), out=steps_NK)
        np.maximum(exponents_NK, LEAST_EXPONENT, out=exponents_NK)
        return np.asarray(np.exp(exponents_NK, out=exponents_NK).mean(axis=1), dtype=np.float64)


def _inverse(densities: FloatArray) -> FloatArray:
    """Weights in proportion to the inverse density, finite where nobody is near."""
    return 1 / np.maximum(densities, LEAST_DENSITY)
