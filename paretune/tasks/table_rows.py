"""From the cells of table files to one row of numbers for each architecture: keys, units, repeated rows, empty cells.

Legend: R rows of the file, U different architectures, D decisions, S columns of repeated runs (seeds).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes, named, num_choices, row_keys
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import stream
from paretune.tasks.table_file import Mistakes, TableFile
from paretune.tasks.table_key import read_key
from paretune.tasks.table_metrics import TableMetric, in_inner_units

FloatArray = NDArray[np.float64]
SHOWN = 3
DRAWN = 20_000
"""Random architectures among which missing ones are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a table says of each architecture."""

    genotypes: Genotypes
    """`(U, D)` canonical, each once, in the order of the file."""
    search: Mapping[str, Mapping[int | None, FloatArray]]
    """Metric -> epochs -> `(U,)`."""
    test: Mapping[str, Mapping[int | None, FloatArray]]
    """Metric -> epochs -> `(U, S)`."""


def table_of(
    *,
    file: TableFile,
    metrics: Sequence[TableMetric],
    key: Mapping[str, str],
    space: GenotypeSpace,
    duplicates: Literal["error", "mean", "first"],
    missing: Literal["error", "skip"],
    mistakes: Mistakes,
) -> Rows | None:
    """The rows of a table for a space; None after a mistake. The options are those of `tasks.table.TableTask`."""
    table_key = read_key(key, space, file, mistakes)
    if table_key is None:
        return None
    try:
        names = [*table_key.columns, *(name for item in metrics for name in item.names)]
        columns = file.read(names, texts=table_key.columns if table_key.form == "string" else ())
    except BadInput as error:
        way, _, told = str(error).partition(": ")
        mistakes.add((way,) if way == "join" else (), told if way == "join" else str(error))
        return None
    written_RD = table_key.genotypes(columns, space, mistakes)
    cells = {
        (item.metric.name, is_test, epochs): in_inner_units(item, names, columns, mistakes)
        for item in metrics
        for is_test, by_epochs in ((False, item.search), (True, item.test))
        for epochs, names in by_epochs.items()
    }
    invalid = np.flatnonzero(~space.valid(written_RD))
    if len(invalid) and not mistakes.found:
        shown = ", ".join(map(str, invalid[:SHOWN].tolist()))
        mistakes.add(("key",), f"{len(invalid):,} rows of {file.name} are no architecture of the space, such as rows {shown}")
    if mistakes.found:
        return None
    genotypes_RD = space.canonical(written_RD)
    group_R, first_U = _groups(genotypes_RD)
    if duplicates == "error" and len(first_U) < len(group_R):
        mistakes.add((), _told_twice(written_RD, group_R, first_U, file, space))
    merged = {place: _merged(values_RS, group_R, first_U, mean=duplicates == "mean") for place, values_RS in cells.items()}
    whole_U = np.all([np.isfinite(values).all(axis=1) for values in merged.values()], axis=0)
    if missing == "error":
        for (name, is_test, epochs), values_US in merged.items():
            what = f"{name}{' (test)' if is_test else ''}{'' if epochs is None else f' after {epochs} epochs'}"
            _report_empty(what, values_US, first_U, mistakes)
        if not len(first_U):
            mistakes.add((), f"{file.name} has no rows")
        elif len(first_U) < space.size:
            without = _missing(genotypes_RD, space)
            told = f"has {len(first_U):,} of the {space.size:,} architectures of the space{f', not {without} for one' if without else ''}"
            mistakes.add((), f"{file.name} {told}. Write missing: skip to search only those")
    elif not whole_U.any():
        mistakes.add((), f"no row of {file.name} has a number in every column that the metrics need")
    if mistakes.found:
        return None
    kept = {place: values_US[whole_U] for place, values_US in merged.items()}
    search: dict[str, dict[int | None, FloatArray]] = {}
    test: dict[str, dict[int | None, FloatArray]] = {}
    for (name, is_test, epochs), values_US in kept.items():
        (test if is_test else search).setdefault(name, {})[epochs] = values_US if is_test else values_US[:, 0]
    return Rows(genotypes=genotypes_RD[first_U][whole_U], search=search, test=test)


def _groups(genotypes_RD: Genotypes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`(R,)` number of each row's architecture, and `(U,)` the first row of each, both in the order of the file."""
    numbers: dict[bytes, int] = {}
    group_R = np.array([numbers.setdefault(key, len(numbers)) for key in row_keys(genotypes_RD)], dtype=np.int64)
    first_U = np.unique(group_R, return_index=True)[1]
    return group_R, first_U


