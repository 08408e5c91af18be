"""How metrics are named, scaled and printed on the page."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from paretune.core.metrics import READABLE, SI_UNITS, readable, symbol, unit_of
from paretune.platform.record.summary import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How the values of one metric are shown on an axis or in a column."""

    name: str
    """Inner name of the metric."""
    unit: str
    """Symbol printed behind the label; empty for pure numbers."""
    factor: float
    """What an inner value is multiplied with."""

    @property
    def title(self) -> str:
        """`host latency (ms)`."""
        return f"{label(self.name)} ({self.unit})" if self.unit else label(self.name)

    def values(self, inner: Sequence[float]) -> list[float]:
        """Inner values as they are shown, to 6 significant digits, which is finer than any screen."""
        return [float(f"{value * self.factor:.6g}") for value in inner]

    def text(self, value: float) -> str:
        """One value without its unit."""
        shown = value * self.factor
        if self.unit == "%":
            return f"{shown:.2f}"
        return f"{shown:,.0f}" if abs(shown) >= 1000 or (not self.unit and shown.is_integer()) else f"{shown:.3g}"

    def spread(self, spread: Spread) -> str:
        """`97.21 ± 0.30` or `97.21` where there is one value."""
        return self.text(spread.mean) + (f" ± {self.text(spread.std)}" if spread.std is not None else "")


def label(name: str) -> str:
    """A metric's name for people: `host.latency_s` -> `host latency`, `macs` -> `MACs`."""
    unit = unit_of(name)
    stem = name.removesuffix(f"_{unit}") if unit else name
    words = stem.replace("_", " ").replace(".", " ")
    return " ".join({"macs": "MACs", "iqr": "IQR"}.get(word, word) for word in words.split(" "))


def is_share(name: str) -> bool:
    """Whether a metric is a share that people read in per cent."""
    return readable(name, 0.5).endswith("%")


def scale(name: str, values: Sequence[float]) -> Scale:
    """The unit in which most of the values are between 1 and 1000."""
    if is_share(name):
        return Scale(name=name, unit="%", factor=100.0)
    unit = unit_of(name)
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if unit in READABLE:
        middle = statistics.median(sizes) if sizes else 1.0
        chosen = next((option for option in READABLE[unit] if middle >= SI_UNITS[option][1]), READABLE[unit][-1])
        return Scale(name=name, unit=symbol(chosen), factor=1.0 / SI_UNITS[chosen][1])
    return Scale(name=name, unit=symbol(unit), factor=1.0)


def duration(seconds: float) -> str:
    """`41 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
