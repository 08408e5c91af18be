"""Log-mel features of short recordings: decibels of a mel filter bank over time, as keyword spotters read them.

Source: Davis & Mermelstein, Comparison of parametric representations for monosyllabic word recognition in continuously spoken sentences,
IEEE TASSP 28(4), 1980 (mel filter bank); O'Shaughnessy, Speech Communication, 1987 (the mel scale, 2595 log10(1 + f / 700)).

Legend: R recordings, T time steps, B mel bands, S samples of a window, F frequencies of its spectrum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.option_checks import whole

FloatArray = NDArray[np.float64]

FLOOR_DB = -80.0
"""Decibels below the loudest value of a recording at which the scale ends; silence lies there."""
OVERLAP = 2
"""Windows are so many steps long."""
LOWEST_HZ = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMel:
    """How a recording becomes `bands` x `frames` numbers: from its loudest value (0) down to `FLOOR_DB`."""

    sample_rate_hz: int
    bands: int
    """Mel bands from 20 Hz to half the sample rate."""
    frames: int
    """Time steps."""
    duration_s: float
    """A longer recording loses its ends, a shorter one gets silence at both."""

    def __post_init__(self) -> None:
        for name in ("bands", "frames"):
            whole(name, getattr(self, name), minimum=2)
        if isinstance(self.duration_s, bool) or not 0.1 <= self.duration_s <= 10:
            raise BadInput(f"duration_s: must be 0.1 to 10 s; got {self.duration_s!r}")
        if self.step < 8:
            raise BadInput(f"frames: {self.frames} in {self.duration_s:g} s leave {self.step} samples a step; at least 8 are needed")
        empty = int((self.filters().sum(axis=0) == 0).sum())
        if empty:
            raise BadInput(f"bands: {self.bands} are too many for windows of {OVERLAP * self.step} samples; {empty} would hear nothing")

    @property
    def step(self) -> int:
        """Samples from one time step to the next."""
        return int(self.duration_s * self.sample_rate_hz) // self.frames

    @property
    def spectrum(self) -> int:
        """Samples of a Fourier transform: the window, padded to a power of two."""
        return 1 << (OVERLAP * self.step - 1).bit_length()

    def filters(self) -> FloatArray:
        """`(F, B)` triangular weights of the frequencies in each band."""
        frequencies_F = np.fft.rfftfreq(self.spectrum, 1 / self.sample_rate_hz)
        highest = _mel(self.sample_rate_hz / 2)
        edges = 700 * (10 ** (np.linspace(_mel(LOWEST_HZ), highest, self.bands + 2) / 2595) - 1)
        rising_FB = (frequencies_F[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling_FB = (edges[2:] - frequencies_F[:, None]) / (edges[2:] - edges[1:-1])
        return np.maximum(np.minimum(rising_FB, falling_FB), 0.0)

    def features(self, recordings: Sequence[NDArray[np.int16]]) -> NDArray[np.float32]:
        """`(R, B, T)` decibels below the loudest value of each recording; only silence gives `FLOOR_DB` everywhere.

        Windows are Hann's. A recording's loudness does not matter, so speakers near and far are alike.
        """
        window_S = np.hanning(OVERLAP * self.step + 2)[1:-1]
        starts_T = self.step * np.arange(self.frames)
        samples = np.stack([_centred(item, self.step * (self.frames - 1 + OVERLAP)) for item in recordings])
        windows_RTS = samples[:, starts_T[:, None] + np.arange(len(window_S))] * window_S
        power_RTF = np.abs(np.fft.rfft(windows_RTS, n=self.spectrum)) ** 2
        return _decibels(power_RTF @ self.filters()).swapaxes(1, 2).astype(np.float32)


def _mel(frequency_hz: float) -> float:
    return float(2595 * np.log10(1 + frequency_hz / 700))


def _centred(samples: NDArray[np.int16], size: int) -> FloatArray:
    """The middle of a recording, with silence around it where it is short."""
    start = max(len(samples) - size, 0) // 2
    kept = samples[start : start + size]
    before = (size - len(kept)) // 2
    return np.pad(kept.astype(np.float64), (before, size - len(kept) - before))


def _decibels(power_RTB: FloatArray) -> FloatArray:
    """Decibels relative to each recording's loudest value."""
    loudest_R11 = power_RTB.max(axis=(1, 2), keepdims=True)
    shares_RTB = power_RTB / np.where(loudest_R11 > 0, loudest_R11, 1.0)
    return 10 * np.log10(np.maximum(shares_RTB, 10 ** (FLOOR_DB / 10)))
