"""Table files: columns of Parquet and CSV files, of several files joined by a column, and their SHA-256.

Legend: R rows of the first file.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.environment import resolve_env
from paretune.core.errors import BadInput, did_you_mean

Column: TypeAlias = NDArray[Any]
Way: TypeAlias = tuple[str | int, ...]
READERS = (".parquet", ".csv")
SHOWN_COLUMNS = 30


@dataclass(slots=True)
class Mistakes:
    """What is wrong with the options of a table, with the way to each."""

    found: list[tuple[Way, str]] = field(default_factory=list)

    def add(self, way: Way, message: str) -> None:
        """Keep one."""
        self.found.append((way, message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a table."""

    path: Path
    columns: tuple[str, ...]


class TableFile:
    """The columns of one file, and of others whose rows belong to its rows.

    A column that several files have is called `FILE:COLUMN`, with the file's name without its ending.

    Args:
        file: Parquet or CSV; may hold `${env:NAME}`.
        join: further files. Each row of the first file gets the row with the same value in column `join_by`; where there is none, the
            values are missing.
        join_by: a column of every file.
        mistakes: gathers what is wrong.
    """

    def __init__(self, file: Path, join: Sequence[Path], join_by: str | None, mistakes: Mistakes) -> None:
        parts = [_part(file, ("file",), mistakes), *(_part(item, ("join", index), mistakes) for index, item in enumerate(join))]
        self._parts = [part for part in parts if part is not None]
        self._by = join_by or ""
        before = len(mistakes.found)
        if join and not join_by:
            mistakes.add((), "join needs join_by, a column that every file has. Example: join_by: arch_idx")
        if join_by and not join:
            mistakes.add(("join_by",), "there is no other file to find rows in; name it (join: [FILE]) or remove join_by")
        for part in self._parts if join_by else ():
            if join_by not in part.columns:
                near = did_you_mean(self._by, part.columns)
                mistakes.add(("join_by",), f"'{join_by}' is no column of {part.path.name}.{near} ({_listed(part.columns)})")
        self._is_complete = len(self._parts) == len(parts) and len(mistakes.found) == before
        self._owners: dict[str, list[tuple[Part, str]]] = {}
        for index, part in enumerate(self._parts):
            for column in part.columns:
                self._owners.setdefault(f"{part.path.stem}:{column}", []).append((part, column))
                if index == 0 or column != join_by:
                    self._owners.setdefault(column, []).append((part, column))

    @property
    def name(self) -> str:
        """Name of the first file."""
        return self._parts[0].path.name if self._parts else "the table"

    @property
    def is_complete(self) -> bool:
        """Whether every file could be opened, so that an unknown column is a mistake."""
        return self._is_complete

    @property
    def names(self) -> list[str]:
        """Every column, without those named after their file."""
        return list(dict.fromkeys(column for part in self._parts for column in part.columns))

    def digest(self) -> str:
        """SHA-256 over the contents of all files."""
        digests = [hashlib.sha256(part.path.read_bytes()).hexdigest() for part in self._parts]
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

    def name_of(self, column: str) -> str:
        """Name of the file that a column is from."""
        owners = self._owners.get(column)
        return owners[0][0].path.name if owners else self.name

    def check(self, column: str, way: Way, mistakes: Mistakes) -> bool:
        """Whether a column can be read; the reason goes to `mistakes`."""
        owners = self._owners.get(column, [])
        if len(owners) == 1 or not self._is_complete:
            return len(owners) == 1
        if owners:
            files = " and ".join(part.path.name for part, _ in owners)
            mistakes.add(way, f"'{column}' is a column of {files}. Write {owners[0][0].path.stem}:{column} for that of the first")
            return False
        mistakes.add(way, f"'{column}' is no column of {self.name}.{did_you_mean(column, self.names)} ({_listed(self.names)})")
        return False

    def read(self, names: Iterable[str], *, texts: Collection[str] = ()) -> dict[str, Column]:
        """Columns by name, each `(R,)`; integers stay integers where nothing is missing, else they are floats with NaN.

        Args:
            names: columns to read.
            texts: those of them that are text in a CSV file too, although they may look like numbers (`00000001`).

        Raises:
            BadInput: a file cannot be read, or a row of the first file finds several in a joined one.
        """
        wanted = {name: self._owners[name][0] for name in names}
        first = self._parts[0]
        own = {name: column for name, (part, column) in wanted.items() if part is first}
        texts = [self._owners[name][0][1] for name in texts]
        base = _read(first.path, [*own.values(), *([self._by] if self._by else [])], texts)
        found = {name: base[column] for name, column in own.items()}
        for part in self._parts[1:]:
            theirs = {name: column for name, (owner, column) in wanted.items() if owner is part}
            if theirs:
                columns = _read(part.path, [*theirs.values(), self._by], texts)
                rows_R = self._matching_rows(base[self._by], columns[self._by], part)
                found |= {name: _taken(columns[column], rows_R) for name, column in theirs.items()}
        return found

    def _matching_rows(self, keys_R: Column, their_keys: Column, part: Part) -> NDArray[np.int64]:
        """`(R,)` row of the joined file for each row of the first, -1 where there is none."""
        rows: dict[object, int] = {}
        for row, key in enumerate(their_keys.tolist()):
            if rows.setdefault(key, row) != row:
                raise BadInput(f"join: {part.path.name} has two rows with {self._by} {key}; each must be there once")
        found_R = np.array([rows.get(key, -1) for key in keys_R.tolist()], dtype=np.int64)
        if len(keys_R) and len(their_keys) and (found_R < 0).all():
            shown, theirs = repr(keys_R.tolist()[0]), repr(their_keys.tolist()[0])
            raise BadInput(f"join: no {self._by} of {self.name} is in {part.path.name}; the first are {shown} and {theirs}")
        return found_R


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_COLUMNS]) + (", ..." if len(names) > SHOWN_COLUMNS else "")


