"""Measured costs read from parquet: whole networks by their decisions or official numbers, or single layers by their shapes.

Legend: N networks, D decisions, L layers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import GENE, Genotypes
from paretune.core.metrics import SI_UNITS, si_name
from paretune.core.protocols import NumberedSpace, SearchSpace
from paretune.predictors.layer_features import RECIPES, columns_needed

if TYPE_CHECKING:
    from pyarrow import Table

FACTS_KEY = b"paretune"
NUMBER_COLUMN = "arch_idx"
KIND_COLUMN = "kind"
NO_COSTS = ("iqr_s", "resolution")
"""Columns that look like a cost and are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkMeasurements:
    """Networks and what they cost."""

    genotypes: Genotypes
    """`(N, D)`."""
    costs: Mapping[str, NDArray[np.float64]]
    """Column, in SI units where its name has a unit -> `(N,)`."""
    spreads: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """Column of `costs` -> `(N,)` interquartile range of its repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMeasurements:
    """Layers and what they cost."""

    kinds: tuple[str, ...]
    """`(L,)`."""
    columns: Mapping[str, NDArray[np.float64]]
    """Shape -> `(L,)`."""
    costs: Mapping[str, NDArray[np.float64]]
    """`latency_s`, perhaps `power_w` -> `(L,)`."""


def read_parquet(path: Path) -> "tuple[Table, Mapping[str, Any]]":
    """The columns of a file and the facts in its metadata.

    Raises:
        BadInput: there is no such file, or it is no parquet.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table

    if not path.is_file():
        raise BadInput(f"{path}: no such file; 'paretune measure TARGET SPACE --networks N' writes measurements")
    try:
        table = read_table(path)
        facts = json.loads((table.schema.metadata or {}).get(FACTS_KEY, b"{}"))
    except (ArrowException, ValueError, OSError) as error:
        raise BadInput(f"{path}: cannot be read as Parquet with JSON facts: {error}") from error
    return table, facts if isinstance(facts, dict) else {}


def is_layer_file(table: "Table") -> bool:
    """Whether rows are layers."""
    return KIND_COLUMN in table.column_names and "out_channels" in table.column_names


def network_measurements(table: "Table", space: SearchSpace, *, unit: str = "") -> NetworkMeasurements:
    """The networks of a file.

    Args:
        table: columns of the decisions, or `arch_idx` with official numbers, and columns of costs.
        space: that the networks are of.
        unit: of the columns whose names end in none, for example `ms`.

    Raises:
        BadInput: decisions, choices or costs are missing or wrong; all that is found at once.
    """
    names = [decision.name for decision in space.decisions]
    if all(name in table.column_names for name in names):
        genotypes_ND, keys = _by_decisions(table, space), set(names)
    elif NUMBER_COLUMN in table.column_names and isinstance(space, NumberedSpace):
        genotypes_ND, keys = space.from_index(np.asarray(table[NUMBER_COLUMN].to_numpy(), dtype=np.int64)), {NUMBER_COLUMN}
    else:
        missing = [name for name in names if name not in table.column_names]
        raise BadInput(
            f"measurements: the columns of {len(missing)} decisions are missing ({', '.join(missing[:4])}); "
            f"is '{space.name}' the space, with the options that were measured?"
        )
    costs, spreads = _costs(table, keys, unit)
    return NetworkMeasurements(genotypes=genotypes_ND, costs=costs, spreads=spreads)


def layer_measurements(table: "Table") -> LayerMeasurements:
    """The layers of a file.

    `kernel` and `padding` stand for both sides; where an input's size is missing the stride says it.

    Raises:
        BadInput: a kind is unknown or a column is missing.
    """
    kinds = tuple(str(kind).lower() for kind in table[KIND_COLUMN].to_pylist())
    columns = {name: _numbers(table, name) for name in table.column_names if name != KIND_COLUMN and _numeric(table, name)}
    for side in ("height", "width"):
        for name in ("kernel", "padding"):
            if name in columns:
                columns.setdefault(f"{name}_{side}", columns[name])
        if f"out_{side}" in columns:
            derived_L = columns[f"out_{side}"] * columns.get("stride", np.ones(len(kinds)))
            given_L = columns.get(f"in_{side}", np.zeros(len(kinds)))
            columns[f"in_{side}"] = np.where(given_L > 0, given_L, derived_L)
    columns.setdefault("batch", np.ones(len(kinds)))
    costs = {name: columns.pop(name) for name in ("latency_s", "power_w") if name in columns}
    problems = [f"unknown kind '{kind}'.{did_you_mean(kind, tuple(RECIPES))}" for kind in sorted(set(kinds)) if kind not in RECIPES]
    needed = {name for kind in set(kinds) & set(RECIPES) for name in columns_needed(kind)}
    problems += [f"the column {name} is missing" for name in sorted(needed - set(columns))]
    if "latency_s" not in costs:
        problems.append("the column latency_s is missing")
    if problems:
        raise BadInput("measurements: " + "; ".join(problems))
    return LayerMeasurements(kinds=kinds, columns=columns, costs=costs)


def _by_decisions(table: "Table", space: SearchSpace) -> Genotypes:
    problems, genes = [], []
    for decision in space.decisions:
        known = {str(choice): index for index, choice in enumerate(decision.choices)}
        cells = [str(cell) for cell in table[decision.name].to_pylist()]
        unknown = sorted(set(cells) - set(known))
        if unknown and set(unknown) <= {str(index) for index in range(len(known))}:
            known |= {str(index): index for index in range(len(known))}  # numbers of choices, as published tables have them
        elif unknown:
            problems.append(f"{decision.name} has {', '.join(unknown[:3])}; choices are {', '.join(known)}")
        genes.append([known.get(cell, 0) for cell in cells])
    if problems:
        raise BadInput("measurements: " + "; ".join(problems))
    return np.array(genes, dtype=GENE).T


def _costs(table: "Table", keys: set[str], unit: str) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    if unit and unit not in SI_UNITS:
        raise BadInput(f"unit: must be one of {', '.join(SI_UNITS)} (got '{unit}')")
    costs: dict[str, NDArray[np.float64]] = {}
    spreads: dict[str, NDArray[np.float64]] = {}
    for name in table.column_names:
        if name in keys or name in NO_COSTS or name.endswith("_iqr_s") or name == NUMBER_COLUMN or not _numeric(table, name):
            continue
        target, factor = si_name(name)
        if target == name and unit and name.rpartition("_")[2] not in SI_UNITS:
            base, factor = SI_UNITS[unit]
            target = f"{name}_{base}"
        elif name.rpartition("_")[2] not in SI_UNITS:
            continue
        values_N = _numbers(table, name) * factor
        if not np.all(np.isfinite(values_N) & (values_N > 0)):
            raise BadInput(f"measurements: every {name} must be finite and positive; leave failed networks out")
        costs[target] = values_N
        for spread in (f"{name.removesuffix('_s')}_iqr_s", "iqr_s"):
            if spread in table.column_names and target.endswith("_s"):
                spreads.setdefault(target, np.nan_to_num(_numbers(table, spread)))
    if not costs:
        raise BadInput("measurements: no column ends in a unit such as latency_s or latency_ms; say --unit ms where none does")
    return costs, spreads


def _numeric(table: "Table", name: str) -> bool:
    from pyarrow import types

    kind = table.schema.field(name).type
    return bool(types.is_floating(kind) or types.is_integer(kind))


def _numbers(table: "Table", name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)
