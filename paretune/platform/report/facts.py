"""The parts of the page that are facts in words: the head, the failures, the provenance."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.metrics import Direction, readable, symbol, unit_of
from paretune.core.objectives import Constraint, Problem
from paretune.core.trial import Outcome
from paretune.platform.record.history import History, Record
from paretune.platform.record.summary import best_feasible, status
from paretune.platform.report.markup import Cell, Markup, definitions, escaped, note, table
from paretune.platform.report.units import duration, label

MESSAGE_CHARACTERS = 600
MESSAGES_SHOWN = 50


def reference_text(problem: Problem) -> str:
    """`accuracy 80.00 %, host latency 5 ms`."""
    return ", ".join(f"{label(item.metric)} {readable(item.metric, item.reference)}" for item in problem.objectives)


def limit_text(constraint: Constraint) -> str:
    """`parameters ≤ 20,000`."""
    parts = [f"≥ {readable(constraint.metric, constraint.lower)}"] if math.isfinite(constraint.lower) else []
    parts += [f"≤ {readable(constraint.metric, constraint.upper)}"] if math.isfinite(constraint.upper) else []
    return f"{label(constraint.metric)} {' and '.join(parts)}"


def volume_unit(problem: Problem) -> str:
    """The unit of a hypervolume in words: `accuracy × s`."""
    return " × ".join(symbol(unit_of(item.metric)) or label(item.metric) for item in problem.objectives)


def head(history: History, front: Sequence[Record], summary: Mapping[str, Any]) -> str:
    """Name, state, the figures to remember, and what the study is."""
    counts, sessions = summary["counts"], summary["sessions"]
    tiles = [
        (f"best {label(metric)}", readable(metric, record.metrics[metric]), f"candidate {record.job.ask_index}")
        for metric, record in best_feasible(history).items()
    ]
    tiles += [
        ("Pareto front", f"{len(front):,}", f"of {counts['feasible']:,} feasible"),
        ("hypervolume", f"{summary['hypervolume']:.4g}", f"from {reference_text(history.problem)}"),
        ("evaluated", f"{counts['finished']:,}", f"{counts['screened']:,} more stopped by their free costs"),
        (
            "search time",
            duration(summary["elapsed_s"]),
            f"{duration(summary['worker_s'])} of work, {sessions} session{'s' * (sessions != 1)}",
        ),
    ]
    shown = "".join(
        f"<div class=tile><span>{escaped(name)}</span><strong>{escaped(value)}</strong><small>{escaped(detail)}</small></div>"
        for name, value, detail in tiles
    )
    title = (
        f'<h1>{escaped(history.header.name)}</h1><p class="state {status(history).replace(" ", "-")}">{escaped(state_text(history))}</p>'
    )
    return f"<header>{title}<div class=tiles>{shown}</div>{definitions(_what(history))}</header>"


def state_text(history: History) -> str:
    """How far the study is, with the reasons why its phases ended."""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in history.phases.items())
    return f"{status(history)} ({reasons})" if reasons else status(history)


def _what(history: History) -> list[tuple[Cell, Cell]]:
    header = history.header
    directions = {Direction.MAX: "up", Direction.MIN: "down"}
    goals = ", ".join(f"{label(item.metric)} {directions[item.direction]}" for item in header.problem.objectives)
    limits = "; ".join(limit_text(item) for item in header.problem.constraints) or "none"
    items: list[tuple[Cell, Cell]] = [
        (part, _plugin(header.spec.get(part))) for part in ("task", "space", "searcher") if header.spec.get(part)
    ]
    num_genotypes = math.prod(len(decision.choices) for decision in header.decisions)
    size = header.provenance.get("space_size")
    items.append(
        (
            "size of the space",
            f"{int(size):,} architectures"
            if size and str(size).isdigit()
            else f"{num_genotypes:.4g} combinations of {len(header.decisions)} decisions",
        )
    )
    items += [("objectives", goals), ("limits", limits), ("reference point", reference_text(header.problem))]
    items.append(("hypervolume unit", f"{volume_unit(header.problem)}; points beyond the reference point add nothing"))
    if "seed" in header.spec:
        items.append(("seed", str(header.spec["seed"])))
    return items


def _plugin(value: Any) -> str:
    """`nsga2 (population 24)`."""
    if not isinstance(value, Mapping):
        return str(value)
    name = str(value.get("name") or value.get("kind") or "")
    options = value.get("options")
    shown = ", ".join(f"{key} {option}" for key, option in options.items()) if isinstance(options, Mapping) else ""
    return f"{name} ({shown})" if shown else name


def failures_part(history: History, summary: Mapping[str, Any]) -> str:
    """Outcomes with counts, messages grouped, and attempts that were lost on the way."""
    outcomes = summary["counts"]["outcomes"]
    parts = [table(["outcome", "candidates"], [[name, f"{count:,}"] for name, count in outcomes.items()])] if outcomes else []
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in history.records.values():
        if record.evaluation and not record.screened and record.evaluation.outcome is not Outcome.OK:
            message = record.evaluation.message.strip()[:MESSAGE_CHARACTERS]
            groups.setdefault((record.evaluation.outcome.value, message), []).append(record)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    rows: list[list[Cell]] = [
        [outcome, Markup(f"<pre>{escaped(message)}</pre>"), f"{len(records):,}", f"{records[0].job.ask_index}"]
        for (outcome, message), records in ordered[:MESSAGES_SHOWN]
    ]
    parts.append(table(["outcome", "message", "times", "first candidate"], rows, numeric_from=2) if rows else note("No candidate failed."))
    if len(ordered) > MESSAGES_SHOWN:
        parts.append(note(f"{len(ordered) - MESSAGES_SHOWN:,} rarer messages are not shown."))
    lost = summary["counts"]["lost_attempts"]
    if lost:
        parts.append(
            note(
                "Attempts that ended without a result and were tried again: "
                + ", ".join(f"{name} {count:,}" for name, count in lost.items())
                + "."
            )
        )
    return "".join(parts)


def provenance_part(history: History, folder: Path) -> str:
    """What is needed to judge, repeat and go on with the study."""
    header = history.header
    name = shlex.quote(header.name)
    items: list[tuple[Cell, Cell]] = [(key.replace("_", " "), value) for key, value in sorted(header.provenance.items())]
    # Seed and name are kept as they came to be, also where they are the file's.
    items += [
        (path if path in ("seed", "name") else f"changed on the command line: {path}", str(value))
        for path, value in header.overrides.items()
    ]
    items += [("protocol digest", header.protocol), ("ledger", f"{folder.name}/ledger.db, {history.last_seq:,} events")]
    commands = f"paretune resume {name}\nparetune export {name} --candidate NUMBER\nparetune report {name}"
    commands += (
        f"\nparetune run spec.yaml --name {name}-2   # the same study again, from the spec below as a file" if header.spec_text else ""
    )
    spec = f"<h3>Spec</h3><pre>{escaped(header.spec_text)}</pre>" if header.spec_text else note("The study was started from Python.")
    return f"{definitions(items)}<h3>Go on, export, repeat</h3><pre>{escaped(commands)}</pre>{spec}"
