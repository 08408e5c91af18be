"""Files of network tables: whole networks of a search space with what they cost on a device, as a training set for predictors.

Legend: N networks, D decisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import Choice, Decision, Genotypes, as_genotypes, named
from paretune.hardware.tables.layer_signature import Integers
from paretune.hardware.tables.table_facts import Faults, TableFacts, first_repeats, numbers, read_table, spread_columns, write_table

FORMAT = "network_table"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkEntries:
    """Measured networks."""

    facts: TableFacts
    decisions: tuple[Decision, ...]
    """Columns of the file, by name."""
    genotypes: Genotypes
    """Canonical, each once."""
    values: Mapping[str, NDArray[np.float64]]
    """Metric -> `(N,)` median, SI."""
    spreads: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """`latency_iqr_s` -> `(N,)`; NaN where nobody measured one."""
    repeats: Integers | None = None


def read_network_table(path: Path, decisions: tuple[Decision, ...]) -> NetworkEntries:
    """Read and check a network table.

    Args:
        path: a parquet file, see docs/lookup-tables.md.
        decisions: of the search space that the networks are of.

    Raises:
        BadOptions: everything that is wrong with it.
    """
    table, facts = read_table(path, FORMAT)
    faults = Faults(path)
    names = [decision.name for decision in decisions]
    missing = [name for name in names if name not in table.column_names]
    if missing:
        faults.add(f"lacks columns of the decisions {', '.join(missing)}; is it of another search space?")
    genes: list[list[int]] = []
    for decision in decisions if not missing else ():
        known: dict[Choice, int] = {choice: index for index, choice in enumerate(decision.choices)}
        cells = table.column(decision.name).to_pylist()
        unknown = sorted({str(cell) for cell in cells if cell not in known})
        if unknown:
            faults.add(f"column '{decision.name}' has {', '.join(unknown[:3])}; choices are {', '.join(map(str, decision.choices))}")
        genes.append([known.get(cell, 0) for cell in cells])
    values = {}
    for name in facts.details.get("metrics", ["latency_s"]):
        if name not in table.column_names:
            faults.add(f"lacks the column {name}")
            continue
        values_N = numbers(table, name, faults)
        if values_N is not None:
            faults.add_rows(f"column '{name}' is no finite number of at least 0", ~(np.isfinite(values_N) & (values_N >= 0)))
            values[name] = values_N
    rows = list(zip(*genes, strict=True))
    first_repeats(rows, lambda row, earlier: faults.add(f"rows {earlier + 1} and {row + 1} are the same network"))
    spreads = spread_columns(table, faults)
    faults.raise_if_any()
    repeats_N = np.asarray(table.column("repeats").to_numpy(), dtype=np.int64) if "repeats" in table.column_names else None
    genotypes_ND = as_genotypes(rows, len(decisions))
    return NetworkEntries(facts=facts, decisions=decisions, genotypes=genotypes_ND, values=values, spreads=spreads, repeats=repeats_N)


def write_network_table(path: Path, entries: NetworkEntries) -> None:
    """Write a network table; `path` holds what it held before or all of it.

    Raises:
        StorageError: the storage refuses.
    """
    rows = [named(entries.decisions, row) for row in entries.genotypes.tolist()]
    choices = {decision.name: [row[decision.name] for row in rows] for decision in entries.decisions}
    repeats = {"repeats": entries.repeats} if entries.repeats is not None else {}
    write_table(path, {**choices, **entries.values, **entries.spreads, **repeats}, entries.facts)
