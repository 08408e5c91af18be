"""The tiled engine on layers worked by hand: parts, labels, resources, and what the corrected model does otherwise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.costs import design_violation
from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.analytic.fpga.tiled_engine import CHOICES, TiledEngine, Variant
from paretune.testing.cost_model import check_cost_model

MODEST = settings(max_examples=50, deadline=None)
LAYER = Layer(
    kind=Kind.CONV,
    out_channels=8,
    in_channels=4,
    out_height=6,
    out_width=6,
    kernel=3,
    padding=1,
    weight_bits=16,
    activation_bits=16,
    name="a",
)


def engine(
    tm: int, tn: int, ports: tuple[int, int, int], *, tile: int = 6, variant: Variant = "corrected", depthwise: int = 4
) -> TiledEngine:
    weights, inputs, outputs = ports
    return TiledEngine(
        variant=variant,
        output_channel_tile=tm,
        input_channel_tile=tn,
        row_tile=tile,
        column_tile=tile,
        largest_kernel=7,
        weight_port_words=weights,
        input_port_words=inputs,
        output_port_words=outputs,
        depthwise_channel_tile=depthwise,
        clock_hz=1.0,  # seconds are cycles
    )


def found(model: TiledEngine, *layers: Layer) -> tuple[list[float], str]:
    """Cycles and label of each layer."""
    estimates = model.estimate(WorkloadBatch.from_layers([layers]), {})["latency_s"]
    assert estimates.layers is not None
    assert estimates.layer_bottlenecks is not None
    assert estimates.values.tolist() == [estimates.layers.sum()]
    return estimates.layers.tolist(), "".join(label or "-" for label in estimates.layer_bottlenecks)


@pytest.mark.parametrize("variant", ["corrected", "hotnas2020"])
def test_hand_cases_of_each_label(variant: Variant) -> None:
    # tW = 4*2*9/2 = 36, tI = 2*36/2 = 36 (64 with the halo), tO = 4*36/2 = 72; tComp = 9*36 = 324 rules: 2 output tiles x 2 steps x 324.
    assert found(engine(4, 2, (2, 2, 2), variant=variant), LAYER) == ([1296], "C")
    pointwise = replace(LAYER, kernel=1, padding=0)
    # tI = 2*36/1 = 72 > tComp = 36, tW = 1: 2 x 2 x 72.
    assert found(engine(4, 2, (8, 1, 8), variant=variant), pointwise) == ([288], "I")
    # tO = 4*36/1 = 144 > one step of 36: 2 x 144.
    assert found(engine(4, 4, (16, 16, 1), variant=variant), pointwise) == ([288], "O")
    # tW = 4*4*9/1 = 144 > tComp = 9*4 of a map of 2x2: 2 x 144; tO = 4*4/16.
    small = replace(LAYER, out_height=2, out_width=2)
    assert found(engine(4, 4, (1, 16, 16), variant=variant), small) == ([288], "W")


def test_corrected_stride_worked_by_hand() -> None:
    # 6x6 outputs of stride 2 in one tile read (6 - 1)*2 + 3 = 13 rows: tI = 2*169/1 = 338 > tComp = 9*36 = 324; 2 x 2 x 338.
    strided = replace(LAYER, stride=2)
    assert found(engine(4, 2, (2, 1, 2)), strided) == ([1352], "I")
    # As released: outputs divided by the stride again. tI = 2*36/1 = 72, tComp = 9*ceil(6/2)**2 = 81; 2 x 2 x 81.
    assert found(engine(4, 2, (2, 1, 2), variant="hotnas2020"), strided) == ([324], "C")


def test_corrected_depthwise_runs_on_its_own_engine() -> None:
    depthwise = replace(LAYER, kind=Kind.DEPTHWISE, in_channels=8, groups=8)
    # Engine of 4 channels: tComp = 9*36 = 324 per tile, 2 tiles, one step each.
    assert found(engine(64, 64, (2, 2, 2), depthwise=4), depthwise) == ([648], "C")
    # As released: two input tiles are summed for each of the two output tiles.
    assert found(engine(64, 64, (2, 2, 2), depthwise=4, variant="hotnas2020"), depthwise) == ([1296], "C")


def test_linear_layers_are_pointwise_and_left_out_as_released() -> None:
    linear = Layer(kind=Kind.LINEAR, out_channels=10, in_channels=8, weight_bits=16, activation_bits=16, name="classifier")
    # Tiles of 4 x 2: tW = 4*2/2 = 4 cycles a step; 3 tiles x 4 steps x 4.
    assert found(engine(4, 2, (2, 2, 2)), linear) == ([48], "W")
    assert found(engine(4, 2, (2, 2, 2), variant="hotnas2020"), linear) == ([0], "-")


def test_only_channels_that_exist_move_through_the_ports() -> None:
    first = replace(LAYER, in_channels=3, out_channels=2, kernel=1, padding=0, out_height=1, out_width=1)
    # tW = 2*3 = 6, as released 8*8 = 64.
    assert found(engine(8, 8, (1, 1, 1)), first) == ([6], "W")
    assert found(engine(8, 8, (1, 1, 1), variant="hotnas2020"), first) == ([64], "W")


def test_groups_and_images_run_one_after_another() -> None:
    model = engine(4, 2, (2, 2, 2))
    once = found(model, LAYER)[0][0]
    assert found(model, replace(LAYER, batch=3))[0] == [3 * once]
    grouped = replace(LAYER, out_channels=16, in_channels=8, groups=2)
    assert found(model, grouped)[0] == [2 * once]


def test_bits_widen_the_ports_and_words_narrow_wider_layers() -> None:
    model = engine(4, 4, (1, 16, 16))
    layer = replace(LAYER, out_height=2, out_width=2)
    # 8 bits: two weights a cycle, 72 > tComp = 36; 4 bits: 36 = tComp; 32 bits become words of 16.
    cycles = {bits: found(model, replace(layer, weight_bits=bits)) for bits in (4, 8, 16, 32)}
    assert cycles == {4: ([72], "W"), 8: ([144], "W"), 16: ([288], "W"), 32: ([288], "W")}
    inputs = engine(4, 2, (8, 1, 8))
    pointwise = replace(LAYER, kernel=1, padding=0)
    assert found(inputs, replace(pointwise, activation_bits=8)) == ([144], "I")


def test_pooling_and_additions_are_free_and_other_kinds_unknown() -> None:
    pool = Layer(kind=Kind.POOL, out_channels=8, in_channels=8, kernel=9, name="pool")
    assert found(engine(4, 2, (2, 2, 2)), LAYER, pool) == ([1296, 0], "C-")
    with pytest.raises(BadInput, match="fpga: knows no cost of fft layer 'mixer'; it knows conv, depthwise, linear, pool, activation, add"):
        found(engine(4, 2, (2, 2, 2)), LAYER, Layer(kind=Kind.FFT, out_channels=8, in_channels=8, name="mixer"))


def used(**options: int) -> dict[str, float]:
    return {name: float(use.used[0]) for name, use in TiledEngine(**options).check({}).items()}


def test_resources_worked_by_hand() -> None:
    options = {
        "output_channel_tile": 16,
        "input_channel_tile": 8,
        "row_tile": 64,
        "column_tile": 32,
        "largest_kernel": 17,
        "weight_port_words": 4,
        "input_port_words": 2,
        "output_port_words": 1,
        "depthwise_channel_tile": 0,
    }
    # 16 bit: 16*8 multipliers; ports 16*7; buffers 2*(16+8)*ceil(32768/18000 = 1.8) + 128*ceil(4*289*16/18000 = 1.03).
    assert used(**options) == {"dsps": 128, "port_bits": 112, "block_rams": 2 * 24 * 2 + 128 * 2}
    # 32 bit: five DSPs each; buffers 2*(16+8)*ceil(65536/18000 = 3.6) + 2*128*ceil(289*32/18000 = .5).
    assert used(**options, word_bits=32) == {"dsps": 640, "port_bits": 224, "block_rams": 2 * 24 * 4 + 2 * 128}
    # A depthwise engine of 4: 4 multipliers, buffers 2*(4+4)*2 + 4*2.
    assert used(**{**options, "depthwise_channel_tile": 4}) == {"dsps": 132, "port_bits": 112, "block_rams": 352 + 40}


def test_the_default_design_fits_the_device() -> None:
    assert design_violation(TiledEngine().check({})).tolist() == [0]


def test_input_channels_follow_the_dsps_where_asked() -> None:
    model = TiledEngine(input_channel_tile=0, depthwise_channel_tile=20, search=("output_channel_tile",))
    designs = {"output_channel_tile": np.array([10, 40, 220])}
    # (2520 - 20) // 10 = 250, // 40 = 62, // 220 = 11.
    assert model.check(designs)["dsps"].used.tolist() == [2520, 2500, 2440]


@pytest.mark.parametrize("variant", ["corrected", "hotnas2020", "hotnas2020_log"])
def test_tiled_engine_keeps_the_contract(variant: Variant) -> None:
    check_cost_model(lambda: TiledEngine(variant=variant))
    check_cost_model(lambda: TiledEngine(variant=variant, search=tuple(CHOICES)))


WIDTH = st.integers(1, 300)
LAYERS = st.builds(
    lambda out, inside, size, kernel, stride: replace(
        LAYER, out_channels=out, in_channels=inside, out_height=size, out_width=size, kernel=kernel, padding=kernel // 2, stride=stride
    ),
    WIDTH,
    WIDTH,
    st.integers(1, 60),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([1, 2]),
)


@MODEST
@given(LAYERS, st.sampled_from([(64, 16), (8, 200), (220, 4)]), st.tuples(*[st.integers(1, 20)] * 3), st.sampled_from([8, 32, 256]))
def test_label_names_the_only_resource_whose_growth_helps(
    layer: Layer, tiles: tuple[int, int], ports: tuple[int, int, int], tile: int
) -> None:
    cycles, label = found(engine(*tiles, ports, tile=tile), layer)
    for port, name in enumerate("WIO"):
        wider = found(engine(*tiles, tuple(words * (2 if port == index else 1) for index, words in enumerate(ports)), tile=tile), layer)[0]
        assert wider[0] <= cycles[0]
        if label != name:
            assert wider == cycles
    fewer_taps = found(engine(*tiles, ports, tile=tile), replace(layer, taps=max(layer.kernel**2 - 3, 1)))[0]
    assert fewer_taps[0] <= cycles[0]
    if label != "C":
        assert fewer_taps == cycles


@MODEST
@given(LAYERS, st.sampled_from([(64, 16), (8, 200), (220, 4)]))
def test_no_engine_computes_faster_than_its_multipliers(layer: Layer, tiles: tuple[int, int]) -> None:
    cycles, _ = found(engine(*tiles, (10, 10, 10), tile=32), layer)
    macs = int(WorkloadBatch.from_layers([[layer]]).macs_L[0])
    assert cycles[0] >= macs / (tiles[0] * tiles[1])


@MODEST
@given(LAYERS)
def test_less_work_never_takes_longer(layer: Layer) -> None:
    model = TiledEngine()
    base = found(model, layer)[0][0]
    for smaller in (
        replace(layer, out_channels=max(layer.out_channels - 1, 1)),
        replace(layer, in_channels=max(layer.in_channels - 1, 1)),
        replace(layer, out_height=max(layer.out_height - 1, 1)),
        replace(layer, weight_bits=8),
        replace(layer, activation_bits=8),
    ):
        assert found(model, smaller)[0][0] <= base


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "hotnas"}, "variant: must be one of corrected, hotnas2020, hotnas2020_log; got 'hotnas'"),
        ({"word_bits": 8}, "word_bits: must be 16 or 32; got 8"),
        ({"row_tile": 0}, "row_tile: must be a whole number of at least 1; got 0"),
        ({"clock_hz": float("nan")}, "clock_hz: must be a finite number above 0; got nan"),
        ({"search": ("row_tiles",)}, "got 'row_tiles'. Did you mean 'row_tile'?"),
        ({"search": ("row_tile", "row_tile")}, "search: lists a name twice"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        TiledEngine(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_designs_of_another_space_are_refused() -> None:
    model = TiledEngine(search=("row_tile",))
    with pytest.raises(BadInput, match=r"hardware decision 'row_tile' is missing"):
        model.check({})
    with pytest.raises(BadInput, match="row_tile: must be above 0; got 0"):
        model.check({"row_tile": np.array([32, 0])})
