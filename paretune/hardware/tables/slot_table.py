"""Lookup tables over the decisions of a search space: each position of a network adds the cost of what was chosen for it.

Sources: Stamoulis et al., Single-Path NAS, ECML-PKDD 2019; Wu et al., FBNet, CVPR 2019; Wang et al., HAQ, CVPR 2019.

Legend: N candidates, D decisions, S slots.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.errors import BadInput, did_you_mean
from paretune.core.genotype import Decision, Genotypes
from paretune.core.metrics import Direction, Metric, unit_of
from paretune.core.protocols import GenotypeSpace
from paretune.hardware.tables.additive import AdditiveTable, choice_names
from paretune.hardware.tables.slot_table_file import read_slot_table
from paretune.hardware.tables.table_facts import located

JOIN = "+"
SHOWN = 3


class SlotTable:
    """Costs from a lookup table of choices: (decision, choice) -> cost, for example FBNet's or Single-Path NAS'.

    Args:
        file: a parquet file as docs/lookup-tables.md describes it.
        batch: images of an inference; the table must be of as many.
        precision: of weights and activations; the table must be of it.

    Raises:
        BadOptions: everything that is wrong with the table.
    """

    def __init__(self, *, file: Path, batch: int = 1, precision: str = "float32") -> None:
        path = located(file)
        self._entries = read_slot_table(path, batch=batch, precision=precision)
        self._name = path.stem
        source = f"looked up in {path.name}, of {self._entries.facts.device}"
        self._metrics = tuple(
            Metric(
                name=name,
                unit=unit_of(name),
                direction=Direction.MIN,
                lower=0,
                free=True,
                description="sum over the choices",
                source=source,
            )
            for name in self._entries.values
        )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """A metric for each cost that the table holds."""
        return self._metrics

    def space(self) -> tuple[Decision, ...]:
        """No decisions: the table is of one device."""
        return ()

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:  # noqa: ARG002 -- the protocol's
        """No resources."""
        return {}

    def table(self, *, metric: str = "latency_s") -> AdditiveTable:
        """What each choice of each slot costs, for searches by gradient.

        Raises:
            BadInput: the table does not have this metric.
        """
        return self._entries.table(metric)

    def estimate_architectures(self, space: GenotypeSpace, genotypes_ND: Genotypes, designs: Designs) -> Mapping[str, Estimates]:  # noqa: ARG002 -- the protocol's
        """Each cost of every architecture.

        Raises:
            BadInput: the space has decisions or choices that the table does not know, or the table slots that the space lacks.
        """
        picks_NS = self._picks(space, space.canonical(genotypes_ND))
        return {name: Estimates(values=self._entries.table(name).total(picks_NS), source="lookup_table") for name in self._entries.values}

    def _picks(self, space: GenotypeSpace, genotypes_ND: Genotypes) -> NDArray[np.int64]:
        """`(N, S)` which of its choices each slot takes."""
        columns = {decision.name: column for column, decision in enumerate(space.decisions)}
        members = {slot: slot.split(JOIN) for slot in self._entries.choices}
        self._check_names(columns, [name for names in members.values() for name in names])
        problems: list[str] = []
        picks = []
        for slot, names in members.items():
            known = {choice: index for index, choice in enumerate(self._entries.choices[slot])}
            genes_NM = genotypes_ND[:, [columns[name] for name in names]]
            rows, inverse = np.unique(genes_NM, axis=0, return_inverse=True)
            texts = [
                JOIN.join(choice_names(space.decisions[columns[name]])[gene] for name, gene in zip(names, row, strict=True))
                for row in rows.tolist()
            ]
            problems += [f"{slot} = {text} ({', '.join(known)})" for text in texts if text not in known]
            picks.append(np.array([known.get(text, 0) for text in texts], dtype=np.int64)[inverse.reshape(-1)])
        if problems:
            more = f" and {len(problems) - SHOWN} others" if len(problems) > SHOWN else ""
            raise BadInput(f"slot table '{self._name}' has no entry for {', '.join(problems[:SHOWN])}{more}")
        return np.stack(picks, axis=1)

    def _check_names(self, columns: Mapping[str, int], slots: list[str]) -> None:
        """Every decision must have a slot, else part of the cost would be missing."""
        problems = [f"the space has no decision '{name}'.{did_you_mean(name, list(columns))}" for name in slots if name not in columns]
        problems += [f"the table has no slot '{name}'.{did_you_mean(name, slots)}" for name in columns if name not in slots]
        if problems:
            more = f" and {len(problems) - SHOWN} more like these" if len(problems) > SHOWN else ""
            raise BadInput(f"slot table '{self._name}' is not of this search space: {' '.join(problems[:SHOWN])}{more}")