def _part(file: Path, way: Way, mistakes: Mistakes) -> Part | None:
    try:
        path = Path(resolve_env(str(file))).expanduser()
        return Part(path=path, columns=_column_names(path))
    except BadInput as error:
        mistakes.add(way, str(error))
        return None


def _column_names(path: Path) -> tuple[str, ...]:
    if path.suffix.lower() not in READERS:
        raise BadInput(f"{path}: expected a file that ends in {' or '.join(READERS)}")
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; name one file")
    if not path.is_file():
        near = did_you_mean(path.name, [item.name for item in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise BadInput(f"{path}: no such file.{near}" + ("" if path.is_absolute() else f" Paths start from {Path.cwd()}"))
    if path.suffix.lower() == ".parquet":
        from pyarrow import ArrowException
        from pyarrow.parquet import read_schema

        try:
            return tuple(read_schema(path).names)
        except (ArrowException, OSError) as error:
            raise BadInput(f"{path}: cannot be read as Parquet: {error}") from error
    return tuple(_csv(path).column_names)


def _csv(path: Path, texts: Collection[str] = ()) -> Any:
    from pyarrow import ArrowException, string
    from pyarrow.csv import ConvertOptions, read_csv

    try:
        found = read_csv(path, convert_options=ConvertOptions(strings_can_be_null=True, column_types={name: string() for name in texts}))
        names = found.column_names  # decodes them
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: its first line is not UTF-8. Save it as UTF-8") from error
    except (ArrowException, OSError) as error:
        raise BadInput(f"{path}: cannot be read as CSV: {error}") from error
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{path}: two columns are called '{twice}'")
    return found


def _read(path: Path, names: Sequence[str], texts: Collection[str]) -> dict[str, Column]:
    names = list(dict.fromkeys(names))
    if path.suffix.lower() == ".parquet":
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table

        try:
            table = read_table(path, columns=names)
        except (ArrowException, OSError) as error:
            raise BadInput(f"{path}: cannot be read as Parquet: {error}") from error
    else:
        table = _csv(path, texts).select(names)
    return {name: _plain(table.column(name), name, path) for name in names}


def _plain(column: Any, name: str, path: Path) -> Column:
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if types.is_nested(kind) or types.is_temporal(kind):
        raise BadInput(f"{path}: column '{name}' holds {column.type}; expected numbers, texts or truth values")
    found: Column = column.to_numpy()
    return found


def _taken(column: Column, rows_R: NDArray[np.int64]) -> Column:
    if len(column) == 0 or (rows_R < 0).any():
        missing = np.array([None] if column.dtype == object else [np.nan], dtype=object if column.dtype == object else np.float64)
        return np.concatenate([column, missing])[np.where(rows_R < 0, len(column), rows_R)]
    return column[rows_R]
