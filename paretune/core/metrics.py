"""Metrics: their names, units and directions, the checks on values that come back, and how people read them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from paretune.core.errors import BadInput, EvaluationError, did_you_mean


class Direction(StrEnum):
    """Whether more or less of a metric is better."""

    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Something that is measured or computed for every candidate.

    Raises:
        BadInput: its name ends in a unit that is not SI.
    """

    name: str
    """SI name with its unit, for example `host.latency_s`; the part before the dot is the hardware target."""
    unit: str
    """Symbol of the unit the values are in; empty for pure numbers."""
    direction: Direction
    """Which way is better."""
    lower: float = -math.inf
    """Smallest value that makes sense."""
    upper: float = math.inf
    """Largest value that makes sense."""
    description: str = ""
    """One line for `paretune list` and the report."""
    free: bool = False
    """Whether it is known before anything runs, so that limits on it are checked before training."""
    source: str = ""
    """Where its values come from, in words, where that is not plain from the study: `looked up in nb201.parquet`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "direction", Direction(self.direction))
        inner, factor = si_name(self.name)
        if inner != self.name:
            told = f"Name it '{inner}', unit '{unit_of(inner)}', and multiply its values by {factor:g}"
            raise BadInput(f"metric '{self.name}': values are SI inside. {told}; objectives may name it '{self.name}' all the same")


PROXY_PREFIX = "proxy."
"""Start of the names of scores of an untrained network. They say nothing of a trained one, so they are not tested."""

EPOCHS_METRIC = "epochs"
"""What a searcher is told beside the metrics of a training by rungs: the epochs that they were measured after."""

SI_UNITS: Mapping[str, tuple[str, float]] = {
    "s": ("s", 1.0),
    "ms": ("s", 1e-3),
    "us": ("s", 1e-6),
    "ns": ("s", 1e-9),
    "j": ("j", 1.0),
    "mj": ("j", 1e-3),
    "uj": ("j", 1e-6),
    "nj": ("j", 1e-9),
    "w": ("w", 1.0),
    "mw": ("w", 1e-3),
    "bytes": ("bytes", 1.0),
    "kb": ("bytes", 1e3),
    "mb": ("bytes", 1e6),
    "kib": ("bytes", 1024.0),
    "mib": ("bytes", 1048576.0),
    "mm2": ("mm2", 1.0),
    "um2": ("mm2", 1e-6),
}
"""Unit suffix as users write it -> (unit inside, factor). Areas stay in mm2, the field's unit."""

SYMBOLS: Mapping[str, str] = {"us": "µs", "uj": "µJ", "mj": "mJ", "nj": "nJ", "j": "J", "w": "W", "mw": "mW", "kb": "kB", "mb": "MB"}


def si_name(name: str) -> tuple[str, float]:
    """The inner name of a metric and the factor that turns a user's value into the inner one.

    `host.latency_ms` -> (`host.latency_s`, 0.001); names without a unit suffix come back as they are with 1.0.
    """
    stem, underscore, suffix = name.rpartition("_")
    if not underscore or suffix not in SI_UNITS:
        return name, 1.0
    unit, factor = SI_UNITS[suffix]
    return f"{stem}_{unit}", factor


def unit_of(name: str) -> str:
    """The unit a metric's name ends in, `""` for pure numbers."""
    _, underscore, suffix = name.rpartition("_")
    return suffix if underscore and suffix in SI_UNITS else ""


def symbol(unit: str) -> str:
    """How a unit is printed."""
    return SYMBOLS.get(unit, unit)


READABLE: Mapping[str, tuple[str, ...]] = {
    "s": ("s", "ms", "us", "ns"),
    "j": ("j", "mj", "uj", "nj"),
    "w": ("w", "mw"),
    "bytes": ("mb", "kb", "bytes"),
}


def readable(name: str, value: float) -> str:
    """A value as people read it: `2.31 ms`, `97.2 %` for accuracies, `12,345` for counts."""
    unit = unit_of(name)
    if not math.isfinite(value):
        return str(value)
    if unit in READABLE:
        options = READABLE[unit]
        chosen = next((option for option in options if abs(value) >= SI_UNITS[option][1]), options[-1])
        return f"{_three_digits(value / SI_UNITS[chosen][1])} {symbol(chosen)}" if value else f"0 {symbol(unit)}"
    if unit:
        return f"{value:.4g} {symbol(unit)}"
    if name.rpartition(".")[2].startswith("accuracy") or name.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.4g}"


def _three_digits(value: float) -> str:
    """Three significant digits, but never an exponent for a large value: 2.31, 999, 1,000."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def checked_metrics(raw: Mapping[str, object], expected: Mapping[str, Metric], *, producer: str) -> dict[str, float]:
    """The expected metrics of an evaluation as plain floats.

    Args:
        raw: what the evaluator returned.
        expected: the metrics it must contain, by name.
        producer: who returned it, for the message.

    Raises:
        EvaluationError: a metric is missing, is not one real number, or lies outside its range.
    """
    problems = []
    values: dict[str, float] = {}
    for name, metric in expected.items():
        if name not in raw:
            problems.append(f"'{name}' is missing.{did_you_mean(name, list(raw))}")
            continue
        value = raw[name]
        number = _real(value)
        if number is None:
            problems.append(f"'{name}' is {_shown(value)}; expected one real number")
        elif not math.isfinite(number):
            problems.append(f"'{name}' is {number}; expected a finite number")
        elif not metric.lower <= number <= metric.upper:
            problems.append(f"'{name}' is {number}; expected {metric.lower} to {metric.upper} {metric.unit}".rstrip())
        else:
            values[name] = number
    if problems:
        raise EvaluationError(f"{producer} returned unusable metrics: " + "; ".join(problems))
    return values


def _real(value: object) -> float | None:
    """`value` as a float where it is one real number; strings, booleans and arrays are not."""
    if isinstance(value, bool | str | bytes | complex) or value is None:
        return None
    if hasattr(value, "dtype") and (getattr(value, "ndim", 1) != 0 or ("float" not in str(value.dtype) and "int" not in str(value.dtype))):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
