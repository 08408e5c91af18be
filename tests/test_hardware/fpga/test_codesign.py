"""The Codesign-NAS accelerator: its space, published arithmetic, layers worked by hand, and what searching jointly is worth."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from paretune.core.costs import design_violation
from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.analytic.fpga.codesign import CodesignFpga
from paretune.hardware.analytic.fpga.codesign_space import CHOICES, clb_equivalents, performance_per_area, silicon_area_mm2
from paretune.spaces.nasbench201 import NasBench201
from paretune.testing.cost_model import check_cost_model

CONV = Layer(
    kind=Kind.CONV, out_channels=20, in_channels=4, out_height=6, out_width=6, kernel=3, padding=1, weight_bits=16, activation_bits=16
)


def every_design() -> dict[str, np.ndarray]:
    rows = list(product(*CHOICES.values()))
    return {name: np.array(column) for name, column in zip(CHOICES, zip(*rows, strict=True), strict=True)}


def test_the_space_has_8640_designs_that_all_fit_the_device() -> None:
    model, designs = CodesignFpga(search=tuple(CHOICES)), every_design()
    assert len(designs["pool_engine"]) == 8640
    # 423,624 cells of NAS-Bench-101 times the designs: 3.66e9 pairs.
    assert 423_624 * len(designs["pool_engine"]) == 3_660_111_360
    assert np.all(design_violation(model.check(designs)) == 0)


def test_device_area() -> None:
    # 64,922 logic blocks of 0.0044 mm2.
    assert silicon_area_mm2(np.array([64_922.0]))[0] == pytest.approx(285.6568)
    # A memory of 36 kbit is worth 6 blocks, 0.026 mm2, a DSP 10, 0.044 mm2.
    assert clb_equivalents(np.array([1.0]), np.array([1.0]), np.array([1.0])).tolist() == [17]


@pytest.mark.parametrize(
    ("name", "milliseconds", "area_mm2", "published"),
    [("ResNet", 42.0, 186, 12.80), ("Cod-1", 41.8, 132, 18.12), ("GoogLeNet", 19.3, 132, 39.25), ("Cod-2", 18.5, 133, 40.64)],
)
def test_published_performance_per_area(name: str, milliseconds: float, area_mm2: float, published: float) -> None:
    assert performance_per_area(np.array([milliseconds / 1e3]), np.array([area_mm2]))[0] == pytest.approx(published, abs=0.005)


def model(**options: object) -> CodesignFpga:
    fixed = {
        "filter_parallelism": 8,
        "pixel_parallelism": 16,
        "input_buffer_depth": 1024,
        "weight_buffer_depth": 1024,
        "output_buffer_depth": 1024,
        "memory_interface_bits": 512,
        "clock_hz": 1.0,
    }
    return CodesignFpga(**{**fixed, **options})  # type: ignore[arg-type]


def found(accelerator: CodesignFpga, *layers: Layer, predecessors: list[list[int]] | None = None) -> tuple[float, list[float], list[str]]:
    batch = WorkloadBatch.from_layers([layers], predecessors=None if predecessors is None else np.array(predecessors))
    latency = accelerator.estimate(batch, {})["latency_s"]
    assert latency.layers is not None
    assert latency.layer_bottlenecks is not None
    return float(latency.values[0]), latency.layers.tolist(), latency.layer_bottlenecks.tolist()


def test_computation_worked_by_hand() -> None:
    # 3 groups of 8 filters, 3 blocks of 16 of the 36 positions, 4 inputs, 9 taps.
    assert found(model(), CONV) == (3 * 3 * 4 * 9, [324], ["compute"])
    # Half the positions: 5 blocks of 8. A 1x1 layer gets the other half.
    point = replace(CONV, kernel=1, padding=0)
    assert found(model(conv_engine_ratio=0.5), CONV, point)[1] == [3 * 5 * 4 * 9, 3 * 5 * 4]
    assert found(model(conv_engine_ratio=0.75), CONV, point)[1] == [3 * 3 * 4 * 9, 3 * 9 * 4]
    # Depthwise: one input for each output. Grouped: 2 groups of 10 outputs are 2 x 2 blocks of filters, from 2 inputs each.
    assert found(model(), replace(CONV, kind=Kind.DEPTHWISE, in_channels=20, groups=20))[1] == [3 * 3 * 9]
    assert found(model(), replace(CONV, groups=2))[1] == [2 * 2 * 3 * 2 * 9]
    assert found(model(), replace(CONV, taps=6, batch=2))[1] == [2 * 3 * 3 * 4 * 6]


def test_traffic_worked_by_hand() -> None:
    linear = Layer(kind=Kind.LINEAR, out_channels=20, in_channels=400, weight_bits=8, activation_bits=16)
    # 8,000 weights of 8 bits and 420 activations of 16 over 8 bits a cycle; 3 groups of filters x 400 inputs compute in 1,200.
    assert found(model(memory_interface_bits=8), linear) == (8840, [8840], ["memory"])
    # Inputs of 4*64 words do not fit 1*16: each of the 3 groups of filters reads them again. Weights fit.
    image = replace(CONV, out_height=8, out_width=8)
    cycles = (3 * 4 * 64 + 20 * 64 + 720) * 16 / 1
    assert found(model(memory_interface_bits=1, input_buffer_depth=1), image)[1] == [cycles]
    # Weights of a group, 8*36, do not fit 8*8: read again for each of the 16 blocks of 4 positions that the output buffer holds.
    cycles = (4 * 64 + 20 * 64 + 16 * 720) * 16 / 1
    assert found(model(memory_interface_bits=1, weight_buffer_depth=8, output_buffer_depth=4), image)[1] == [cycles]


def test_pooling_runs_on_its_engine_or_on_the_host() -> None:
    pool = Layer(kind=Kind.POOL, out_channels=20, in_channels=20, out_height=3, out_width=3, kernel=2, stride=2)
    assert found(model(pool_engine=True), pool) == (3 * 9 * 4, [108], ["compute"])
    assert found(model(pool_engine=False, host_ops_per_s=10), pool) == (72, [72], ["host"])
    add = Layer(kind=Kind.ADD, out_channels=20, in_channels=20, out_height=6, out_width=6)
    assert found(model(), CONV, add) == (324, [324, 0], ["compute", ""])


def test_branches_run_side_by_side_on_two_engines() -> None:
    point, add = replace(CONV, kernel=1, padding=0), Layer(kind=Kind.ADD, out_channels=20, in_channels=20, out_height=6, out_width=6)
    layers, diamond = (CONV, CONV, point, add, point), [[-1, -1], [0, -1], [0, -1], [1, 2], [3, -1]]
    split = model(conv_engine_ratio=0.5)
    spatial, pointwise = 3 * 5 * 4 * 9, 3 * 5 * 4
    assert found(split, *layers)[0] == 2 * spatial + 2 * pointwise
    assert found(split, *layers, predecessors=diamond)[0] == 2 * spatial + pointwise
    # One engine runs one layer at a time, branches or not.
    assert found(model(), *layers, predecessors=diamond)[0] == pytest.approx(2 * 324 + 2 * 36)


def test_networks_of_different_lengths_are_scheduled_apart() -> None:
    point = replace(CONV, kernel=1, padding=0)
    networks, split = [[CONV, point], [point], [CONV, CONV, point]], model(conv_engine_ratio=0.5)
    rows = np.array([[-1], [-1], [-1], [-1], [0], [0]])
    together = split.estimate(WorkloadBatch.from_layers(networks, predecessors=rows), {})["latency_s"].values
    assert together.tolist() == [540, 60, 1080]
    chained = np.array([[-1], [0], [-1], [-1], [0], [1]])
    found = split.estimate(WorkloadBatch.from_layers(networks, predecessors=chained), {})["latency_s"].values
    assert found.tolist() == split.estimate(WorkloadBatch.from_layers(networks), {})["latency_s"].values.tolist()


def test_area_worked_by_hand() -> None:
    small = model(conv_engine_ratio=0.5, pool_engine=True)
    # Buffers of 1024 x 16, 8, 8 words of 16 bits, double: 14.2, 7.1 and 7.1 memories of 36 kbit; 128 multipliers of one DSP and 16 blocks.
    clbs = 8000 + 16 * 128 + 4 * 512 + 2000 + 1500
    equivalents = clbs + 6 * (15 + 8 + 8) + 10 * 128
    uses = {name: use.used.tolist() for name, use in small.check({}).items()}
    assert uses == {"clb_equivalents": [equivalents], "dsps": [128], "block_rams": [31]}
    costs = small.estimate(WorkloadBatch.from_layers([[CONV]]), {})
    assert costs["area_mm2"].values[0] == pytest.approx(equivalents * 0.0044)
    assert costs["performance_per_area"].values[0] == pytest.approx(1 / 540 / (equivalents * 0.0044 / 100))


def test_too_small_a_device_makes_designs_infeasible() -> None:
    tight = CodesignFpga(search=("pixel_parallelism",), device_dsps=256)
    designs = {"pixel_parallelism": np.array([16, 64])}
    # 16*16 fit; 16*64 = 1024 are three times more than there are, over what there is.
    assert design_violation(tight.check(designs)).tolist() == [0, 3]


def test_joint_search_is_never_worse_than_hardware_first_and_somewhere_better(data_folder: Path) -> None:
    from pyarrow.parquet import read_table

    table = read_table(data_folder / "nb201" / "nb201.parquet", columns=["arch_idx", "cifar100_test_200ep"])
    rng = np.random.Generator(np.random.Philox(key=5))
    chosen = np.sort(rng.choice(15_625, size=14, replace=False))
    accuracy_N = table["cifar100_test_200ep"].to_numpy()[np.argsort(table["arch_idx"].to_numpy())][chosen]
    searched = ("filter_parallelism", "pixel_parallelism", "memory_interface_bits", "conv_engine_ratio")
    rows = list(product(*(CHOICES[name] for name in searched)))
    designs = {name: np.tile(np.array(column), len(chosen)) for name, column in zip(searched, zip(*rows, strict=True), strict=True)}
    space = NasBench201(input_shape=(3, 32, 32), num_classes=100)
    workloads = space.workloads(np.repeat(space.from_index(chosen), len(rows), axis=0))
    costs = CodesignFpga(search=searched).estimate(workloads, designs)
    rate_ND = costs["performance_per_area"].values.reshape(len(chosen), len(rows))
    # Branches of the cells run side by side on two engines for convolutions.
    assert costs["latency_s"].layers is not None
    in_turn_N = np.add.reduceat(costs["latency_s"].layers, workloads.offsets[:-1])
    saved_N = 1 - costs["latency_s"].values / in_turn_N
    assert np.all(saved_N >= -1e-12)
    assert saved_N[designs["conv_engine_ratio"] < 1].max() > 0.1
    # Pools still run beside the one engine for convolutions.
    assert saved_N[designs["conv_engine_ratio"] < 1].max() > saved_N[designs["conv_engine_ratio"] == 1].max()
    # Hardware first: the design that is best over all networks, then the best network for it that is accurate enough.
    design = int(np.log(rate_ND).mean(axis=0).argmax())
    gains = []
    for least in np.quantile(accuracy_N, [0.25, 0.5, 0.75, 1]):
        enough = accuracy_N >= least
        joint, hardware_first = rate_ND[enough].max(), rate_ND[enough, design].max()
        accurate_first = rate_ND[accuracy_N.argmax()].max()
        assert joint >= hardware_first
        assert joint >= accurate_first
        gains.append(joint / hardware_first)
    assert max(gains) > 1.01


def test_codesign_fpga_keeps_the_contract() -> None:
    check_cost_model(CodesignFpga)
    check_cost_model(lambda: CodesignFpga(search=tuple(CHOICES)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word_bits": 4}, "word_bits: must be 8 or 16; got 4"),
        ({"conv_engine_ratio": 1.5}, "conv_engine_ratio: must be at most 1; got 1.5"),
        ({"pool_engine": 1}, "pool_engine: must be true or false; got 1"),
        ({"pixel_parallelism": 1, "conv_engine_ratio": 0.5}, "pixel_parallelism: must be at least 2"),
        ({"base_clbs": -1}, "base_clbs: must be a whole number of at least 0; got -1"),
    ],
)
def test_bad_options_of_codesign_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        CodesignFpga(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)
