"""Crossbar tiles: splits, products, the closed form and the test ResNet-8, worked by hand."""

import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.analytic.crossbar import Crossbar
from paretune.hardware.analytic.crossbar_mapping import full_precision_adc_bits, map_to_tiles
from paretune.testing.cost_model import check_cost_model


def conv(out_channels: int, in_channels: int, kernel: int, size: int) -> Layer:
    return Layer(kind=Kind.CONV, out_channels=out_channels, in_channels=in_channels, kernel=kernel, out_height=size, out_width=size)


# ResNet-8 with 16, 32, 64 channels on 32x32: two 3x3 a block, 1x1 shortcuts where the width changes.
RESNET8 = (
    conv(16, 3, 3, 32),
    conv(16, 16, 3, 32),
    conv(16, 16, 3, 32),
    conv(32, 16, 3, 16),
    conv(32, 32, 3, 16),
    conv(32, 16, 1, 16),
    conv(64, 32, 3, 8),
    conv(64, 64, 3, 8),
    conv(64, 32, 1, 8),
    Layer(kind=Kind.LINEAR, out_channels=10, in_channels=64),
)


def test_arrays_of_a_convolution_in_slices_of_two_bits() -> None:
    # 64 * 9 = 576 rows are 5 arrays of 128; 128 weights of 4 cells are 4: 20 arrays. Sums up to 128 * 3 need 9 bits.
    mapping = map_to_tiles(
        WorkloadBatch.from_layers([[conv(128, 64, 3, 8)]]), tile_rows=128, tile_columns=128, cells_per_weight=np.array([4.0])
    )
    assert (mapping.row_splits[0], mapping.column_splits[0], mapping.tiles[0]) == (5, 4, 20)
    assert mapping.tile_mvms[0] == 20 * 64
    assert full_precision_adc_bits(tile_rows=128, cell_bits=2) == 9
    found = Crossbar(rows=128, columns=128, cell_bits=2).estimate(WorkloadBatch.from_layers([[conv(128, 64, 3, 8)]]), {})
    assert found["arrays"].values[0] == 20


def test_resnet8_on_256_by_256_tiles() -> None:
    workloads = WorkloadBatch.from_layers([RESNET8])
    found = Crossbar().estimate(workloads, {})
    assert found["arrays"].values[0] == 14
    assert found["tile_mvms"].values[0] == 4481
    # 4033 products after another take 0.54 ms; 1024 of the slowest layer 0.136 ms; 4481 of 13.4 nJ are 60 uJ.
    assert found["latency_s"].values[0] == pytest.approx(4033 * 132.9e-9)
    assert 1e3 * found["latency_s"].values[0] == pytest.approx(0.54, abs=0.005)
    pipelined = Crossbar(schedule="pipelined").estimate(workloads, {})
    assert 1e3 * pipelined["latency_s"].values[0] == pytest.approx(0.136, abs=0.0005)
    assert 1e6 * found["energy_j"].values[0] == pytest.approx(60, abs=0.1)
    assert found["utilization"].values[0] == pytest.approx(0.084, abs=0.0005)
    assert found["area_mm2"].values[0] == pytest.approx(14 * 0.62)


def test_every_part_of_the_energy_worked_by_hand() -> None:
    layer = Layer(kind=Kind.LINEAR, out_channels=6, in_channels=10)
    workloads = WorkloadBatch.from_layers([[layer]])
    parts = {
        "tile_mvm_energy_j": 6,  # 3 x 2 tiles of 4 x 4
        "dac_energy_j": 2 * 10,  # each input into two tiles
        "cell_energy_j": 60,
        "adc_energy_j": 3 * 6,  # each output from three tiles; where columns are not gated, all four of six tiles
        "add_energy_j": 2 * 6,
        "buffer_energy_j": 16,
    }
    none = dict.fromkeys(parts, 0.0)
    for name, count in parts.items():
        found = Crossbar(rows=4, columns=4, gating="columns", column_energy_share=1e-9, **{**none, name: 1.0}).estimate(workloads, {})
        assert found["energy_j"].values[0] == pytest.approx(count, rel=1e-8), name
    found = Crossbar(rows=4, columns=4, **{**none, "adc_energy_j": 1.0}).estimate(workloads, {})
    assert found["energy_j"].values[0] == 6 * 4


