import pickle

import numpy as np
import pytest

from paretune.core.derived import DERIVED, DerivedMetric, with_derived, with_derived_columns
from paretune.core.errors import BadInput, EvaluationError, UnknownName
from paretune.core.metrics import Direction


def made(name: str, form: str, **options: object) -> DerivedMetric:
    return DERIVED.create(form, name, **options)


ROBUSTNESS = {"numerator": "accuracy", "denominator": "accuracy_std"}


def test_metrics_are_named_as_users_write_them_and_read_inside() -> None:
    reward = made("reward", "mnasnet", accuracy="accuracy", latency="host.latency_ms", target=0.075)
    assert reward.sources == ("accuracy", "host.latency_s")
    assert reward.value({"accuracy": 0.75, "host.latency_s": 0.150}) == pytest.approx(0.714478, abs=1e-6)
    assert reward.metric.direction is Direction.MAX
    assert pickle.loads(pickle.dumps(reward)).value({"accuracy": 0.75, "host.latency_s": 0.075}) == 0.75


def test_a_loss_is_to_be_small() -> None:
    assert made("loss", "fbnet", cross_entropy="loss", latency="a.latency_s").metric.direction is Direction.MIN


def test_later_metrics_read_earlier_ones_and_missing_sources_leave_them_out() -> None:
    first, second = made("robustness", "ratio", **ROBUSTNESS), made("twice", "weighted_sum", metrics=("robustness",), weights=(2.0,))
    assert with_derived({"accuracy": 0.9, "accuracy_std": 0.02}, (first, second)) == {
        "accuracy": 0.9,
        "accuracy_std": 0.02,
        "robustness": pytest.approx(45),
        "twice": pytest.approx(90),
    }
    assert with_derived({"accuracy": 0.9}, (first, second)) == {"accuracy": 0.9}


def test_columns_are_derived_row_by_row() -> None:
    density = made("density", "ratio", numerator="macs", denominator="parameters")
    columns = with_derived_columns({"macs": np.array([10.0, 30.0]), "parameters": np.array([2.0, 3.0])}, (density,))
    assert columns["density"].tolist() == [5.0, 10.0]
    assert "density" not in with_derived_columns({"macs": np.array([1.0]), "parameters": np.array([0.0])}, (density,))


def test_what_has_no_value_is_told_with_its_name() -> None:
    robustness = made("robustness", "ratio", **ROBUSTNESS)
    with pytest.raises(EvaluationError, match=r"derived\.robustness: floor: the denominator is 0"):
        robustness.value({"accuracy": 0.9, "accuracy_std": 0.0})
    with pytest.raises(EvaluationError, match=r"derived\.robustness: is inf"):
        robustness.value({"accuracy": 1e300, "accuracy_std": 1e-300})


def test_nonsense_is_refused_before_anything_runs() -> None:
    with pytest.raises(BadInput, match="target: must be above 0"):
        made("reward", "mnasnet", accuracy="accuracy", latency="host.latency_ms", target=-1.0)
    with pytest.raises(BadInput, match="limits: 1 given for 2 costs"):
        made("reward", "feasible_first", objective="accuracy", costs=("a", "b"), limits=(1.0,))
    with pytest.raises(UnknownName, match="Did you mean 'target'"):
        made("reward", "mnasnet", accuracy="accuracy", latency="x", targte=1.0)
    with pytest.raises(BadInput, match="needs the option 'latency'"):
        made("reward", "mnasnet", accuracy="accuracy", target=1.0)


@pytest.mark.parametrize("form", DERIVED.names())
def test_every_form_says_what_it_is_and_names_its_metrics_first(form: str) -> None:
    assert DERIVED.describe(form).endswith(".")
    assert DERIVED.inputs(form)
    assert all(option.required for option in DERIVED.inputs(form))
