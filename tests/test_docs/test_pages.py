"""What the pages show is true: their code runs or is quoted, their commands exist, their links lead somewhere, their messages occur."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from paretune.platform.cli.commands import main

ROOT = Path(__file__).parents[2]
DOCS = tuple(sorted((ROOT / "docs").glob("*.md")))
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS)
EXAMPLES = [path for folder in ("examples", "studies") for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".toml", ".yaml")]
LITERALS = 15
"""So many characters of a text in the source, besides its values, make it a message."""


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in some languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def shown(*languages: str) -> list[object]:
    """The blocks of docs/ as parameters for pytest, named by page and number."""
    found = [(page, blocks(page, *languages)) for page in DOCS]
    return [pytest.param(block, id=f"{page.stem}-{number}") for page, texts in found for number, block in enumerate(texts, start=1)]


def is_quoted(block: str) -> bool:
    return any(block.strip() in path.read_text() for path in EXAMPLES)


@pytest.mark.parametrize("block", shown("python"))
def test_python_on_a_page_stands_in_an_example_or_runs(block: str, tmp_path: Path) -> None:
    if not is_quoted(block):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        ended = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment)
        assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize("block", shown("toml", "yaml"))
def test_specs_and_packaging_on_a_page_stand_in_an_example(block: str) -> None:
    assert is_quoted(block)


def commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """The words of every command of a page, and whether it is one to copy (in a console block) or one that a sentence mentions."""
    for block in blocks(page, "console"):
        for line in block.splitlines():
            for part in line.split("&&"):
                yield shlex.split(part.partition(">")[0], comments=True), True
    for span in re.findall(r"`((?:paretune|python|make) [^`\n]+)`", page.read_text()):
        yield shlex.split(span), False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_a_page_exist_with_their_options(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words, complete in commands(page):
        program, *arguments = words or [""]
        if program.endswith("paretune"):
            check_command(arguments, complete=complete)
        elif program == "make":
            assert set(arguments) <= set(targets), words
        elif program == "python":
            check_script(arguments)


def check_command(arguments: list[str], *, complete: bool) -> None:
    """Let click read a command line, without running it."""
    if arguments and not arguments[0].isalpha():
        return  # `paretune ...`, `paretune --help`
    name, *rest = arguments
    command = main.get_command(click.Context(main), name)
    assert command is not None, f"there is no command 'paretune {name}'"
    try:
        command.make_context(name, rest)
    except click.MissingParameter:
        assert not complete, arguments


def check_script(arguments: list[str]) -> None:
    """A script is there and knows the options used; `pytest -k` selects something."""
    if arguments[:2] == ["-m", "pytest"]:
        tests = (ROOT / arguments[2]).read_text()
        chosen = arguments[arguments.index("-k") + 1].split(" or ") if "-k" in arguments else []
        unknown = [word for word in chosen if not re.search(rf"def test_\w*{word}|\"\d+ {word}", tests)]
        assert not unknown, f"{arguments[2]}: -k {unknown} selects nothing"
        return
    script = (ROOT / arguments[0]).read_text()
    unknown = [word for word in arguments[1:] if not word.isdigit() and f'"{word}"' not in script]
    assert not unknown, f"{arguments[0]} does not know {unknown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.fixture(scope="module")
def messages() -> re.Pattern[str]:
    """Any text in the library, values as `.+`."""
    found = set()
    for path in (ROOT / "paretune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else None for part in parts]
            if sum(len(text) for text in texts if text) >= LITERALS:
                found.add("".join(".+" if text is None else re.escape(text) for text in texts))
    return re.compile("|".join(found))


@pytest.mark.parametrize("message", blocks(ROOT / "docs" / "troubleshooting.md", "text"))
def test_quoted_messages_occur_in_the_source(message: str, messages: re.Pattern[str]) -> None:
    assert messages.search(message), "nothing in the library says this any more"
