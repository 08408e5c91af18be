"""Where the numbers come from: measured or computed, how steady the measurements were, on what machine."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paretune.core.genotype import canonical_json
from paretune.core.metrics import readable, unit_of
from paretune.platform.record.history import History, Record
from paretune.platform.report.computed import computed_parts, deviation
from paretune.platform.report.markup import definitions, escaped, note, table
from paretune.platform.report.units import label

SHOWN_CHARACTERS = 300
SAME_BASELINE = 0.1
"""Baselines of a reference network that differ by no more than this share are the same, for the noise of a busy machine."""


def details_of(record: Record) -> dict[str, Mapping[str, Any]]:
    """What each hardware target wrote about its measurement, by target."""
    found = record.evaluation.details.get("measurements", {}) if record.evaluation else {}
    return {str(target): details for target, details in found.items() if isinstance(details, Mapping)} if isinstance(found, Mapping) else {}


def quartile_range(record: Record, name: str) -> float | None:
    """Interquartile range of a measured metric, in its own unit; None where the target gave none."""
    target, dot, metric = name.partition(".")
    details = details_of(record).get(target)
    if not dot or details is None:
        return None
    unit = unit_of(metric)
    inner = details.get(metric)
    places = [(details, f"{metric.removesuffix('_' + unit)}_iqr_{unit}"), (details, f"iqr_{unit}"), (details, "iqr")]
    places += [(inner, f"iqr_{unit}"), (inner, "iqr")] if isinstance(inner, Mapping) else []
    return next((float(place[key]) for place, key in places if isinstance(place.get(key), int | float)), None)


def source_of(name: str, history: History, measured: Sequence[str]) -> str:
    """Where the values of a metric come from, in words."""
    metric = history.header.metrics.get(name)
    if metric is not None and metric.source:
        return metric.source
    if metric is not None and metric.free:
        return "analytic, from the layers, before training"
    target = name.partition(".")[0]
    if target in measured:
        return f"measured on {target}"
    return "trained and evaluated" if "." not in name else f"from {target}"


def measurements_part(history: History) -> str:
    """Sources, steadiness and environments as HTML."""
    records = [record for record in history.records.values() if record.metrics and not record.screened]
    targets = list(dict.fromkeys(target for record in records for target in details_of(record)))
    names = list(dict.fromkeys(name for record in records for name in record.metrics))
    rows = []
    for name in names:
        metric = history.header.metrics.get(name)
        rows.append(
            [
                label(name),
                name,
                "on held-out data, final networks only" if name.startswith("test.") else source_of(name, history, targets),
                metric.description if metric else "",
                _steadiness(records, name),
            ]
        )
    parts = [table(["metric", "name", "source", "meaning", "spread"], rows, numeric_from=4)] if rows else [note("No numbers yet.")]
    for target in targets:
        parts.append(f"<h3>{escaped(target)}</h3>")
        parts.append(definitions(_environments(records, target)))
        parts.append(_baselines(records, target))
    return "".join([*parts, computed_parts(history)])


def _steadiness(records: Sequence[Record], name: str) -> str:
    for words, spread_of in (("interquartile range / median", quartile_range), ("standard deviation / estimate", deviation)):
        spreads = [(record.metrics.get(name), spread_of(record, name)) for record in records]
        shares = [spread / value for value, spread in spreads if value and spread is not None]
        if shares:
            return f"{words}: median {100 * statistics.median(shares):.1f} %, worst {100 * max(shares):.1f} % (n={len(shares):,})"
    return "–"


def _baselines(records: Sequence[Record], target: str) -> str:
    """Says so where the target's reference network did not take the same time at every start: its numbers compare less well then."""
    found = [details_of(record).get(target, {}).get("reference", {}).get("baseline_s") for record in records]
    counts = Counter(float(baseline_s) for baseline_s in found if isinstance(baseline_s, int | float))
    if not counts or max(counts) <= (1 + SAME_BASELINE) * min(counts):
        return ""
    told = "; ".join(f"{readable('latency_s', baseline_s)} ({counts[baseline_s]:,} candidates)" for baseline_s in sorted(counts))
    return note(
        f"The baseline of the reference network was not always the same: {told}. What was measured against a longer one was measured while "
        f"{target} was slower, up to {max(counts) / min(counts):.1f} times; compare such candidates with care, or measure "
        "them again in a study of their own."
    )


def _environments(records: Sequence[Record], target: str) -> list[tuple[str, str]]:
    """What the target said that is the same for many candidates: versions, threads, processor; with counts where it changed."""
    seen: dict[str, Counter[str]] = {}
    for record in records:
        for key, value in _constant(details_of(record).get(target, {}), ""):
            seen.setdefault(key, Counter())[value] += 1
    items = []
    for key, values in seen.items():
        if len(values) == 1:
            items.append((key, next(iter(values))))
        elif len(values) <= 4:
            items.append((key, "; ".join(f"{value} ({count:,} candidates)" for value, count in values.most_common())))
    return items


def _constant(details: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in details.items():
        if isinstance(value, Mapping):
            yield from _constant(value, f"{prefix}{key}.")
        elif not isinstance(value, float):
            yield (
                f"{prefix}{key}".removeprefix("environment."),
                (value if isinstance(value, str) else canonical_json(value))[:SHOWN_CHARACTERS],
            )
