"""The learning-rate schedule."""

import pytest

from paretune.tasks.recipe import Recipe


def recipe(warmup: float) -> Recipe:
    return Recipe(batch_size=64, learning_rate=0.4, momentum=0.9, weight_decay=0.0, label_smoothing=0.0, warmup=warmup)


def test_rate_rises_to_the_peak_and_falls_along_a_cosine_to_nearly_zero() -> None:
    rates = [recipe(0.25).learning_rate_at(step, 16) for step in range(16)]
    # Four steps of warm-up in quarters; then 0.2 * (1 + cos(pi * k / 12)): the peak at k = 0, half of it at k = 6.
    assert rates[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert rates[10] == pytest.approx(0.2)
    assert 0 < rates[15] < 0.01


@pytest.mark.parametrize("warmup", [0.0, 0.01, 0.3, 1.0])
def test_rate_stays_positive_and_below_the_peak(warmup: float) -> None:
    rates = [recipe(warmup).learning_rate_at(step, 50) for step in range(50)]
    assert all(0 < rate <= 0.4 for rate in rates)
