"""Measuring whole networks of a search space on a device, into a file that is complete after every one.

Legend: N networks, D decisions.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.genotype import Genotypes, as_genotypes
from paretune.core.protocols import Device, SearchSpace
from paretune.hardware.campaign import Monitor, NoMonitor, Outcome, Reading, Rules, lowest, reading_of, run_campaign
from paretune.hardware.layer_campaign import TableRequest, made_by, refuse_other
from paretune.hardware.network_table_file import FORMAT, NetworkEntries, read_network_table, write_network_table
from paretune.hardware.table_facts import TableFacts, unlike

Row = tuple[int, ...]


def measure_networks(
    device: Device,
    space: SearchSpace,
    genotypes_ND: Genotypes,
    request: TableRequest,
    *,
    input_shape: tuple[int, ...],
    space_options: Mapping[str, Any],
    rounds: int = 1,
    monitor: Monitor | None = None,
    rules: Rules | None = None,
    on_step: Callable[[Row], None] = lambda _: None,
) -> Outcome[Row]:
    """Measure the networks that the file does not hold yet, with fresh weights.

    Args:
        device: measures a network.
        space: builds them.
        genotypes_ND: which.
        request: where to, and what for.
        input_shape: of one input, without the batch.
        space_options: JSON, kept in the file so that the space can be made again.
        rounds: measurements of each network, of which the lowest counts.
        monitor: watches for drift; None for none.
        rules: how often it looks.
        on_step: called after every network.

    Raises:
        BadInput: the file is of another device, runtime, batch or space.
        StorageError: the storage refuses.
    """
    made: dict[str, Any] = {
        "space_options": dict(space_options),
        "input_shape": list(input_shape),
        "metrics": [item.name for item in device.metrics],
    }
    rows: dict[Row, Reading] = {}
    state: dict[str, TableFacts] = {}
    if request.path.exists():
        state["then"], rows = _gone_on(space, request, made)

    def measure(row: Row) -> Reading:
        network = space.build(row)
        return lowest([reading_of(device.measure(network, (request.batch, *input_shape))) for _ in range(rounds)])

    def keep(row: Row, reading: Reading) -> None:
        if "facts" not in state:
            facts = made_by(reading.details, request, overhead={})
            facts = replace(facts, format=FORMAT, fused_kinds=(), details={**facts.details, **made})
            if "then" in state:
                refuse_other(facts, state["then"], request.path)
            state["facts"] = replace(state.get("then", facts), command=request.command)
        rows[row] = reading
        write_network_table(request.path, entries_of(rows, space, state["facts"]))

    todo = [row for row in map(tuple, genotypes_ND.tolist()) if row not in rows]
    return run_campaign(todo, measure, keep, monitor=monitor or NoMonitor(), rules=rules or Rules(), on_step=on_step)


def known_networks(path: Path, space: SearchSpace) -> set[Row]:
    """What a table holds already; nothing where there is no file."""
    return {tuple(row) for row in read_network_table(path, tuple(space.decisions)).genotypes.tolist()} if path.exists() else set()


def entries_of(rows: Mapping[Row, Reading], space: SearchSpace, facts: TableFacts) -> NetworkEntries:
    """Measured rows as the content of a table."""
    latency_iqr_s = np.array([reading.spreads.get("latency_s", np.nan) for reading in rows.values()])
    return NetworkEntries(
        facts=facts,
        decisions=tuple(space.decisions),
        genotypes=as_genotypes(list(rows), len(space.decisions)),
        values={name: np.array([reading.values[name] for reading in rows.values()]) for name in facts.details["metrics"]},
        spreads={} if np.isnan(latency_iqr_s).all() else {"latency_iqr_s": latency_iqr_s},
        repeats=np.array([reading.repeats for reading in rows.values()], dtype=np.int64),
    )


def _gone_on(space: SearchSpace, request: TableRequest, made: Mapping[str, Any]) -> tuple[TableFacts, dict[Row, Reading]]:
    entries = read_network_table(request.path, tuple(space.decisions))
    if entries.facts.space != request.space:
        raise unlike("space", request.space, request.path, entries.facts.space)
    for name, value in made.items():
        if entries.facts.details.get(name) != value:
            raise unlike(name, value, request.path, entries.facts.details.get(name))
    spread_N = entries.spreads.get("latency_iqr_s", np.full(len(entries.genotypes), np.nan))
    rows: dict[Row, Reading] = {}
    for row, genotype in enumerate(entries.genotypes.tolist()):
        rows[tuple(genotype)] = Reading(
            values={name: float(values_N[row]) for name, values_N in entries.values.items()},
            spreads={"latency_s": float(spread_N[row])} if np.isfinite(spread_N[row]) else {},
            repeats=1 if entries.repeats is None else int(entries.repeats[row]),
        )
    return entries.facts, rows
