"""Memory cells of crossbars: conductance, area and levels, from published silicon.

Source: rows of the NVMExplorer survey of non-volatile memory cells (Pentecost et al., HPCA 2022; output/NVM_data of its public code),
named by the DOI of the chip. What the survey does not say is marked as assumed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

READ_VOLTAGE_V = 0.2
"""ISAAC's cells as CiMLoop (ISPASS 2024) has them; MNSIM 2.0 takes 0.15 V."""
READ_S = 10e-9
"""A read pulse; default of DNN+NeuroSim V1.4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A kind of memory cell with its access device."""

    low_ohm: float
    """Resistance when it conducts best."""
    high_ohm: float
    """Resistance when it conducts worst."""
    area_f2: float
    """In squares of the technology's feature size."""
    max_bits: int
    """Most bits that one cell is known to hold."""

    @property
    def read_energy_j(self) -> float:
        """Of one pulse: the mean of both extreme conductances, and half of the pulses are zeros (assumed)."""
        mean_siemens = (1 / self.low_ohm + 1 / self.high_ohm) / 2
        return 0.5 * READ_VOLTAGE_V**2 * mean_siemens * READ_S


CELLS: Mapping[str, Cell] = {
    # 28 nm, 25 F2, 10 kOhm and 1 MOhm measured: doi 10.1109/IEDM.2018.8614595. Four bits: assumed, from analog use of such cells.
    "pcm": Cell(low_ohm=1e4, high_ohm=1e6, area_f2=25, max_bits=4),
    # 40 nm, 53 F2 measured: doi 10.1109/ISSCC.2018.8310392. 10 kOhm and 1 MOhm: MNSIM 2.0. Two bits: "up to 4 level" of others there.
    "rram": Cell(low_ohm=1e4, high_ohm=1e6, area_f2=53, max_bits=2),
    # 45 nm, 10 F2, 100 kOhm and 1 GOhm, one bit: doi 10.23919/VLSIT.2019.8776497.
    "fefet": Cell(low_ohm=1e5, high_ohm=1e9, area_f2=10, max_bits=1),
}
