"""Programmings that are left out because they decide nothing: what may be foreseen, how often wrongly, and that the rest is as it was."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from paretune.core.accuracy_devices import LabelledExamples, RacingHardware
from paretune.core.contest import Contest, Fate
from paretune.core.errors import BadOptions
from paretune.core.metrics import Direction
from paretune.core.objectives import Constraint, Objective
from paretune.hardware import HARDWARE
from paretune.hardware.analog.drift_report import DriftReport
from paretune.hardware.analog.early_stopping import EarlyStopping, intervals, least_deviation, looks, mean_interval
from paretune.hardware.analog.target import Analog

Data = tuple[Tensor, Tensor, Tensor, Tensor]
TIMES_S = (1.0, 86_400.0)
PLANNED = 10
CONFIDENCE = 0.9
ACCURACY = Objective(metric="accuracy_1d", direction=Direction.MAX, reference=0.0)
AVM = Objective(metric="avm", direction=Direction.MIN, reference=1.0)


def report(accuracies_RT: NDArray[np.float64], num_images: int = 200) -> DriftReport:
    return DriftReport(
        preset="made up",
        times_s=TIMES_S,
        accuracies=accuracies_RT,
        logit_errors=np.zeros_like(accuracies_RT),
        digital_accuracy=0.97,
        num_images=num_images,
        planned=PLANNED,
    )


def stopped_at(whole: DriftReport, contest: Contest, confidence: float = CONFIDENCE) -> int:
    """Programmings that would have run."""
    rule = EarlyStopping(contest=contest, confidence=confidence)
    decided = (count for count in looks(PLANNED) if rule.decided(replace(whole, accuracies=whole.accuracies[:count])))
    return next(decided, PLANNED)


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.standard_normal(shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """As accuracies are: most programmings are good, a few are bad. Mean 0, deviation 1."""
    return (2 - rng.gamma(2.0, 1.0, shape)) / np.sqrt(2)


@pytest.mark.parametrize("draw", [normal, skewed])
def test_who_belongs_to_the_front_is_stopped_no_more_often_than_the_confidence_says(draw: object) -> None:
    # The hardest case: after all programmings the candidate is exactly as accurate as a rival that is far better otherwise.
    rng, wrong, trials = np.random.default_rng(1), 0, 300
    assert callable(draw)
    for _ in range(trials):
        accuracies_RT = np.clip(np.round((0.6 + 0.1 * draw(rng, (PLANNED, 2))) * 200) / 200, 0, 1)
        whole = report(accuracies_RT)
        rival = np.array([[-whole.means_T[1], whole.avm - 1]])
        wrong += stopped_at(whole, Contest(objectives=(ACCURACY, AVM), rivals=rival)) < PLANNED
    assert wrong / trials <= 1 - CONFIDENCE


def test_who_is_far_behind_is_stopped_at_the_first_look_and_who_is_ahead_never() -> None:
    rng = np.random.default_rng(2)
    whole = report(0.6 + 0.01 * rng.standard_normal((PLANNED, 2)))
    ahead, behind = (Contest(objectives=(ACCURACY,), rivals=np.array([[-accuracy]])) for accuracy in (0.5, 0.9))
    assert stopped_at(whole, behind) == 3
    assert stopped_at(whole, ahead) == PLANNED
    limit = Contest(rivals=np.zeros((0, 0)), constraints=(Constraint(metric="accuracy_1d", lower=0.8),))
    assert stopped_at(whole, limit) == 3


def test_the_interval_holds_the_mean_over_all_as_often_as_it_says() -> None:
    rng, error, trials = np.random.default_rng(3), 0.05, 2000
    outside = 0
    for values_R in 0.5 + 0.05 * rng.standard_normal((trials, PLANNED)):
        low, high = mean_interval(values_R[:4], PLANNED, error=error, lowest=0.0, least=0.0)
        outside += not low <= values_R.mean() <= high
    # Student's t is exact for normal values: 0.05 at each end; the deviation of such a share is 0.0067.
    assert outside / trials == pytest.approx(0.1, abs=4 * 0.0067)


def test_an_interval_worked_by_hand() -> None:
    # Values 0.4, 0.5, 0.6 of 10: deviation 0.1, t(2 degrees, 95 %) = 2.919986, sqrt(1/3 - 1/10) = 0.483046; half = 0.141049.
    values_n = np.array([0.4, 0.5, 0.6])
    assert mean_interval(values_n, 10, error=0.05, lowest=0.0, least=0.0) == pytest.approx((0.358951, 0.641049), abs=1e-6)
    # Equal by chance: one image of 200 is the least deviation; a third of a tenth is what is left at the tightest end.
    low, high = mean_interval(np.full(3, 0.5), 10, error=0.05, lowest=0.0, least=0.005)
    assert (low, high) == pytest.approx((0.5 - 0.00705245, 0.5 + 0.00705245), abs=1e-7)
    # Without any confidence to give away only the ends of accuracies bound it: (1.5 + 7 x 0) / 10 and (1.5 + 7 x 1) / 10.
    assert mean_interval(values_n, 10, error=1e-12, lowest=0.0, least=0.0) == pytest.approx((0.15, 0.85))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=PLANNED, max_size=PLANNED), st.integers(2, PLANNED))
def test_certain_bounds_hold_whatever_comes(values: list[float], count: int) -> None:
    values_R = np.array(values)
    low, high = mean_interval(values_R[:count], PLANNED, error=1e-9, lowest=0.0, least=1.0)
    assert low - 1e-12 <= values_R.mean() <= high + 1e-12
    assert least_deviation(values_R[:count], PLANNED) <= values_R.std(ddof=1) + 1e-12


def test_after_all_programmings_intervals_are_the_values() -> None:
    whole = report(np.random.default_rng(4).random((PLANNED, 2)))
    found = intervals(whole, error=0.01)
    assert found["accuracy_1d"] == pytest.approx((whole.means_T[1],) * 2)
    assert found["avm"] == pytest.approx((whole.avm,) * 2)
    assert found["deviation_1s"][0] == pytest.approx(whole.deviations_T[0])
    assert found["digital_accuracy"] == (0.97, 0.97)


def test_a_stopped_evaluation_is_the_beginning_of_the_whole_one(digital: nn.Module, digits: Data) -> None:
    target = Analog(times_s=TIMES_S, programmings=6, images=100, seed=3, racing=True)
    assert isinstance(target, RacingHardware)
    shown = LabelledExamples(inputs=digits[2].numpy(), labels=digits[3].numpy())
    whole = target.judge(digital, shown, calibration=digits[0].numpy())
    assert whole.values["programmings"] == 6
    assert whole.details["racing"] == {"planned": 6, "fate": "open"}
    for contest, fate in (
        (Contest(objectives=(ACCURACY,), rivals=np.array([[-1.5]])), Fate.DOMINATED),  # more accurate than can be
        (Contest(rivals=np.zeros((0, 0)), constraints=(Constraint(metric="avm", upper=-1.5),)), Fate.MISSES_LIMIT),
    ):
        found = target.judge_against(digital, shown, calibration=digits[0].numpy(), contest=contest)
        assert found.values["programmings"] == found.details["programmings"] == 3
        assert found.details["racing"] == {"planned": 6, "fate": fate}
        for name, values in found.details["drift"].items():
            accuracies_n = whole.details["drift"][name]["accuracies"][:3]
            assert values["accuracies"] == accuracies_n
            assert found.values[f"accuracy_{name}"] == np.mean(accuracies_n)
            assert found.values[f"deviation_{name}"] == np.std(accuracies_n, ddof=1)
    nobody = Contest(rivals=np.zeros((0, 0)))
    assert target.judge_against(digital, shown, calibration=digits[0].numpy(), contest=nobody) == whole


def test_bad_options_of_racing_are_refused() -> None:
    with pytest.raises(BadOptions) as caught:
        HARDWARE.create("analog", racing=True, racing_confidence=1.0, programmings=3)
    found = dict(caught.value.problems)
    assert found.keys() == {("programmings",), ("racing_confidence",)}
    assert found["programmings",].startswith("must be above 3 to race")
    assert found["racing_confidence",] == "must be above 0.5 and below 1; got 1.0"


def test_only_racing_targets_tell_how_many_programmings_ran() -> None:
    assert "programmings" in {metric.name for metric in Analog(racing=True).metrics}
    assert "programmings" not in {metric.name for metric in Analog(racing=False).metrics}
