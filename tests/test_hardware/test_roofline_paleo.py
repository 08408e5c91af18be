"""Roofline and Paleo against hand-worked layers."""

import pytest

from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.analytic.paleo import Paleo
from paretune.hardware.analytic.roofline import Roofline
from paretune.testing.cost_model import check_cost_model

# 224x224, 64 -> 64, 3x3: 2 * 9 * 64 * 64 * 224 * 224 = 3,699,376,128 FLOPs.
CONV = Layer(kind=Kind.CONV, out_channels=64, in_channels=64, kernel=3, padding=1, out_height=224, out_width=224)
TITAN_X = {"peak_flops_per_s": 6144e9, "bandwidth_bytes_per_s": 336.5 * 2**30, "clock_hz": 1e9}
ONE = WorkloadBatch.from_layers([[CONV]])


def paleo_s(**options: float) -> float:
    return float(Paleo(**{**TITAN_X, **options}).estimate(ONE, {})["latency_s"].values[0])


def test_paleo_of_a_convolution_on_titan_x() -> None:
    assert int(2 * ONE.macs_L[0]) == 3_699_376_128
    # Compute .602112 ms; 226 * 226 * 64 + 9 * 64 * 64 + 224 * 224 * 64 words of 4 bytes over 336.5 * 2^30 bytes/s: .072148 ms.
    assert paleo_s() == pytest.approx(0.602112e-3 + 0.072148e-3, abs=5e-10)
    assert paleo_s(share_of_peak=0.5) - paleo_s() == pytest.approx(0.602112e-3, abs=1e-12)
    assert paleo_s(share_of_bandwidth=0.5) - paleo_s() == pytest.approx(0.072148e-3, abs=5e-10)


def test_no_part_is_shorter_than_a_period_of_the_clock() -> None:
    tiny = WorkloadBatch.from_layers([[Layer(kind=Kind.LINEAR, out_channels=1, in_channels=1)]])
    assert Paleo(**TITAN_X).estimate(tiny, {})["latency_s"].values[0] == pytest.approx(3e-9)


def test_paleo_labels_the_longest_part() -> None:
    linear = Layer(kind=Kind.LINEAR, out_channels=1000, in_channels=1000)
    pool = Layer(kind=Kind.POOL, out_channels=64, in_channels=64)
    found = Paleo(**TITAN_X).estimate(WorkloadBatch.from_layers([[CONV, linear, pool]]), {})["latency_s"]
    assert found.layer_bottlenecks is not None
    assert found.layer_bottlenecks.tolist() == ["compute", "read", "free"]


def roofline(**options: object) -> Roofline:
    return Roofline(**{"peak_flops_per_s": 1e9, "bandwidth_bytes_per_s": 1e9, **options})


LINEAR = Layer(kind=Kind.LINEAR, out_channels=100, in_channels=400)


def test_a_linear_layer_waits_for_its_weights_worked_by_hand() -> None:
    # 80,000 FLOPs take 80 us; 40,000 + 500 words of 4 bytes take 162 us.
    found = roofline().estimate(WorkloadBatch.from_layers([[LINEAR]]), {})
    assert found["latency_s"].values[0] == pytest.approx(162e-6)
    assert found["utilization"].values[0] == pytest.approx(80 / 162)
    assert found["latency_s"].layer_bottlenecks is not None
    assert found["latency_s"].layer_bottlenecks.tolist() == ["memory"]


def test_fewer_bits_make_the_arithmetic_the_limit() -> None:
    # A quarter of the bytes take 40.5 us: the arithmetic's 80 us remain.
    found = roofline(precision_bits=8).estimate(WorkloadBatch.from_layers([[LINEAR]]), {})
    assert found["latency_s"].values[0] == pytest.approx(80e-6)
    assert found["latency_s"].layer_bottlenecks is not None
    assert found["latency_s"].layer_bottlenecks.tolist() == ["compute"]


def test_layers_bring_their_own_bits_where_no_precision_is_given() -> None:
    layer = Layer(kind=Kind.LINEAR, out_channels=100, in_channels=400, weight_bits=16)
    found = roofline().estimate(WorkloadBatch.from_layers([[layer]]), {})
    assert found["latency_s"].values[0] == pytest.approx(80e-6 + 2e-6)


def test_elementwise_layers_cost_their_traffic_unless_fused() -> None:
    add = Layer(kind=Kind.ADD, out_channels=16, in_channels=16, out_height=8, out_width=8)
    workloads = WorkloadBatch.from_layers([[LINEAR, add]])
    fused, moving = (
        roofline(fused_elementwise=fused, layer_overhead_s=1e-6).estimate(workloads, {})["latency_s"].values[0] for fused in (True, False)
    )
    # 1,024 words in and out, and one overhead more.
    assert moving - fused == pytest.approx(8192e-9 + 1e-6)


def test_both_keep_the_contract() -> None:
    check_cost_model(roofline)
    check_cost_model(lambda: Paleo(**TITAN_X))


def test_options_and_layers_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(BadInput, match="share_of_peak: must be at most 1"):
        paleo_s(share_of_peak=1.5)
    with pytest.raises(BadInput, match="peak_flops_per_s: must be a finite number above 0"):
        roofline(peak_flops_per_s=0)
    fft = WorkloadBatch.from_layers([[Layer(kind=Kind.FFT, out_channels=8, in_channels=8)]])
    with pytest.raises(BadInput, match="paleo: knows no cost of fft layer number 1"):
        Paleo(**TITAN_X).estimate(fft, {})
