from dataclasses import replace

import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.core.objectives import Objective, Problem
from paretune.searchers import SEARCHERS
from paretune.searchers.auto import Auto, choose
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.predictor_guided import PredictorGuided
from paretune.testing.problems import known_front_problem
from paretune.testing.searcher import (
    check_asks_are_new_and_canonical,
    check_infrastructure_failures_teach_nothing,
    check_small_spaces_end,
    check_tells_before,
    drive,
)

KNOWN = known_front_problem()


def many_objectives():
    objectives = [Objective(metric=f"m{index}", direction="min", reference=1.0) for index in range(5)]
    return Problem(objectives=tuple(objectives))


@pytest.mark.parametrize(
    ("size", "num_objectives", "name", "reason"),
    [
        (15_625, 2, "predictor_guided", "every architecture is screened"),
        (10**20, 1, "predictor_guided", "a pool bred from the front"),
        (10**20, 5, "nsga2", "too many objectives"),
    ],
)
def test_the_choice_and_its_reason(size, num_objectives, name, reason):
    chosen, told = choose(size=size, num_objectives=num_objectives)
    assert chosen == name
    assert told.startswith(f"{name} ({size:,} architectures, {num_objectives} objective")
    assert reason in told
    assert "\n" not in told


def test_auto_asks_what_the_chosen_searcher_asks():
    auto, guided = Auto(KNOWN.space, KNOWN.problem, seed=3), PredictorGuided(KNOWN.space, KNOWN.problem, seed=3)
    assert drive(auto, KNOWN, num_candidates=30) == drive(guided, KNOWN, num_candidates=30)
    assert auto.choice.startswith("predictor_guided")
    problem = many_objectives()
    assert np.array_equal(Auto(KNOWN.space, problem, seed=3).ask(9), NSGA2(KNOWN.space, problem, seed=3).ask(9))


def test_a_state_of_another_choice_is_refused():
    state = Auto(KNOWN.space, KNOWN.problem, seed=0).state_dict()
    other = Auto(KNOWN.space, many_objectives(), seed=0)
    with pytest.raises(BadInput, match="of 'predictor_guided', but 'nsga2' was chosen now"):
        other.load_state_dict(state)
    copy = Auto(KNOWN.space, KNOWN.problem, seed=0)
    copy.ask(3)
    copy.load_state_dict(state)
    assert np.array_equal(copy.ask(5), Auto(KNOWN.space, KNOWN.problem, seed=0).ask(5))


@pytest.mark.parametrize(
    "check", [check_asks_are_new_and_canonical, check_small_spaces_end, check_infrastructure_failures_teach_nothing, check_tells_before]
)
def test_auto_keeps_the_contract_where_it_hands_on_nsga2(check):
    padding = tuple(Objective(metric=f"m{index}", direction="min", reference=1.0) for index in range(4))
    check(lambda space, problem, seed: Auto(space, replace(problem, objectives=(*problem.objectives, *padding)), seed=seed))


def test_auto_is_registered_and_takes_no_options():
    assert [option.name for option in SEARCHERS.options("auto")] == []
