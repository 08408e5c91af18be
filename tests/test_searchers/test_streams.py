from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.rng import stream
from paretune.searchers.lemonade import Lemonade
from paretune.searchers.nsga2 import NSGA2
from paretune.searchers.regularized_evolution import RegularizedEvolution
from paretune.searchers.streams import Streams
from paretune.testing.problems import known_front_problem

MODEST = settings(max_examples=40, deadline=None)
SMALL = {
    "nsga2": partial(NSGA2, population=10),
    "regularized_evolution": partial(RegularizedEvolution, population=10, sample=3),
    "lemonade": partial(Lemonade, initial=10, pool=16),
}


@MODEST
@given(seed=st.integers(0, 2**63 - 1), first=st.integers(0, 2**40), count=st.integers(1, 5), rows=st.integers(1, 4))
def test_a_batch_draws_for_each_ask_what_its_own_stream_draws(seed, first, count, rows):
    streams = Streams(seed=seed, purpose="test")
    streams.at(first + 1, 2, rows=3).random((6, 5))  # what was drawn before leaves no trace
    batch = streams.at(first, count, rows=rows)
    wanted = np.arange(count * rows) % 3 == 0
    drawn = batch.random((count * rows, 3)), batch.integers(7, size=(2,)), batch.integers_where(5, wanted)
    waits, more = batch.exponential(), batch.with_rows(rows + 1).random((count * (rows + 1), 2))
    for ask in range(count):
        alone, own = stream(seed, index=first + ask, purpose="test"), slice(ask * rows, (ask + 1) * rows)
        assert np.array_equal(drawn[0][own], alone.random((rows, 3)))
        assert np.array_equal(drawn[1][:, own], alone.integers(7, size=(2, rows)))
        before = int(wanted[: ask * rows].sum())
        count_own = int(wanted[own].sum())
        if count_own:
            assert np.array_equal(drawn[2][before : before + count_own], alone.integers(5, size=count_own))
        assert np.array_equal(waits[own], alone.exponential(size=rows))
        assert np.array_equal(more[ask * (rows + 1) : (ask + 1) * (rows + 1)], alone.random((rows + 1, 2)))


@MODEST
@given(seed=st.integers(0, 1000), batches=st.lists(st.integers(1, 30), min_size=1, max_size=6), kind=st.sampled_from(sorted(SMALL)))
def test_asks_in_one_batch_are_those_one_by_one(seed, batches, kind):
    known = known_front_problem(num_stages=2, widest=3)
    searchers = [SMALL[kind](known.space, known.problem, seed=seed) for _ in range(2)]
    index = 0
    for count in batches:
        together = searchers[0].ask(count)
        alone = np.concatenate([searchers[1].ask(1) for _ in range(count)])
        assert np.array_equal(together, alone)
        trials = [known.trial(index + offset, row) for offset, row in enumerate(together)]
        index += len(together)
        for searcher in searchers:
            searcher.tell(trials)


def test_a_batch_longer_than_what_is_made_at_once_has_no_repeats():
    known = known_front_problem()
    searcher = NSGA2(known.space, known.problem, seed=1)
    first = searcher.ask(20)
    searcher.tell([known.trial(index, row) for index, row in enumerate(first)])
    more = searcher.ask(600)
    assert len(np.unique(np.concatenate([first, more]), axis=0)) == 620
