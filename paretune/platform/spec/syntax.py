"""Mistakes in the YAML itself, told as a person would: the bracket that is never closed, the tab, the missing colon."""

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.tokens import ScalarToken

from paretune.core.errors import SpecProblem

LEADING_TAB = re.compile(r"[ ]*\t\s*\S")


def control_character(text: str) -> str:
    """The first character of a text that no spec may hold, as `control character U+0007`; empty where there is none."""
    for letter in text:
        code = ord(letter)
        if (code < 32 and letter not in "\t\n\r") or 0x7F <= code <= 0x9F or code in (0x2028, 0x2029, 0xFFFE, 0xFFFF):
            return f"control character U+{code:04X}"
        if 0xD800 <= code <= 0xDFFF:
            return f"half a surrogate pair U+{code:04X}"
    return ""


def syntax_problem(text: str, error: Exception) -> SpecProblem:
    """The mistake behind an exception of the YAML parser, at the place where a person would mend it."""
    problem, context = str(getattr(error, "problem", None) or ""), str(getattr(error, "context", None) or "")
    at, since = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    if at is None:
        return _unmarked(text, error)
    tab = _leading_tab(text, at.line)
    if tab is not None and "quoted" not in context:
        return _at(tab, text.splitlines()[tab].index("\t"), "a tab is used for indentation; YAML needs spaces")
    runaway = _runaway_quote(text, at.line)
    if runaway is not None and "quoted" not in context:
        return _at(*runaway, f"the quote that opens here ends only at line {at.line + 1}. Close it where the text ends")
    if since is not None and context.startswith("while parsing a flow"):
        bracket = "[" if "sequence" in context else "{"
        closing = "]" if bracket == "[" else "}"
        where = "" if at.line == since.line else f" before line {at.line + 1}"
        told = f"'{bracket}' is never closed" if _is_end(text, at) or where else f"'{bracket}' is not closed properly"
        return _at(since.line, since.column, f"{told}: expected ',' or '{closing}'{where}")
    if since is not None and "quoted scalar" in context and "end of stream" in problem:
        return _at(since.line, since.column, "this quote is never closed")
    if since is not None and context == "while scanning a simple key":
        return _at(since.line, since.column, "a ':' and a value are missing after this name")
    return _at(at.line, at.column, _advice(problem, context))


def _advice(problem: str, context: str) -> str:
    stray = re.search(r"found character '(.*)' that cannot start any token", problem)
    if stray:
        return f"text that starts with {stray[1].replace(chr(9), 'a tab')} needs quotes"
    if "mapping values are not allowed" in problem:
        return "a ':' is not expected here: check the indentation of this line, and quote text that holds ': '"
    if "sequence entries are not allowed" in problem:
        return "a '- ' is not expected here: put each list item on a line of its own"
    if "expected <block end>" in problem:
        return "this line does not fit the ones above it: check its indentation and what ends before it"
    if "escape character" in problem or "hexdecimal" in problem or "hexadecimal" in problem:
        return f"{problem}; in double quotes a \\ must be written \\\\"
    return f"this is not YAML: {problem}{f' ({context})' if context else ''}"


def _unmarked(text: str, error: Exception) -> SpecProblem:
    position = getattr(error, "position", None)
    if isinstance(position, int) and position < len(text):
        before = text[:position]
        line = before.count("\n")
        told = control_character(text[position]) or f"character U+{ord(text[position]):04X}"
        return _at(line, position - (before.rfind("\n") + 1), f"{told} is not allowed")
    escape = re.search(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\U[0-9a-fA-F]{8}", text)
    if isinstance(error, ValueError) and escape:
        before = text[: escape.start()]
        told = f"the escape {escape[0]} is no character"
        return _at(before.count("\n"), escape.start() - (before.rfind("\n") + 1), told)
    return SpecProblem(line=0, column=0, path="", message=f"cannot be read as YAML ({type(error).__name__})")


def _at(line: int, column: int, message: str) -> SpecProblem:
    return SpecProblem(line=line + 1, column=column + 1, path="", message=message)


def _is_end(text: str, mark: Any) -> bool:
    return not "".join(text.splitlines(keepends=True)[mark.line :])[mark.column :].strip()


def _leading_tab(text: str, last_line: int) -> int | None:
    """0-based number of the first line up to `last_line` that is indented with a tab."""
    lines = text.splitlines()[: last_line + 1]
    return next((number for number, line in enumerate(lines) if LEADING_TAB.match(line)), None)


def _runaway_quote(text: str, line: int) -> tuple[int, int] | None:
    """Where a quoted text opens that runs over several lines and ends on `line`: most likely its closing quote was forgotten."""
    found = None
    try:
        for token in YAML(typ="safe", pure=True).scan(text):
            is_quoted = isinstance(token, ScalarToken) and token.style in ("'", '"')
            if is_quoted and token.end_mark.line == line and token.start_mark.line < line:
                found = token.start_mark.line, token.start_mark.column
            if token.start_mark.line > line:
                break
    except Exception:  # the text is known to be broken; what was seen before the break is all we need
        return found
    return found
