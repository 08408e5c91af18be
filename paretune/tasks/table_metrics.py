"""Metrics of a table: which columns hold them, in which unit, at which fidelity, and which columns are the test.

Legend: R rows, S columns of repeated runs (seeds).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import did_you_mean
from paretune.core.metrics import SI_UNITS, Direction, Metric, si_name, unit_of
from paretune.tasks.table_file import Column, Mistakes, TableFile, Way

Columns: TypeAlias = Mapping[int | None, tuple[str, ...]]
"""Epochs -> columns of repeated runs; None where the table does not tell fidelities apart."""

FIELDS = ("column", "test", "unit", "goal")
COUNTS: Mapping[str, float] = {"%": 0.01, "thousand": 1e3, "million": 1e6, "billion": 1e9}
"""Units of pure numbers -> factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMetric:
    """One metric of a table."""

    metric: Metric
    """Inner name and unit, direction, range."""
    way: Way
    """Where the spec speaks of it."""
    factor: float
    """Turns a cell into the inner unit."""
    search: Columns
    """What a searcher may see."""
    test: Columns
    """What only the final evaluation sees; empty where the metric has no test."""

    @property
    def names(self) -> list[str]:
        """Every column it reads."""
        return [name for columns in (*self.search.values(), *self.test.values()) for name in columns]


def read_metrics(metrics: Mapping[str, Any], file: TableFile, mistakes: Mistakes) -> tuple[TableMetric, ...]:
    """The metrics that an option `metrics: {NAME: {column: ..., unit: ..., goal: ..., test: ...}}` declares.

    NAME ends in a unit where the metric has one (`latency_ms`); `unit` is that of the cells where it differs.
    """
    if not metrics:
        mistakes.add(("metrics",), "needs at least one. Example: {accuracy: {column: valid_accuracy, unit: '%', goal: max}}")
    found = [_metric(name, given, ("metrics", name), file, mistakes) for name, given in metrics.items()]
    declared: dict[str, Way] = {}
    for item in found:
        if item is not None and declared.setdefault(item.metric.name, item.way) != item.way:
            mistakes.add(item.way, f"is the same metric as {declared[item.metric.name][-1]}")
    return tuple(item for item in found if item is not None)


def _metric(name: str, given: object, way: Way, file: TableFile, mistakes: Mistakes) -> TableMetric | None:
    before = len(mistakes.found)
    if not isinstance(given, Mapping):
        mistakes.add(way, "expected a mapping. Example: {column: valid_accuracy, unit: '%', goal: max}")
        return None
    for field in given:
        if field not in FIELDS:
            mistakes.add((*way, field), f"unknown field.{did_you_mean(field, FIELDS)} (fields: {', '.join(FIELDS)})")
    inner, _ = si_name(name)
    factor = _factor(name, given.get("unit"), way, mistakes)
    goal = str(given.get("goal", "")).lower()
    if goal not in ("max", "min"):
        mistakes.add((*way, "goal") if "goal" in given else way, f"needs goal: max or goal: min{f' (got {goal})' if goal else ''}")
    if not given.get("column"):
        mistakes.add(way, f"needs a column. Example: {{column: {(file.names or ['valid_accuracy'])[-1]}, goal: max}}")
    search = _columns(given.get("column"), (*way, "column"), file, mistakes)
    test = _columns(given.get("test"), (*way, "test"), file, mistakes)
    for epochs, columns in search.items():
        if len(columns) > 1:
            at = "" if epochs is None else f" at {epochs} epochs"
            mistakes.add((*way, "column"), f"has {len(columns)} columns{at}; a search sees one run. More belong under test")
    if len(mistakes.found) > before:
        return None
    is_share = inner.startswith("accuracy") or inner.rpartition(".")[2].startswith("accuracy") or inner.endswith("accuracy")
    lower = 0.0 if is_share or unit_of(inner) else -np.inf
    metric = Metric(
        name=inner,
        unit=unit_of(inner),
        direction=Direction(goal),
        lower=lower,
        upper=1.0 if is_share else np.inf,
        description="; ".join(f"{columns[0]}{'' if epochs is None else f' at {epochs} epochs'}" for epochs, columns in search.items()),
        source=f"looked up in {file.name_of(next(iter(search.values()))[0])}",
    )
    return TableMetric(metric=metric, way=way, factor=factor, search=search, test=test)


