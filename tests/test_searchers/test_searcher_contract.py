import random
import subprocess
import sys

import numpy as np
import pytest

from paretune.core.protocols import StartingSearcher
from paretune.searchers import SEARCHERS
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.predictor_guided import PredictorGuided
from paretune.searchers.random_search import RandomSearch
from paretune.searchers.regularized_evolution import RegularizedEvolution
from paretune.testing.problems import known_front_problem
from paretune.testing.searcher import (
    CHECKS,
    check_any_order_of_tells,
    check_ask_of_many_equals_many_asks,
    check_asks_are_new_and_canonical,
    check_draws_are_its_own,
    check_failed_trials,
    check_infrastructure_failures_teach_nothing,
    check_searcher,
    check_small_spaces_end,
    check_start,
    check_state_round_trip,
    check_tells_before,
)

FACTORIES = {
    name: lambda space, problem, seed, name=name: SEARCHERS.create(name, space, problem, seed=seed)
    for name in SEARCHERS.names()
    if name != "auto"  # hands everything on to another, see test_auto.py
} | {
    # The checks run a hundred searches: with the cheapest predictor, and few fits. test_predictor_guided.py has the others.
    "predictor_guided": lambda space, problem, seed: PredictorGuided(space, problem, seed=seed, predictor="ridge:genes", batch=15),
    "fitness_proportionate": lambda space, problem, seed: RegularizedEvolution(space, problem, seed=seed, policy="fitness_proportionate"),
    "youngest": lambda space, problem, seed: RegularizedEvolution(space, problem, seed=seed, policy="youngest"),
    "tiny_population": lambda space, problem, seed: NSGA2(space, problem, seed=seed, population=2, crossover=1.0, mutation=0.0),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("factory", FACTORIES.values(), ids=FACTORIES)
def test_every_searcher_keeps_the_contract(factory, check):
    check(factory)


@pytest.mark.parametrize("name", SEARCHERS.names())
def test_every_searcher_takes_candidates_to_start_from(name):
    known = known_front_problem()
    given = known.space.members()[[5, 900, 40]]
    searcher = SEARCHERS.create(name, known.space, known.problem, seed=3)
    assert isinstance(searcher, StartingSearcher)
    searcher.start_from(given)
    assert np.array_equal(searcher.ask(4)[:3], given)


def test_searches_ignore_the_hash_seed_of_python():
    code = (
        "from paretune.searchers import SEARCHERS\n"
        "from paretune.testing.problems import known_front_problem\n"
        "from paretune.testing.searcher import drive\n"
        "known = known_front_problem()\n"
        "for name in sorted(set(SEARCHERS.names()) - {'auto'}):\n"
        "    searcher = SEARCHERS.create(name, known.space, known.problem, seed=3)\n"
        "    print([trial.genotype for trial in drive(searcher, known, num_candidates=90)], searcher.state_dict())\n"
    )
    outputs = set()
    for hash_seed in ("1", "77"):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        outputs.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
    assert len(outputs) == 1


# Planted bugs: each searcher breaks one sentence of the contract, and the check of that sentence must say so.


class RepeatsItself(RandomSearch):
    def ask(self, count):
        rows = super().ask(count)
        if len(rows) > 3:
            rows[-1] = rows[0]
        return rows


class SkipsCanonicalForm(RandomSearch):
    def ask(self, count):
        rows = super().ask(count)
        rows[rows[:, -2] == 0, -1] = 1  # tail absent, its kernel not 0
        return rows


class DrawsByCall(NSGA2):
    def ask(self, count):
        rows = super().ask(count)
        return rows[::-1]


class KeepsItsOwnGenerator(NSGA2):
    """The generator is state, but not in `state_dict`."""

    def __init__(self, space, problem, *, seed):
        super().__init__(space, problem, seed=seed)
        self._generator = np.random.default_rng(seed)

    def _propose(self, index, rng, count):
        return super()._propose(index, self._generator, count)


class DrawsFromTheGlobalGenerator(RandomSearch):
    def _propose(self, index, rng, count):
        return (np.random.random((count, len(self._choices_D))) * self._choices_D).astype(np.int16)  # noqa: NPY002


class UsesTheRandomModule(RandomSearch):
    def _propose(self, index, rng, count):
        return np.array([[random.randrange(int(n)) for n in self._choices_D] for _ in range(count)], dtype=np.int16)


class ForgetsPending(NSGA2):
    """Its state holds what it was told, not what it asked."""

    def tell(self, trials):
        super().tell(trials)
        self._finished = getattr(self, "_finished", 0) + len(trials)

    def load_state_dict(self, state):
        super().load_state_dict(state)
        for key in list(self._asked._keys)[-3:]:
            del self._asked._keys[key]


class LearnsFromThePlug(NSGA2):
    """Takes a lost node for a bad architecture."""

    def tell(self, trials):
        from dataclasses import replace

        from paretune.core.trial import Outcome

        super().tell([trial if trial.outcome.teaches else replace(trial, outcome=Outcome.CRASHED) for trial in trials])


class DependsOnGrouping(NSGA2):
    def tell(self, trials):
        super().tell(trials)
        self._select()


class StopsTooEarly(RandomSearch):
    @property
    def exhausted(self):
        return len(self._asked) >= 10


class NeverEnds(RandomSearch):
    @property
    def exhausted(self):
        return False


class WaitsForItself(RandomSearch):
    def tells_before(self, ask_index):
        return ask_index + 1


class WaitsLess(RandomSearch):
    def tells_before(self, ask_index):
        return ask_index % 7 if ask_index >= 7 else 0


class WaitsForWhatItKnows(RandomSearch):
    """`tells_before` depends on the progress of the search."""

    def __init__(self, space, problem, *, seed):
        super().__init__(space, problem, seed=seed)
        self._num_told = 0

    def tell(self, trials):
        self._num_told += len(trials)

    def tells_before(self, ask_index):
        return min(ask_index, self._num_told)


class StateIsNoJson(NSGA2):
    def state_dict(self):
        return super().state_dict() | {"points": self._survivors.points}


class StateIsALiveList(NSGA2):
    """Hands out its own list instead of a copy."""

    def __init__(self, space, problem, *, seed):
        super().__init__(space, problem, seed=seed)
        self._history = []

    def ask(self, count):
        rows = super().ask(count)
        self._history.extend(rows.tolist())
        return rows

    def state_dict(self):
        return super().state_dict() | {"history": self._history}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self._history = list(state["history"])


class BreaksOnFailures(NSGA2):
    def tell(self, trials):
        for trial in trials:
            assert trial.metrics["accuracy"] >= 0
        super().tell(trials)


class MissesTheLast(RandomSearch):
    """Never finds every member of a small space."""

    def ask(self, count):
        return super().ask(min(count, max(0, 11 - len(self._asked))))


class ForgetsTheStart(NSGA2):
    def start_from(self, genotypes_ND):
        pass


class MixesTheStart(RandomSearch):
    """Asks for the given candidates in another order."""

    def start_from(self, genotypes_ND):
        super().start_from(genotypes_ND[::-1])


class StartsAfresh(NSGA2):
    """What was given and not asked yet is not part of the state."""

    def load_state_dict(self, state):
        super().load_state_dict(state | {"asked": state["asked"].split()[0]})


class TakesAnyStart(RandomSearch):
    def start_from(self, genotypes_ND):
        self._asked._given.extend(genotypes_ND)


@pytest.mark.parametrize(
    ("broken", "check", "message"),
    [
        (RepeatsItself, check_asks_are_new_and_canonical, "asked twice"),
        (SkipsCanonicalForm, check_asks_are_new_and_canonical, "not canonical"),
        (StopsTooEarly, check_asks_are_new_and_canonical, "exhausted after"),
        (DrawsByCall, check_ask_of_many_equals_many_asks, "differs from 2 times"),
        (NeverEnds, check_small_spaces_end, "not exhausted"),
        (MissesTheLast, check_small_spaces_end, "gave 11 rows of a space with 12"),
        (KeepsItsOwnGenerator, check_state_round_trip, "went on differently"),
        (ForgetsPending, check_state_round_trip, "changed it|went on differently"),
        (StateIsNoJson, check_state_round_trip, "JSON"),
        (StateIsALiveList, check_state_round_trip, "must be a copy"),
        (DependsOnGrouping, check_any_order_of_tells, "grouped"),
        (BreaksOnFailures, check_failed_trials, "accuracy"),
        (LearnsFromThePlug, check_infrastructure_failures_teach_nothing, "changed the state"),
        (WaitsForItself, check_tells_before, "not between 0"),
        (WaitsLess, check_tells_before, "falls"),
        (WaitsForWhatItKnows, check_tells_before, "must be pure"),
        (DrawsFromTheGlobalGenerator, check_draws_are_its_own, "global random generator"),
        (ForgetsTheStart, check_start, "first 1 asks were others"),
        (MixesTheStart, check_start, "first 7 asks were others"),
        (StartsAfresh, check_start, "went on differently"),
        (TakesAnyStart, check_start, "took a repeated candidate"),
        (UsesTheRandomModule, check_draws_are_its_own, "global random generator"),
    ],
)
def test_a_planted_bug_is_caught_and_named(broken, check, message):
    with pytest.raises((AssertionError, TypeError, KeyError), match=message):
        check(lambda space, problem, seed: broken(space, problem, seed=seed))


def test_the_whole_contract_runs_every_check():
    with pytest.raises(AssertionError, match="asked twice"):
        check_searcher(lambda space, problem, seed: RepeatsItself(space, problem, seed=seed))
