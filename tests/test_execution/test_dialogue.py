"""The order of asks and tells, over every order in which candidates may finish."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.genotype import Decision
from paretune.core.protocols import Searcher
from paretune.core.trial import Outcome, Trial
from paretune.platform.execution.dialogue import Dialogue
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.random_search import RandomSearch
from paretune.searchers.regularized_evolution import RegularizedEvolution
from paretune.testing.problems import TabulatedSpace
from paretune.testing.studies import PROBLEM

SPACE = TabulatedSpace([Decision(name=f"d{index}", choices=(0, 1, 2, 3), ordinal=True) for index in range(4)])
SEARCHERS: dict[str, Callable[[], Searcher]] = {
    "random": lambda: RandomSearch(SPACE, PROBLEM, seed=3),
    "nsga2": lambda: NSGA2(SPACE, PROBLEM, seed=3, population=6),
    "evolution": lambda: RegularizedEvolution(SPACE, PROBLEM, seed=3, population=6, sample=3),
}
NUM_ASKS = 30


def trial_of(index: int, genotype: tuple[int, ...]) -> Trial:
    size = sum(genotype)
    if size % 5 == 4:
        return Trial(ask_index=index, genotype=genotype, outcome=Outcome.DIVERGED)
    metrics = {"accuracy": 1 - 1 / (2 + size), "host.latency_s": 1e-6 * (1 + size), "parameters": 100.0}
    return Trial(ask_index=index, genotype=genotype, outcome=Outcome.OK, metrics=metrics)


def proposals(dialogue: Dialogue, in_flight: int, picks: list[int]) -> list[tuple[int, ...]]:
    """What is asked when up to `in_flight` run and the numbers in `picks` choose which one ends next."""
    asked: list[tuple[int, ...]] = []
    flying: list[Trial] = []
    pick = iter(picks * NUM_ASKS)
    while len(asked) < NUM_ASKS:
        proposal = dialogue.ask() if len(flying) < in_flight else None
        if proposal is None:
            dialogue.result(flying.pop(next(pick) % len(flying)))
        else:
            asked.append(proposal[1])
            flying.append(trial_of(*proposal))
    return asked


@pytest.mark.parametrize("name", SEARCHERS)
@settings(max_examples=25, deadline=None)
@given(in_flight=st.integers(1, 12), picks=st.lists(st.integers(0, 11), min_size=1, max_size=NUM_ASKS))
def test_sync_proposals_do_not_depend_on_the_order_of_completion(name: str, in_flight: int, picks: list[int]) -> None:
    one_after_another = proposals(Dialogue(SEARCHERS[name](), "sync"), 1, [0])
    assert proposals(Dialogue(SEARCHERS[name](), "sync"), in_flight, picks) == one_after_another


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("name", SEARCHERS)
@settings(max_examples=15, deadline=None)
@given(in_flight=st.integers(1, 6), picks=st.lists(st.integers(0, 5), min_size=1, max_size=10), cut=st.integers(0, NUM_ASKS))
def test_a_dialogue_goes_on_from_its_state_as_if_it_had_not_stopped(
    mode: str, name: str, in_flight: int, picks: list[int], cut: int
) -> None:
    class Cut(Dialogue):
        """Saved and loaded once, before ask number `cut`."""

        def ask(self) -> tuple[int, tuple[int, ...]] | None:
            if self.num_asked == cut:
                state = self.state_dict()
                self.__init__(SEARCHERS[name](), mode)  # type: ignore[misc]
                self.load_state_dict(state)
            return super().ask()

    whole = proposals(Dialogue(SEARCHERS[name](), mode), in_flight, picks)
    assert proposals(Cut(SEARCHERS[name](), mode), in_flight, picks) == whole
