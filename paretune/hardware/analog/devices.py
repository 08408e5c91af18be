"""Statistical models of memory cells: conductance right after programming, and later.

Each model works on tensors of any shape, elementwise; normal variates come in, so a model has no random state of its own. Conductances are
in siemens and never negative.

Sources: Nandakumar et al., Phase-change memory models for deep learning training and inference, ICECS 2019 (polynomial programming noise,
power-law drift, 1/f read noise); Le Gallo et al., Nature Electronics 6, 2023 (the same, fitted to a 64-core chip); Wan et al., Nature 608,
2022 (relaxation of ReRAM).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from paretune.core.errors import BadInput
from paretune.core.option_checks import finite, not_negative, positive

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_SHARE = 1e-7
"""Relative conductance below which logarithms are not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellState:
    """Cells after programming; tensors of one shape."""

    target: "Tensor"
    """Conductances that were asked for."""
    programmed: "Tensor"
    """Conductances right after programming."""
    exponents: "Tensor"
    """Drift exponents."""


class Device(Protocol):
    """A kind of memory cell."""

    @property
    def g_max_siemens(self) -> float:
        """Conductance of the largest weight of a tile."""
        ...

    @property
    def g_min_siemens(self) -> float:
        """Conductance of a weight of zero."""
        ...

    @property
    def valid_times_s(self) -> tuple[float, ...] | None:
        """Times since programming for which the model holds; None where it holds for all."""
        ...

    @property
    def noiseless(self) -> bool:
        """Whether every cell keeps exactly what it was programmed to."""
        ...

    def program(self, target: "Tensor", normal: "Tensor") -> "Tensor":
        """Conductances right after programming, the start of drift."""
        ...

    def exponents(self, target: "Tensor", normal: "Tensor") -> "Tensor":
        """Drift exponents of the cells, drawn once a programming."""
        ...

    def at(self, time_s: float, state: CellState, normal: "Tensor") -> "Tensor":
        """Conductances as read `time_s` after programming."""
        ...


