"""Small pieces of HTML; every text that comes from outside goes through `escaped`."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paretune.platform.record.redaction import plain


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that is safe as it stands."""

    html: str


Cell = str | Markup


def escaped(text: object) -> str:
    """Text as HTML that shows it literally, without control characters and passwords."""
    return html.escape(plain(str(text)))


def rendered(cell: Cell) -> str:
    """HTML of a cell: markup as it stands, text escaped."""
    return cell.html if isinstance(cell, Markup) else escaped(cell)


def table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]], *, numeric_from: int = 1, below: Sequence[Cell] = ()) -> str:
    """A table in a box that scrolls sideways by itself.

    Args:
        head: titles of the columns.
        rows: cells.
        numeric_from: columns from here on are aligned to the right.
        below: for each row, text across the whole width under it; empty for none.
    """

    def row(cells: Sequence[Cell], tag: str) -> str:
        parts = (f"<{tag}{' class=number' if index >= numeric_from else ''}>{rendered(cell)}</{tag}>" for index, cell in enumerate(cells))
        return "<tr>" + "".join(parts) + "</tr>"

    body = ""
    for index, cells in enumerate(rows):
        body += row(cells, "td")
        if below:
            body += f"<tr class=below><td colspan={len(head)}>{rendered(below[index])}</td></tr>"
    kind = " class=paired" if below else ""
    return f'<div class="scroll"><table{kind}><thead>{row(head, "th")}</thead><tbody>{body}</tbody></table></div>'


def definitions(items: Iterable[tuple[Cell, Cell]]) -> str:
    """A list of names and values."""
    return "<dl>" + "".join(f"<div><dt>{rendered(name)}</dt><dd>{rendered(value)}</dd></div>" for name, value in items) + "</dl>"


def section(title: str, anchor: str, *parts: str) -> str:
    """A titled part of the page."""
    return f'<section id="{anchor}"><h2>{escaped(title)}</h2>{"".join(parts)}</section>'


def note(text: Cell) -> str:
    """A paragraph of explanation."""
    return f'<p class="note">{rendered(text)}</p>'
