import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput, EvaluationError
from paretune.core.metrics import SI_UNITS, Direction, Metric, checked_metrics, readable, si_name, unit_of

ACCURACY = Metric(name="accuracy", unit="", direction=Direction.MAX, lower=0.0, upper=1.0)
LATENCY = Metric(name="host.latency_s", unit="s", direction="min", lower=0.0)
EXPECTED = {"accuracy": ACCURACY, "host.latency_s": LATENCY}


@pytest.mark.parametrize(
    ("given_name", "inner", "factor"),
    [
        ("host.latency_ms", "host.latency_s", 1e-3),
        ("latency_us", "latency_s", 1e-6),
        ("host.energy_mj", "host.energy_j", 1e-3),
        ("peak_memory_kib", "peak_memory_bytes", 1024.0),
        ("area_um2", "area_mm2", 1e-6),
        ("latency_s", "latency_s", 1.0),
        ("accuracy", "accuracy", 1.0),
        ("num_layers", "num_layers", 1.0),
        ("ms", "ms", 1.0),
    ],
)
def test_units_of_users_become_si(given_name, inner, factor):
    assert si_name(given_name) == (inner, factor)


@pytest.mark.parametrize("suffix", SI_UNITS)
def test_si_names_stay_as_they_are(suffix):
    inner, _ = si_name(f"x_{suffix}")
    assert si_name(inner) == (inner, 1.0)
    assert unit_of(inner) == SI_UNITS[suffix][0]


@pytest.mark.parametrize(("name", "unit"), [("host.latency_s", "s"), ("accuracy", ""), ("w", ""), ("s", ""), ("num_blocks", "")])
def test_only_a_suffix_is_a_unit(name, unit):
    assert unit_of(name) == unit


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("host.latency_s", 0.00231, "2.31 ms"),
        ("host.latency_s", 2.5, "2.5 s"),
        ("host.latency_s", 4.2e-7, "420 ns"),
        ("host.latency_s", -0.002, "-2 ms"),
        ("host.latency_s", 0.0, "0 s"),
        ("host.latency_s", 4000.0, "4,000 s"),
        ("host.latency_s", 0.0009996, "1,000 µs"),  # not 1e+03
        ("peak_memory_bytes", 5.2e9, "5,200 MB"),
        ("peak_memory_bytes", 12.0, "12 bytes"),
        ("energy_j", 3e-7, "300 nJ"),
        ("area_mm2", 12.3456, "12.35 mm2"),
        ("accuracy", 0.9721, "97.21 %"),
        ("validation.accuracy", 1.0, "100.00 %"),
        ("accuracy_top5", 0.5, "50.00 %"),
        ("parameters", 12345.0, "12,345"),
        ("parameters", 12345.6, "12,346"),
        ("score", 0.123456, "0.1235"),
        ("score", math.inf, "inf"),
        ("score", math.nan, "nan"),
    ],
)
def test_values_read_as_people_write_them(name, value, text):
    assert readable(name, value) == text


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["t_s", "e_j", "p_w", "m_bytes", "accuracy", "num_layers"]), st.floats(1e-9, 1e12))
def test_large_values_are_never_printed_with_an_exponent(name, value):
    assert "e+" not in readable(name, value)


class FloatLike:
    def __float__(self):
        return 0.25


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.5, 0.5),
        (1, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(1), 1.0),
        (np.uint8(1), 1.0),
        (np.array(0.5), 0.5),
        (Decimal("0.5"), 0.5),
        (FloatLike(), 0.25),
    ],
)
def test_real_numbers_of_any_kind_become_floats(value, number):
    values = checked_metrics({"accuracy": value}, {"accuracy": ACCURACY}, producer="task")
    assert values == {"accuracy": number}
    assert type(values["accuracy"]) is float


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "NoneType None; expected one real number"),
        ("0.5", "str '0.5'; expected one real number"),
        (True, "bool True; expected one real number"),
        (np.bool_(True), "expected one real number"),
        (1j, "expected one real number"),
        (np.complex128(1), "expected one real number"),
        (np.array([0.5]), "expected one real number"),
        ([0.5], "list .0.5.; expected one real number"),
        (10**400, "expected one real number"),
        (math.nan, "is nan; expected a finite number"),
        (-math.inf, "is -inf; expected a finite number"),
        (np.float32("nan"), "is nan; expected a finite number"),
        (1.01, "is 1.01; expected 0.0 to 1.0"),
        (-0.1, "is -0.1; expected 0.0 to 1.0"),
    ],
)
def test_what_is_no_metric_is_refused_by_name(value, complaint):
    with pytest.raises(EvaluationError, match=f"my task returned unusable metrics: 'accuracy' .*{complaint}|'accuracy' {complaint}"):
        checked_metrics({"accuracy": value}, {"accuracy": ACCURACY}, producer="my task")


def test_every_problem_of_an_evaluation_is_reported_at_once_and_long_values_are_cut():
    with pytest.raises(EvaluationError) as caught:
        checked_metrics({"acuracy": 0.5, "host.latency_s": "x" * 500}, EXPECTED, producer="task")
    message = str(caught.value)
    assert "'accuracy' is missing. Did you mean 'acuracy'?" in message
    assert "'host.latency_s' is str 'xxx" in message
    assert len(message) < 250


def test_metrics_that_nobody_expects_are_left_out():
    assert checked_metrics({"accuracy": 1.0, "host.latency_s": 0.1, "epoch": 3}, EXPECTED, producer="task") == {
        "accuracy": 1.0,
        "host.latency_s": 0.1,
    }


def test_directions_may_be_written_as_text():
    assert LATENCY.direction is Direction.MIN
    with pytest.raises(ValueError, match="down"):
        Metric(name="x", unit="", direction="down")


def test_a_metric_in_another_unit_than_si_says_its_name_and_factor() -> None:
    with pytest.raises(BadInput, match=r"Name it 'dev.energy_j', unit 'j', and multiply its values by 0\.001; objectives may name it 'dev"):
        Metric(name="dev.energy_mj", unit="mj", direction=Direction.MIN)
