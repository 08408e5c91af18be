"""Energy of an inference from counters of the hardware: RAPL of Intel and AMD processors, NVML of NVIDIA GPUs.

Sources: Linux, Documentation/power/powercap/powercap.rst; Khan et al., RAPL in Action, ACM TOMPECS 3(2), 2018 (the counters are refreshed
about every millisecond, so windows are much longer); NVIDIA, NVML API reference, nvmlDeviceGetTotalEnergyConsumption.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from paretune.core.errors import BadInput, DeviceError
from paretune.hardware.measured.timing import Clock

POWERCAP = Path("/sys/class/powercap")


class EnergyCounter(Protocol):
    """Counts the energy that some hardware has used."""

    @property
    def source(self) -> str:
        """What is counted, in words."""
        ...

    def read_j(self) -> float:
        """Joules since this counter was opened; never falls."""
        ...


class _Zone:
    """One RAPL zone: a counter of microjoules that starts anew at 0 after `max_energy_range_uj`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range_uj = int((folder / "max_energy_range_uj").read_text())
        self._last_uj = int(self._file.read_text())
        self._total_uj = 0

    def read_uj(self) -> int:
        """Microjoules since the zone was opened. Read at least once a turn of the counter: minutes to an hour."""
        now_uj = int(self._file.read_text())
        turned = now_uj < self._last_uj
        # The counter runs from 0 to max_energy_range_uj, both of which it shows.
        self._total_uj += now_uj - self._last_uj + (self._range_uj + 1 if turned else 0)
        self._last_uj = now_uj
        return self._total_uj


