"""Tables as tasks: what is looked up, in which units, and what a table must not be."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from paretune.core.errors import BadInput, BadOptions
from paretune.core.genotype import GENE, Decision, Genotypes, num_choices
from paretune.core.metrics import Direction
from paretune.core.protocols import Fidelity
from paretune.tasks.table import Table, TableTask

ACCURACY = {"column": "valid", "unit": "%", "goal": "max"}


class PairSpace:
    """Six architectures: a kernel and an operation; the kernel of a skip does not matter."""

    decisions = (
        Decision(name="kernel", choices=(3, 5, 7), ordinal=True),
        Decision(name="op", choices=("conv", "skip"), ordinal=False),
    )
    size = 4

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        canonical = genotypes_ND.astype(GENE)
        canonical[canonical[:, 1] == 1, 0] = 0
        return canonical

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        return np.asarray(((genotypes_ND >= 0) & (genotypes_ND < num_choices(self.decisions))).all(axis=1))


class Numbered(PairSpace):
    def from_string(self, strings: Sequence[str]) -> Genotypes:
        return np.array([[int(digit) for digit in string] for string in strings], dtype=GENE)

    def from_index(self, indices_N: NDArray[np.int64]) -> Genotypes:
        return np.stack([indices_N // 2, indices_N % 2], axis=1).astype(GENE)

    def string_of(self, genotypes_ND: Genotypes) -> list[str]:
        raise NotImplementedError

    def index_of(self, genotypes_ND: Genotypes) -> NDArray[np.int64]:
        raise NotImplementedError


ROWS: dict[str, list[Any]] = {
    "id": [10, 11, 12, 13],
    "kernel": [3, 5, 7, 3],
    "op": ["conv", "conv", "conv", "skip"],
    "valid": [80.0, 85.0, 90.0, 50.0],
    "valid_long": [82.0, 88.0, 93.0, 50.0],
    "test_0": [81.0, 86.0, 91.0, 51.0],
    "test_1": [83.0, 86.0, 89.0, 53.0],
    "latency": [1.5, 2.5, 4.0, 0.5],
}


def written(folder: Path, columns: Mapping[str, list[Any]], name: str = "table.parquet") -> Path:
    table = pyarrow.table({key: pyarrow.array(cells) for key, cells in columns.items()})
    path = folder / name
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


def opened(path: Path, **options: Any) -> Table:
    return TableTask(**{"file": path, "metrics": {"accuracy": ACCURACY}, **options}).table(PairSpace())


def refused(path: Path, **options: Any) -> dict[str, str]:
    """Way -> message of each mistake."""
    with pytest.raises(BadOptions) as caught:
        opened(path, **options)
    return {".".join(map(str, way)): told for way, told in caught.value.problems}


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_results_come_back_in_inner_units_for_any_order_of_genotypes(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, ROWS, name)
    metrics = {"accuracy": ACCURACY, "pixel.latency_ms": {"column": "latency", "goal": "min"}}
    table = opened(path, metrics=metrics)
    found = table.lookup(np.array([[2, 0], [0, 0], [1, 1]], dtype=GENE))
    assert found["accuracy"].tolist() == pytest.approx([0.90, 0.80, 0.50])  # a skip of any kernel is one architecture
    assert found["pixel.latency_s"].tolist() == pytest.approx([4e-3, 1.5e-3, 0.5e-3])
    assert [(metric.name, metric.unit, metric.direction) for metric in table.metrics] == [
        ("accuracy", "", Direction.MAX),
        ("pixel.latency_s", "s", Direction.MIN),
    ]
    assert table.genotypes.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1]]
    assert table.metrics[0].source == f"looked up in {name}"


def test_unit_of_the_cells_may_differ_from_the_metrics(tmp_path: Path) -> None:
    path = written(tmp_path, {**ROWS, "flops": [1.5, 2.0, 3.0, 0.0]})
    metrics = {
        "latency_ms": {"column": "latency", "unit": "us", "goal": "min"},
        "work": {"column": "flops", "unit": "million", "goal": "min"},
    }
    found = opened(path, metrics=metrics).lookup(np.array([[0, 0]], dtype=GENE))
    assert {name: values.tolist() for name, values in found.items()} == {"latency_s": [pytest.approx(1.5e-6)], "work": [1.5e6]}


def test_epochs_choose_the_column(tmp_path: Path) -> None:
    accuracy = {**ACCURACY, "column": {"5": "valid", "50": "valid_long"}, "test": {"50": ["test_0", "test_1"]}}
    task = TableTask(file=written(tmp_path, ROWS), metrics={"accuracy": accuracy})
    table = task.table(PairSpace())
    row = np.array([[1, 0]], dtype=GENE)
    assert (task.fidelities, task.test_fidelities) == ((5, 50), (50,))
    assert [table.lookup(row, epochs=epochs)["accuracy"][0] for epochs in (5, 50)] == pytest.approx([0.85, 0.88])
    assert table.lookup(row, epochs=30, at_most=True)["accuracy"][0] == pytest.approx(0.85)
    with pytest.raises(BadInput, match="accuracy at 5, 50 epochs, not at 30"):
        table.lookup(row, epochs=30)
    with pytest.raises(BadInput, match="at 5, 50 epochs"):
        table.lookup(row)
    with pytest.raises(BadInput, match="not at 4"):
        table.lookup(row, epochs=4, at_most=True)


def test_repeated_runs_are_looked_up_one_by_one_or_averaged(tmp_path: Path) -> None:
    table = opened(written(tmp_path, ROWS), metrics={"accuracy": {**ACCURACY, "test": ["test_0", "test_1"]}})
    row = np.array([[0, 0]], dtype=GENE)
    assert table.num_tests == 2
    assert [table.look_up_test(row, run=run)["accuracy"][0] for run in (0, 1, None)] == pytest.approx([0.81, 0.83, 0.82])
    with pytest.raises(BadInput, match="2 test runs of accuracy; there is no run 2"):
        table.look_up_test(row, run=2)


def test_key_maps_columns_and_numbers_of_choices(tmp_path: Path) -> None:
    columns = {**ROWS, "code": [0, 0, 0, 1], "k": ROWS["kernel"]}
    del columns["kernel"], columns["op"]
    table = opened(written(tmp_path, columns), key={"kernel": "k", "op": "code"})
    assert table.genotypes.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1]]


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_official_strings_may_look_like_numbers(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, {**ROWS, "text": ["00", "10", "20", "01"], "number": [0, 2, 4, 1]}, name)
    task = TableTask(file=path, key={"column": "text", "as": "string"}, metrics={"accuracy": ACCURACY})
    assert task.table(Numbered()).genotypes.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1]]
    task = TableTask(file=path, key={"column": "number", "as": "index"}, metrics={"accuracy": ACCURACY})
    assert task.table(Numbered()).genotypes.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1]]
    with pytest.raises(BadOptions, match=r"holds 1.5 in row 0; official numbers are integers"):
        TableTask(file=path, key={"column": "latency", "as": "index"}, metrics={"accuracy": ACCURACY}).table(Numbered())


def test_numbers_of_choices_may_be_written_as_whole_floats(tmp_path: Path) -> None:
    table = opened(written(tmp_path, {**ROWS, "number": [0.0, 0.0, 0.0, 1.0]}), key={"op": "number"})
    assert table.genotypes.tolist() == [[0, 0], [1, 0], [2, 0], [0, 1]]


def test_an_official_number_may_not_be_missing(tmp_path: Path) -> None:
    path = written(tmp_path, {**ROWS, "number": [0, 2, None, 1]})
    task = TableTask(file=path, key={"column": "number", "as": "index"}, metrics={"accuracy": ACCURACY})
    with pytest.raises(BadOptions, match="column 'number' is empty in row 2; every row needs its official number"):
        task.table(Numbered())


def test_second_file_is_joined_by_a_column(tmp_path: Path) -> None:
    first = written(tmp_path, ROWS)
    second = written(tmp_path, {"id": [13, 12, 11, 10], "latency": [9.0, 8.0, 7.0, 6.0], "energy": [1, 2, 3, 4]}, "costs.csv")
    metrics = {
        "accuracy": ACCURACY,
        "energy_mj": {"column": "energy", "goal": "min"},
        "old.latency_ms": {"column": "table:latency", "goal": "min"},
        "new.latency_ms": {"column": "costs:latency", "goal": "min"},
    }
    found = opened(first, join=(second,), join_by="id", metrics=metrics).lookup(np.array([[0, 0]], dtype=GENE))
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        {"accuracy": 0.8, "energy_j": 4e-3, "old.latency_s": 1.5e-3, "new.latency_s": 6e-3}
    )
    problems = refused(first, join=(second,), join_by="id", metrics={"latency_ms": {"column": "latency", "goal": "min"}})
    assert "is a column of table.parquet and costs.csv. Write table:latency" in problems["metrics.latency_ms.column"]


def test_rows_that_a_joined_file_lacks_are_empty_cells(tmp_path: Path) -> None:
    first, second = written(tmp_path, ROWS), written(tmp_path, {"id": [10, 11, 12], "energy": [4, 3, 2]}, "costs.csv")
    options: dict[str, Any] = {"join": (second,), "join_by": "id", "metrics": {"energy_mj": {"column": "energy", "goal": "min"}}}
    assert "energy_j: no number for 1 architecture, in row 3" in refused(first, **options)["metrics"]
    assert len(opened(first, missing="skip", **options)) == 3
    twice = written(tmp_path, {"id": [10, 10], "energy": [4, 3]}, "costs.csv")
    assert "costs.csv has two rows with id 10" in refused(first, **{**options, "join": (twice,)})["join"]
    assert "'di' is no column of costs.csv. (id, energy)" in refused(first, **{**options, "join_by": "di"})["join_by"]
    assert "needs join_by" in refused(first, join=(second,))[""]
    texts = written(tmp_path, {"id": ["a", "b"], "energy": [4, 3]}, "costs.csv")
    told = "no id of table.parquet is in costs.csv; the first are 10 and 'a'"
    assert told in refused(first, **{**options, "join": (texts,)})["join"]


def test_rows_of_one_architecture_are_refused_averaged_or_cut(tmp_path: Path) -> None:
    columns = {name: [*cells, cells[3]] for name, cells in ROWS.items()} | {
        "kernel": [3, 5, 7, 3, 7],
        "valid": [80.0, 85.0, 90.0, 50.0, 60.0],
    }
    path = written(tmp_path, columns)  # the last two are one architecture: the kernel of a skip does not matter
    assert "1 rows of table.parquet are of an architecture that another row has: rows 3 and 4" in refused(path)[""]
    skip = np.array([[2, 1]], dtype=GENE)
    assert opened(path, duplicates="mean").lookup(skip)["accuracy"][0] == pytest.approx(0.55)
    assert opened(path, duplicates="first").lookup(skip)["accuracy"][0] == pytest.approx(0.50)


def test_mean_of_rows_leaves_empty_cells_out(tmp_path: Path) -> None:
    columns = {name: [*cells, cells[0]] for name, cells in ROWS.items()} | {"valid": [80.0, 85.0, 90.0, 50.0, None]}
    assert opened(written(tmp_path, columns), duplicates="mean").lookup(np.array([[0, 0]], dtype=GENE))["accuracy"][0] == pytest.approx(0.8)


def test_empty_cells_are_refused_with_their_rows(tmp_path: Path) -> None:
    path = written(tmp_path, {**ROWS, "valid": [80.0, None, float("nan"), 50.0]})
    told = refused(path)["metrics"]
    assert "accuracy: no number for 2 architectures, in rows 1, 2. Write missing: skip" in told
    assert opened(path, missing="skip").genotypes.tolist() == [[0, 0], [0, 1]]


def test_a_table_without_rows_and_infinite_cells_are_told_as_what_they_are(tmp_path: Path) -> None:
    empty = written(tmp_path, {name: cells[:0] for name, cells in ROWS.items()}, "table.csv")
    assert "table.csv has no rows" in refused(empty)[""]
    endless = written(tmp_path, {**ROWS, "valid": [80.0, 70.0, float("inf"), 50.0]})
    assert "column 'valid' holds infinity in row 2" in " ".join(refused(endless).values())


def test_architectures_without_a_row_are_refused_or_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, {name: cells[:3] for name, cells in ROWS.items()})
    assert "has 3 of the 4 architectures of the space, not kernel=3, op=skip for one. Write missing: skip" in refused(path)[""]
    table = opened(path, missing="skip")
    assert len(table) == 3
    with pytest.raises(BadInput, match=r"no row for 1 of 2 architectures, such as \[0, 1\]"):
        table.lookup(np.array([[0, 0], [0, 1]], dtype=GENE))
    assert table.rows_of(np.array([[0, 0], [0, 1]], dtype=GENE)).tolist() == [0, -1]


# options that change, way to the mistake, words
MISTAKES: list[tuple[dict[str, Any], str, tuple[str, ...]]] = [
    ({"metrics": {"accuracy": {**ACCURACY, "column": "vaild"}}}, "metrics.accuracy.column", ("no column of table.parquet", "'valid'?")),
    ({"metrics": {"accuracy": {**ACCURACY, "colum": "valid"}}}, "metrics.accuracy.colum", ("Did you mean 'column'?",)),
    ({"metrics": {"accuracy": {**ACCURACY, "unit": "ms"}}}, "metrics.accuracy.unit", ("pure number", "accuracy_ms")),
    (
        {"metrics": {"latency_ms": {"column": "latency", "unit": "mj", "goal": "min"}}},
        "metrics.latency_ms.unit",
        ("s, ms, us, ns",),
    ),
    ({"metrics": {"accuracy": {**ACCURACY, "goal": "up"}}}, "metrics.accuracy.goal", ("goal: max or goal: min (got up)",)),
    ({"metrics": {"accuracy": {"unit": "%", "goal": "max"}}}, "metrics.accuracy", ("needs a column",)),
    ({"metrics": {"accuracy": "valid"}}, "metrics.accuracy", ("expected a mapping",)),
    ({"metrics": {}}, "metrics", ("needs at least one",)),
    ({"metrics": {"accuracy": {**ACCURACY, "column": {"five": "valid"}}}}, "metrics.accuracy.column.five", ("no number of epochs",)),
    ({"metrics": {"accuracy": {**ACCURACY, "column": ["valid", "valid_long"]}}}, "metrics.accuracy.column", ("a search sees one run",)),
    ({"metrics": {"accuracy": {"column": "valid", "goal": "max"}}}, "metrics.accuracy", ("goes up to 90", "Write unit: '%'")),
    ({"metrics": {"accuracy": {**ACCURACY, "column": "share"}}}, "metrics.accuracy.unit", ("fractions, not percent",)),
    ({"metrics": {"latency_ms": {"column": "negative", "goal": "min"}}}, "metrics.latency_ms", ("cannot be below 0",)),
    ({"metrics": {"work": {"column": "op", "goal": "min"}}}, "metrics.work", ("holds 'conv' in row 0; expected numbers",)),
    ({"metrics": {"work": {"column": "worded", "goal": "min"}}}, "metrics.work", ("holds 'few' in row 2; expected numbers",)),
    ({"metrics": {"work": {"column": "day", "goal": "min"}}}, "", ("column 'day' holds date32", "expected numbers")),
    ({"key": {"op": "parts"}}, "", ("column 'parts' holds list", "expected numbers, texts")),
    ({"key": {"kernel": "holes"}}, "key", ("column 'holes' is empty in row 2; every row needs its 'kernel'",)),
    ({"join_by": "id"}, "join_by", ("there is no other file", "remove join_by")),
    ({"metrics": {"a_ms": {"column": "latency", "goal": "min"}, "a_s": {"column": "latency", "goal": "min"}}}, "metrics.a_s", ("a_ms",)),
    ({"key": {"kernal": "kernel"}}, "key.kernal", ("is no decision of the space. Did you mean 'kernel'?",)),
    ({"key": {"kernel": "id"}}, "key", ("column 'id' holds 10 in row 0; decision 'kernel' has 3, 5, 7",)),
    ({"key": {"kernel": "kernl"}}, "key.kernel", ("no column", "'kernel'?")),
    ({"key": {"op": "three"}}, "key", ("holds 2 in row 1", "0 to 1, the numbers of conv, skip")),
    ({"key": {"column": "id", "as": "index"}}, "key", ("no official numbers",)),
    ({"key": {"column": "id", "as": "number"}}, "key.as", ("as: index or as: string (got number)",)),
]


@pytest.mark.parametrize(("options", "way", "words"), MISTAKES, ids=[f"{number}-{way}" for number, (_, way, _) in enumerate(MISTAKES)])
def test_mistakes_are_told_where_they_are(tmp_path: Path, options: dict[str, Any], way: str, words: tuple[str, ...]) -> None:
    more = {
        "share": [0.8, 0.9, 1.0, 0.5],
        "negative": [1.0, -1.0, 2.0, 3.0],
        "three": [0, 2, 1, 0],
        "worded": ["1", "2.5", "few", "4"],
        "day": [date(2026, 1, 1)] * 4,
        "parts": [[1], [2], [3], [4]],
        "holes": [3, 5, None, 3],
    }
    path = written(tmp_path, {**ROWS, **more})
    problems = refused(path, **options)
    assert way in problems, problems
    assert all(word in problems[way] for word in words), problems[way]


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    problems = refused(
        written(tmp_path, ROWS),
        metrics={"accuracy": {"column": "x", "unit": "s", "goal": "?"}, "latency_ms": {"column": "y", "goal": "min"}},
    )
    assert list(problems) == ["metrics.accuracy.unit", "metrics.accuracy.goal", "metrics.accuracy.column", "metrics.latency_ms.column"]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("tabel.parquet", "Did you mean 'table.parquet'?"),
        ("table.xlsx", "ends in .parquet or .csv"),
        ("folder.csv", "is a folder; name one file"),
        ("latin.csv", "its first line is not UTF-8. Save it as UTF-8"),
        ("twice.csv", "two columns are called 'kernel'"),
        ("broken.parquet", "cannot be read as Parquet"),
        ("${env:NO_SUCH_VARIABLE}/table.parquet", "environment variable NO_SUCH_VARIABLE is not set"),
    ],
)
def test_files_that_cannot_be_opened_are_told(tmp_path: Path, file: str, words: str) -> None:
    written(tmp_path, ROWS)
    (tmp_path / "broken.parquet").write_text("not a table")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "latin.csv").write_bytes("kernel,gültig\n3,80\n".encode("latin-1"))
    (tmp_path / "twice.csv").write_text("kernel,kernel\n3,5\n")
    assert words in refused(Path(file) if file.startswith("$") else tmp_path / file)["file"]


def test_folder_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, ROWS)
    monkeypatch.setenv("TABLE_FOLDER", str(tmp_path))
    assert len(opened(Path("${env:TABLE_FOLDER}/table.parquet"))) == 4


def test_digest_follows_the_content_of_every_file(tmp_path: Path) -> None:
    path = written(tmp_path, ROWS)
    costs = written(tmp_path, {"id": [10], "energy": [4]}, "costs.parquet")

    def digest() -> str:
        return TableTask(file=path, join=(costs,), join_by="id", metrics={"accuracy": ACCURACY}).digest()

    before = digest()
    assert digest() == before
    written(tmp_path, {"id": [10], "energy": [5]}, "costs.parquet")
    assert digest() != before


def test_nothing_is_trained(tmp_path: Path) -> None:
    task = TableTask(file=written(tmp_path, ROWS), metrics={"accuracy": ACCURACY})
    with pytest.raises(BadInput, match="trains no network"):
        task.train(lambda: None, seed=0, fidelity=Fidelity(epochs=1))  # type: ignore[arg-type,return-value]
