"""Tables of results as a task: nothing is trained, every candidate is looked up.

Legend: N candidates, R rows, D decisions, S columns of repeated runs (seeds).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, BadOptions
from paretune.core.genotype import Genotypes, row_keys
from paretune.core.metrics import Metric
from paretune.core.protocols import Fidelity, GenotypeSpace, TaskResult
from paretune.tasks.table_file import Mistakes, TableFile
from paretune.tasks.table_metrics import read_metrics
from paretune.tasks.table_rows import table_of

if TYPE_CHECKING:
    from torch import nn

FloatArray = NDArray[np.float64]
ByEpochs = Mapping[int | None, FloatArray]
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Table:
    """Results of architectures as arrays: each architecture once, canonical, in the order of the file."""

    space: GenotypeSpace
    """Says which genotypes are the same architecture."""
    genotypes: Genotypes
    """`(R, D)` every architecture of the table."""
    metrics: tuple[Metric, ...]
    search: Mapping[str, ByEpochs]
    """Metric -> epochs -> `(R,)`, inner units; epochs None where the table does not tell fidelities apart."""
    test: Mapping[str, ByEpochs]
    """Metric -> epochs -> `(R, S)` of the metrics that have a test."""

    def __len__(self) -> int:
        return len(self.genotypes)

    @property
    def num_tests(self) -> int:
        """Runs that the test knows of each architecture: the fewest of any metric; 0 where no metric has a test."""
        return min((values.shape[1] for columns in self.test.values() for values in columns.values()), default=0)

    def rows_of(self, genotypes_ND: Genotypes) -> NDArray[np.int64]:
        """`(N,)` row of each architecture, -1 where the table does not have it."""
        keys = row_keys(self.space.canonical(genotypes_ND))
        return np.array([self._rows.get(key, -1) for key in keys], dtype=np.int64)

    def lookup(self, genotypes_ND: Genotypes, *, epochs: int | None = None, at_most: bool = False) -> dict[str, FloatArray]:
        """What a search sees of N architectures: metric -> `(N,)` in inner units.

        Args:
            genotypes_ND: canonical or not.
            epochs: fidelity; needed where a metric has several.
            at_most: take the highest fidelity up to `epochs` where that very one is not there.

        Raises:
            BadInput: an architecture or a fidelity is not in the table.
        """
        rows_N = self._known_rows(genotypes_ND)
        return {name: columns[_fidelity(name, columns, epochs, at_most=at_most)][rows_N] for name, columns in self.search.items()}

    def look_up_test(self, genotypes_ND: Genotypes, *, epochs: int | None = None, run: int | None = None) -> dict[str, FloatArray]:
        """What the final evaluation sees: metric -> `(N,)` of the metrics that have a test.

        Args:
            genotypes_ND: canonical or not.
            epochs: fidelity; needed where a metric has several.
            run: number of the repeated run, from 0; None is the mean of all.

        Raises:
            BadInput: an architecture, a fidelity or a run is not in the table.
        """
        rows_N = self._known_rows(genotypes_ND)
        found = {}
        for name, columns in self.test.items():
            values_NS = columns[_fidelity(name, columns, epochs, at_most=True)][rows_N]
            if run is not None and run >= values_NS.shape[1]:
                raise BadInput(f"the table has {values_NS.shape[1]} test runs of {name}; there is no run {run}")
            found[name] = values_NS.mean(axis=1) if run is None else values_NS[:, run]
        return found

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {key: row for row, key in enumerate(row_keys(self.genotypes))}

    def _known_rows(self, genotypes_ND: Genotypes) -> NDArray[np.int64]:
        rows_N = self.rows_of(genotypes_ND)
        absent = np.flatnonzero(rows_N < 0)
        if len(absent):
            shown = ", ".join(str(genotypes_ND[index].tolist()) for index in absent[:SHOWN])
            raise BadInput(f"the table has no row for {len(absent):,} of {len(rows_N):,} architectures, such as {shown}")
        return rows_N


def _fidelity(name: str, columns: ByEpochs, epochs: int | None, *, at_most: bool) -> int | None:
    if None in columns or epochs in columns:
        return None if None in columns else epochs
    known = sorted(item for item in columns if item is not None)
    if epochs is None and len(known) == 1:
        return known[0]
    below = [item for item in known if epochs is not None and item <= epochs]
    if at_most and below:
        return below[-1]
    raise BadInput(f"the table has {name} at {', '.join(map(str, known))} epochs{'' if epochs is None else f', not at {epochs}'}")


class TableTask:
    """Look results up in Parquet or CSV tables; nothing is trained.

    Args:
        file: the table; may hold `${env:NAME}`.
        metrics: name -> `{column, unit, goal, test}`. The name ends in the metric's unit (`latency_ms`); `unit` is that of the cells
            where it differs (`%`, `ms`, `million`). `column` is what the search sees, `test` what only the final evaluation does: a
            column, several (repeated runs), or either of them by epochs: `{"12": short, "200": long}`.
        key: `{column: NAME, as: index}` (or `string`) for official numbers, or `{DECISION: COLUMN}` where columns are not named like
            the decisions.
        join: further files, whose rows are found by the column `join_by`. A column that several files have is called `FILE:COLUMN`.
        join_by: a column of every file.
        duplicates: what to do with several rows of one architecture: refuse them, average them or keep the first.
        missing: what to do with empty cells and with architectures of the space that the table does not have: refuse them, or search
            only what the table has.
        input_shape: of the networks that the results are from, without the batch; decides MACs and memory.
        num_classes: of those networks.

    Raises:
        BadOptions: with every mistake.
    """

    name = "table"

    def __init__(
        self,
        *,
        file: Path,
        metrics: Mapping[str, Any],
        key: Mapping[str, str] | None = None,
        join: tuple[Path, ...] = (),
        join_by: str | None = None,
        duplicates: Literal["error", "mean", "first"] = "error",
        missing: Literal["error", "skip"] = "error",
        input_shape: tuple[int, ...] = (3, 32, 32),
        num_classes: int = 10,
    ) -> None:
        mistakes = Mistakes()
        self._file = TableFile(Path(file), [Path(item) for item in join], join_by, mistakes)
        self._metrics = read_metrics(metrics, self._file, mistakes)
        if mistakes.found:
            raise BadOptions(mistakes.found)
        self._key = MappingProxyType(dict(key or {}))
        self._duplicates, self._missing = duplicates, missing
        self.input_shape, self.num_classes = tuple(input_shape), num_classes
        self._digest = self._file.digest()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What a search may see of every architecture."""
        return tuple(item.metric for item in self._metrics)

    @property
    def fidelities(self) -> tuple[int, ...]:
        """Epochs at which every metric is known; empty where the table does not tell fidelities apart."""
        return _common([item.search for item in self._metrics])

    @property
    def test_fidelities(self) -> tuple[int, ...]:
        """Epochs at which every tested metric is known; empty where the table does not tell fidelities apart."""
        return _common([item.test for item in self._metrics if item.test])

    @property
    def tested(self) -> tuple[Metric, ...]:
        """Metrics that have a test."""
        return tuple(item.metric for item in self._metrics if item.test)

    def digest(self) -> str:
        """SHA-256 of the files."""
        return self._digest

    def table(self, space: GenotypeSpace) -> Table:
        """The results as arrays, for the architectures of a space.

        Raises:
            BadOptions: with every mistake: unknown columns, cells that are empty, rows that are there twice, wrong units.
        """
        mistakes = Mistakes()
        rows = table_of(
            file=self._file,
            metrics=self._metrics,
            key=self._key,
            space=space,
            duplicates=self._duplicates,
            missing=self._missing,
            mistakes=mistakes,
        )
        if rows is None:
            raise BadOptions(mistakes.found)
        return Table(space=space, genotypes=rows.genotypes, metrics=self.metrics, search=rows.search, test=rows.test)

    def train(
        self,
        build: "Callable[[], nn.Module]",  # noqa: ARG002 - the protocol's
        *,
        seed: int,  # noqa: ARG002
        fidelity: Fidelity,  # noqa: ARG002
        checkpoint: Path | None = None,  # noqa: ARG002
        on_epoch: Callable[[int, Mapping[str, float]], None] | None = None,  # noqa: ARG002
    ) -> "tuple[nn.Module, TaskResult]":
        """A table trains nothing.

        Raises:
            BadInput: always.
        """
        self._refuse()

    def test(self, network: "nn.Module") -> Mapping[str, float]:  # noqa: ARG002 - the protocol's
        """A table knows architectures, not networks.

        Raises:
            BadInput: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise BadInput("task 'table' looks results up and trains no network; choose a task with data to train one")


def _common(columns: "list[Mapping[int | None, tuple[str, ...]]]") -> tuple[int, ...]:
    """Epochs that all metrics with fidelities share."""
    told = [{epochs for epochs in item if epochs is not None} for item in columns if None not in item]
    return tuple(sorted(set.intersection(*told))) if told else ()