def test_gating_saves_the_columns_without_weights() -> None:
    workloads = WorkloadBatch.from_layers([RESNET8])
    # Outputs of each layer by row splits and positions, worked by hand; each takes 0.8 / 256 of a product's energy, the tiles 0.2.
    outputs = 1024 * 3 * 16 + 256 * (32 + 2 * 32 + 32) + 64 * (2 * 64 + 3 * 64 + 64) + 10
    found = Crossbar(gating="columns").estimate(workloads, {})
    assert found["energy_j"].values[0] == pytest.approx(13.4e-9 * (0.2 * 4481 + 0.8 * outputs / 256))
    full = WorkloadBatch.from_layers([[Layer(kind=Kind.LINEAR, out_channels=512, in_channels=256)]])
    assert Crossbar(gating="columns").estimate(full, {})["energy_j"].values[0] == pytest.approx(2 * 13.4e-9)


def test_copies_are_balanced_so_that_a_pipeline_is() -> None:
    workloads = WorkloadBatch.from_layers([RESNET8])
    # Layers of 1024, 256 and 64 positions and the classifier have 4, 1, 1 and 1 copies: 3 x 256 + 3 x 256 + 3 x 64 + 1 products in turn.
    found = Crossbar(replication=4).estimate(workloads, {})
    assert found["latency_s"].values[0] == pytest.approx(1729 * 132.9e-9)
    assert found["arrays"].values[0] == 14 + 3 * 3
    assert found["tile_mvms"].values[0] == 4481
    assert found["energy_j"].values[0] == Crossbar().estimate(workloads, {})["energy_j"].values[0]
    assert found["utilization"].values[0] < 0.084
    pipelined = Crossbar(schedule="pipelined", search=("replication",)).estimate(workloads, {"replication": np.array([4])})
    assert pipelined["latency_s"].values[0] == pytest.approx(256 * 132.9e-9)


def test_width_is_free_until_a_tile_is_full() -> None:
    found = Crossbar().estimate(WorkloadBatch.from_layers([[conv(width, 16, 3, 8)] for width in (64, 256, 257)]), {})
    assert found["arrays"].values.tolist() == [1, 1, 2]
    assert found["latency_s"].values[0] == found["latency_s"].values[2]  # the tiles of a layer work at once
    assert found["energy_j"].values[1] < found["energy_j"].values[2]


def test_depthwise_groups_share_tiles_along_the_diagonal() -> None:
    layer = Layer(kind=Kind.DEPTHWISE, out_channels=64, in_channels=64, groups=64, kernel=3, out_height=8, out_width=8)
    found = Crossbar().estimate(WorkloadBatch.from_layers([[layer]]), {})
    # 28 groups of 9 rows fit 256 rows: 64 groups take 3 tiles, of which 576 cells are used.
    assert found["arrays"].values[0] == 3
    assert found["utilization"].values[0] == pytest.approx(576 / (3 * 65536))


def test_crossbar_keeps_the_contract_and_refuses_what_it_cannot_use() -> None:
    check_cost_model(Crossbar)
    check_cost_model(lambda: Crossbar(schedule="pipelined", cell_bits=2, rows=16, columns=16))
    check_cost_model(lambda: Crossbar(gating="columns", search=("replication",)))
    with pytest.raises(BadInput, match="column_energy_share: must be at most 1"):
        Crossbar(column_energy_share=1.5)
    with pytest.raises(BadInput, match="gating: must be one of none, columns"):
        Crossbar(gating="rows")
    with pytest.raises(BadInput, match="schedule: must be one of sequential, pipelined"):
        Crossbar(schedule="parallel")
    with pytest.raises(BadInput, match="crossbar: knows no cost of fft layer number 1"):
        Crossbar().estimate(WorkloadBatch.from_layers([[Layer(kind=Kind.FFT, out_channels=8, in_channels=8)]]), {})
