"""The FPGA pipeline on networks worked by hand, and the bounds that any of its latencies keeps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.analytic.fpga.pipeline import CHOICES, FpgaPipeline
from paretune.testing.cost_model import check_cost_model

MODEST = settings(max_examples=60, deadline=None)
CONV = Layer(kind=Kind.CONV, out_channels=16, in_channels=16, out_height=14, out_width=14, kernel=3, padding=1, name="conv")


def found(model: FpgaPipeline, *layers: Layer) -> dict[str, float]:
    return {name: float(item.values[0]) for name, item in model.estimate(WorkloadBatch.from_layers([layers]), {}).items()}


def cycles(model: FpgaPipeline, *layers: Layer) -> list[float]:
    parts = model.estimate(WorkloadBatch.from_layers([layers]), {})["latency_s"].layers
    assert parts is not None
    return parts.tolist()


def test_one_layer_worked_by_hand() -> None:
    # Tiles of 7x7: a task is 9*49 = 441 cycles; 64 multipliers are 4 of the 256 products at a time, and there are 4 places: 441*4*4.
    assert found(FpgaPipeline(dsps=64, row_tile=7, column_tile=7, clock_hz=1.0), CONV) == {
        "latency_s": 7056,
        "throughput_per_s": pytest.approx(1 / 7056),
        "dsps": 64,
    }


def test_next_layer_starts_when_the_rows_of_its_first_tile_are_there() -> None:
    # 130 DSPs: 65 each, 16 x 4 channels, 4 steps. Tiles of 2x14: tasks of 9*28 = 252 cycles, a place 1008, 7 places. The second layer's
    # first tile needs rows 1 to 3 (a row of padding is above), so two places: it starts at 2016 and takes 7056.
    model = FpgaPipeline(dsps=130, row_tile=2, column_tile=14, clock_hz=1.0)
    assert cycles(model, CONV, CONV) == [7056, 7056]
    assert found(model, CONV, CONV)["latency_s"] == 2016 + 7056
    # A pool between them halves the map: its first tile now needs rows 1 to 3 of 7, which are 6 of the 14 before the pool: three places.
    pool = Layer(kind=Kind.POOL, out_channels=16, in_channels=16, out_height=7, out_width=7, kernel=2, stride=2)
    small = replace(CONV, out_height=7, out_width=7)
    halved = FpgaPipeline(dsps=82, row_tile=2, column_tile=14, clock_hz=1.0)
    # 80 DSPs by MACs 4 : 1, and one each: 65 and 17; the second has 16 x 1 channels, 16 steps of 9*14 = 126 in 4 places.
    assert cycles(halved, CONV, pool, small) == [7056, 0, 126 * 16 * 4]
    assert found(halved, CONV, pool, small)["latency_s"] == 3 * 1008 + 8064


@pytest.mark.parametrize(("first_reuse", "gap"), [("output", 32), ("input", 80)])
def test_reuse_decides_when_the_first_tile_is_there(first_reuse: str, gap: int) -> None:
    point = {"kind": Kind.CONV, "out_height": 4, "out_width": 4}
    first, second = Layer(out_channels=64, in_channels=10, **point), Layer(out_channels=5, in_channels=64, **point)
    # MACs are 2 : 1, DSPs 1 + 79 and 1 + 39. First: 16 x 5 channels, 4 x 2 steps of 16 cycles. Second: 5 x 8, 8 steps; it needs one tile
    # of the first's outputs: after both input steps (2*16), or after all but the last tiles of the second input step ((4 + 1)*16).
    model = FpgaPipeline(dsps=121, clock_hz=1.0, first_reuse=first_reuse)  # type: ignore[arg-type]
    assert found(model, first, second) == {"latency_s": gap + 128, "throughput_per_s": pytest.approx(1 / 128), "dsps": 120}


def test_a_fast_layer_waits_for_the_slow_one_before_it() -> None:
    slow, fast = replace(CONV, out_height=28, out_width=28), replace(CONV, kernel=1, padding=0, out_height=28, out_width=28)
    # Each layer has 1 DSP: 256 steps of 9*196 and of 196 in 4 places. The second could end at its start + 200,704, long before the first
    # is done; it ends after the last task of its own that needs the first one's last tile: input reuse, 16 outputs of 196 cycles.
    model = FpgaPipeline(dsps=2, clock_hz=1.0)
    assert cycles(model, slow, fast) == [256 * 9 * 196 * 4, 256 * 196 * 4]
    assert found(model, slow, fast)["latency_s"] == 256 * 9 * 196 * 4 + 16 * 196


def test_depthwise_layers_take_one_input_for_each_output() -> None:
    depthwise = replace(CONV, kind=Kind.DEPTHWISE, groups=16)
    # 16 multipliers: all channels at once, 9*196 cycles.
    assert cycles(FpgaPipeline(dsps=16, clock_hz=1.0), depthwise) == [1764]


def test_throughput_is_that_of_the_slowest_engine_whatever_the_batch() -> None:
    model = FpgaPipeline(dsps=130, row_tile=2, clock_hz=1.0)
    batch = replace(CONV, batch=8)
    one, eight = found(model, CONV, CONV), found(model, batch, batch)
    assert eight["throughput_per_s"] == one["throughput_per_s"] == pytest.approx(1 / 7056)
    assert eight["latency_s"] == one["latency_s"] + 7 * 7056


def test_networks_without_engines_and_with_more_layers_than_dsps() -> None:
    pool = Layer(kind=Kind.POOL, out_channels=8, in_channels=8, kernel=2, name="pool")
    model = FpgaPipeline(dsps=2)
    assert found(model, pool)["latency_s"] == 0
    assert found(model, CONV, CONV, CONV)["dsps"] == 3
    together = model.estimate(WorkloadBatch.from_layers([[pool], [CONV, pool], [pool, pool]]), {})["dsps"].values
    assert together.tolist() == [0, 2, 0]
    with pytest.raises(BadInput, match="fpga_pipeline: knows no cost of attention layer 'heads'"):
        found(model, Layer(kind=Kind.ATTENTION, out_channels=8, in_channels=24, name="heads"))


LAYERS = st.builds(
    lambda out, inside, size, kernel, stride, kind, linear: (
        Layer(kind=Kind.LINEAR, out_channels=out, in_channels=inside)
        if linear
        else Layer(
            kind=kind,
            out_channels=inside if kind == Kind.DEPTHWISE else out,
            in_channels=inside,
            groups=inside if kind == Kind.DEPTHWISE else 1,
            out_height=size,
            out_width=size,
            kernel=kernel,
            stride=stride,
            padding=kernel // 2,
        )
    ),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 40),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2]),
    st.sampled_from([Kind.CONV, Kind.DEPTHWISE, Kind.POOL]),
    st.booleans(),
)
NETWORKS = st.lists(LAYERS, min_size=1, max_size=6)


@MODEST
@given(NETWORKS, st.sampled_from([16, 200, 2520]), st.sampled_from([7, 14]), st.sampled_from(["output", "input"]))
def test_latency_lies_between_the_slowest_layer_and_all_in_turn(network: list[Layer], dsps: int, tile: int, reuse: str) -> None:
    model = FpgaPipeline(dsps=dsps, row_tile=tile, column_tile=tile, clock_hz=1.0, first_reuse=reuse)  # type: ignore[arg-type]
    parts, costs = cycles(model, *network), found(model, *network)
    assert max(parts) <= costs["latency_s"] <= sum(parts)
    assert costs["dsps"] <= dsps
    if any(parts):
        assert costs["throughput_per_s"] == pytest.approx(1 / max(parts))


@MODEST
@given(NETWORKS, st.integers(6, 300), st.integers(1, 500))
def test_more_dsps_slow_no_layer_down(network: list[Layer], dsps: int, more: int) -> None:
    few, many = cycles(FpgaPipeline(dsps=dsps), *network), cycles(FpgaPipeline(dsps=dsps + more), *network)
    assert np.all(np.array(many) <= np.array(few))


@MODEST
@given(NETWORKS)
def test_no_engine_computes_faster_than_its_dsps(network: list[Layer]) -> None:
    batch = WorkloadBatch.from_layers([network])
    assert sum(cycles(FpgaPipeline(dsps=500, clock_hz=1.0), *network)) >= batch.macs_L.sum() / 500


def test_fpga_pipeline_keeps_the_contract() -> None:
    check_cost_model(FpgaPipeline)
    check_cost_model(lambda: FpgaPipeline(search=tuple(CHOICES)))


def test_bad_reuse_is_named() -> None:
    with pytest.raises(BadInput, match="first_reuse: must be one of output, input; got 'weights'"):
        FpgaPipeline(first_reuse="weights")  # type: ignore[arg-type]
