"""Presets of analog targets: converters, tiles, memory cells and drift compensation, every number with its source.

Formulas of the cells are in `devices`. All numbers are SI: conductances in siemens, times in seconds; outputs and their noise are relative
to a full input on the largest weight of a tile.
"""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from paretune.core.errors import BadInput, UnknownName
from paretune.core.option_checks import not_negative, positive, whole
from paretune.hardware.analog.devices import Device, DriftingCell, Fit, PowerLaw, RelaxingCell, VaryingCell

MICROSIEMENS = 1e-6
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalogPreset:
    """An analog accelerator as the networks on it see it."""

    name: str
    """By which reports know it."""
    description: str
    """One line."""
    device: Device | None
    """Memory cell; two make a weight, one for each sign. None for exact weights."""
    rows: int
    """Inputs of a tile."""
    columns: int
    """Outputs of a tile."""
    dac_bits: int | None
    """Resolution of inputs, sign included; None for exact ones."""
    adc_bits: int | None
    """Resolution of outputs, sign included; None for exact ones."""
    output_bound: float
    """Largest output that the ADC converts."""
    output_noise: float
    """Standard deviation of an output before the ADC."""
    compensation: Literal["global", "column", "none"]
    """Drift is divided out for each tile, for each of its columns, or not at all."""
    sources: tuple[str, ...]
    """Where the numbers are from."""

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            BadInput: one cannot be used.
        """
        whole("rows", self.rows, minimum=1)
        whole("columns", self.columns, minimum=1)
        for name in ("dac_bits", "adc_bits"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), minimum=2)
        positive("output_bound", self.output_bound)
        not_negative("output_noise", self.output_noise)
        if self.compensation not in ("global", "column", "none"):
            raise BadInput(f"compensation: must be one of global, column, none; got {self.compensation!r}")
        if not self.sources:
            raise BadInput(f"sources: preset '{self.name}' must say where its numbers are from; got none")

    @property
    def dac_levels(self) -> int | None:
        """Steps on either side of zero: 127 for 8 bits."""
        return None if self.dac_bits is None else 2 ** (self.dac_bits - 1) - 1

    @property
    def adc_levels(self) -> int | None:
        """Steps on either side of zero: 127 for 8 bits."""
        return None if self.adc_bits is None else 2 ** (self.adc_bits - 1) - 1

    @property
    def valid_times_s(self) -> tuple[float, ...] | None:
        """Times since programming that can be asked for; None where all can."""
        return None if self.device is None else self.device.valid_times_s

    @property
    def exact_products(self) -> bool:
        """Whether a tile multiplies as a computer does: no converters, no noise of outputs."""
        return self.dac_bits is None and self.adc_bits is None and self.output_noise == 0

    def check_times(self, times_s: tuple[float, ...]) -> None:
        """Refuse times that make no sense or for which there is no model.

        Raises:
            BadInput: with the times that can be asked for.
        """
        problems = self.time_problems(times_s)
        if problems:
            raise BadInput(f"times_s: {problems[0][1]}")

    def time_problems(self, times_s: tuple[float, ...]) -> list[tuple[int | None, str]]:
        """What is wrong with times, each with its place among them; None where it is all of them."""
        if not times_s:
            return [(None, "must name at least one time after programming; got none")]
        problems: list[tuple[int | None, str]] = [
            (index, f"must be a finite number of at least 0; got {time_s!r}")
            for index, time_s in enumerate(times_s)
            if not (math.isfinite(time_s) and time_s >= 0)
        ]
        problems += [
            (index, f"must ascend; got {', '.join(f'{time_s:g}' for time_s in times_s)}")
            for index, (earlier, later) in enumerate(pairwise(times_s), start=1)
            if later <= earlier
        ]
        valid = self.valid_times_s
        if valid is not None:
            known = ", ".join(f"{time_s:g}" for time_s in valid)
            problems += [
                (index, f"preset '{self.name}' has no model at {time_s:g} s; it was measured at {known} s only")
                for index, time_s in enumerate(times_s)
                if time_s not in valid and time_s >= 0
            ]
        return problems


def _micro(*values: float) -> tuple[float, ...]:
    """Microsiemens, as published, in siemens."""
    return tuple(value * MICROSIEMENS for value in values)


# Output noise 0.04, output bound 10 and 8-bit converters: the training recipe of Rasch et al., Nature Communications 14, 5282, 2023.
RECIPE = "converters, output noise and bound: Rasch et al., Nature Communications 14, 5282, 2023"

PCM = AnalogPreset(
    name="pcm",
    description="phase change, fitted to a million doped-GST cells",
    # Nandakumar et al., ICECS 2019: all constants of the cell.
    device=DriftingCell(
        g_max_siemens=25 * MICROSIEMENS,
        programming_siemens=_micro(0.26348, 1.9650, -1.1731),
        drift_mean=Fit(slope=-0.0155, offset=0.0244, low=0.049, high=0.1),
        drift_deviation=Fit(slope=-0.0125, offset=-0.0059, low=0.008, high=0.045),
        read=PowerLaw(scale=0.0088, exponent=0.65, ceiling=0.2),
        t0_s=20.0,
        t_read_s=250e-9,
    ),
    rows=256,
    columns=256,  # assumed: the tile of the HERMES core
    dac_bits=8,
    adc_bits=8,
    output_bound=10.0,
    output_noise=0.04,
    compensation="global",
    sources=("cell: Nandakumar et al., ICECS 2019", RECIPE, "tile: assumed, as HERMES"),
)

HERMES = AnalogPreset(
    name="hermes",
    description="IBM HERMES 64-core chip, one phase-change cell for each sign of a weight",
    # Le Gallo et al., Nature Electronics 6, 2023, and Khaddam-Aljameh et al., JSSC 57(4), 2022: fits to cells of the chip.
    device=DriftingCell(
        g_max_siemens=10.35 * MICROSIEMENS,
        programming_siemens=_micro(0.15781817, 2.32443916, -2.16310839, 0.68841818),
        drift_mean=Fit(slope=-0.0387, offset=-0.0182, low=0.0720, high=0.13, threshold=0.0945, coefficients=(0.0736, -0.0126, -0.0436)),
        drift_deviation=Fit(slope=-0.0120, offset=-0.0023, low=0.0124, high=0.04, threshold=0.3039, coefficients=(0.0104, 0.0116, -0.0165)),
        read=Fit(slope=-0.0078, offset=0.0038, low=0.0179, high=0.04, threshold=0.1591, coefficients=(0.0088, 0.0768, -0.1352, 0.0664)),
        t0_s=200.0,
        t_read_s=512e-9,
    ),
    rows=256,
    columns=256,
    dac_bits=8,
    adc_bits=8,
    output_bound=10.0,
    output_noise=0.04,
    compensation="global",
    sources=(
        "cell: Le Gallo et al., Nature Electronics 6, 680-693, 2023",
        "tile and converters' bits: Khaddam-Aljameh et al., JSSC 57(4), 2022",
        RECIPE,
    ),
)

RERAM = AnalogPreset(
    name="reram",
    description="filamentary ReRAM, relaxation read off published figures after 1 s, 1 day and 2 days",
    # Wan et al., Nature 608, 2022; polynomials as fitted to its figures in the IBM analog hardware acceleration kit.
    device=RelaxingCell(
        g_max_siemens=40 * MICROSIEMENS,
        deviations_siemens=(
            (1.0, _micro(0.348, 16.030, -43.853, 45.393, -16.815)),
            (DAY_S, _micro(0.701, 22.086, -50.773, 47.095, -16.458)),
            (2 * DAY_S, _micro(0.782, 20.274, -43.507, 37.062, -11.934)),
        ),
    ),
    rows=256,
    columns=256,  # Wan et al.: cores of 256 x 256 cells
    dac_bits=8,
    adc_bits=8,
    output_bound=10.0,
    output_noise=0.04,
    compensation="none",  # nothing drifts in one direction
    sources=("cell and tile: Wan et al., Nature 608, 504-512, 2022", RECIPE),
)

RRAM = AnalogPreset(
    name="rram",
    description="generic RRAM by cell variation and on/off ratio, constant over time",
    # NeuroSim's defaults: on-resistance 6 kOhm, on/off 150, 128 x 128; the variation is assumed.
    device=VaryingCell(g_max_siemens=1 / 6e3, variation=0.1, on_off_ratio=150.0),
    rows=128,
    columns=128,
    dac_bits=8,
    adc_bits=8,
    output_bound=10.0,
    output_noise=0.0,
    compensation="none",
    sources=("cell and tile: NeuroSim defaults, after NACIM (IEEE TC 70(4), 2021)", "variation: assumed", RECIPE),
)

IDEAL = AnalogPreset(
    name="ideal",
    description="exact weights, inputs and outputs: the digital network",
    device=None,
    rows=256,
    columns=256,
    dac_bits=None,
    adc_bits=None,
    output_bound=10.0,
    output_noise=0.0,
    compensation="none",
    sources=("by definition",),
)

PRESETS = MappingProxyType({item.name: item for item in (PCM, HERMES, RERAM, RRAM, IDEAL)})
"""All presets by name; vary one with `dataclasses.replace`."""


def preset(name: str) -> AnalogPreset:
    """A preset by its name.

    Raises:
        UnknownName: with the near ones.
    """
    if name not in PRESETS:
        raise UnknownName("analog preset", name, tuple(PRESETS))
    return PRESETS[name]


def preset_facts(chosen: AnalogPreset) -> dict[str, Any]:
    """A preset as JSON values: every number, the kind of its cells, and where the numbers are from."""
    facts: dict[str, Any] = _plain(asdict(chosen))
    if chosen.device is not None:
        facts["device"] = {"kind": type(chosen.device).__name__, **facts["device"]}
    return facts


def _plain(value: Any) -> Any:
    """As JSON has it: infinities as text, tuples as lists."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
