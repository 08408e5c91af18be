"""Energy and area of analog-to-digital converters by resolution, rate and technology: a regression over published chips.

Up to some rate a conversion costs the same, beyond it more and more: ln(energy) is linear in bits, ln(technology) and in how far the rate
lies above 100 MS/s; ln(area) in these, ln(rate) and ln(energy). Chips of one resolution and rate differ tenfold, so a quantile of the
residuals says how good a design is meant.

Sources: Murmann, ADC Performance Survey 1997-2021 (the chips); form after Andrulis et al., Modeling analog-digital-converter energy and
area for compute-in-memory accelerator design, arXiv:2404.06553. Departs: one log-linear fit with a quantile, where they bound figures of
merit.

Legend: C converters.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KNEE_HZ = 1e8
"""Rate up to which energy does not depend on the rate, as the fit has it."""
QUANTILE = 0.25
"""Of the chips like it, a quarter are better: a good design, not a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdcModel:
    """Coefficients, after which units are picojoules, um2, Hz and nm."""

    energy: tuple[float, float, float, float]
    """Of ln(energy): constant with the quantile, bits, ln(technology), ln(rate / 100 MS/s) above it."""
    area: tuple[float, float, float, float, float]
    """Of ln(area): constant with the quantile, bits, ln(technology), ln(rate), ln(energy)."""
    energy_deviation: float
    """Standard deviation of ln(energy) over the chips: most lie within a factor of its exponential."""
    area_deviation: float

    def energy_j(self, *, bits: Floats, rate_hz: Floats, technology_m: float) -> Floats:
        """`(C,)` joules of a conversion."""
        terms = _energy_terms(bits, rate_hz, np.full_like(bits, technology_m * 1e9))
        return np.asarray(np.exp(terms @ np.array(self.energy)) * 1e-12)

    def area_mm2(self, *, bits: Floats, rate_hz: Floats, technology_m: float) -> Floats:
        """`(C,)` area of a converter that takes the energy above."""
        log_energy = np.log(self.energy_j(bits=bits, rate_hz=rate_hz, technology_m=technology_m) * 1e12)
        terms = _area_terms(bits, rate_hz, np.full_like(bits, technology_m * 1e9), log_energy)
        return np.asarray(np.exp(terms @ np.array(self.area)) * 1e-6)


def fit_adc_model(*, rate_hz: Floats, technology_nm: Floats, area_um2: Floats, energy_pj: Floats, bits: Floats) -> AdcModel:
    """The regression over `(C,)` chips, by least squares."""
    energy, energy_residuals = _least_squares(_energy_terms(bits, rate_hz, technology_nm), np.log(energy_pj))
    area, area_residuals = _least_squares(_area_terms(bits, rate_hz, technology_nm, np.log(energy_pj)), np.log(area_um2))
    energy[0] += np.quantile(energy_residuals, QUANTILE)
    area[0] += np.quantile(area_residuals, QUANTILE)
    return AdcModel(
        energy=(float(energy[0]), float(energy[1]), float(energy[2]), float(energy[3])),
        area=(float(area[0]), float(area[1]), float(area[2]), float(area[3]), float(area[4])),
        energy_deviation=float(energy_residuals.std()),
        area_deviation=float(area_residuals.std()),
    )


def _energy_terms(bits: Floats, rate_hz: Floats, technology_nm: Floats) -> Floats:
    """`(C, 4)`."""
    return np.stack([np.ones_like(bits), bits, np.log(technology_nm), np.maximum(np.log(rate_hz / KNEE_HZ), 0.0)], axis=-1)


def _area_terms(bits: Floats, rate_hz: Floats, technology_nm: Floats, log_energy: Floats) -> Floats:
    """`(C, 5)`."""
    return np.stack([np.ones_like(bits), bits, np.log(technology_nm), np.log(rate_hz), log_energy], axis=-1)


def _least_squares(terms: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Coefficients and residuals."""
    coefficients, *_ = np.linalg.lstsq(terms, values, rcond=None)
    return np.asarray(coefficients, dtype=np.float64), np.asarray(values - terms @ coefficients, dtype=np.float64)


SURVEYED_ADCS = AdcModel(
    energy=(-10.927652686317842, 0.6638250672839208, 1.561107913118253, 0.6980749639219199),
    area=(7.505046379578446, -0.1900563458906172, 0.5725716283472729, 0.04392998241336061, 0.4848263414878914),
    energy_deviation=1.5465636943139416,
    area_deviation=1.4785708159702442,
)
"""Derived: `fit_adc_model` over the 215 chips, 4 nm to 1 um, of adc_data/adc_list.csv of Accelergy's ADC plug-in (commit ff0fb48a, MIT)."""
