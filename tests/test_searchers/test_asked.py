import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput, SearchFailed
from paretune.core.genotype import Decision, num_choices, row_keys
from paretune.searchers.asked import Asked
from paretune.searchers.operators import random_genotypes
from paretune.testing.problems import TabulatedSpace
from paretune.testing.strategies import spaces


def decisions(*counts):
    return [Decision(name=f"d{index}", choices=tuple(range(count)), ordinal=True) for index, count in enumerate(counts)]


def always_the_first(space):
    return lambda index, rng, count: np.zeros((count, len(space.decisions)), dtype=np.int16)


def at_random(space):
    choices = num_choices(space.decisions)
    return lambda index, rng, count: random_genotypes(choices, rng, count)


@settings(max_examples=40, deadline=None)
@given(spaces(), st.integers(0, 1000), st.booleans())
def test_any_small_space_is_asked_completely_without_repeats(space, seed, stubborn):
    asked = Asked(space, seed=seed, purpose="test")
    propose = always_the_first(space) if stubborn else at_random(space)
    rows = np.concatenate([asked.extend(3, propose) for _ in range(space.size // 3 + 2)])
    assert sorted(row_keys(rows)) == sorted(row_keys(space.members()))
    assert asked.exhausted
    assert len(asked) == space.size


def test_a_space_whose_last_architectures_are_rare_is_asked_to_the_end():
    # 2**16 genotypes, of which 256 are valid: 2,048 random samples meet eight of them, and the last one hardly ever.
    class StartsWithZero(TabulatedSpace):
        def valid(self, genotypes_ND):
            return genotypes_ND[:, 0] == 0

    space = StartsWithZero(decisions(256, 256))
    space.size = 256
    asked = Asked(space, seed=0, purpose="test")
    assert len(asked.extend(600, always_the_first(space))) == 256
    assert asked.exhausted


def test_what_is_left_over_does_not_depend_on_when_the_search_was_resumed():
    space = TabulatedSpace(decisions(4, 5, 6))
    whole = Asked(space, seed=5, purpose="test")
    rows = whole.extend(120, always_the_first(space))
    for moment in (1, 2, 60, 119):
        first, second = Asked(space, seed=5, purpose="test"), Asked(space, seed=5, purpose="test")
        begun = first.extend(moment, always_the_first(space))
        second.load(first.state())
        assert np.array_equal(np.concatenate([begun, second.extend(120, always_the_first(space))]), rows)


def test_a_space_too_large_to_list_fails_with_a_reason_instead_of_looping():
    # Only genotypes that start with 0 are valid and all of them collapse to one: nothing second can be found in 1e9 genotypes.
    class OneNetwork(TabulatedSpace):
        def canonical(self, genotypes_ND):
            return np.zeros_like(genotypes_ND)

    asked = Asked(OneNetwork(decisions(1000, 1000, 1000)), seed=0, purpose="test")
    asked.extend(1, at_random(TabulatedSpace(decisions(1000, 1000, 1000))))
    with pytest.raises(SearchFailed, match="after 1 of 1,000,000,000 were asked, and 1,000,000,000 genotypes are too many to enumerate"):
        asked.extend(1, always_the_first(TabulatedSpace(decisions(1000, 1000, 1000))))


def test_a_space_that_overstates_its_size_is_named():
    space = TabulatedSpace(decisions(2, 2))
    space.size = 5
    with pytest.raises(SearchFailed, match="says that it has 5 architectures, but only 4 exist"):
        Asked(space, seed=0, purpose="test").extend(5, at_random(space))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-5], "cannot be read"),
        (lambda text: "?" + text, "cannot be read"),
        (lambda text: "", "cannot be read"),
    ],
)
def test_a_damaged_state_is_refused(damage, message):
    space = TabulatedSpace(decisions(4, 5, 6))
    asked = Asked(space, seed=0, purpose="test")
    asked.extend(10, at_random(space))
    with pytest.raises(BadInput, match=message):
        Asked(space, seed=0, purpose="test").load(damage(asked.state()))


@pytest.mark.parametrize(("other", "message"), [((4, 5, 6, 7), "of 4 decisions"), ((4, 5, 2), "choices that the space does not have")])
def test_the_state_of_another_space_is_refused(other, message):
    space = TabulatedSpace(decisions(4, 5, 6))
    asked = Asked(space, seed=0, purpose="test")
    asked.extend(10, at_random(space))
    with pytest.raises(BadInput, match=message):
        Asked(TabulatedSpace(decisions(*other)), seed=0, purpose="test").load(asked.state())


def test_the_state_of_ten_thousand_candidates_is_small():
    space = TabulatedSpace(decisions(*[4] * 30))
    asked = Asked(space, seed=0, purpose="test")
    asked.extend(10_000, at_random(space))
    assert len(asked.state()) < 200_000


def test_a_negative_seed_is_refused():
    with pytest.raises(BadInput, match=r"seed: must not be negative \(got -1\)"):
        Asked(TabulatedSpace(decisions(2)), seed=-1, purpose="test")
