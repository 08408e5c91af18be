"""The frame of a page that needs no network: style, script, data and plotly in one document, and places for its figures."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from paretune.platform.report.front_figure import Figure
from paretune.platform.report.markup import escaped

POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
"""The page may load nothing from anywhere; plotly's parallel coordinates compile their drawing code, hence eval."""


def drawn(found: Mapping[str, Figure], anchor: str, figures: dict[str, Figure], *, one_at_a_time: bool = False, tall: bool = False) -> str:
    """Places for figures: side by side, or one at a time with a button for each."""
    size = "figure tall" if tall else "figure"
    places, buttons = [], []
    for number, (name, figure) in enumerate(found.items()):
        key = f"{anchor}-{number}"
        figures[key] = figure
        chosen = one_at_a_time and number > 0
        caption = "" if one_at_a_time else f"<figcaption>{escaped(name)}</figcaption>"
        places.append(f'<figure id="{key}-box"{" hidden" if chosen else ""}>{caption}<div class="{size}" id="{key}"></div></figure>')
        buttons.append(f'<button type="button" data-shows="{key}-box" aria-pressed="{str(not chosen).lower()}">{escaped(name)}</button>')
    choice = f'<div class="choice">{"".join(buttons)}</div>' if one_at_a_time and len(buttons) > 1 else ""
    layout = "one" if one_at_a_time or len(places) == 1 else "pair"
    return f'{choice}<div class="{layout}">{"".join(places)}</div>' if places else ""


def document(title: str, body: str, data: Mapping[str, Any]) -> str:
    """The whole page: `data` has `figures`, by the places that `body` has for them, and `hover`, texts that figures point to."""
    from plotly.offline import get_plotlyjs  # 0.2 s, and needed only here

    here = files("paretune.platform.report")
    style, script = (here.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    # "<" would end the script element if it began "</script"; JSON may write it as an escape.
    embedded = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta name="color-scheme" content="light dark">'
        f'<title>{escaped(title)} · paretune</title><link rel="icon" href="data:,"><style>{style}</style></head>'
        f"<body><main>{body}<noscript><p>The figures need JavaScript; the tables do not.</p></noscript></main>"
        f'<script type="application/json" id="data">{embedded}</script>'
        f"<script>{get_plotlyjs()}</script><script>{script}</script></body></html>\n"
    )
