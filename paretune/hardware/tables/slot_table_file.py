"""Files of slot tables: the cost of each choice at each position of a network, and the fitting of such a table to measured networks.

Legend: N networks, S slots, C choices of a slot, R rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, BadOptions
from paretune.core.genotype import Decision, Genotypes
from paretune.hardware.tables.additive import AdditiveTable, choice_names
from paretune.hardware.tables.table_facts import Faults, TableFacts, check_asked, first_repeats, read_table, value_columns, write_table

FORMAT = "slot_table"
FloatArray = NDArray[np.float64]

ROUNDING = 1e-9
"""Share of the largest measured value below which a fitted constant is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEntries:
    """What a slot table says."""

    facts: TableFacts
    """`overhead` is the fixed part of every network."""
    choices: Mapping[str, tuple[str, ...]]
    """Slot -> its choices. A slot is the name of a decision; `a+b` is two decisions, whose choices are written `8+4`."""
    values: Mapping[str, tuple[FloatArray, ...]]
    """Metric -> `(C,)` of each slot, SI."""

    def table(self, metric: str = "latency_s") -> AdditiveTable:
        """The costs of one metric.

        Raises:
            BadInput: the table does not have it.
        """
        if metric not in self.values:
            raise BadInput(f"the table has no {metric}; it has {', '.join(self.values)}")
        return AdditiveTable(slots=tuple(self.choices), values=self.values[metric], fixed=self.facts.overhead.get(metric, 0.0))


def read_slot_table(path: Path, *, batch: int | None = None, precision: str | None = None) -> SlotEntries:
    """Read and check a slot table.

    Args:
        path: a parquet file, see docs/lookup-tables.md.
        batch: images of an inference; None takes whatever the table has.
        precision: of weights and activations; None takes whatever the table has.

    Raises:
        BadOptions: everything that is wrong with it.
    """
    table, facts = read_table(path, FORMAT)
    faults = Faults(path)
    check_asked(facts, faults, batch=facts.batch if batch is None else batch, precision=precision or facts.precision)
    missing = [name for name in ("slot", "choice") if name not in table.column_names]
    if missing:
        faults.add(f"lacks the columns {', '.join(missing)}")
    values = value_columns(table, ("slot", "choice", "repeats"), faults)
    keys: list[tuple[str, str]] = []
    if not missing:
        keys = [
            (str(slot), str(choice)) for slot, choice in zip(*(table.column(name).to_pylist() for name in ("slot", "choice")), strict=True)
        ]
        first_repeats(
            keys, lambda row, earlier: faults.add(f"rows {earlier + 1} and {row + 1} are both of {keys[row][0]} = {keys[row][1]}")
        )
    faults.raise_if_any()
    rows: dict[str, list[int]] = {}
    for row, (slot, _) in enumerate(keys):
        rows.setdefault(slot, []).append(row)
    return SlotEntries(
        facts=facts,
        choices={slot: tuple(keys[row][1] for row in found) for slot, found in rows.items()},
        values={name: tuple(values_R[found] for found in rows.values()) for name, values_R in values.items()},
    )


