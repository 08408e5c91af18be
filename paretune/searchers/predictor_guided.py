"""Predictor-guided search: learns from everything told, screens whole populations and asks what promises most."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.expectation import Expectation
from paretune.core.genotype import GENE, Genotypes, as_genotypes, num_choices, row_keys
from paretune.core.objectives import Problem
from paretune.core.option_checks import one_of
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream
from paretune.core.trial import Trial
from paretune.predictors.prediction import Predictor
from paretune.predictors.selection import default_candidates, make_predictor
from paretune.searchers.asked import Asked, Starting
from paretune.searchers.batch import Acquisition, Picker, not_asked
from paretune.searchers.features import KnownBefore, Scores, corrected
from paretune.searchers.fidelities import Inputs
from paretune.searchers.known_costs import Costs, KnownCosts
from paretune.searchers.one_thread import one_thread
from paretune.searchers.operators import best_first, crossed, mutated, random_genotypes
from paretune.searchers.rounds import Rounds
from paretune.searchers.screening import bred, listed
from paretune.searchers.surrogate import MANY_DECISIONS, Surrogate, chosen_predictors, fitted_surrogate
from paretune.searchers.told import Told

GUIDED_UNTIL = 20_000
"""Asks after which all are bred: fitting and screening would take longer than they save."""
TRUSTED, TRUSTED_AMONG_MANY = 0.8, 0.3
"""Rank correlation from which on nothing is bred but guided; with many decisions breeding is slower than even a poor predictor."""
PARENTS = 20
"""Best told candidates that offspring are bred from."""


class PredictorGuided(Starting):
    """Predictor-guided search in rounds: fit on everything told, screen a large pool on arrays, ask the most promising batch.

    Small spaces are screened whole. In large ones the pool is bred over five generations towards what promises most, starting from the
    front. Each metric of the problem has a predictor of its own, or is computed where it is known before anything runs: limits on such
    metrics are held exactly, also by what is random or bred. Candidates beyond the 20,000th are bred as NSGA-II does.

    Args:
        space: what may be chosen.
        problem: objectives and constraints.
        seed: decides every draw.
        initial: random candidates of the first round.
        batch: least candidates of a later round, all asked from one fit.
        growth: share of the candidates so far that a round may have, so that fitting stays cheap as the search grows.
        predictor: `auto` chooses for each metric by the rank correlation of left-out predictions, again whenever what was told has
            doubled; or a predictor, with its encoding after a colon (`xgboost:pairwise`).
        acquisition: `hypervolume`: expected hypervolume improvement; `thompson`: improvement of a joint draw; `rank`: the top of the
            predicted ranking and random ones from below it (iterative data selection of BRP-NAS).
        offspring: share of a batch that is bred as NSGA-II does, whatever the predictors say; None lets it fall from one half to nothing
            as their rank correlation rises; sooner where there are more than 32 decisions.
        pool: candidates screened each round in spaces too large to be screened whole.
        features: free costs (`parameters`, `macs`) and zero-cost proxies (`proxy.synflow`) by which the predictions of a shortlist are
            corrected, where that makes left-out errors smaller.
        scored: candidates of the shortlist.
        costs: what is known of genotypes before anything runs; the platform supplies it. Its metrics are not predicted.
        scores: zero-cost proxies of genotypes; only needed for `features`.

    Raises:
        BadInput: an option is out of range.

    Source: Dudziak et al., BRP-NAS, NeurIPS 2020; Daulton et al., Differentiable expected hypervolume improvement, NeurIPS 2020.
    """

    def __init__(
        self,
        space: GenotypeSpace,
        problem: Problem,
        *,
        seed: int,
        initial: int = 20,
        batch: int = 5,
        growth: float = 0.08,
        predictor: str = "auto",
        acquisition: Acquisition = "hypervolume",
        offspring: float | None = None,
        pool: int = 100_000,
        features: tuple[str, ...] = (),
        scored: int = 100,
        costs: Costs | None = None,
        scores: Scores | None = None,
    ) -> None:
        for name, value, least in (("initial", initial, 2), ("batch", batch, 1), ("pool", pool, 100), ("scored", scored, 1)):
            if value < least:
                raise BadInput(f"{name}: must be at least {least} (got {value})")
        if not 0 <= growth <= 1:
            raise BadInput(f"growth: must be between 0 and 1 (got {growth})")
        if offspring is not None and not 0 <= offspring <= 1:
            raise BadInput(f"offspring: must be between 0 and 1 (got {offspring})")
        one_of("acquisition", acquisition, get_args(Acquisition))
        if len(set(features)) < len(features):
            raise BadInput(f"features: each may be named once (got {', '.join(features)})")
        if predictor != "auto":
            make_predictor(predictor, space, seed=seed)
        self._space, self._problem, self._seed = space, problem, seed
        self._rounds = Rounds(initial=initial, batch=batch, growth=growth)
        self._names = default_candidates(space) if predictor == "auto" else (predictor,)
        self._acquisition, self._offspring, self._pool = acquisition, offspring, pool
        self._choices_D = num_choices(space.decisions)
        self._trusted_from = TRUSTED_AMONG_MANY if len(self._choices_D) > MANY_DECISIONS else TRUSTED
        self._asked = Asked(space, seed=seed, purpose="predictor_guided.ask")
        self._told = Told(problem, num_decisions=len(self._choices_D), scores=features)
        self._known, self._scored = KnownBefore(features, costs=costs, scores=scores), scored
        self._exact = KnownCosts(space, problem, costs)
        self._inputs = Inputs(space)
        self._forget_plan()
        self._predictors: dict[tuple[str, str], Predictor] = {}
        self._members_ND: Genotypes | None = None
        self._is_listed: bool | None = None

    def _forget_plan(self) -> None:
        self._planned: dict[int, tuple[int, ...]] = {}
        self._planned_until = 0
        self._expected: dict[int, tuple[bytes, dict[str, Expectation]]] = {}
        self._chosen: dict[str, str] = {}
        self._correlation, self._chosen_at = 0.0, 0

    def ask(self, count: int) -> Genotypes:
        """Up to `count` new genotypes: random at first, then what promises most."""
        return self._asked.extend(count, self._propose)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Keep the results for the next fit."""
        self._told.add(trials)

    def tells_before(self, ask_index: int) -> int:
        """Every result of the rounds before."""
        return self._rounds.of(ask_index)[0]

    def expected(self, ask_index: int, genotype: Sequence[int]) -> Mapping[str, Expectation]:
        """What was predicted of a candidate of the current round before it was asked; empty for random and bred ones."""
        key, found = self._expected.get(ask_index, (b"", {}))
        return found if key == np.asarray(genotype, dtype=GENE).tobytes() else {}

    def state_dict(self) -> dict[str, Any]:
        """What was asked and told, the rest of the planned batch, and which predictors were chosen when."""
        return {
            "asked": self._asked.state(),
            "told": self._told.state(),
            "planned": [[index, *row] for index, row in self._planned.items()],
            "planned_until": self._planned_until,
            "chosen": dict(self._chosen),
            "chosen_at": self._chosen_at,
            "correlation": self._correlation,
            "fidelities": list(self._inputs.fidelities),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._asked.load(state["asked"])
        self._told.load(state["told"])
        self._planned = {int(index): tuple(row) for index, *row in state["planned"]}
        self._planned_until = int(state["planned_until"])
        self._chosen, self._chosen_at = dict(state["chosen"]), int(state["chosen_at"])
        self._correlation = float(state["correlation"])
        self._inputs, self._predictors = Inputs(self._space, tuple(state.get("fidelities", ()))), {}

    def _propose(self, index: int, rng: np.random.Generator, count: int) -> Genotypes:
        first, size = self._rounds.of(index)
        if first == 0:
            return self._exact.drawn(lambda many: random_genotypes(self._choices_D, rng, many), count)
        if index >= self._planned_until and index < GUIDED_UNTIL:
            self._plan(index, first + size)
        others_ND = self._exact.drawn(lambda many: self._bred(rng, many), count)
        if index not in self._planned:
            return others_ND
        return np.concatenate([as_genotypes([self._planned.pop(index)], len(self._choices_D)), others_ND[1:]])

    def _bred(self, rng: np.random.Generator, count: int) -> Genotypes:
        """Offspring of the best told, as NSGA-II makes them; random ones while nothing was told."""
        if len(self._told) == 0:
            return random_genotypes(self._choices_D, rng, count)
        parents_ND = self._parents(PARENTS)
        mothers_N, fathers_N = rng.integers(len(parents_ND), size=(2, 2, count)).min(axis=0)
        children_ND = crossed(parents_ND[mothers_N], parents_ND[fathers_N], probability=0.5, rng=rng)
        return mutated(children_ND, self._choices_D, probability=1 / len(self._choices_D), rng=rng)

    def _parents(self, count: int) -> Genotypes:
        order = best_first(self._told.points, self._told.violations)[:count]
        return self._told.genotypes[order]

    def _plan(self, first: int, end: int) -> None:
        """Decide on the asks from `first` to `end`; those without a plan are bred."""
        import scipy.linalg  # noqa: F401 - its threads are to be found, too

        self._planned, self._planned_until, self._expected = {}, end, {}
        with one_thread():
            surrogate = self._fitted()
            if surrogate is None:
                return
            rng = stream(self._seed, index=first, purpose="predictor_guided.plan")
            slots = self._guided_slots(first, end, rng)
            picker = Picker(surrogate=surrogate, problem=self._problem, told=self._told, acquisition=self._acquisition)
            pool_ND = self._screened(picker, rng)
            pending_ND = self._pending()
            if self._known.names:
                pool_ND = self._pick(picker, pool_ND, max(self._scored, len(slots)), pending_ND, rng)
                picker = replace(picker, surrogate=corrected(surrogate, self._told, self._problem, self._known))
            rows_ND = self._pick(picker, pool_ND, len(slots), pending_ND, rng)
            expectations = picker.surrogate.expectations(rows_ND)
        self._expected = {slot: (row_D.tobytes(), expected) for slot, row_D, expected in zip(slots, rows_ND, expectations, strict=False)}
        self._planned = {slot: tuple(int(gene) for gene in row_D) for slot, row_D in zip(slots, rows_ND, strict=False)}

    def _pick(self, picker: Picker, pool_ND: Genotypes, count: int, pending_ND: Genotypes, rng: np.random.Generator) -> Genotypes:
        return picker.pick(pool_ND, not_asked(pool_ND, self._asked.keys), count, pending_ND=pending_ND, rng=rng)

    def _guided_slots(self, first: int, end: int, rng: np.random.Generator) -> list[int]:
        share = float(np.clip(self._trusted_from - self._correlation, 0.0, 0.5)) if self._offspring is None else self._offspring
        return [slot for slot, draw in zip(range(first, end), rng.random(end - first), strict=True) if draw >= share]

    def _fitted(self) -> Surrogate | None:
        if self._told.fidelities != self._inputs.fidelities:
            self._inputs, self._predictors, self._chosen_at = Inputs(self._space, self._told.fidelities), {}, 0
        if len(self._told) >= 2 * self._chosen_at:
            chosen = chosen_predictors(self._told, self._problem, self._inputs, self._names, seed=self._seed, known=self._exact.names)
            if chosen is None:
                return None
            self._chosen = {metric: choice.name for metric, choice in chosen.items()}
            self._chosen_at = len(self._told)
            self._correlation = min((choice.correlation for choice in chosen.values()), default=1.0)
        # Predictors are kept from round to round for what they remember of the pool; `fit` forgets all examples.
        self._predictors = {
            (metric, name): self._predictors.get((metric, name)) or make_predictor(name, self._inputs.space(name), seed=self._seed)
            for metric, name in self._chosen.items()
        }
        return fitted_surrogate(self._told, self._problem, self._inputs, self._predictors, self._exact)

    def _screened(self, picker: Picker, rng: np.random.Generator) -> Genotypes:
        if self._is_listed is None:
            self._members_ND = listed(self._space)
            self._is_listed = self._members_ND is not None
        if self._members_ND is not None:
            return self._members_ND
        return bred(self._space, self._parents(100), picker.scores, num_candidates=self._pool, rng=rng)[0]

    def _pending(self) -> Genotypes:
        """Asked and not told."""
        told = set(row_keys(self._told.genotypes))
        waiting = b"".join(key for key in self._asked.keys if key not in told)
        return np.frombuffer(waiting, dtype=GENE).reshape(-1, len(self._choices_D))
