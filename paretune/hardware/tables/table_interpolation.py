"""Costs of layers between two measured ones.

A layer is interpolated along one of its sizes (input channels, output channels, map), linearly between the nearest entry below and the
nearest above that are equal to it in everything else. Nothing is extrapolated: a lookup table knows nothing beyond its last entry.

Legend: E entries of a table, F fields of a signature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import Kind
from paretune.hardware.tables.layer_signature import SIGNATURE, Integers

FIELD = {name: index for index, name in enumerate(SIGNATURE)}
MAP = ("in_height", "in_width", "out_height", "out_width")
CHANNELS = ("in_channels", "out_channels", "groups")


@dataclass(frozen=True, slots=True)
class Between:
    """Two entries on both sides of a layer, and how far it is from the lower to the upper one."""

    lower: int
    upper: int
    share: float
    """0 at the lower entry, 1 at the upper one."""

    def value(self, values_E: NDArray[np.float64]) -> float:
        """The interpolated cost."""
        return float((1 - self.share) * values_E[self.lower] + self.share * values_E[self.upper])


def bracket(signature: Sequence[int], entries_EF: Integers) -> Between | None:
    """The closest pair of entries around a layer; None where there is no pair."""
    wanted_F = np.asarray(signature, dtype=np.int64)
    pairs = [pair for moving, along in _ways(wanted_F).items() if (pair := _along(wanted_F, entries_EF, moving, along)) is not None]
    return min(pairs, key=lambda pair: pair[0])[1] if pairs else None


def _ways(wanted_F: Integers) -> Mapping[tuple[str, ...], str]:
    """Fields that change together -> the one that is measured along."""
    kind = Kind(int(wanted_F[FIELD["kind"]]))
    is_whole_map = kind is Kind.POOL and wanted_F[FIELD["out_height"]] * wanted_F[FIELD["out_width"]] == 1
    ways: dict[tuple[str, ...], str] = {(*MAP, "kernel") if is_whole_map else MAP: "in_height"}
    if kind in (Kind.CONV, Kind.LINEAR, Kind.BUTTERFLY):
        return {("in_channels",): "in_channels", ("out_channels",): "out_channels", **ways}
    return {CHANNELS if kind is Kind.DEPTHWISE else CHANNELS[:2]: "in_channels", **ways}


def _along(wanted_F: Integers, entries_EF: Integers, moving: tuple[str, ...], along: str) -> tuple[float, Between] | None:
    """The closest pair whose other fields are equal, with the ratio of the upper to the lower one."""
    columns = [FIELD[name] for name in moving]
    fixed = [index for index in range(len(SIGNATURE)) if index not in columns]
    like = np.flatnonzero((entries_EF[:, fixed] == wanted_F[fixed]).all(axis=1))
    sizes, wanted = entries_EF[like, FIELD[along]], wanted_F[FIELD[along]]
    below, above = like[sizes < wanted], like[sizes > wanted]
    if not len(below) or not len(above):
        return None
    lower, upper = below[entries_EF[below, FIELD[along]].argmax()], above[entries_EF[above, FIELD[along]].argmin()]
    # Work grows with the channels, and with the area of a map.
    power = 2 if along == "in_height" else 1
    low, high, middle = (float(row[FIELD[along]]) ** power for row in (entries_EF[lower], entries_EF[upper], wanted_F))
    return high / low, Between(int(lower), int(upper), (middle - low) / (high - low))
