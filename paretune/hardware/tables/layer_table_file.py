"""Files of layer tables: one row for each layer signature, with what it costs.

Legend: E entries, F fields of a signature.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import Kind
from paretune.hardware.tables.layer_signature import SIGNATURE, Integers, in_words
from paretune.hardware.tables.table_facts import (
    Faults,
    TableFacts,
    check_asked,
    first_repeats,
    read_table,
    spread_columns,
    value_columns,
    whole_numbers,
    write_table,
)

if TYPE_CHECKING:
    from pyarrow import Table as ArrowTable

FORMAT = "layer_table"
USUAL = {"taps": 0, "rank": 0, "weight_bits": 32, "activation_bits": 32}
"""Fields that a file may leave out, and what they are then; `batch` is that of the facts."""
KINDS = {kind.name.lower(): kind for kind in Kind}
OTHER_COLUMNS = ("repeats", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEntries:
    """What a layer table says."""

    facts: TableFacts
    signatures: Integers
    """Each once."""
    values: Mapping[str, NDArray[np.float64]]
    """Metric -> `(E,)` median, SI."""
    spreads: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """`latency_iqr_s` -> `(E,)` interquartile range, NaN where nobody measured one."""
    repeats: Integers | None = None
    """Measurements behind each value."""


def read_layer_table(path: Path, *, batch: int | None = None, precision: str | None = None) -> LayerEntries:
    """Read and check a layer table.

    Args:
        path: a parquet file, see docs/lookup-tables.md.
        batch: images of an inference; None takes whatever the table has.
        precision: of weights and activations; None takes whatever the table has.

    Raises:
        BadOptions: everything that is wrong with it.
    """
    table, facts = read_table(path, FORMAT)
    faults = Faults(path)
    check_asked(facts, faults, batch=facts.batch if batch is None else batch, precision=precision or facts.precision)
    columns = _signatures(table, facts, faults)
    values = value_columns(table, (*SIGNATURE, *OTHER_COLUMNS), faults)
    for name in sorted(set(values) ^ set(facts.overhead)):
        if name not in values:
            faults.add(f"its facts have an overhead {name}, which no column has")
    spreads = spread_columns(table, faults)
    repeats_E = whole_numbers(table, "repeats", faults) if "repeats" in table.column_names else None
    if columns is not None:
        rows = [tuple(row) for row in columns.tolist()]
        first_repeats(rows, lambda row, earlier: faults.add(f"rows {earlier + 1} and {row + 1} are both of {in_words(rows[row])}"))
        if (columns[:, SIGNATURE.index("batch")] != facts.batch).any():
            faults.add(f"column 'batch' differs from the batch of its facts, {facts.batch}")
    faults.raise_if_any()
    assert columns is not None
    return LayerEntries(facts=facts, signatures=columns, values=values, spreads=spreads, repeats=repeats_E)


def write_layer_table(path: Path, entries: LayerEntries) -> None:
    """Write a layer table; `path` holds what it held before or all of it.

    Raises:
        StorageError: the storage refuses.
    """
    signatures = dict(zip(SIGNATURE, entries.signatures.T, strict=True))
    kinds = [Kind(kind).name.lower() for kind in signatures.pop("kind").tolist()]
    repeats = {"repeats": entries.repeats} if entries.repeats is not None else {}
    write_table(path, {"kind": kinds, **signatures, **entries.values, **entries.spreads, **repeats}, entries.facts)


def _signatures(table: "ArrowTable", facts: TableFacts, faults: Faults) -> Integers | None:
    """`(E, F)`; None where columns are missing or hold something else than they should."""
    missing = [name for name in SIGNATURE if name not in (*table.column_names, *USUAL, "batch")]
    if missing:
        faults.add(f"lacks the columns {', '.join(missing)}")
    columns: dict[str, Integers | None] = {}
    for name in SIGNATURE:
        if name in missing:
            columns[name] = None
        elif name not in table.column_names:
            usual = facts.batch if name == "batch" else USUAL[name]
            columns[name] = np.full(table.num_rows, usual, dtype=np.int64)
        else:
            columns[name] = _kinds(table, faults) if name == "kind" else whole_numbers(table, name, faults)
    whole = [column for column in columns.values() if column is not None]
    return np.stack(whole, axis=1) if len(whole) == len(SIGNATURE) else None


def _kinds(table: "ArrowTable", faults: Faults) -> Integers | None:
    written = table.column("kind").to_pylist()
    unknown = sorted({str(kind) for kind in written if kind not in KINDS})
    if unknown:
        faults.add(f"column 'kind' has {', '.join(unknown)}; known are {', '.join(KINDS)}")
        return None
    return np.array([int(KINDS[kind]) for kind in written], dtype=np.int64)