class RaplCounter:
    """Energy of the processor packages and, where the kernel tells it apart, of their DRAM.

    Args:
        folder: where the kernel shows its power zones.

    Raises:
        BadInput: there is no zone, or it may not be read; with what to do.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        if not folder.is_dir():
            raise BadInput(f"{folder} is not there: this system has no power zones (a virtual machine, a container, or another processor)")
        zones = _counted_zones(folder)
        if not zones:
            raise BadInput(f"{folder} has no RAPL package zone (intel-rapl:0 with the name package-0)")
        try:
            self._zones = [_Zone(zone) for zone in zones.values()]
        except PermissionError as error:
            raise BadInput(
                f"{error.filename} may be read by root only (CVE-2020-8694). To allow it until the next boot: "
                f"sudo chmod a+r {folder}/intel-rapl:*/energy_uj"
            ) from error
        except (OSError, ValueError) as error:
            raise BadInput(f"the RAPL zones in {folder} cannot be read: {error}") from error
        self.source = f"RAPL {' + '.join(zones)}"

    def read_j(self) -> float:
        """Joules since this counter was opened."""
        try:
            return sum(zone.read_uj() for zone in self._zones) * 1e-6
        except (OSError, ValueError) as error:
            raise DeviceError(f"the RAPL counter cannot be read any more: {error}") from error


def _counted_zones(folder: Path) -> dict[str, Path]:
    """Name -> folder of every zone to add up.

    Packages hold their cores and graphics, so those subzones would count twice; DRAM lies outside. `psys` is the whole machine, and
    `intel-rapl-mmio` shows the packages again by another way.
    """
    names = {}
    for zone in sorted(folder.glob("intel-rapl:*")):
        if re.fullmatch(r"intel-rapl:\d+(:\d+)?", zone.name):
            name = (zone / "name").read_text().strip()
            if name.startswith("package-") or name == "dram":
                names[name if name != "dram" else f"dram-{zone.name.split(':')[1]}"] = zone
    return names


class NvmlCounter:
    """Energy of an NVIDIA GPU (Volta or later), by the package pynvml (`nvidia-ml-py`).

    Args:
        gpu: UUID, or number as NVML counts them; None is the GPU that CUDA calls the first in this process.

    Raises:
        BadInput: the package, the driver or the counter is missing.
    """

    def __init__(self, gpu: str | int | None = None) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise BadInput("the energy of a GPU needs the package pynvml; install it with 'pip install nvidia-ml-py'") from error
        try:
            pynvml.nvmlInit()
            chosen = first_gpu(cuda_uuid=_cuda_uuid(), visible=os.environ.get("CUDA_VISIBLE_DEVICES", "")) if gpu is None else gpu
            by_number = isinstance(chosen, int)
            handle = pynvml.nvmlDeviceGetHandleByIndex(chosen) if by_number else pynvml.nvmlDeviceGetHandleByUUID(chosen)
            self._read_mj: Callable[[], int] = lambda: int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
            self._start_mj = self._read_mj()
        except pynvml.NVMLError as error:
            raise BadInput(f"NVML does not tell the energy of the GPU: {error}") from error
        self.source = f"NVML GPU {chosen}"

    def read_j(self) -> float:
        """Joules since this counter was opened."""
        return (self._read_mj() - self._start_mj) * 1e-3


def first_gpu(*, cuda_uuid: str | None, visible: str) -> str | int:
    """By what NVML knows the GPU that CUDA calls the first in this process: its UUID, or else its number.

    NVML sees all GPUs of a machine, whatever a process may use, and Ray gives each worker its own.

    Args:
        cuda_uuid: of that GPU by CUDA itself, None where nobody knows.
        visible: `CUDA_VISIBLE_DEVICES`, empty where all may be used.
    """
    if cuda_uuid is not None:
        return f"GPU-{cuda_uuid}"
    first = visible.partition(",")[0].strip()
    return first if first.startswith("GPU-") else int(first) if first.isdecimal() else 0


def _cuda_uuid() -> str | None:
    import torch

    return str(torch.cuda.get_device_properties(0).uuid) if torch.cuda.is_available() else None


def open_counter(processor: str, folder: Path = POWERCAP) -> EnergyCounter:
    """The counter of `cpu` or `cuda`.

    Raises:
        BadInput: this machine cannot measure it; with what to do.
    """
    return NvmlCounter() if processor == "cuda" else RaplCounter(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What repeated runs drew."""

    energy_j: float
    """Of one run, everything that the counter counts, idle power included: what an inference costs while nothing else runs."""
    iqr_j: float
    """75th minus 25th percentile over the windows."""
    power_w: float
    """While running."""
    idle_power_w: float
    """Just before, while nothing was run here."""
    num_windows: int
    num_runs: int
    """In all windows."""


def measure_energy(
    run: Callable[[], object],
    counter: EnergyCounter,
    *,
    window_s: float,
    num_windows: int = 5,
    clock: Clock = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy:
    """Run for some windows of time and share the energy of each among its runs; the median window counts.

    Raises:
        DeviceError: the counter stood still.
    """
    start_j, start_ns = counter.read_j(), clock()
    sleep(window_s)
    idle_power_w = (counter.read_j() - start_j) / ((clock() - start_ns) * 1e-9)
    energies_j, powers_w, num_runs = [], [], 0
    for _ in range(num_windows):
        start_j, start_ns, runs = counter.read_j(), clock(), 0
        while (elapsed_ns := clock() - start_ns) < window_s * 1e9:
            run()
            runs += 1
        used_j = counter.read_j() - start_j
        energies_j.append(used_j / runs)
        powers_w.append(used_j / (elapsed_ns * 1e-9))
        num_runs += runs
    low_j, median_j, high_j = (float(value) for value in np.percentile(energies_j, [25, 50, 75]))
    if median_j <= 0:
        raise DeviceError(f"{counter.source} counted nothing in {num_windows} windows of {window_s:g} s")
    return Energy(
        energy_j=median_j,
        iqr_j=high_j - low_j,
        power_w=float(np.median(powers_w)),
        idle_power_w=idle_power_w,
        num_windows=num_windows,
        num_runs=num_runs,
    )
