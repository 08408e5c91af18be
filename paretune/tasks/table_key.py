"""Which architecture each row of a table is: columns named like decisions, columns mapped to decisions, or one official number or string.

Legend: R rows, D decisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import GENE, Decision, Genotypes
from paretune.core.protocols import GenotypeSpace, NumberedSpace
from paretune.tasks.table_file import Column, Mistakes, TableFile

FORMS = ("index", "string")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableKey:
    """Where a table says which architecture a row is."""

    columns: tuple[str, ...]
    """One for each decision, in their order; or the one with the official number or string."""
    form: str = ""
    """`index` or `string` of an official column; empty where each decision has a column."""

    def genotypes(self, columns: Mapping[str, Column], space: GenotypeSpace, mistakes: Mistakes) -> Genotypes:
        """The architecture of each row, `(R, D)`, as it is written: not canonical. Rows are meaningless after a mistake."""
        if self.form:
            return self._official(columns[self.columns[0]], space, mistakes)
        genes = [_genes(decision, name, columns[name], mistakes) for decision, name in zip(space.decisions, self.columns, strict=True)]
        return np.stack(genes, axis=1)

    def _official(self, column: Column, space: GenotypeSpace, mistakes: Mistakes) -> Genotypes:
        assert isinstance(space, NumberedSpace)
        try:
            if self.form == "index":
                return space.from_index(_official_numbers(self.columns[0], column))
            return space.from_string([str(item) for item in column.tolist()])
        except BadInput as error:
            mistakes.add(("key",), str(error))
            return np.zeros((len(column), len(space.decisions)), dtype=GENE)


def read_key(key: Mapping[str, str], space: GenotypeSpace, file: TableFile, mistakes: Mistakes) -> TableKey | None:
    """The key that an option declares: `{column: NAME, as: index}`, `{DECISION: COLUMN, ...}`, or nothing; None after a mistake."""
    if key.keys() & {"column", "as"}:
        return _official_key(key, space, file, mistakes)
    names = [decision.name for decision in space.decisions]
    before = len(mistakes.found)
    for name in key:
        if name not in names:
            mistakes.add(("key", name), f"is no decision of the space.{did_you_mean(name, names)} ({', '.join(names)})")
    columns = tuple(key.get(name, name) for name in names)
    absent = [column for column in columns if column not in file.names]
    if not key and len(absent) == len(names) and file.is_complete:
        official = " Or name its official column: key: {column: arch_idx, as: index}" if isinstance(space, NumberedSpace) else ""
        told = f"{file.name} has no columns named like the decisions ({', '.join(names)})"
        mistakes.add((), f"{told}. Map them: key: {{{names[0]}: COLUMN, ...}}.{official}")
        return None
    for name, column in zip(names, columns, strict=True):
        file.check(column, ("key", name) if name in key else ("key",), mistakes)
    return None if len(mistakes.found) > before else TableKey(columns=columns)


def _official_key(key: Mapping[str, str], space: GenotypeSpace, file: TableFile, mistakes: Mistakes) -> TableKey | None:
    before = len(mistakes.found)
    for name in key:
        if name not in ("column", "as"):
            mistakes.add(("key", name), "unknown field. Expected {column: NAME, as: index}, or one column for each decision")
    form = key.get("as", "")
    if form not in FORMS:
        mistakes.add(("key", "as") if "as" in key else ("key",), f"needs as: index or as: string{f' (got {form})' if form else ''}")
    if not isinstance(space, NumberedSpace):
        mistakes.add(("key",), "the space has no official numbers or strings; map a column to each decision")
    if "column" in key:
        file.check(key["column"], ("key", "column"), mistakes)
    else:
        mistakes.add(("key",), "needs a column. Example: {column: arch_idx, as: index}")
    return None if len(mistakes.found) > before else TableKey(columns=(key["column"],), form=form)


def _official_numbers(name: str, column: Column) -> Column:
    """The integers of a column; they are floats where it has empty cells."""
    cells = column.tolist()
    empty = next((row for row, cell in enumerate(cells) if _is_empty(cell)), None)
    if empty is not None:
        raise BadInput(f"column '{name}' is empty in row {empty}; every row needs its official number")
    if column.dtype.kind in "iu":
        return column
    if not cells:
        return np.zeros(0, dtype=np.int64)
    if column.dtype.kind == "f" and all(cell.is_integer() for cell in cells):
        return column.astype(np.int64)
    row = next((row for row, cell in enumerate(cells) if not (isinstance(cell, float) and cell.is_integer())), 0)
    raise BadInput(f"column '{name}' holds {cells[row]!r} in row {row}; official numbers are integers")


def _is_empty(cell: object) -> bool:
    return cell is None or cell != cell  # NaN


def _genes(decision: Decision, name: str, column: Column, mistakes: Mistakes) -> NDArray[np.int16]:
    """`(R,)` choice indices. Whole numbers are indices where every choice is a text; else cells are the choices themselves."""
    texts = all(isinstance(choice, str) for choice in decision.choices)
    cells = column.tolist()
    empty = next((row for row, cell in enumerate(cells) if _is_empty(cell)), None)
    if empty is not None:
        mistakes.add(("key",), f"column '{name}' is empty in row {empty}; every row needs its '{decision.name}'")
        return np.zeros(len(column), dtype=GENE)
    if texts and (column.dtype.kind in "iu" or (column.dtype.kind == "f" and all(cell.is_integer() for cell in cells))):
        known = {index: index for index in range(len(decision.choices))}
        expected = f"0 to {len(decision.choices) - 1}, the numbers of {', '.join(map(str, decision.choices))}"
    else:
        # 1 and True are one key here: a column of 0 and 1 may mean no and yes.
        known = {choice: index for index, choice in enumerate(decision.choices)}  # type: ignore[misc]
        expected = ", ".join(map(str, decision.choices))
    genes = [known.get(cell, -1) for cell in cells]
    if -1 in genes:
        row = genes.index(-1)
        mistakes.add(("key",), f"column '{name}' holds {cells[row]!r} in row {row}; decision '{decision.name}' has {expected}")
    return np.array(genes, dtype=GENE)
