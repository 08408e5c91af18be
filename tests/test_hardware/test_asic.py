"""Dataflows against the hand table, the model against its own parts, and the contract."""

import numpy as np
import pytest

from paretune.core.costs import design_violation, one_design
from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.analytic.asic import Asic
from paretune.hardware.analytic.asic_dataflows import COSTS, layer_shapes
from paretune.testing.cost_model import check_cost_model, small_network


def conv(out_channels: int, in_channels: int, kernel: int, size: int, **others: int) -> Layer:
    padding = kernel // 2
    return Layer(
        kind=Kind.CONV,
        out_channels=out_channels,
        in_channels=in_channels,
        kernel=kernel,
        out_height=size,
        out_width=size,
        padding=padding,
        **others,
    )


def cycles(dataflow: str, layer: Layer, pes: int) -> float:
    shapes = layer_shapes(WorkloadBatch.from_layers([[layer]]))
    return float(COSTS[dataflow](shapes, np.array([float(pes)])).cycles[0])


# Worked by hand for 256 elements, (K, C, R, Y).
# dla: ceil(K/4) ceil(C/64) R^2 Y^2, shi: ceil(Y/16)^2 K C R^2, rs: ceil(Y/floor(256/R)) Y R K C.
@pytest.mark.parametrize(
    ("layer", "dla", "shi", "rs"),
    [
        (conv(64, 3, 7, 112, stride=2), 9_834_496, 460_992, 4 * 112 * 7 * 64 * 3),
        (conv(64, 64, 3, 56), 451_584, 589_824, 56 * 3 * 64 * 64),
        (conv(512, 512, 3, 7), 451_584, 2_359_296, 7 * 3 * 512 * 512),
    ],
)
def test_cycles_of_the_dataflows_are_those_of_the_hand_table(layer: Layer, dla: int, shi: int, rs: int) -> None:
    assert cycles("dla", layer, 256) == dla
    assert cycles("shi", layer, 256) == shi
    assert cycles("rs", layer, 256) == rs


def test_early_layers_want_outputs_stationary_and_late_ones_weights() -> None:
    early, late = conv(64, 3, 7, 112, stride=2), conv(512, 512, 3, 7)
    assert cycles("dla", early, 256) / cycles("shi", early, 256) == pytest.approx(21.3, abs=0.05)
    assert cycles("shi", late, 256) / cycles("dla", late, 256) == pytest.approx(5.2, abs=0.05)


def test_a_depthwise_layer_uses_one_of_the_64_input_lanes() -> None:
    layer = Layer(kind=Kind.DEPTHWISE, out_channels=64, in_channels=64, groups=64, kernel=3, padding=1, out_height=8, out_width=8)
    assert cycles("dla", layer, 256) == 16 * 1 * 9 * 64
    assert cycles("shi", layer, 256) == 64 * 9


def test_a_kernel_over_a_sequence_has_one_row() -> None:
    layer = Layer(kind=Kind.CONV, out_channels=8, in_channels=4, kernel=5, taps=5, padding=2, out_width=100)
    assert cycles("rs", layer, 256) == 100 * 5 * 8 * 4
    assert cycles("dla", layer, 256) == 2 * 1 * 5 * 100


def test_a_pattern_of_pruned_weights_saves_no_cycles() -> None:
    assert cycles("dla", conv(64, 64, 3, 56, taps=6), 256) == 451_584


def test_traffic_of_the_dataflows_worked_by_hand() -> None:
    shapes = layer_shapes(WorkloadBatch.from_layers([[conv(64, 128, 3, 32)]]))
    inputs, outputs, weights = 128 * 32 * 32, 64 * 32 * 32, 9 * 64 * 128
    dla, shi, rs = (COSTS[name](shapes, np.array([256.0])) for name in ("dla", "shi", "rs"))
    # dla: 64 outputs in 16 tiles of 4 read the inputs 16 times; 2 tiles of inputs write partial sums, read them, write the sums.
    assert (dla.weight_words[0], dla.activation_words[0]) == (weights, 16 * inputs + 3 * outputs)
    # shi: 2 x 2 squares of 16 x 16 positions read the weights; each of 64 maps reads the inputs.
    assert (shi.weight_words[0], shi.activation_words[0]) == (4 * weights, 64 * inputs + outputs)
    # rs: 85 rows at once are one strip; 16 filters share an input row.
    assert (rs.weight_words[0], rs.activation_words[0]) == (weights, 4 * inputs + outputs)


