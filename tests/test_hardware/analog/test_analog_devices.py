"""Cells and presets: drift, programming and read noise by hand values, and what presets refuse."""

import math
from dataclasses import replace

import pytest
import torch

from paretune.core.errors import BadInput, UnknownName
from paretune.hardware.analog.devices import CellState
from paretune.hardware.analog.presets import HERMES, PCM, PRESETS, RERAM, RRAM, preset

DAY_S = 86_400.0
NONE = torch.zeros(1)
ONE = torch.ones(1)


def siemens(micro: float) -> torch.Tensor:
    return torch.tensor([micro * 1e-6])


def cells(micro: float, exponents: torch.Tensor) -> CellState:
    return CellState(target=siemens(micro), programmed=siemens(micro), exponents=exponents)


def test_programming_noise_of_phase_change_by_hand() -> None:
    # At half conductance: 0.26348 + 1.965 / 2 - 1.1731 / 4 = 0.952705 uS.
    programmed = PCM.device.program(siemens(12.5), ONE)
    assert programmed.item() * 1e6 == pytest.approx(12.5 + 0.952705, rel=1e-5)
    # A cell of zero gets 0.26348 uS of noise, and is never negative.
    assert PCM.device.program(siemens(0), ONE).item() * 1e6 == pytest.approx(0.26348, rel=1e-5)
    assert PCM.device.program(siemens(0), -ONE).item() == 0


def test_drift_of_phase_change_by_hand() -> None:
    # Full conductance: the mean exponent is clipped to 0.049, its deviation to 0.008.
    assert PCM.device.exponents(siemens(25), NONE).item() == pytest.approx(0.049)
    assert PCM.device.exponents(siemens(25), ONE).item() == pytest.approx(0.057)
    # At a tenth: -0.0155 ln 0.1 + 0.0244 = 0.060090; deviation -0.0125 ln 0.1 - 0.0059 = 0.022882.
    assert PCM.device.exponents(siemens(2.5), ONE).item() == pytest.approx(0.060090 + 0.022882, abs=2e-6)
    # 25 uS after a day with exponent 0.049: 25 ((86400 + 20) / 20) ** -0.049 = 16.5912 uS.
    read = PCM.device.at(DAY_S, cells(25, torch.tensor([0.049])), NONE)
    assert read.item() * 1e6 == pytest.approx(25 * (86420 / 20) ** -0.049, rel=1e-5)
    assert read.item() * 1e6 == pytest.approx(16.59, abs=0.005)


def test_read_noise_of_phase_change_by_hand() -> None:
    # Full conductance after a day: 0.0088 sqrt(ln((86420 + 250e-9) / 500e-9)) = 0.0088 * sqrt(25.8757) = 0.044764 of it.
    read = PCM.device.at(DAY_S, cells(25, NONE), ONE)
    assert read.item() / 25e-6 == pytest.approx(1 + 0.0088 * math.sqrt(math.log(86420 / 500e-9)), rel=1e-6)
    # Small conductances are read with at most 0.2 of themselves.
    tiny = PCM.device.at(0.0, cells(1e-3, NONE), ONE)
    assert tiny.item() / 1e-9 == pytest.approx(1 + 0.2 * math.sqrt(math.log((20 + 250e-9) / 500e-9)), rel=1e-5)


def test_curves_of_the_hermes_chip_join_at_their_thresholds() -> None:
    device = HERMES.device
    for curve in (device.drift_mean, device.drift_deviation, device.read):
        below, above = curve(torch.tensor([curve.threshold * 0.9999])), curve(torch.tensor([curve.threshold]))
        assert below.item() == pytest.approx(above.item(), abs=1.5e-3)
    # Full conductance: 0.0736 - 0.0126 - 0.0436 = 0.0174; programming 0.15781817 + 2.32443916 - 2.16310839 + 0.68841818 = 1.00756712 uS.
    assert device.exponents(siemens(10.35), NONE).item() == pytest.approx(0.0174, abs=1e-6)
    assert device.program(siemens(10.35), ONE).item() * 1e6 == pytest.approx(10.35 + 1.00756712, rel=1e-6)


def test_reram_has_the_measured_times_only() -> None:
    assert RERAM.valid_times_s == (1.0, DAY_S, 2 * DAY_S)
    RERAM.check_times((1.0, DAY_S))
    with pytest.raises(BadInput, match="preset 'reram' has no model at 3600 s; it was measured at 1, 86400, 172800 s only"):
        RERAM.check_times((1.0, 3600.0, DAY_S))
    # Full conductance after a second: 0.348 + 16.03 - 43.853 + 45.393 - 16.815 = 1.103 uS.
    assert RERAM.device.program(siemens(40), ONE).item() * 1e6 == pytest.approx(41.103, rel=1e-5)


def test_generic_rram_varies_by_a_share_and_conducts_a_little_at_zero() -> None:
    assert RRAM.device.program(siemens(100), ONE).item() * 1e6 == pytest.approx(110)
    assert RRAM.device.g_min_siemens == pytest.approx(1 / 6e3 / 150)


@pytest.mark.parametrize("times_s", [(), (-1.0, 1.0), (3600.0, 1.0), (1.0, 1.0), (math.nan,), (1.0, math.inf)])
def test_times_that_make_no_sense_are_refused(times_s: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match="times_s: must"):
        PCM.check_times(times_s)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("rows", 0),
        ("columns", 2.5),
        ("dac_bits", 1),
        ("adc_bits", True),
        ("output_bound", 0.0),
        ("output_noise", -0.1),
        ("compensation", "both"),
        ("sources", ()),
    ],
)
def test_presets_refuse_what_cannot_be(option: str, value: object) -> None:
    with pytest.raises(BadInput, match=f"{option}: "):
        replace(PCM, **{option: value})


def test_a_mistyped_preset_gets_the_near_one() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'hermes'"):
        preset("hermess")


def test_every_preset_says_where_its_numbers_are_from() -> None:
    assert set(PRESETS) == {"pcm", "hermes", "reram", "rram", "ideal"}
    assert all(item.sources and item.description for item in PRESETS.values())