def write_slot_table(path: Path, entries: SlotEntries) -> None:
    """Write a slot table; `path` holds what it held before or all of it.

    Raises:
        StorageError: the storage refuses.
    """
    slots = [slot for slot, choices in entries.choices.items() for _ in choices]
    choices = [choice for found in entries.choices.values() for choice in found]
    values = {name: np.concatenate(slot_values) for name, slot_values in entries.values.items()}
    write_table(path, {"slot": slots, "choice": choices, **values}, entries.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """How far networks are from the sum that was fitted to them."""

    num_networks: int
    rms: float
    """Root mean square, in the unit of the metric."""
    rms_relative: float
    """Root mean square of the errors over the measured values."""
    max_relative: float
    """Largest error over its measured value."""
    within_10_percent: float
    """Share of the networks."""


def residuals(table: AdditiveTable, genotypes_ND: Genotypes, values_N: FloatArray) -> Residuals:
    """How far measured networks are from a table whose slots are the decisions, in their order."""
    errors_N = table.total(genotypes_ND) - values_N
    relative_N = np.abs(errors_N) / np.abs(values_N)
    return Residuals(
        num_networks=len(values_N),
        rms=float(np.sqrt(np.mean(errors_N**2))),
        rms_relative=float(np.sqrt(np.mean(relative_N**2))),
        max_relative=float(relative_N.max()),
        within_10_percent=float(np.mean(relative_N <= 0.1)),
    )


def fit_slots(decisions: Sequence[Decision], genotypes_ND: Genotypes, values_N: FloatArray) -> AdditiveTable:
    """The table that is nearest to measured networks, by least squares on the choices, one-hot.

    A constant may move from a slot to the fixed part without changing any sum; here the cheapest choice of each slot costs 0.

    Args:
        decisions: the slots.
        genotypes_ND: measured networks.
        values_N: their costs, SI.

    Raises:
        BadInput: the networks do not decide every value of the table, or the fit is no cost.
    """
    names = [choice_names(decision) for decision in decisions]
    unseen = [
        f"{decision.name} = {names[column][choice]}"
        for column, decision in enumerate(decisions)
        for choice in sorted(set(range(len(decision.choices))) - set(genotypes_ND[:, column].tolist()))
    ]
    if unseen:
        raise BadInput(f"no measured network has {', '.join(unseen[:3])}{' and others' if len(unseen) > 3 else ''}; measure some that do")
    sizes_D = [len(decision.choices) for decision in decisions]
    hot_NC = np.concatenate([np.eye(size)[genotypes_ND[:, column]] for column, size in enumerate(sizes_D)], axis=1)
    solution_C, _, rank, _ = np.linalg.lstsq(hot_NC, values_N, rcond=None)
    free = sum(sizes_D) - (len(sizes_D) - 1)
    if rank < free:
        raise BadInput(f"{len(values_N)} networks decide {rank} of the table's {free} free values; measure more, with other combinations")
    parts = np.split(solution_C, np.cumsum(sizes_D)[:-1])
    fixed = float(sum(part_C.min() for part_C in parts))
    if abs(fixed) <= ROUNDING * np.abs(values_N).max():
        fixed = 0.0  # a network of nothing but skips costs nothing, give or take the rounding of the fit
    if fixed < 0:
        raise BadInput(
            f"the fitted network of all cheapest choices would cost {fixed:.3g}; these costs are far from a sum over the decisions"
        )
    slots = tuple(decision.name for decision in decisions)
    return AdditiveTable(slots=slots, values=tuple(part_C - part_C.min() for part_C in parts), fixed=fixed)


def fitted_entries(
    decisions: Sequence[Decision], tables: Mapping[str, AdditiveTable], facts: TableFacts, *, details: Mapping[str, Residuals]
) -> SlotEntries:
    """Fitted tables as one to be written, with how well each fits in its facts.

    Args:
        decisions: the slots.
        tables: metric -> its table.
        facts: of the measurements; format and overhead are filled in.
        details: metric -> residuals of its table.

    Raises:
        BadOptions: a table is of other slots.
    """
    from dataclasses import asdict, replace

    choices = {decision.name: choice_names(decision) for decision in decisions}
    other = [name for name, table in tables.items() if table.slots != tuple(choices)]
    if other:
        raise BadOptions([((name,), f"must have the slots {', '.join(choices)}") for name in other])
    facts = replace(
        facts,
        format=FORMAT,
        overhead={name: table.fixed for name, table in tables.items()},
        details={**facts.details, "residuals": {name: asdict(found) for name, found in details.items()}},
    )
    return SlotEntries(facts=facts, choices=choices, values={name: table.values for name, table in tables.items()})
