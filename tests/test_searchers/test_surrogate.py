import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.searchers.surrogate import MANY_DECISIONS, STRAIGHT, Logarithm, Warp, suited_scale

FEW, MANY = MANY_DECISIONS, MANY_DECISIONS + 1


def test_with_few_decisions_the_best_third_counts_most():
    values_N = np.linspace(5.0, 50.0, 40)
    assert suited_scale(values_N, num_decisions=FEW) == Warp.of(values_N)


def test_with_many_decisions_positive_values_are_learned_as_logarithms():
    assert suited_scale(np.linspace(5.0, 50.0, 40), num_decisions=MANY) == Logarithm()


def test_with_many_decisions_values_of_either_sign_stay_as_they_are():
    # A maximised accuracy is told as its negative.
    assert suited_scale(-np.linspace(0.5, 0.9, 40), num_decisions=MANY) is STRAIGHT


def test_one_broken_architecture_among_many_decisions_is_drawn_in():
    # Errors of 10 to 12 % and one of 90 %: ln 90 - ln 11 = 2.1 is far more than 4 * (ln 11 - ln 10) = 0.4.
    values_N = np.append(np.linspace(10.0, 12.0, 39), 90.0)
    assert suited_scale(values_N, num_decisions=MANY) == Warp.of(values_N)


def test_equal_values_have_a_scale():
    scaled_N = suited_scale(np.full(5, 2.0), num_decisions=MANY)(np.full(5, 2.0))
    assert scaled_N == pytest.approx(np.log(2.0))


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(1, 10**6).map(lambda value: value / 1000), min_size=4, max_size=30),
    num_decisions=st.sampled_from([FEW, MANY]),
)
def test_every_scale_keeps_the_order_and_has_an_inverse(values, num_decisions):
    values_N = np.sort(values)
    scale = suited_scale(values_N, num_decisions=num_decisions)
    assert (np.diff(scale(values_N)) >= 0).all()
    assert scale.natural(scale(values_N)) == pytest.approx(values_N, rel=1e-6)


def test_a_reference_that_is_not_positive_lies_below_every_logarithm():
    assert Logarithm()(np.array([-1.0, 0.0, 1e-9]))[:2].max() < np.log(1e-9)