ONE = {"dataflows": ("dla",), "pes": (256,), "bandwidths_bytes_per_s": (64e9,), "dram_bandwidth_bytes_per_s": 64e9, "clock_hz": 1e9}


def test_time_energy_and_area_of_one_layer_worked_by_hand() -> None:
    layer = Layer(kind=Kind.LINEAR, out_channels=8, in_channels=64, weight_bits=16, activation_bits=16)
    model = Asic(**{**ONE, "bandwidths_bytes_per_s": (1e9,)}, pe_area_mm2=0.01, noc_area_mm2_per_byte_per_s=1e-9, mac_energy_j=1e-12)
    found = model.estimate(WorkloadBatch.from_layers([[layer]]), {})
    # 512 weights once, 64 inputs for each of 2 tiles of 4 outputs, 8 outputs: 648 words of 2 bytes at 1 GB/s; 2 cycles of arithmetic.
    assert found["latency_s"].values[0] == pytest.approx(1296e-9)
    assert found["latency_s"].layer_bottlenecks is not None
    assert found["latency_s"].layer_bottlenecks.tolist() == ["noc"]
    # 512 MACs of 1 + 3 register accesses; 648 words of 6; 512 + 64 + 8 words of 200 from and to DRAM.
    assert found["energy_j"].values[0] == pytest.approx((512 * 4 + 648 * 6 + 584 * 200) * 1e-12)
    assert found["area_mm2"].values[0] == pytest.approx(2.56 + 1.0)


def test_fewer_bits_move_less_and_more_bits_than_a_word_move_no_more() -> None:
    def latency(bits: int) -> float:
        layer = Layer(kind=Kind.LINEAR, out_channels=1000, in_channels=1000, weight_bits=bits, activation_bits=bits)
        return float(Asic(**ONE).estimate(WorkloadBatch.from_layers([[layer]]), {})["latency_s"].values[0])

    assert latency(8) == pytest.approx(latency(16) / 2)
    assert latency(32) == latency(16)


def test_asic_keeps_the_contract() -> None:
    check_cost_model(Asic)
    check_cost_model(lambda: Asic(search=("dataflows", "pes", "bandwidths"), latency_limit_s=1e-6, images=2))


def test_networks_in_many_chunks_cost_what_they_cost_alone() -> None:
    model = Asic(search=("pes",))
    networks = [small_network(width) for width in (4, 8, 16)] * 300
    designs = {name: np.resize([256, 1024, 3072], len(networks)) for name in ("sub1.pes", "sub2.pes")}
    together = model.estimate(WorkloadBatch.from_layers(networks), designs)
    alone = [
        model.estimate(WorkloadBatch.from_layers([network]), {name: values[index : index + 1] for name, values in designs.items()})
        for index, network in enumerate(networks[:3])
    ]
    for name in ("latency_s", "energy_j", "area_mm2"):
        assert together[name].values[-3:] == pytest.approx([one[name].values[0] for one in alone], rel=1e-12)


def test_more_elements_or_bandwidth_than_there_are_is_a_violation_and_no_error() -> None:
    model = Asic(search=("pes", "bandwidths"))
    design = {"sub1.pes": 3072, "sub2.pes": 3072, "sub1.bandwidth_bytes_per_s": 48e9, "sub2.bandwidth_bytes_per_s": 32e9}
    # 6144 of 4096 elements and 80 of 64 GB/s: 0.5 + 0.25
    assert design_violation(model.check(one_design(design)))[0] == pytest.approx(0.75)
    assert model.estimate(WorkloadBatch.from_layers([small_network(4)]), one_design(design))["latency_s"].values[0] > 0