def _merged(values_RS: FloatArray, group_R: NDArray[np.int64], first_U: NDArray[np.int64], *, mean: bool) -> FloatArray:
    """`(U, S)`: the mean of an architecture's rows, empty cells apart, or its first row."""
    if not mean or len(first_U) == len(group_R):
        return np.asarray(values_RS[first_U])
    merged_US = np.empty((len(first_U), values_RS.shape[1]))
    for run in range(values_RS.shape[1]):
        known_R = np.isfinite(values_RS[:, run])
        counts_U = np.bincount(group_R[known_R], minlength=len(first_U))
        sums_U = np.bincount(group_R[known_R], weights=values_RS[known_R, run], minlength=len(first_U))
        merged_US[:, run] = np.where(counts_U > 0, sums_U / np.maximum(counts_U, 1), np.nan)
    return merged_US


def _told_twice(
    written_RD: Genotypes, group_R: NDArray[np.int64], first_U: NDArray[np.int64], file: TableFile, space: GenotypeSpace
) -> str:
    """Which rows are of one architecture."""
    is_first_R = np.zeros(len(group_R), dtype=np.bool_)
    is_first_R[first_U] = True
    again = np.flatnonzero(~is_first_R)
    pairs = ", ".join(f"{first_U[group_R[row]]} and {row}" for row in again[:SHOWN])
    row = again[0]
    shown = named(space.decisions, written_RD[row]) if len(space.decisions) <= 8 else written_RD[row].tolist()
    told = f"{len(again):,} rows of {file.name} are of an architecture that another row has: rows {pairs} ({shown})"
    return f"{told}. Write duplicates: mean, or duplicates: first"


def _report_empty(what: str, values_US: FloatArray, first_U: NDArray[np.int64], mistakes: Mistakes) -> None:
    empty = np.flatnonzero(~np.isfinite(values_US).all(axis=1))
    if not len(empty):
        return
    rows = ", ".join(map(str, first_U[empty[:SHOWN]].tolist())) + (", ..." if len(empty) > SHOWN else "")
    told = f"no number for {len(empty):,} architecture{'s' if len(empty) > 1 else ''}, in row{'s' if len(empty) > 1 else ''} {rows}"
    mistakes.add(("metrics",), f"{what}: {told}. Write missing: skip to leave them out")


def _missing(genotypes_RD: Genotypes, space: GenotypeSpace) -> str:
    """An architecture that a table does not have; empty where none is met among random ones."""
    choices_D = num_choices(space.decisions)
    drawn_ND = (stream(0, index=0, purpose="table.missing").random((DRAWN, len(choices_D))) * choices_D).astype(GENE)
    canonical_ND = space.canonical(drawn_ND)
    canonical_ND = canonical_ND[space.valid(canonical_ND)]
    known = set(row_keys(genotypes_RD))
    found = next((row_D for key, row_D in zip(row_keys(canonical_ND), canonical_ND, strict=True) if key not in known), None)
    return "" if found is None else _short(named(space.decisions, found))


def _short(choices: Mapping[str, object]) -> str:
    text = ", ".join(f"{name}={choice}" for name, choice in choices.items())
    return text if len(text) <= 200 else f"{text[:197]}..."