def _factor(name: str, unit: object, way: Way, mistakes: Mistakes) -> float:
    """Turns a cell into the inner unit of a metric."""
    inner, factor = si_name(name)
    if unit is None:
        return factor
    own = unit_of(inner)
    fitting = [known for known, (si, _) in SI_UNITS.items() if si == own] if own else list(COUNTS)
    written = str(unit).lower().replace("µ", "u").replace("percent", "%")
    if written in fitting:
        return SI_UNITS[written][1] if own else COUNTS[written]
    told = f"'{unit}' does not fit {name}, which is {f'in {own}' if own else 'a pure number'}; expected {', '.join(fitting)}"
    if not own and written in SI_UNITS:
        told += f". A metric in {unit} is named with it: {name}_{written}"
    mistakes.add((*way, "unit"), told)
    return factor


def _columns(given: object, way: Way, file: TableFile, mistakes: Mistakes) -> Columns:
    """`NAME`, `[NAME, ...]` or either of them by epochs."""
    if not given:
        return {}
    if not isinstance(given, Mapping):
        return {None: _names(given, way, file, mistakes)}
    found: dict[int | None, tuple[str, ...]] = {}
    for epochs, columns in given.items():
        if not str(epochs).isdecimal() or int(epochs) < 1:
            mistakes.add((*way, epochs), 'is no number of epochs. Example: {"12": valid_12, "200": valid_200}')
        else:
            found[int(epochs)] = _names(columns, (*way, epochs), file, mistakes)
    return found


def _names(given: object, way: Way, file: TableFile, mistakes: Mistakes) -> tuple[str, ...]:
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    names = [str(name) for name in given] if is_list else [str(given)]  # type: ignore[attr-defined]
    for index, name in enumerate(names):
        file.check(name, (*way, index) if is_list else way, mistakes)
    return tuple(names)


def in_inner_units(item: TableMetric, names: Sequence[str], columns: Mapping[str, Column], mistakes: Mistakes) -> NDArray[np.float64]:
    """`(R, S)` cells of some columns of a metric in its inner unit, NaN where a cell is empty."""
    cells_RS = []
    for name in names:
        try:
            cells_R = np.asarray(columns[name], dtype=np.float64)
        except (TypeError, ValueError):
            row, shown = next((row, cell) for row, cell in enumerate(columns[name].tolist()) if not _is_number(cell))
            mistakes.add(item.way, f"column '{name}' holds {shown!r} in row {row}; expected numbers")
            cells_R = np.full(len(columns[name]), np.nan)
        cells_RS.append(cells_R * item.factor)
        _check_range(item, name, cells_R, mistakes)
    return np.stack(cells_RS, axis=1)


def _is_number(cell: object) -> bool:
    try:
        float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return cell is None
    return True


def _check_range(item: TableMetric, name: str, cells_R: NDArray[np.float64], mistakes: Mistakes) -> None:
    """Refuse values that cannot be meant, which is nearly always a wrong unit."""
    finite_R = cells_R[np.isfinite(cells_R)]
    if np.isinf(cells_R).any():
        mistakes.add(item.way, f"column '{name}' holds infinity in row {np.flatnonzero(np.isinf(cells_R))[0]}")
    if not len(finite_R):
        return
    lowest, highest, metric = float(finite_R.min()), float(finite_R.max()), item.metric
    if highest * item.factor > metric.upper * (1 + 1e-9):
        hint = " Write unit: '%'" if item.factor == 1.0 and highest <= 100 else ""
        mistakes.add(item.way, f"column '{name}' goes up to {highest:g}; {metric.name} is a fraction from 0 to 1.{hint}")
    elif metric.upper == 1.0 and item.factor == COUNTS["%"] and highest <= 1.0:
        mistakes.add(
            (*item.way, "unit"), f"column '{name}' goes up to {highest:g} only, so its values are fractions, not percent. Remove unit"
        )
    if lowest * item.factor < metric.lower:
        mistakes.add(item.way, f"column '{name}' goes down to {lowest:g}; {metric.name} cannot be below {metric.lower:g}")