@pytest.mark.parametrize("limit_s", [None, 3e-5])
def test_two_sub_accelerators_are_never_worse_than_either_of_them(limit_s: float | None) -> None:
    networks = [
        (conv(64, 3, 7, 112, stride=2), conv(64, 64, 3, 56), conv(128, 64, 1, 28), conv(512, 512, 3, 7)),
        (conv(16, 3, 3, 32), conv(32, 16, 3, 16)),
    ]
    workloads = WorkloadBatch.from_layers(networks)
    one = {"bandwidths_bytes_per_s": (32e9,), "pes": (1024,), "latency_limit_s": limit_s}
    alone = [Asic(dataflows=(name,), **one).estimate(workloads, {}) for name in ("dla", "shi")]
    both = Asic(bandwidths_bytes_per_s=(32e9, 32e9), pes=(1024, 1024), latency_limit_s=limit_s).estimate(workloads, {})
    for found in alone:
        for index in range(2):
            if limit_s is None:
                assert both["latency_s"].values[index] <= found["latency_s"].values[index]
            elif found["latency_s"].values[index] <= limit_s:
                assert both["latency_s"].values[index] <= limit_s
                assert both["energy_j"].values[index] <= found["energy_j"].values[index]


def test_mixed_networks_gain_from_two_dataflows() -> None:
    layers = (conv(64, 3, 7, 112, stride=2), conv(512, 512, 3, 7))
    workloads = WorkloadBatch.from_layers([layers])
    options = {"pes": (256, 256), "bandwidths_bytes_per_s": (32e9, 32e9)}

    def latency(*dataflows: str) -> float:
        return float(Asic(dataflows=dataflows, **options).estimate(workloads, {})["latency_s"].values[0])

    assert latency("dla", "shi") < 0.6 * min(latency("dla", "dla"), latency("shi", "shi"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pes": (256,)}, "dataflows: give one dataflow, one number of elements"),
        ({"dataflows": ("dla", "nvdla")}, "dataflows: must be one of dla, shi, rs; got 'nvdla'"),
        ({"pes": (0, 256)}, "pes: must be a whole number of at least 1"),
        ({"bandwidths_bytes_per_s": (0.0, 1e9)}, "bandwidths_bytes_per_s: must be a finite number above 0"),
        ({"search": ("pe",)}, "search: must be one of dataflows, pes, bandwidths; got 'pe'. Did you mean 'pes'"),
        ({"latency_limit_s": float("nan")}, "latency_limit_s: must be a finite"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Asic(**options)


def test_unknown_layers_and_designs_are_refused() -> None:
    model = Asic(search=("pes",))
    workloads = WorkloadBatch.from_layers([small_network(4)])
    good = {"sub1.pes": np.array([256]), "sub2.pes": np.array([256])}
    attention = WorkloadBatch.from_layers([[Layer(kind=Kind.ATTENTION, out_channels=8, in_channels=24, name="layer1.attention")]])
    with pytest.raises(BadInput, match=r"knows no cost of attention layer 'layer1.attention'; it knows conv"):
        model.estimate(attention, good)
    with pytest.raises(BadInput, match=r"'sub2.pes' is missing"):
        model.estimate(workloads, {"sub1.pes": good["sub1.pes"]})
    with pytest.raises(BadInput, match=r"sub1.pes: 300 is not one of"):
        model.check({**good, "sub1.pes": np.array([300])})
    with pytest.raises(BadInput, match=r"unknown hardware decision 'sub1.pe'. Did you mean 'sub1.pes'"):
        model.check({**good, "sub1.pe": np.array([256])})
    with pytest.raises(BadInput, match=r"sub1.pes: 3 values for 1 networks"):
        model.estimate(workloads, {**good, "sub1.pes": np.array([256, 256, 512])})