def polynomial(coefficients: tuple[float, ...], share: "Tensor") -> "Tensor":
    """`sum_i c_i share ** i`."""
    total = share * 0 + coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        total = total * share + coefficient
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted curve over relative conductance q: clipped logarithm below a threshold, polynomial from there on."""

    slope: float
    """Of `slope * ln(q) + offset`."""
    offset: float
    """Of the same."""
    low: float
    """The logarithm is clipped to at least this."""
    high: float
    """The logarithm is clipped to at most this."""
    threshold: float = math.inf
    """q from which the polynomial holds."""
    coefficients: tuple[float, ...] = (0.0,)
    """Of the polynomial, constant first."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise BadInput(f"low: must be at most high ({self.high}); got {self.low}")

    def __call__(self, share: "Tensor") -> "Tensor":
        """The curve at relative conductances."""
        logarithm = (share.clamp(min=SMALLEST_SHARE).log() * self.slope + self.offset).clamp(min=self.low, max=self.high)
        if math.isinf(self.threshold):
            return logarithm
        return logarithm.where(share < self.threshold, polynomial(self.coefficients, share))


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """`min(ceiling, scale / q ** exponent)`: 1/f noise of small conductances is relatively larger."""

    scale: float
    """At full conductance."""
    exponent: float
    """Of the decrease."""
    ceiling: float
    """At small conductance."""

    def __call__(self, share: "Tensor") -> "Tensor":
        """The curve at relative conductances."""
        return (self.scale / share.pow(self.exponent).clamp(min=1e-3)).clamp(max=self.ceiling)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftingCell:
    """Phase change: polynomial programming noise, g(t) = g ((t + t0) / t0) ** -nu, and 1/f noise that accumulates.

    The deviation of the read noise is `|g| Q(q) sqrt(ln((t + t0 + t_read) / (2 t_read)))`.
    """

    g_max_siemens: float
    """Conductance of the largest weight."""
    programming_siemens: tuple[float, ...]
    """Deviation of programming, polynomial in q, constant first."""
    drift_mean: Fit
    """Mean of the exponent nu."""
    drift_deviation: Fit
    """Deviation of nu from cell to cell."""
    read: Fit | PowerLaw
    """Q(q)."""
    t0_s: float
    """First reading after programming: drift is relative to it."""
    t_read_s: float
    """Duration of a read."""
    programming_scale: float = 1.0
    """Multiplies the programming noise."""
    drift_scale: float = 1.0
    """Multiplies the exponents."""
    read_scale: float = 1.0
    """Multiplies the read noise."""

    def __post_init__(self) -> None:
        positive("g_max_siemens", self.g_max_siemens)
        positive("t0_s", self.t0_s)
        positive("t_read_s", self.t_read_s)
        finite("programming_siemens", *self.programming_siemens)
        for name in ("programming_scale", "drift_scale", "read_scale"):
            not_negative(name, getattr(self, name))

    @property
    def g_min_siemens(self) -> float:
        """A weight of zero has no conductance."""
        return 0.0

    @property
    def valid_times_s(self) -> tuple[float, ...] | None:
        """All."""
        return None

    @property
    def noiseless(self) -> bool:
        """Whether all three scales are zero."""
        return self.programming_scale == self.drift_scale == self.read_scale == 0

    def program(self, target: "Tensor", normal: "Tensor") -> "Tensor":
        """Targets with programming noise."""
        deviation = polynomial(self.programming_siemens, target / self.g_max_siemens) * self.programming_scale
        return (target + deviation * normal).clamp(min=0)

    def exponents(self, target: "Tensor", normal: "Tensor") -> "Tensor":
        """The exponent nu of every cell."""
        share = target / self.g_max_siemens
        return (self.drift_mean(share) + self.drift_deviation(share) * normal).abs() * self.drift_scale

    def at(self, time_s: float, state: CellState, normal: "Tensor") -> "Tensor":
        """Drifted conductances with read noise; the target no longer matters."""
        drifted = state.programmed * (-state.exponents * math.log((time_s + self.t0_s) / self.t0_s)).exp()
        spread = self.read_scale * math.sqrt(math.log((time_s + self.t0_s + self.t_read_s) / (2 * self.t_read_s)))
        return (drifted * (1 + self.read(state.programmed / self.g_max_siemens) * spread * normal)).clamp(min=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaxingCell:
    """ReRAM: deviation from the target as measured at a few times, a polynomial in q for each; no model in between."""

    g_max_siemens: float
    """Conductance of the largest weight."""
    deviations_siemens: tuple[tuple[float, tuple[float, ...]], ...]
    """Pairs of time since programming in seconds and polynomial, constant first."""
    scale: float = 1.0
    """Multiplies the deviations."""

    def __post_init__(self) -> None:
        positive("g_max_siemens", self.g_max_siemens)
        not_negative("scale", self.scale)
        if not self.deviations_siemens:
            raise BadInput("deviations_siemens: must have at least one time; got none")
        for time_s, coefficients in self.deviations_siemens:
            not_negative("deviations_siemens", time_s)
            finite("deviations_siemens", *coefficients)

    @property
    def g_min_siemens(self) -> float:
        """A weight of zero has no conductance."""
        return 0.0

    @property
    def valid_times_s(self) -> tuple[float, ...] | None:
        """Those that were measured, ascending."""
        return tuple(sorted(time_s for time_s, _ in self.deviations_siemens))

    @property
    def noiseless(self) -> bool:
        """Whether the scale is zero."""
        return self.scale == 0

    def program(self, target: "Tensor", normal: "Tensor") -> "Tensor":
        """As at the first time that was measured."""
        return self._deviate(min(self.deviations_siemens)[0], target, normal)

    def exponents(self, target: "Tensor", normal: "Tensor") -> "Tensor":  # noqa: ARG002 - as other cells need it
        """None: there is no drift in one direction."""
        return target * 0

    def at(self, time_s: float, state: CellState, normal: "Tensor") -> "Tensor":
        """Deviations from the target, drawn anew: how they develop from cell to cell was not published."""
        return self._deviate(time_s, state.target, normal)

    def _deviate(self, time_s: float, target: "Tensor", normal: "Tensor") -> "Tensor":
        deviation = polynomial(dict(self.deviations_siemens)[time_s], target / self.g_max_siemens) * self.scale
        return (target + deviation * normal).clamp(min=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaryingCell:
    """Any cell by two numbers: conductances vary by a share of themselves, and zero weights conduct a little. Constant over time.

    Source: after Jiang et al., NACIM, IEEE TC 70(4), 2021.
    """

    g_max_siemens: float
    """Conductance of the largest weight."""
    variation: float
    """Standard deviation, relative to the conductance, from cell to cell."""
    on_off_ratio: float = math.inf
    """g_max over the conductance of a zero weight."""

    def __post_init__(self) -> None:
        positive("g_max_siemens", self.g_max_siemens)
        not_negative("variation", self.variation)
        if not self.on_off_ratio > 1:
            raise BadInput(f"on_off_ratio: must be above 1; got {self.on_off_ratio!r}")

    @property
    def g_min_siemens(self) -> float:
        """What a zero weight conducts; the other cell of its pair cancels it on average."""
        return self.g_max_siemens / self.on_off_ratio

    @property
    def valid_times_s(self) -> tuple[float, ...] | None:
        """All."""
        return None

    @property
    def noiseless(self) -> bool:
        """Whether there is no variation."""
        return self.variation == 0

    def program(self, target: "Tensor", normal: "Tensor") -> "Tensor":
        """Targets with variation."""
        return (target * (1 + self.variation * normal)).clamp(min=0)

    def exponents(self, target: "Tensor", normal: "Tensor") -> "Tensor":  # noqa: ARG002 - as other cells need it
        """None: there is no drift."""
        return target * 0

    def at(self, time_s: float, state: CellState, normal: "Tensor") -> "Tensor":  # noqa: ARG002 - as other cells need it
        """What was programmed."""
        return state.programmed
