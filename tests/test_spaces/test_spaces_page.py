"""The page about spaces lists every space with its true numbers."""

import re
from pathlib import Path

import pytest

from paretune.spaces import SPACES

PAGE = Path(__file__).parents[2] / "docs" / "spaces.md"
ROW = re.compile(r"^\| \[`(\w+)`\]\(#(\w+)\) \| ([\d,]+) \| ([\d,]+) \|", re.MULTILINE)


def rows() -> dict[str, tuple[str, int, int]]:
    return {name: (anchor, *(int(text.replace(",", "")) for text in numbers)) for name, anchor, *numbers in ROW.findall(PAGE.read_text())}


def built_in_spaces() -> list[str]:
    return [name for name in SPACES.names() if SPACES.factory(name).__module__.startswith("paretune.")]


def test_the_page_lists_every_space_and_no_other() -> None:
    assert set(rows()) == set(built_in_spaces())


@pytest.mark.parametrize("name", built_in_spaces())
def test_a_row_has_the_numbers_of_the_space(name: str) -> None:
    anchor, num_decisions, size = rows()[name]
    space = SPACES.create(name, input_shape=(13, 40) if name == "speech" else (1, 8, 8), num_classes=10)
    assert (num_decisions, size) == (len(space.decisions), space.size)
    assert f"\n## {anchor}\n" in PAGE.read_text()
