"""Help, version and completion: what a user meets before anything runs."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from paretune import __version__
from paretune.platform.cli.commands import main

HEAVY = ("numpy", "pydantic", "rich", "ray", "torch", "mlflow", "plotly", "onnx")


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_shows_examples_each_on_its_line(command: str, paretune: Callable[..., Any]) -> None:
    text = paretune(command, "--help").output
    lines = [line.strip() for line in text.splitlines()]
    first = lines.index("Examples:") + 1
    assert all(line.startswith("paretune ") or f"paretune {command}" in line for line in lines[first:] if line)
    assert f"paretune {command}" in lines[first]
    assert "\b" not in text
    assert r"\b" not in text


def test_every_command_is_described_in_full_at_80_columns(paretune: Callable[..., Any]) -> None:
    listing = paretune("--help").output.partition("Commands:")[2].partition("Examples:")[0]
    assert "..." not in listing
    assert all(f"  {name} " in listing for name in main.commands)


def test_help_names_every_exit_code_of_an_error(paretune: Callable[..., Any]) -> None:
    from paretune.core import errors

    codes = {item.exit_code for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.ParetuneError)}
    text = paretune("--help").output
    assert all(f"\n    {code} " in text for code in {0, 130, *codes})


def test_help_imports_nothing_heavy() -> None:
    program = f"""
import sys
from paretune.platform.cli.commands import main
main(["run", "--help"], standalone_mode=False)
print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"


def test_version_is_known_without_an_installation(paretune: Callable[..., Any]) -> None:
    assert paretune("--version").output == f"paretune, version {__version__}\n"


def test_shell_completes_the_names_of_studies(new_study: Callable[[str], Any], process: Callable[[str], Any]) -> None:
    new_study("digits")
    new_study("digits-2")
    new_study("speech")
    done = process("COMP_WORDS='paretune resume di' COMP_CWORD=2 _PARETUNE_COMPLETE=bash_complete $PARETUNE")
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == ["digits", "digits-2"]
