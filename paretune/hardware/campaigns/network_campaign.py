"""Measuring whole networks of a search space on a device, into a file that is complete after every one.

Legend: N networks, D decisions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.genotype import Genotypes, as_genotypes
from paretune.core.protocols import Device, SearchSpace
from paretune.hardware.campaigns.campaign import Outcome, Reading, lowest, reading_of, run_campaign
from paretune.hardware.campaigns.layer_campaign import TableRequest, made_by, refuse_other
from paretune.hardware.tables.network_table_file import FORMAT, NetworkEntries, read_network_table, write_network_table
from paretune.hardware.tables.table_facts import TableFacts, unlike

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSource:
    """Where the networks come from."""

    space: SearchSpace
    input_shape: tuple[int, ...]
    """Of one input, without the batch."""
    num_classes: int
    space_options: Mapping[str, Any]
    """JSON, kept in the file so that the space can be made again."""

    def made(self, device: Device) -> dict[str, Any]:
        """What must be the same in a file that is gone on with."""
        metrics = [metric.name for metric in device.metrics]
        return {
            "space_options": dict(self.space_options),
            "input_shape": list(self.input_shape),
            "num_classes": self.num_classes,
            "metrics": metrics,
        }


def measure_networks(
    device: Device,
    source: NetworkSource,
    genotypes_ND: Genotypes,
    request: TableRequest,
    *,
    rounds: int = 1,
    on_step: Callable[[Row], None] = lambda _: None,
) -> Outcome[Row]:
    """Measure the networks that the file does not hold yet, with fresh weights.

    Args:
        device: measures a network.
        source: builds them.
        genotypes_ND: which.
        request: where to, and what for.
        rounds: measurements of each network, of which the lowest counts.
        on_step: called after every network.

    Raises:
        BadInput: the file is of another device, runtime, batch or space.
        StorageError: the storage refuses.
    """
    file = _File(source, request, source.made(device))
    shape = (request.batch, *source.input_shape)

    def measure(row: Row) -> Reading:
        network = source.space.build(row)
        return lowest([reading_of(device.measure(network, shape)) for _ in range(rounds)])

    todo = [row for row in map(tuple, genotypes_ND.tolist()) if row not in file.rows]
    return run_campaign(todo, measure, file.keep, on_step=on_step)


class _File:
    """A network table that grows."""

    def __init__(self, source: NetworkSource, request: TableRequest, made: Mapping[str, Any]) -> None:
        self._source, self._request, self._made = source, request, made
        self._then: TableFacts | None = None
        self._facts: TableFacts | None = None
        self.rows: dict[Row, Reading] = {}
        if request.path.exists():
            self._then, self.rows = _gone_on(source.space, request, made)

    def keep(self, row: Row, reading: Reading) -> None:
        """Add a network and write the file."""
        if self._facts is None:
            self._facts = self._begun(reading)
        self.rows[row] = reading
        write_network_table(self._request.path, entries_of(self.rows, self._source.space, self._facts))

    def _begun(self, reading: Reading) -> TableFacts:
        """The facts, known with the first reading; refuses a file of another device."""
        facts = made_by(reading.details, self._request, overhead={})
        facts = replace(facts, format=FORMAT, fused_kinds=(), details={**facts.details, **self._made})
        if self._then is not None:
            refuse_other(facts, self._then, self._request.path)
        return replace(self._then or facts, command=self._request.command)


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
