"""What a measured number cannot be: faster than the roofline of the hardware, or more power than it can draw.

Source of the bound: Williams, Waterman & Patterson, Roofline, CACM 52(4), 2009: time >= max(work / peak rate, traffic / peak bandwidth).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paretune.core.errors import DeviceError

if TYPE_CHECKING:
    from torch import nn

LATENCY_LIMIT_S = 1e6
"""No inference that anybody waits for takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one inference cannot do without."""

    macs: int
    """Multiply-accumulates."""
    moved_bytes: int
    """Weights and input, each read once: whatever the caches keep between layers, these are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """More than the hardware can do: a measurement beyond it was not made on the whole network, or its unit is wrong.

    Only a bound, so generous defaults cost nothing; numbers of the real hardware find smaller mistakes.
    """

    peak_macs_per_s: float
    """Multiply-accumulates a second, all cores or the whole GPU."""
    peak_bytes_per_s: float
    """Reading weights and input. Small networks stay in the caches, so this is the bandwidth of the first-level caches, not of the DRAM."""
    peak_power_w: float = 10_000.0
    """Power drawn by the package."""

    def check_latency(self, latency_s: float, work: Work) -> None:
        """Let no impossible time out.

        Raises:
            DeviceError: the time is no positive number, or nothing computes so fast.
        """
        if not (math.isfinite(latency_s) and 0 < latency_s <= LATENCY_LIMIT_S):
            raise DeviceError(f"the measured latency is {latency_s} s; expected a positive number of at most {LATENCY_LIMIT_S:g}")
        if work.macs > latency_s * self.peak_macs_per_s:
            raise DeviceError(
                f"the measured latency is {latency_s:.3g} s for {work.macs:,} MACs, {work.macs / latency_s:.3g} MACs a second; "
                f"the device's peak is {self.peak_macs_per_s:.3g} (peak_macs_per_s)"
            )
        if work.moved_bytes > latency_s * self.peak_bytes_per_s:
            raise DeviceError(
                f"the measured latency is {latency_s:.3g} s for {work.moved_bytes:,} bytes of weights and input, "
                f"{work.moved_bytes / latency_s:.3g} bytes a second; the device's peak is {self.peak_bytes_per_s:.3g} (peak_bytes_per_s)"
            )

    def check_energy(self, energy_j: float, latency_s: float) -> None:
        """Let no impossible energy out.

        Raises:
            DeviceError: the energy is no positive number, or a power that nothing draws.
        """
        if not (math.isfinite(energy_j) and energy_j > 0):
            raise DeviceError(f"the measured energy is {energy_j} J; expected a positive number")
        if energy_j > latency_s * self.peak_power_w:
            raise DeviceError(
                f"the measured energy is {energy_j:.3g} J in {latency_s:.3g} s, {energy_j / latency_s:.3g} W; "
                f"the device draws at most {self.peak_power_w:g} W (peak_power_w)"
            )


GENEROUS = {
    "cpu": Roofline(peak_macs_per_s=1e13, peak_bytes_per_s=1e14),
    # 1e13: 128 cores with two 512-bit float32 units at 2.5 GHz do 128 x 2 x 16 x 2.5e9 = 1.0e13 MACs a second; their first-level caches
    # deliver 128 x 128 bytes x 2.5e9 = 4e13 bytes a second. Source: arithmetic on the instruction set's widths.
    "cuda": Roofline(peak_macs_per_s=1e16, peak_bytes_per_s=1e15),
    # 1e16: some times the 1e15 MACs a second of dense float8 on one H100 (NVIDIA H100 data sheet: 1,979 TFLOP/s).
}
"""Bounds that no single machine reaches in float32, by processor."""


def work_of(network: "nn.Module", example_shape: tuple[int, ...]) -> Work:
    """MACs, weights and input of one inference.

    Raises:
        Exception: whatever the network raises on such an input.
    """
    from paretune.networks.counting import count_macs  # torch takes a second to import; `paretune list` does without

    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())
    return Work(macs=count_macs(network, example_shape), moved_bytes=weights + 4 * math.prod(example_shape))
