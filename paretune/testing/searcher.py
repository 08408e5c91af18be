"""The contract of `core.protocols.Searcher`, sentence by sentence, as checks that take a factory.

Use it for a searcher of your own::

    def test_my_searcher_keeps_the_contract():
        check_searcher(lambda space, problem, seed: MySearcher(space, problem, seed=seed))
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Decision, Genotypes, row_keys
from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.protocols import GenotypeSpace, Searcher, StartingSearcher
from paretune.core.trial import Outcome, Trial
from paretune.testing.problems import Inactive, KnownFront, TabulatedSpace, constrained_front_problem, known_front_problem

Factory: TypeAlias = Callable[[GenotypeSpace, Problem, int], Searcher]

SEED = 7
BUDGET = 150
"""Candidates of a check that runs a whole search."""


def check_searcher(factory: Factory) -> None:
    """Check every sentence of the searcher protocol.

    Args:
        factory: `(space, problem, seed) -> Searcher`; called often.

    Raises:
        AssertionError: saying which sentence is broken, with the values seen.
    """
    for check in CHECKS:
        check(factory)


def drive(searcher: Searcher, known: KnownFront, *, num_candidates: int, in_flight: int | None = None) -> list[Trial]:
    """Run a whole search in this thread, with the oldest candidate finishing first.

    Args:
        searcher: asked and told.
        known: evaluates the candidates.
        num_candidates: budget; the search ends earlier where the space does.
        in_flight: candidates under evaluation at once, as in `mode: async`; None tells as `mode: sync` does, each result as late as
            `tells_before` allows.

    Returns:
        The trials in ask order.
    """
    trials: list[Trial] = []
    num_told = 0
    for index in range(num_candidates):
        due = searcher.tells_before(index) if in_flight is None else max(0, index + 1 - in_flight)
        if due > num_told:
            searcher.tell(trials[num_told:due])
            num_told = due
        rows_ND = searcher.ask(1)
        if len(rows_ND) == 0:
            break
        trials.append(known.trial(index, rows_ND[0]))
    searcher.tell(trials[num_told:])
    return trials


def check_asks_are_new_and_canonical(factory: Factory) -> None:
    """Asks give canonical, valid genotypes inside the space, none of them twice."""
    known = known_front_problem()
    searcher = factory(known.space, known.problem, SEED)
    assert np.shape(searcher.ask(0)) == (0, len(known.space.decisions)), "ask(0) must return no row of D genes"
    seen: set[bytes] = set()
    for count in (1, 2, 30, 7, 1, 1, 40, 3, 64, 1):
        rows_ND = searcher.ask(count)
        _assert_members(rows_ND, known.space)
        assert len(rows_ND) == count, f"ask({count}) gave {len(rows_ND)} rows though the space holds {known.space.size} architectures"
        for key in row_keys(rows_ND):
            assert key not in seen, f"an architecture was asked twice, after {len(seen)} others"
            seen.add(key)
        searcher.tell([known.trial(len(seen) - count + row, genotype) for row, genotype in enumerate(rows_ND)])
        assert not searcher.exhausted, f"exhausted after {len(seen)} of {known.space.size} architectures"


def check_ask_of_many_equals_many_asks(factory: Factory) -> None:
    """`ask(2)` gives what `ask(1)` twice would have given, before and after results came in."""
    known = known_front_problem()
    together, singly = factory(known.space, known.problem, SEED), factory(known.space, known.problem, SEED)
    asked = 0
    for count in (2, 58, 2, 5, 30):
        rows_ND = together.ask(count)
        single_ND = np.concatenate([singly.ask(1) for _ in range(count)])
        assert np.array_equal(rows_ND, single_ND), f"ask({count}) differs from {count} times ask(1), {asked} asked before"
        trials = [known.trial(asked + row, genotype) for row, genotype in enumerate(rows_ND)]
        together.tell(trials)
        singly.tell(trials)
        asked += count


def check_small_spaces_end(factory: Factory) -> None:
    """Every architecture of a small space is asked once, then no more, and `exhausted` says so."""
    for space in (_twelve_members(), TabulatedSpace([Decision(name="only", choices=("one",), ordinal=False)])):
        members = set(row_keys(space.members()))
        at_once = factory(space, _one_objective(), SEED)
        rows_ND = at_once.ask(200)
        assert len(rows_ND) == space.size, f"ask(200) gave {len(rows_ND)} rows of a space with {space.size} architectures"
        assert set(row_keys(rows_ND)) == members, "not every architecture of the space was asked"
        assert at_once.exhausted, "not exhausted though every architecture was asked"
        assert len(at_once.ask(1)) == 0, "an exhausted searcher asked again"

        one_by_one, seen = factory(space, _one_objective(), SEED), set[bytes]()
        for index in range(space.size):
            assert not one_by_one.exhausted, f"exhausted after {index} of {space.size}"
            row_ND = one_by_one.ask(1)
            _assert_members(row_ND, space)
            seen.update(row_keys(row_ND))
            one_by_one.tell([_single_trial(index, row_ND[0])])
        assert one_by_one.exhausted, "not exhausted though every architecture was asked"
        assert seen == members, "not every architecture of the space was asked"


def check_state_round_trip(factory: Factory) -> None:
    """The state is JSON, and a searcher that loaded it goes on as the one it came from, pending candidates included."""
    known = known_front_problem()
    for num_asked in (0, 3, 30, 70):
        for tell_first in (False, True):
            original = factory(known.space, known.problem, SEED)
            trials, num_told = _go_on(original, known, [], 0, num_asked)
            if tell_first and num_told < len(trials):
                original.tell(trials[num_told : num_told + 2])
                num_told += 2
            state = original.state_dict()
            text = json.dumps(state, allow_nan=False)
            expected, _ = _go_on(original, known, trials, num_told, num_asked + 25)
            assert json.dumps(state, allow_nan=False) == text, "a state changed after it was taken; it must be a copy"
            used = factory(known.space, known.problem, SEED)
            used.ask(5)
            for copy in (factory(known.space, known.problem, SEED), used):
                copy.load_state_dict(json.loads(text))
                assert json.loads(json.dumps(copy.state_dict())) == json.loads(text), "loading a state and taking it again changed it"
                found, _ = _go_on(copy, known, trials, num_told, num_asked + 25)
                assert found == expected, f"a loaded searcher went on differently after {num_asked} asks, {num_told} tells"


def check_any_order_of_tells(factory: Factory) -> None:
    """Results may come in any order and in any grouping between two asks."""
    known = known_front_problem()
    reverse = factory(known.space, known.problem, SEED)
    seen: list[bytes] = []
    for start in range(0, 96, 12):
        rows_ND = reverse.ask(12)
        seen += row_keys(rows_ND)
        reverse.tell([known.trial(start + row, rows_ND[row]) for row in reversed(range(12))])
    assert len(set(seen)) == len(seen) == 96, "told in reverse order, the searcher repeated itself or stopped"

    together, singly = factory(known.space, known.problem, SEED), factory(known.space, known.problem, SEED)
    for start in range(0, 96, 12):
        rows_ND = together.ask(12)
        assert np.array_equal(rows_ND, singly.ask(12)), "asks depend on how the results between two asks were grouped"
        trials = [known.trial(start + row, rows_ND[row]) for row in (5, 3, 11, 0, 1, 2, 4, 10, 9, 8, 7, 6)]
        together.tell(trials)
        together.tell([])
        for trial in trials:
            singly.tell([trial])


def check_failed_trials(factory: Factory) -> None:
    """Failures teach without breaking anything: a search in which most or all candidates fail goes on."""
    known = known_front_problem()
    failures = (Outcome.DIVERGED, Outcome.OOM, Outcome.TIMEOUT, Outcome.CRASHED, Outcome.USER_ERROR, Outcome.INFEASIBLE)
    for good_every in (5, BUDGET + 1):
        searcher = factory(known.space, known.problem, SEED)
        seen: set[bytes] = set()
        for index in range(BUDGET):
            row_ND = searcher.ask(1)
            seen.update(row_keys(row_ND))
            trial = known.trial(index, row_ND[0])
            if (index + 1) % good_every:
                outcome = failures[index % len(failures)]
                free = {"parameters": trial.metrics["parameters"]} if outcome is Outcome.INFEASIBLE else {}
                trial = replace(trial, outcome=outcome, metrics=free)
            searcher.tell([trial])
        assert len(seen) == BUDGET, f"only {len(seen)} of {BUDGET} architectures were new where candidates fail"
        json.dumps(searcher.state_dict(), allow_nan=False)


def check_infrastructure_failures_teach_nothing(factory: Factory) -> None:
    """Outcomes that do not teach leave the state and all later asks alone."""
    known = known_front_problem()
    told, spared = factory(known.space, known.problem, SEED), factory(known.space, known.problem, SEED)
    for start in range(0, 90, 30):
        trials = [known.trial(start + row, genotype) for row, genotype in enumerate(told.ask(30))]
        spared.ask(30)
        told.tell(trials[:20])
        spared.tell(trials[:20])
        before = _text(told)
        for outcome in (item for item in Outcome if not item.teaches):
            told.tell([replace(trial, outcome=outcome, metrics={}) for trial in trials[20:]])
            assert _text(told) == before, f"a trial that ended with {outcome} changed the state"
    assert np.array_equal(told.ask(30), spared.ask(30)), "infrastructure failures changed the proposals"


def check_tells_before(factory: Factory) -> None:
    """`tells_before` is pure, never falls and never waits for a candidate that was not asked; a search by it goes through."""
    known = known_front_problem()
    searcher = factory(known.space, known.problem, SEED)
    before = [searcher.tells_before(index) for index in range(500)]
    assert all(0 <= value <= index for index, value in enumerate(before)), f"tells_before is not between 0 and the ask index: {before}"
    assert all(a <= b for a, b in pairwise(before)), f"tells_before falls: {before}"
    trials = drive(searcher, known, num_candidates=BUDGET)
    assert len(trials) == BUDGET, f"a search in mode sync ended after {len(trials)} of {BUDGET} candidates"
    assert [searcher.tells_before(index) for index in range(500)] == before, "tells_before changed during the search; it must be pure"


def check_limits_that_cannot_be_met(factory: Factory) -> None:
    """A search in which nothing, or a single architecture, meets the limits still asks its whole budget."""
    known = known_front_problem()
    latency = known.problem.objectives[1].metric
    for limit in (-1.0, known.front[:, 1].min()):
        problem = replace(known.problem, constraints=(Constraint(metric=latency, upper=limit),))
        trials = drive(factory(known.space, problem, SEED), known, num_candidates=BUDGET)
        assert len({trial.genotype for trial in trials}) == BUDGET, f"with latency <= {limit} the search stopped or repeated itself"


def check_numbers_of_objectives(factory: Factory) -> None:
    """One, two and three objectives, with and without a limit that cuts the front."""
    known, constrained = known_front_problem(), constrained_front_problem()
    parameters = Objective(metric="parameters", direction=Direction.MIN, reference=20_000.0)
    for objectives in (known.problem.objectives[:1], known.problem.objectives, (*known.problem.objectives, parameters)):
        for constraints in ((), constrained.problem.constraints):
            problem = Problem(objectives=objectives, constraints=constraints)
            trials = drive(factory(known.space, problem, SEED), known, num_candidates=80, in_flight=4)
            assert len({trial.genotype for trial in trials}) == 80, f"{len(objectives)} objectives: the search stopped or repeated itself"


def check_start(factory: Factory) -> None:
    """Given candidates are asked first, in order, and never again, and the search goes on from them; for searchers that take any."""
    known = known_front_problem()
    if not isinstance(factory(known.space, known.problem, SEED), StartingSearcher):
        return
    for count in (1, 7, 60):
        given_ND = known.space.members()[:: known.space.size // count][:count]
        together, singly = (_started(factory, known, given_ND) for _ in range(2))
        rows_ND = together.ask(count + 3)
        assert np.array_equal(rows_ND[:count], given_ND), f"of {count} given candidates the first {count} asks were others"
        single_ND = np.concatenate([singly.ask(1) for _ in range(count + 3)])
        assert np.array_equal(rows_ND, single_ND), f"with {count} given candidates ask({count + 3}) differs from as many times ask(1)"
        trials = drive(_started(factory, known, given_ND), known, num_candidates=BUDGET)
        asked = [trial.genotype for trial in trials]
        assert np.array_equal(asked[:count], given_ND), f"of {count} given candidates the first {count} asks were others once results came"
        assert len(set(asked)) == BUDGET, (
            f"with {count} given candidates {BUDGET - len(set(asked))} of {BUDGET} asks were repeated or left out"
        )
        for num_asked in (0, count // 2, count, count + 5):
            original = _started(factory, known, given_ND)
            begun, num_told = _go_on(original, known, [], 0, num_asked)
            copy = factory(known.space, known.problem, SEED)
            copy.load_state_dict(json.loads(json.dumps(original.state_dict())))
            expected, _ = _go_on(original, known, begun, num_told, count + 30)
            found, _ = _go_on(copy, known, begun, num_told, count + 30)
            assert found == expected, f"of {count} given candidates {num_asked} were asked; a searcher loaded then went on differently"
    _check_whole_space_given(factory)
    _check_start_refused(factory)


def _check_whole_space_given(factory: Factory) -> None:
    space = _twelve_members()
    searcher = factory(space, _one_objective(), SEED)
    assert isinstance(searcher, StartingSearcher)
    searcher.start_from(space.members())
    assert not searcher.exhausted, "exhausted though none of the given candidates was asked"
    assert np.array_equal(searcher.ask(space.size + 5), space.members()), "a space given whole was not asked whole, in the order given"
    assert searcher.exhausted, "not exhausted though every architecture was asked"


def _check_start_refused(factory: Factory) -> None:
    known = known_front_problem()
    members_ND = known.space.members()
    outside_ND = members_ND[:2].copy()
    outside_ND[1, 0] = len(known.space.decisions[0].choices)
    for reason, rows_ND, num_asked in (
        ("a repeated candidate", members_ND[[0, 3, 0]], 0),
        ("a choice that the space does not have", outside_ND, 0),
        ("candidates given after the first ask", members_ND[:2], 1),
    ):
        searcher = factory(known.space, known.problem, SEED)
        assert isinstance(searcher, StartingSearcher)
        searcher.ask(num_asked)
        try:
            searcher.start_from(rows_ND)
        except BadInput:
            continue
        raise AssertionError(f"start_from took {reason}; it must raise BadInput")


def _started(factory: Factory, known: KnownFront, given_ND: Genotypes) -> Searcher:
    searcher = factory(known.space, known.problem, SEED)
    assert isinstance(searcher, StartingSearcher)
    searcher.start_from(given_ND)
    return searcher


def check_draws_are_its_own(factory: Factory) -> None:
    """Equal seeds give equal searches whatever the global random generators hold, and those are left alone."""
    known = known_front_problem()
    searches = []
    # The legacy global generators are what is under test here.
    for global_seed in (1, 2):
        random.seed(global_seed)
        np.random.seed(global_seed)  # noqa: NPY002
        before = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
        searches.append(drive(factory(known.space, known.problem, SEED), known, num_candidates=80, in_flight=3))
        assert (random.getstate(), repr(np.random.get_state())) == before, "the searcher drew from a global random generator"  # noqa: NPY002
    assert searches[0] == searches[1], "two searches with one seed differ"


CHECKS: tuple[Callable[[Factory], None], ...] = (
    check_asks_are_new_and_canonical,
    check_ask_of_many_equals_many_asks,
    check_small_spaces_end,
    check_state_round_trip,
    check_any_order_of_tells,
    check_failed_trials,
    check_infrastructure_failures_teach_nothing,
    check_tells_before,
    check_limits_that_cannot_be_met,
    check_numbers_of_objectives,
    check_start,
    check_draws_are_its_own,
)
"""Every check, for `pytest.mark.parametrize`."""


def _go_on(searcher: Searcher, known: KnownFront, trials: Sequence[Trial], num_told: int, until: int) -> tuple[list[Trial], int]:
    """Ask until `until` candidates were asked, six of them pending, some of them failing; all trials, and how many were told."""
    trials = list(trials)
    while len(trials) < until:
        due = max(num_told, len(trials) - 5)
        searcher.tell(trials[num_told:due])
        num_told = due
        trial = known.trial(len(trials), searcher.ask(1)[0])
        outcome = {3: Outcome.DIVERGED, 7: Outcome.PREEMPTED}.get(len(trials) % 9, Outcome.OK)
        trials.append(trial if outcome is Outcome.OK else replace(trial, outcome=outcome, metrics={}))
    return trials, num_told


def _assert_members(rows_ND: Genotypes, space: GenotypeSpace) -> None:
    rows_ND = np.asarray(rows_ND)
    assert rows_ND.ndim == 2, f"ask must return rows (n, D) (got shape {rows_ND.shape})"
    assert rows_ND.shape[1] == len(space.decisions), f"ask must return {len(space.decisions)} genes a row (got shape {rows_ND.shape})"
    assert np.issubdtype(rows_ND.dtype, np.integer), f"genotypes must be integers (got {rows_ND.dtype})"
    for decision, genes_N in zip(space.decisions, rows_ND.T, strict=True):
        assert np.all((genes_N >= 0) & (genes_N < len(decision.choices))), f"'{decision.name}' has no such choice: {genes_N}"
    assert np.array_equal(space.canonical(rows_ND), rows_ND), "ask returned a genotype that is not canonical"
    assert np.all(space.valid(rows_ND)), "ask returned a genotype that the space calls invalid"


def _twelve_members() -> TabulatedSpace:
    """3 x (2 where the first is 0, else 1) x 4, less 4: 16 - 4 = 12 architectures of 24 genotypes."""
    decisions = [Decision(name=name, choices=tuple(range(count)), ordinal=True) for name, count in (("a", 3), ("b", 2), ("c", 4))]
    forbidden = [[(0, 2), (2, choice)] for choice in range(4)]
    return TabulatedSpace(decisions, inactive=[Inactive(decision=1, controller=0, choices=(1, 2))], forbidden=forbidden)


def _one_objective() -> Problem:
    return Problem(objectives=(Objective(metric="sum", direction=Direction.MAX, reference=0.0),))


def _single_trial(ask_index: int, genotype: Genotypes) -> Trial:
    genes = tuple(int(gene) for gene in genotype)
    return Trial(ask_index=ask_index, genotype=genes, outcome=Outcome.OK, metrics={"sum": float(sum(genes))})


def _text(searcher: Searcher) -> str:
    return json.dumps(searcher.state_dict(), allow_nan=False, sort_keys=True)
