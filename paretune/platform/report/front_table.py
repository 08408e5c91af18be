"""The front as a table: what the search saw, what retraining with fresh seeds gave, what the test said, what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.genotype import Choice
from paretune.core.metrics import Direction
from paretune.core.objectives import Objective
from paretune.platform.record.history import History, Record
from paretune.platform.record.summary import Spread, final_spreads
from paretune.platform.report.computed import deviation
from paretune.platform.report.markup import Cell, Markup, escaped, note, table
from paretune.platform.report.measurements import quartile_range
from paretune.platform.report.points import architecture
from paretune.platform.report.units import Scale, label, scale

TEST_PREFIX = "test."
ROWS_SHOWN = 200


def front_table(history: History, front: Sequence[Record], scales: Mapping[str, Scale]) -> str:
    """The table with the sentences that it needs to be read correctly."""
    finals = {index: final_spreads(group) for index, group in history.finals().items()}
    trained = [
        item
        for item in history.problem.objectives
        if any(item.metric in spreads for spreads in finals.values())
        and (_is_trained(item, history) or any(f"{TEST_PREFIX}{item.metric}" in spreads for spreads in finals.values()))
    ]
    tests = list(dict.fromkeys(name for spreads in finals.values() for name in spreads if name.startswith(TEST_PREFIX)))
    test_scales = {name: scale(name, [spreads[name].mean for spreads in finals.values() if name in spreads]) for name in tests}
    shared, differing = _split(front)
    rest = [name for name in scales if name not in {item.metric for item in trained} and any(name in record.metrics for record in front)]
    head: list[Cell] = ["candidate"]
    for item in trained:
        head += [_head(label(item.metric), "search", scales[item.metric]), _head("retrained", "mean ± std", scales[item.metric])]
        head += [_head("drop", "search to retrained", scales[item.metric])]
    head += [_head(label(name), "mean ± std", test_scales[name]) for name in tests]
    head += [_head(label(name), _spread_words(front, name), scales[name]) for name in rest]
    rows = []
    for record in front[:ROWS_SHOWN]:
        spreads = finals.get(record.job.ask_index, {})
        cells: list[Cell] = [_identity(record, is_start=history.is_start(record))]
        for item in trained:
            cells += _retrained(record, item, spreads, scales[item.metric])
        cells += [test_scales[name].spread(spreads[name]) if name in spreads else "–" for name in tests]
        cells += [_cost(record, name, scales[name]) for name in rest]
        rows.append(cells)
    notes = [note(f"Every member of the front has {'; '.join(architecture(shared))}.")] if shared and differing else []
    below = [_architecture(record, differing) for record in front[:ROWS_SHOWN]]
    if len(front) > ROWS_SHOWN:
        notes.append(note(f"The first {ROWS_SHOWN} of {len(front):,} members."))
    return "".join([*notes, table(head, rows, below=below), *_reading(trained, finals)])


def _is_trained(objective: Objective, history: History) -> bool:
    """Whether retraining can change it: neither a free cost nor measured on a target."""
    metric = history.header.metrics.get(objective.metric)
    return "." not in objective.metric and not (metric is not None and metric.free)


def _split(front: Sequence[Record]) -> tuple[dict[str, Choice], list[str]]:
    """Decisions that all members share, and the names of the others."""
    if not front:
        return {}, []
    first = dict(front[0].choices)
    shared = (
        {name: choice for name, choice in first.items() if all(record.choices[name] == choice for record in front)}
        if len(front) > 1
        else {}
    )
    return shared, [name for name in first if name not in shared]


def _head(title: str, detail: str, shown: Scale) -> Markup:
    unit = f" <span class=unit>{escaped(shown.unit)}</span>" if shown.unit else ""
    return Markup(f"{escaped(title)}{unit}<br><small>{escaped(detail)}</small>")


def _identity(record: Record, *, is_start: bool) -> Markup:
    job = f'<small class=job title="{escaped(record.job.id)}">{escaped(record.job.id[:12])}</small>'
    return Markup(f"<b>{record.job.ask_index}</b> {'<small>start</small> ' if is_start else ''}{job}")


def _architecture(record: Record, names: Sequence[str]) -> Markup:
    lines = architecture({name: record.choices[name] for name in names})
    return Markup("<div class=architecture>" + " ".join(f"<span>{escaped(line)}</span>" for line in lines) + "</div>")


def _retrained(record: Record, objective: Objective, spreads: Mapping[str, Spread], shown: Scale) -> list[Cell]:
    seen = record.metrics[objective.metric]
    spread = spreads.get(objective.metric)
    if spread is None:
        return [shown.text(seen), "–", "–"]
    drop = seen - spread.mean if objective.direction is Direction.MAX else spread.mean - seen
    return [shown.text(seen), f"{shown.spread(spread)} (n={spread.num})", f"{shown.text(drop)}"]


def _spread_words(front: Sequence[Record], name: str) -> str:
    """What stands in parentheses behind a cost."""
    if any(quartile_range(record, name) is not None for record in front):
        return "median (IQR)"
    return "estimate (std. dev.)" if any(deviation(record, name) is not None for record in front) else ""


def _cost(record: Record, name: str, shown: Scale) -> str:
    if name not in record.metrics:
        return "–"
    spread = quartile_range(record, name)
    spread = deviation(record, name) if spread is None else spread
    return shown.text(record.metrics[name]) + (f" ({shown.text(spread)})" if spread is not None else "")


def _reading(trained: Sequence[Objective], finals: Mapping[int, Mapping[str, Any]]) -> list[str]:
    if not finals:
        return [note("The front has not been retrained: its values are those that chose it, which favours lucky ones (winner's curse).")]
    if not trained:
        return []
    return [
        note(
            "Search values chose the front, so they favour lucky candidates; "
            "retrained values come from fresh seeds under the final protocol. "
            "Drop is the search value minus the retrained mean, positive where the retrained networks are worse. "
            "Test data were used once, for these networks only."
        )
    ]
