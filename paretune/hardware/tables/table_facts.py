"""How a table was made, kept in the file itself, and what every table file has in common: parquet, columns with units, one JSON of facts.

Legend: R rows.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.environment import resolve_env
from paretune.core.errors import BadInput, BadOptions, did_you_mean
from paretune.core.files import write_durably
from paretune.core.metrics import si_name, unit_of

if TYPE_CHECKING:
    from pyarrow import Table as ArrowTable

FACTS_KEY = b"paretune"
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What the numbers of a table are worth: who measured what, when and how."""

    format: str
    """`layer_table`, `slot_table` or `network_table`."""
    device: str
    """What was measured."""
    created: str
    """ISO date of the first row, or the year it was published."""
    runtime: str = ""
    """What ran the networks, for example `onnxruntime`."""
    precision: str = "float32"
    """Of weights and activations."""
    batch: int = 1
    """Images of an inference."""
    overhead: Mapping[str, float] = field(default_factory=dict)
    """Metric -> what every inference costs beside its layers, SI."""
    fused_kinds: tuple[str, ...] = ()
    """Kinds of layers that cost nothing of their own: they are part of the layer before them."""
    space: str = ""
    """Search space whose networks were measured."""
    command: str = ""
    """What measures missing entries."""
    paretune_version: str = ""
    version: int = 1
    """Of the format."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else helps to judge the numbers: JSON."""


class Faults:
    """Mistakes in a table file, gathered so that all of them are told at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[str] = []

    def add(self, message: str) -> None:
        """Keep one."""
        self._found.append(message)

    def add_rows(self, message: str, mask_R: NDArray[np.bool_]) -> None:
        """Keep one that rows share, with the first of them; nothing where the mask is empty."""
        rows = np.flatnonzero(mask_R)
        if len(rows):
            more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
            self.add(f"{message} in row {', '.join(str(row + 1) for row in rows[:SHOWN])}{more}")

    def raise_if_any(self) -> None:
        """Raise where there are mistakes.

        Raises:
            BadOptions: all of them.
        """
        if self._found:
            raise BadOptions([(("file",), f"{self._path.name}: {message}") for message in self._found])


def located(file: Path) -> Path:
    """The path of a file, with values from the environment filled in.

    Raises:
        BadInput: there is no such file, or it has another ending than .parquet.
    """
    path = Path(resolve_env(str(file))).expanduser()
    if path.suffix.lower() != ".parquet":
        raise BadOptions([(("file",), f"{path}: expected a file that ends in .parquet")])
    if not path.is_file():
        near = did_you_mean(path.name, [item.name for item in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise BadOptions([(("file",), f"{path}: no such file.{near}")])
    return path


def read_table(path: Path, expected_format: str) -> "tuple[ArrowTable, TableFacts]":
    """The columns of a table file and its facts.

    Raises:
        BadInput: it is no parquet file, or none of this format.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import read_table as read_parquet

    try:
        table = read_parquet(path)
    except (ArrowException, OSError) as error:
        raise BadOptions([(("file",), f"{path}: cannot be read as Parquet: {error}")]) from error
    return table, _facts(path, (table.schema.metadata or {}).get(FACTS_KEY), expected_format)


