"""Training losses with an expected latency in them, and Single-Path NAS' runtime: plain arithmetic, for floats and torch tensors alike.

The same forms over measured latencies, as rewards and derived metrics, are in `core.rewards`. Latencies here are in any one unit that the
reference shares; the logarithmic losses depend on it, and their papers use milliseconds (ProxylessNAS) and microseconds (FBNet).

Sources: Cai et al., ProxylessNAS, ICLR 2019, and its published code; Wu et al., FBNet, CVPR 2019; Stamoulis et al., Single-Path NAS,
ECML-PKDD 2019, and its published code.

Legend: B blocks.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def proxyless_mul_log_loss(cross_entropy: Any, latency: Any, *, reference: float, factor: float = 0.2, power: float = 0.3) -> Any:
    """`factor` * cross-entropy * (log latency / log reference) ** power; both above 1 unit.

    Source: the `mul#log` loss of ProxylessNAS' published code.
    """
    return factor * cross_entropy * (_log(latency) / math.log(reference)) ** power


def proxyless_add_linear_loss(cross_entropy: Any, latency: Any, *, reference: float, weight: float = 0.1) -> Any:
    """Cross-entropy + `weight` * (latency - reference) / reference.

    Source: the `add#linear` loss of ProxylessNAS' published code.
    """
    return cross_entropy + weight * (latency - reference) / reference


def fbnet_loss(cross_entropy: Any, latency: Any, *, factor: float = 0.2, power: float = 0.6) -> Any:
    """Cross-entropy * `factor` * log(latency) ** power, after FBNet; the latency above 1 unit."""
    return cross_entropy * factor * _log(latency) ** power


def _log(value: Any) -> Any:
    return value.log() if hasattr(value, "log") else np.log(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinglePathRuntime:
    """Runtime of Single-Path NAS' supernet as a function of its indicators; exact for 5x5 kernels and for full expansion.

    A block's kernel is 3x3, or 5x5 where `d5` is 1; its expansion is none (skipped), 3 where `d50` is 1, 6 where `d100` is 1 as well:
    Rc = d50 * (R50 + d100 * (R100 - R50)), R = Rc * rho + Rc * (1 - rho) * d5, rho = R(3x3, 6) / R(5x5, 6).
    """

    fixed: float
    """Runtime of everything but the searched blocks."""
    r50: FloatArray
    """Of each block with 5x5 kernels and expansion 3."""
    r100: FloatArray
    """5x5, expansion 6."""
    r100_small: FloatArray
    """3x3, expansion 6."""

    def blocks(self, d50_B: Any, d100_B: Any, d5_B: Any) -> Any:
        """`(B,)` runtime of each block; arrays or tensors in, the same out."""
        r50_B, step_B, rho_B = (_as(values_B, d50_B) for values_B in (self.r50, self.r100 - self.r50, self._rho_B))
        channels_B = d50_B * (r50_B + d100_B * step_B)
        return channels_B * rho_B + channels_B * (1 - rho_B) * d5_B

    def total(self, d50_B: Any, d100_B: Any, d5_B: Any) -> Any:
        """Runtime of the network."""
        return self.fixed + self.blocks(d50_B, d100_B, d5_B).sum()

    def gradient(self, d50_B: FloatArray, d100_B: FloatArray, d5_B: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives of the total by `d50`, `d100` and `d5`, `(B,)` each."""
        inner_B, step_B = self.r50 + d100_B * (self.r100 - self.r50), self.r100 - self.r50
        kernel_B = self._rho_B + (1 - self._rho_B) * d5_B
        return inner_B * kernel_B, d50_B * step_B * kernel_B, d50_B * inner_B * (1 - self._rho_B)

    @property
    def _rho_B(self) -> FloatArray:
        return self.r100_small / self.r100


def _as(values_B: FloatArray, other: Any) -> Any:
    return other.new_tensor(values_B) if hasattr(other, "new_tensor") else values_B
