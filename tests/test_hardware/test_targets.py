"""Target files: what is read, and every mistake at once with its line and field."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from paretune.core.errors import BadInput, SpecError, UnknownName
from paretune.hardware import HARDWARE
from paretune.hardware.target_files import FOLDER, load_target, target_names


class Board:
    """A made-up board."""

    def __init__(
        self,
        *,
        clock_hz: float,
        lanes: int = 4,
        widths: tuple[int, ...] = (8, 16),
        port: tuple[int, float] = (1, 2.0),
        precision: Literal["fixed16", "float32"] = "fixed16",
        cache: bool = False,
        file: Path | None = None,
        limit: float | None = None,
    ) -> None:
        if lanes > 64:
            raise BadInput(f"lanes: must be at most 64; got {lanes}")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a target file of the kind `board`, which is registered for the test; gives its path."""
    monkeypatch.setitem(HARDWARE._builtins, "board", f"{__name__}:Board")

    def written(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return written


def problems(path: str) -> dict[str, tuple[int, str]]:
    """Field -> (line, message)."""
    with pytest.raises(SpecError) as caught:
        load_target(path)
    assert caught.value.file.endswith("mine.yaml")
    return {problem.path: (problem.line, problem.message) for problem in caught.value.problems}


@pytest.mark.parametrize("name", target_names())
def test_shipped_target_can_be_made(name: str) -> None:
    target = load_target(name)
    assert target.description
    assert target.create() is not None


def test_shipped_targets_lie_in_the_package() -> None:
    assert "zcu102" in target_names()
    assert FOLDER.joinpath("zcu102.yaml").is_file()


def test_values_have_the_declared_types_and_numbers_their_sources(write: Callable[[str], str]) -> None:
    text = """\
kind: board
description: a board of ours
options:
  clock_hz: {value: 200e6, source: data sheet}
  lanes: {value: 8, source: "data sheet, table 2"}
  widths: {value: [4, 8], source: chosen}
  port: {value: [2, 3], source: measured}
  precision: float32
  cache: true
  file: tables/board.parquet
  limit: null
"""
    path = write(text)
    target = load_target(path)
    assert target.options == {
        "clock_hz": 2e8,
        "lanes": 8,
        "widths": (4, 8),
        "port": (2, 3.0),
        "precision": "float32",
        "cache": True,
        "file": Path(path).parent / "tables" / "board.parquet",  # relative to the target file
        "limit": None,
    }
    assert type(target.options["lanes"]) is int
    assert target.sources == {"clock_hz": "data sheet", "lanes": "data sheet, table 2", "widths": "chosen", "port": "measured"}
    assert (target.kind, target.file) == ("board", path)
    assert isinstance(target.create(), Board)


def test_all_mistakes_come_at_once_with_line_and_field(write: Callable[[str], str]) -> None:
    found = problems(
        write(
            """\
kind: board
descripton: a board
options:
  lanes: 8
  widths: {value: [4, x], source: chosen}
  port: {value: [1], source: chosen}
  precision: fixed8
  cash: true
  cache: {value: true, surce: x}
  limit: {value: .nan, source: nobody}
  file: {source: x}
"""
        )
    )
    assert found["description"] == (1, "is missing; write one line")
    assert found["descripton"][0] == 2
    assert found["options.lanes"] == (4, 'a number needs its source: {value: 8, source: "where it is from"}')
    assert found["options.widths"] == (5, "must be a whole number; got 'x'")
    assert found["options.port"] == (6, "must have 2 values; got 1")
    assert found["options.precision"] == (7, "must be one of fixed16, float32; got 'fixed8'")
    assert "Did you mean 'cache'?" in found["options.cash"][1]
    assert found["options.cache.surce"] == (9, "unknown field. Did you mean 'source'? (fields: value, source)")
    assert "nan" in found["options.limit"][1]
    assert found["options.file.value"] == (11, "is missing")
    assert found["options.clock_hz"] == (3, "is missing; board needs it")
    assert len(found) == 11


def test_numbers_are_not_read_from_texts_or_truth_values(write: Callable[[str], str]) -> None:
    options = 'clock_hz: {value: "2e8", source: x}\n  lanes: {value: 2.5, source: x}\n  limit: true\n  cache: {value: 1, source: x}'
    found = problems(write(f"kind: board\ndescription: x\noptions:\n  {options}\n"))
    assert set(found) == {"options.clock_hz", "options.lanes", "options.limit", "options.cache"}


def test_source_that_is_empty_or_no_text_is_refused(write: Callable[[str], str]) -> None:
    found = problems(write('kind: board\ndescription: x\noptions:\n  clock_hz: {value: 1e8, source: ""}\n  lanes: {value: 2, source: 3}\n'))
    assert set(found) == {"options.clock_hz.source", "options.lanes.source"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("kind: board\nkind: board\n", 2, "duplicate key"),
        ("kind: [board\n", 2, "not valid YAML"),
        ("- kind\n", 0, "expected a mapping with kind, description, options"),
        ("", 0, "expected a mapping"),
        ("kind: board\n---\nkind: board\n", 2, "another document"),
    ],
)
def test_what_is_no_mapping_is_refused(write: Callable[[str], str], text: str, line: int, words: str) -> None:
    ((found, message),) = problems(write(text)).values()
    assert found == line
    assert words in message


def test_unknown_kind_names_the_near_one(write: Callable[[str], str]) -> None:
    assert "Did you mean 'board'?" in problems(write("kind: boart\ndescription: x\n"))["kind"][1]


def test_unknown_target_names_the_near_one() -> None:
    with pytest.raises(UnknownName, match=r"unknown target 'hosst'\. Did you mean 'host'\?"):
        load_target("hosst")


def test_missing_file_is_told() -> None:
    with pytest.raises(SpecError, match="no such target file"):
        load_target("nowhere/mine.yaml")


def test_value_out_of_range_is_told_with_target_and_option(write: Callable[[str], str]) -> None:
    path = write("kind: board\ndescription: x\noptions:\n  clock_hz: {value: 1e8, source: x}\n  lanes: {value: 65, source: x}\n")
    with pytest.raises(BadInput, match=r"mine.yaml' \(kind board\): lanes: must be at most 64; got 65"):
        load_target(path).create()


def test_relative_path_starts_from_the_folder_given(write: Callable[[str], str]) -> None:
    path = Path(write("kind: board\ndescription: x\noptions:\n  clock_hz: {value: 1e8, source: x}\n"))
    assert load_target("./mine.yaml", folder=path.parent).file == str(path)