def _facts(path: Path, raw: bytes | None, expected_format: str) -> TableFacts:
    if raw is None:
        told = f"{path.name}: holds no facts under the schema's key '{FACTS_KEY.decode()}' (docs/lookup-tables.md says which there are)"
        raise BadOptions([(("file",), told)])
    try:
        values = json.loads(raw)
        known = {item.name for item in fields(TableFacts)}
        values["fused_kinds"] = tuple(values.get("fused_kinds", ()))
        facts = TableFacts(**{name: value for name, value in values.items() if name in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise BadOptions([(("file",), f"{path.name}: its facts cannot be read: {error}")]) from error
    if facts.format != expected_format:
        raise BadOptions([(("file",), f"{path.name}: is a {facts.format}; expected a {expected_format}")])
    if facts.version != 1:
        raise BadOptions([(("file",), f"{path.name}: has version {facts.version} of the format; this paretune reads version 1")])
    return facts


def write_table(path: Path, columns: Mapping[str, Any], facts: TableFacts) -> None:
    """Write columns and facts so that the file is either as before or complete.

    Raises:
        StorageError: the storage refuses.
    """
    from io import BytesIO

    from pyarrow import table
    from pyarrow.parquet import write_table as write_parquet

    units = {name: unit_of(name) for name in columns if unit_of(name)}
    text = json.dumps({**asdict(facts), "units": units}, allow_nan=False)
    buffer = BytesIO()
    write_parquet(table(dict(columns)).replace_schema_metadata({FACTS_KEY: text.encode()}), buffer)
    write_durably(path, buffer.getvalue())


def check_asked(facts: TableFacts, faults: Faults, *, batch: int, precision: str) -> None:
    """Refuse a table of another batch size or precision than asked for, or with an impossible overhead."""
    if facts.batch != batch:
        faults.add(f"was measured with batch {facts.batch}, and batch {batch} is asked for; give batch: {facts.batch}, or another table")
    if facts.precision != precision:
        faults.add(f"was measured in {facts.precision}, and {precision} is asked for; give precision: {facts.precision}, or another table")
    for name, value in facts.overhead.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            faults.add(f"its overhead {name} is {value}; expected a finite number of at least 0")


def value_columns(table: "ArrowTable", known: Sequence[str], faults: Faults) -> dict[str, NDArray[np.float64]]:
    """The metrics of a table by SI name, each `(R,)` in SI units; every column that is none of the known ones must be one."""
    found: dict[str, NDArray[np.float64]] = {}
    for name in table.column_names:
        if name in known or "_iqr_" in name:
            continue
        inner, factor = si_name(name)
        if not unit_of(inner):
            faults.add(f"column '{name}' has no unit; end its name in one, for example {name}_ms.{did_you_mean(name, list(known))}")
            continue
        values_R = numbers(table, name, faults)
        if values_R is None:
            continue
        faults.add_rows(f"column '{name}' is empty or no finite number", ~np.isfinite(values_R))
        faults.add_rows(f"column '{name}' is negative", values_R < 0)
        if inner in found:
            faults.add(f"two columns hold {inner}")
        found[inner] = values_R * factor
    if not found:
        faults.add("holds no costs; it needs a column such as latency_s")
    return found


def spread_columns(table: "ArrowTable", faults: Faults) -> dict[str, NDArray[np.float64]]:
    """Interquartile ranges by SI name (`latency_iqr_s`), each `(R,)`; NaN where nobody measured one."""
    found = {}
    for name in table.column_names:
        inner, factor = si_name(name)
        values_R = numbers(table, name, faults) if "_iqr_" in name else None
        if values_R is not None:
            faults.add_rows(f"column '{name}' is negative", values_R < 0)
            found[inner] = values_R * factor
    return found


def numbers(table: "ArrowTable", name: str, faults: Faults) -> NDArray[np.float64] | None:
    """A column as `(R,)` floats, NaN where it is empty; None where it holds something else."""
    try:
        return np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)
    except (ValueError, TypeError):
        faults.add(f"column '{name}' holds something else than numbers")
        return None


def whole_numbers(table: "ArrowTable", name: str, faults: Faults) -> NDArray[np.int64] | None:
    """A column as `(R,)` whole numbers of at least 0; None where it holds something else."""
    values_R = numbers(table, name, faults)
    if values_R is None:
        return None
    wrong_R = ~((values_R >= 0) & (values_R < 2**53) & (values_R == np.floor(values_R)))
    faults.add_rows(f"column '{name}' is no whole number of at least 0", wrong_R)
    return np.where(wrong_R, 0, values_R).astype(np.int64)


def first_repeats(keys: Sequence[Any], tell: Callable[[int, int], None]) -> None:
    """Call `tell(row, earlier row)` for every row whose key was there before."""
    seen: dict[Any, int] = {}
    for row, key in enumerate(keys):
        earlier = seen.setdefault(key, row)
        if earlier != row:
            tell(row, earlier)


def unlike(name: str, asked: object, file: Path, found: object) -> BadInput:
    """The error of a table that cannot be gone on with."""
    return BadInput(f"{file} was made with {name} {found}, and this is {name} {asked}; write to another file with --to")
