"""Computed hardware in the report: its numbers with their sources, how sure its estimates are, what limits the networks of the front."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.canonical import canonical_json
from paretune.platform.record.history import History, Record
from paretune.platform.report.markup import definitions, escaped, table
from paretune.platform.report.units import label


def computed_details(record: Record) -> dict[str, Mapping[str, Any]]:
    """What each computed target said of a candidate, by target."""
    found = record.evaluation.details.get("computed", {}) if record.evaluation else {}
    return {str(target): details for target, details in found.items() if isinstance(details, Mapping)} if isinstance(found, Mapping) else {}


def deviation(record: Record, name: str) -> float | None:
    """Standard deviation of an estimated metric, in its own unit; None where the model gave none."""
    target, _, metric = name.partition(".")
    found = computed_details(record).get(target, {}).get(metric, {})
    value = found.get("deviation") if isinstance(found, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def computed_parts(history: History) -> str:
    """For each computed target its numbers and what limits the front, as HTML."""
    records = [record for record in history.records.values() if computed_details(record)]
    targets = list(dict.fromkeys(target for record in records for target in computed_details(record)))
    return "".join(f"<h3>{escaped(target)}</h3>{_numbers(history, target)}{_bottlenecks(history.front(), target)}" for target in targets)


def _numbers(history: History, target: str) -> str:
    """Kind and options of a target with their sources."""
    spec = history.header.spec.get("hardware", {}).get(target, {})
    origin = spec.get("origin", {})
    facts = [("kind", spec.get("kind", "")), ("target", spec.get("target") or ""), ("description", origin.get("description", ""))]
    sources = origin.get("sources", {})
    rows = [
        [name, value if isinstance(value, str) else canonical_json(value), sources.get(name, "the study or the model's default")]
        for name, value in spec.get("options", {}).items()
    ]
    shown = definitions([(name, value) for name, value in facts if value])
    return shown + (table(["option", "value", "source"], rows, numeric_from=3) if rows else "")


def _bottlenecks(front: Sequence[Record], target: str) -> str:
    """What limits the networks of the front: share of each label in a metric, the median over the networks that have it."""
    shares: dict[tuple[str, str], list[float]] = {}
    for record in front:
        for metric, found in computed_details(record).get(target, {}).items():
            for limit, share in (found.get("bottlenecks", {}) if isinstance(found, Mapping) else {}).items():
                shares.setdefault((metric, limit), []).append(float(share))
    rows = [
        [label(f"{target}.{metric}"), limit, f"{100 * statistics.median(values):.0f} %", f"{100 * max(values):.0f} %", f"{len(values):,}"]
        for (metric, limit), values in sorted(shares.items())
    ]
    head = ["metric", "limited by", "median share on the front", "largest", "networks"]
    return table(head, rows, numeric_from=2) if rows else ""
