"""Crossbar tiles composed of parts: the converter regression, the tile worked by hand, and designs searched with the network."""

from pathlib import Path

import numpy as np
import pytest

from paretune.core.costs import design_violation
from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware import HARDWARE
from paretune.hardware.analytic.adc_regression import SURVEYED_ADCS, fit_adc_model
from paretune.hardware.analytic.crossbar_composed import CHOICES, ComposedCrossbar
from paretune.hardware.analytic.crossbar_devices import CELLS
from paretune.hardware.target_files import load_target
from paretune.testing.cost_model import check_cost_model

SEARCH = tuple(CHOICES)


def conv(out_channels: int, in_channels: int, size: int) -> Layer:
    return Layer(kind=Kind.CONV, out_channels=out_channels, in_channels=in_channels, kernel=3, out_height=size, out_width=size)


NETWORK = WorkloadBatch.from_layers([[conv(32, 16, 16), conv(64, 32, 8), Layer(kind=Kind.LINEAR, out_channels=10, in_channels=64)]])


def adc(bits: float, rate_hz: float, technology_m: float) -> tuple[float, float]:
    """Picojoules and um2."""
    of = {"bits": np.array([float(bits)]), "rate_hz": np.array([rate_hz]), "technology_m": technology_m}
    return 1e12 * SURVEYED_ADCS.energy_j(**of)[0], 1e6 * SURVEYED_ADCS.area_mm2(**of)[0]


def test_constants_are_those_that_the_survey_gives(data_folder: Path) -> None:
    columns = np.genfromtxt(data_folder / "adc_survey" / "adc_list.csv", delimiter=",", skip_header=1).T
    fitted = fit_adc_model(rate_hz=columns[0], technology_nm=columns[1], area_um2=columns[2], energy_pj=columns[3], bits=columns[5])
    assert len(columns[0]) == 215
    assert fitted.energy == pytest.approx(SURVEYED_ADCS.energy, rel=1e-6)
    assert fitted.area == pytest.approx(SURVEYED_ADCS.area, rel=1e-6)
    assert (fitted.energy_deviation, fitted.area_deviation) == pytest.approx((SURVEYED_ADCS.energy_deviation, SURVEYED_ADCS.area_deviation))


def test_a_fit_finds_the_law_that_chips_follow() -> None:
    rng = np.random.default_rng(0)
    bits, rates_hz, nodes_nm = rng.uniform(4, 12, 300), 10 ** rng.uniform(5, 10, 300), rng.uniform(7, 180, 300)
    energy_pj = np.exp(-9 + 0.7 * bits + 1.2 * np.log(nodes_nm) + 0.5 * np.maximum(np.log(rates_hz / 1e8), 0))
    area_um2 = np.exp(7 - 0.2 * bits + 0.6 * np.log(nodes_nm) + 0.1 * np.log(rates_hz) + 0.4 * np.log(energy_pj) + rng.normal(0, 1e-3, 300))
    fitted = fit_adc_model(rate_hz=rates_hz, technology_nm=nodes_nm, area_um2=area_um2, energy_pj=energy_pj, bits=bits)
    assert fitted.energy == pytest.approx((-9, 0.7, 1.2, 0.5))
    assert fitted.area == pytest.approx((7, -0.2, 0.6, 0.1, 0.4), abs=0.02)
    assert fitted.energy_deviation == pytest.approx(0, abs=1e-9)


def test_regression_lies_near_another_over_the_same_chips() -> None:
    # Andrulis et al. (arXiv:2404.06553), as their public component library computes: best designs, within a factor of four of good ones.
    for bits, rate_hz, technology_m, energy_pj, area_um2 in (
        (8, 1.2e9, 32e-9, 1.479, 6313),
        (8, 7.5e6, 14e-9, 0.290, 682),
        (8, 1e8, 22e-9, 0.678, None),
        (6, 1e8, 22e-9, 0.421, None),
    ):
        found = adc(bits, rate_hz, technology_m)
        assert 1 / 4 < found[0] / energy_pj < 4
        if area_um2 is not None:
            assert 1 / 4 < found[1] / area_um2 < 4


def test_more_bits_a_higher_rate_or_an_older_technology_cost_more() -> None:
    for cheaper, dearer in (((6, 1e8, 32e-9), (7, 1e8, 32e-9)), ((8, 2e8, 32e-9), (8, 4e8, 32e-9)), ((8, 1e8, 22e-9), (8, 1e8, 32e-9))):
        assert all(low < high for low, high in zip(adc(*cheaper), adc(*dearer), strict=True))


