"""Building a layer table on a device: layer by layer into a file that is complete after every one, so that any end can be gone on from.

Legend: E entries, F fields of a signature.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from paretune import __version__
from paretune.hardware.campaigns.campaign import Outcome, Reading, run_campaign
from paretune.hardware.campaigns.layer_meter import COPIES, LayerMeter
from paretune.hardware.tables.layer_signature import SIGNATURE, Integers
from paretune.hardware.tables.layer_table_file import FORMAT, LayerEntries, read_layer_table, write_layer_table
from paretune.hardware.tables.table_facts import TableFacts, unlike

Signature = tuple[int, ...]
SAME = ("machine", "cpu", "versions", "runtime", "threads")
"""What must not change while a table is made, as far as the device tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRequest:
    """What the table is of."""

    path: Path
    device: str
    """Name of the target."""
    space: str
    command: str
    """That goes on with it."""
    batch: int = 1


def measure_layers(
    meter: LayerMeter,
    signatures_EF: Integers,
    request: TableRequest,
    *,
    on_step: Callable[[Signature], None] = lambda _: None,
) -> Outcome[Signature]:
    """Measure the layers that the file does not hold yet.

    Args:
        meter: measures a layer.
        signatures_EF: what the table shall hold, the most wanted first.
        request: where to, and what for.
        on_step: called after every layer.

    Raises:
        BadInput: the file is of another device, runtime or batch.
        StorageError: the storage refuses.
    """
    overhead = meter.overhead()
    facts = made_by(overhead.details, request, overhead=overhead.values)
    rows: dict[Signature, Reading] = {}
    if request.path.exists():
        facts, rows = _gone_on(facts, request.path)

    def keep(signature: Signature, reading: Reading) -> None:
        rows[signature] = reading
        write_layer_table(request.path, entries_of(rows, facts))

    todo = [row for row in map(tuple, signatures_EF.tolist()) if row not in rows]
    return run_campaign(todo, meter.layer, keep, on_step=on_step)


def known_layers(path: Path) -> set[Signature]:
    """What a table holds already; nothing where there is no file."""
    return {tuple(row) for row in read_layer_table(path).signatures.tolist()} if path.exists() else set()


def made_by(details: Mapping[str, Any], request: TableRequest, *, overhead: Mapping[str, float]) -> TableFacts:
    """The facts of a table that is begun now, on the device that gave these details."""
    from paretune.networks.layer_probes import FUSED

    environment = details.get("environment", {})
    told = {
        **{name: environment[name] for name in SAME if name in environment},
        **{name: details[name] for name in SAME if name in details},
    }
    return TableFacts(
        format=FORMAT,
        device=request.device,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        runtime=str(details.get("runtime", "")),
        batch=request.batch,
        overhead=dict(overhead),
        fused_kinds=tuple(kind.name.lower() for kind in FUSED),
        space=request.space,
        command=request.command,
        paretune_version=__version__,
        details={**told, "copies": COPIES, "environment": environment},
    )


def refuse_other(now: TableFacts, then: TableFacts, path: Path) -> None:
    """Refuse to go on with a file that something else made.

    Raises:
        BadInput: what differs.
    """
    for name in ("device", "runtime", "batch", "precision"):
        if getattr(now, name) != getattr(then, name):
            raise unlike(name, getattr(now, name), path, getattr(then, name))
    for name in SAME:
        if name in then.details and now.details.get(name) != then.details[name]:
            raise unlike(name, now.details.get(name), path, then.details[name])


def entries_of(rows: Mapping[Signature, Reading], facts: TableFacts) -> LayerEntries:
    """Rows as the content of a table."""
    metrics = tuple(facts.overhead)
    spreads = {_spread_name(name): [reading.spreads.get(name, np.nan) for reading in rows.values()] for name in metrics}
    return LayerEntries(
        facts=facts,
        signatures=np.array(list(rows), dtype=np.int64).reshape(-1, len(SIGNATURE)),
        values={name: np.array([reading.values[name] for reading in rows.values()]) for name in metrics},
        spreads={name: np.array(found) for name, found in spreads.items() if not np.isnan(found).all()},
        repeats=np.array([reading.repeats for reading in rows.values()], dtype=np.int64),
    )


def _gone_on(facts: TableFacts, path: Path) -> tuple[TableFacts, dict[Signature, Reading]]:
    """Facts and rows of a file that is gone on with."""
    entries = read_layer_table(path)
    refuse_other(facts, entries.facts, path)
    names = tuple(entries.facts.overhead)
    if set(names) != set(facts.overhead):
        raise unlike("metrics", ", ".join(facts.overhead), path, ", ".join(names))
    rows: dict[Signature, Reading] = {}
    for row, signature in enumerate(map(tuple, entries.signatures.tolist())):
        spreads = {name: entries.spreads[_spread_name(name)][row] for name in names if _spread_name(name) in entries.spreads}
        rows[signature] = Reading(
            values={name: float(entries.values[name][row]) for name in names},
            spreads={name: float(value) for name, value in spreads.items() if np.isfinite(value)},
            repeats=1 if entries.repeats is None else int(entries.repeats[row]),
        )
    return replace(entries.facts, command=facts.command), rows


def _spread_name(metric: str) -> str:
    """`latency_s` -> `latency_iqr_s`."""
    stem, _, unit = metric.rpartition("_")
    return f"{stem}_iqr_{unit}"