def test_a_tile_worked_by_hand() -> None:
    layer = Layer(kind=Kind.LINEAR, out_channels=20, in_channels=100)
    workloads = WorkloadBatch.from_layers([[layer]])
    parts = {"adc_energy_j": 3.0, "dac_energy_j": 5.0, "add_energy_j": 7.0, "buffer_energy_j": 11.0, "adc_area_mm2": 13.0}
    areas = {"dac_area_mm2": 17.0, "add_area_mm2": 19.0}
    model = ComposedCrossbar(
        tile_size=64, cell_bits=2, input_bits=8, columns_per_adc=8, adc_rate_hz=1e8, technology_m=1e-3, **parts, **areas
    )
    found = model.estimate(workloads, {})
    # 100 rows are 2 tiles of 64, 20 weights of 4 cells are 2: 4 tiles; 8 reads of 10 ns and 8 conversions of 10 ns each.
    assert found["arrays"].values[0] == 4
    assert found["latency_s"].values[0] == pytest.approx(8 * (10e-9 + 80e-9))
    # Inputs go to 2 tiles, 80 columns come from 2, 80 sums, 100 + 80 through the buffer; half of 0.2 V squared over 10 kOhm and 1 MOhm.
    cells_j = 8 * 100 * 80 * 0.5 * 0.2**2 * (1e-4 + 1e-6) / 2 * 10e-9
    assert found["energy_j"].values[0] == pytest.approx(8 * 5 * 200 + cells_j + 8 * (3 + 7) * 160 + 7 * 80 + 11 * 180)
    assert found["utilization"].values[0] == pytest.approx(100 * 80 / (4 * 64 * 64))
    # A feature of 1 mm makes a cell 53 mm2; 8 converters serve 64 columns.
    assert found["area_mm2"].values[0] == pytest.approx(4 * (64 * 64 * 53 + 64 * 17 + 8 * (13 + 19)))
    open_columns = ComposedCrossbar(tile_size=64, gating="none", technology_m=1e-3, **parts, **areas).estimate(workloads, {})
    assert open_columns["energy_j"].values[0] - found["energy_j"].values[0] == pytest.approx(8 * (3 + 7) * (4 * 64 - 160))


def test_shortfall_is_what_the_widest_sum_lacks() -> None:
    # conv 32 -> 64 has 288 rows: 128 in a tile, sums up to 128 x 3 need 9 bits; 64 rows of the classifier 8.
    for adc_bits, lacking in ((7, 2), (8, 1), (9, 0), (10, 0)):
        found = ComposedCrossbar(tile_size=128, cell_bits=2, adc_bits=adc_bits).estimate(NETWORK, {})["adc_shortfall_bits"]
        assert found.values[0] == lacking
        assert found.layers is not None
        assert found.layers[2] == max(8 - adc_bits, 0)


def test_fewer_bits_of_converters_cost_less_and_more_cells_a_weight_cost_more() -> None:
    def cost(metric: str, **options: object) -> float:
        return float(ComposedCrossbar(**options).estimate(NETWORK, {})[metric].values[0])  # type: ignore[arg-type]

    energies = [cost("energy_j", adc_bits=bits) for bits in CHOICES["adc_bits"]]
    areas = [cost("area_mm2", adc_bits=bits) for bits in CHOICES["adc_bits"]]
    assert energies == sorted(energies)
    assert areas == sorted(areas)
    assert cost("energy_j", cell_bits=1) > cost("energy_j", cell_bits=2)
    assert cost("area_mm2", device="fefet", cell_bits=1) < cost("area_mm2", device="rram", cell_bits=1)


def test_searched_designs_cost_what_fixed_ones_do() -> None:
    model = ComposedCrossbar(search=SEARCH)
    assert [decision.name for decision in model.space()] == list(SEARCH)
    rng = np.random.default_rng(1)
    networks = WorkloadBatch.from_layers([[conv(8 * (1 + i % 3), 3, 16), conv(32, 8 * (1 + i % 3), 8)] for i in range(12)])
    designs = {name: rng.choice(np.array(choices), 12) for name, choices in CHOICES.items()}
    found = model.estimate(networks, designs)
    for index in range(12):
        fixed = ComposedCrossbar(**{name: values[index].item() for name, values in designs.items()})
        one = fixed.estimate(WorkloadBatch.from_layers([[conv(8 * (1 + index % 3), 3, 16), conv(32, 8 * (1 + index % 3), 8)]]), {})
        for metric, estimates in one.items():
            assert found[metric].values[index] == pytest.approx(estimates.values[0]), metric


def test_more_bits_than_a_device_holds_are_infeasible() -> None:
    model = ComposedCrossbar(search=("device", "cell_bits"))
    designs = {"device": np.array(["fefet", "fefet", "rram", "pcm"]), "cell_bits": np.array([1, 2, 4, 4])}
    assert design_violation(model.check(designs)).tolist() == [0, 1, 1, 0]
    assert {name: cell.max_bits for name, cell in CELLS.items()} == {"pcm": 4, "rram": 2, "fefet": 1}


def test_composed_crossbars_keep_the_contract_and_refuse_what_they_cannot_use() -> None:
    check_cost_model(ComposedCrossbar)
    check_cost_model(lambda: ComposedCrossbar(search=SEARCH, schedule="pipelined", gating="none"))
    with pytest.raises(BadInput, match="device: must be one of fefet, pcm, rram"):
        ComposedCrossbar(device="flash")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="search: must be one of device"):
        ComposedCrossbar(search=("tiles",))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="tile_size: 100 is not one of"):
        ComposedCrossbar(search=("tile_size",)).estimate(NETWORK, {"tile_size": np.array([100])})
    with pytest.raises(BadInput, match="adc_rate_hz: must be a finite number above 0"):
        ComposedCrossbar(adc_rate_hz=0)


@pytest.mark.parametrize("name", ["hermes", "hermes_4phase", "ibm_512", "isaac_128", "rram_256", "crossbar_search"])
def test_crossbar_targets_say_how_each_number_was_come_by(name: str) -> None:
    target = load_target(name)
    assert HARDWARE.create(target.kind, **target.options).metrics
    kinds = ("published", "measured", "derived", "assumed")
    unknown = {option: source for option, source in target.sources.items() if not source.startswith(kinds)}
    assert unknown == {}
