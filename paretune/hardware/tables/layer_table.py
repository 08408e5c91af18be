"""Lookup tables over layers: the cost of a network is what an inference costs anyway, plus the sum over its layers.

Source: Cai et al., ProxylessNAS, ICLR 2019; Yang et al., NetAdapt, ECCV 2018.

Legend: N networks, L layers, E entries.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.errors import BadInput
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric, unit_of
from paretune.core.protocols import SearchSpace
from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.tables.additive import AdditiveTable, tabulate
from paretune.hardware.tables.layer_signature import Integers, SignatureIndex, as_rows, in_words, nearest, signature_columns
from paretune.hardware.tables.layer_table_file import read_layer_table
from paretune.hardware.tables.table_facts import located
from paretune.hardware.tables.table_interpolation import bracket

SHOWN = 3


class LayerTable:
    """Costs from a lookup table of layers, for example one that `paretune measure` made.

    Args:
        file: a parquet file as docs/lookup-tables.md describes it.
        batch: images of an inference; the table must have been measured with as many.
        precision: of weights and activations; the table must have been measured in it.
        interpolate: whether a layer that the table does not hold may be interpolated between two that it holds.

    Raises:
        BadOptions: everything that is wrong with the table.
    """

    def __init__(self, *, file: Path, batch: int = 1, precision: str = "float32", interpolate: bool = False) -> None:
        path = located(file)
        entries = read_layer_table(path, batch=batch, precision=precision)
        self.facts = entries.facts
        self._path, self._name, self._interpolate = path, path.stem, interpolate
        self._entries_EF, self._values = entries.signatures, entries.values
        self._index = SignatureIndex.of(self._entries_EF)
        self._fused = [int(Kind[kind.upper()]) for kind in entries.facts.fused_kinds]
        cpu = entries.facts.details.get("cpu")
        source = f"looked up in {path.name}, measured on {entries.facts.device}{f' ({cpu})' if cpu else ''}"
        self._metrics = tuple(
            Metric(
                name=name, unit=unit_of(name), direction=Direction.MIN, lower=0, free=True, description="sum over the layers", source=source
            )
            for name in self._values
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

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:  # noqa: ARG002 -- the protocol's
        """Each cost of every network.

        Raises:
            BadInput: the table lacks a layer; the message names the first ones, what is near, and what measures them.
        """
        columns = signature_columns(workloads)
        self._check_batch(columns["batch"])
        columns["batch"] = np.full_like(columns["batch"], self.facts.batch)
        is_fused_L = np.isin(columns["kind"], self._fused)
        entry_L = self._index.find(columns)
        absent = np.flatnonzero((entry_L < 0) & ~is_fused_L)
        parts = {name: np.where(is_fused_L | (entry_L < 0), 0.0, values_E[entry_L]) for name, values_E in self._values.items()}
        is_between_L = self._fill(columns, absent, parts)
        return {name: self._estimates(name, parts[name], is_between_L, workloads) for name in self._values}

    def table(self, space: SearchSpace, *, metric: str = "latency_s") -> AdditiveTable:
        """What each choice of each decision of a space costs, for searches by gradient.

        Raises:
            BadInput: the costs of the space's networks are no sum over its decisions.
        """
        return tabulate(space, lambda genotypes_ND: self.estimate(space.workloads(genotypes_ND), {})[metric].values)

    def _estimates(self, name: str, parts_L: NDArray[np.float64], is_between_L: NDArray[np.bool_], workloads: WorkloadBatch) -> Estimates:
        values_N = np.add.reduceat(parts_L, workloads.offsets[:-1]) + self.facts.overhead.get(name, 0.0)
        interpolated_N = np.logical_or.reduceat(is_between_L, workloads.offsets[:-1]) if is_between_L.any() else None
        return Estimates(values=values_N, source="lookup_table", layers=parts_L, interpolated=interpolated_N)

    def _check_batch(self, batch_L: Integers) -> None:
        other = sorted(set(np.unique(batch_L).tolist()) - {1, self.facts.batch})
        if other:
            raise BadInput(f"lookup table '{self._name}' is of batch {self.facts.batch}; the network has layers of batch {other[0]}")

    def _fill(self, columns: Mapping[str, Integers], absent: Integers, parts: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Interpolate the layers that the table does not hold, where that is allowed; `(L,)` which ones were."""
        is_between_L = np.zeros(len(columns["kind"]), dtype=np.bool_)
        if not len(absent):
            return is_between_L
        rows, inverse = np.unique(as_rows({name: column[absent] for name, column in columns.items()}), axis=0, return_inverse=True)
        pairs = [bracket(row, self._entries_EF) if self._interpolate else None for row in rows.tolist()]
        missing = [row for row, pair in zip(rows.tolist(), pairs, strict=True) if pair is None]
        if missing:
            raise BadInput(self._complaint(missing))
        for name, values_E in self._values.items():
            parts[name][absent] = np.array([pair.value(values_E) for pair in pairs if pair is not None])[inverse.reshape(-1)]
        is_between_L[absent] = True
        return is_between_L

    def _complaint(self, missing: list[list[int]]) -> str:
        what = ", ".join(in_words(row) for row in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN} other layers" if len(missing) > SHOWN else ""
        between = " and no two entries around it to interpolate" if self._interpolate else ""
        near = [in_words(self._entries_EF[entry]) for entry in nearest(missing[0], self._entries_EF)]
        nearest_told = (
            f"nearest{' to the first' if len(missing) > 1 else ''}: {', '.join(near)}" if near else "it has no layers of this kind"
        )
        made_by = self.facts.command.split()
        target = made_by[2] if made_by[:2] == ["paretune", "measure"] and len(made_by) > 2 else self.facts.device
        return (
            f"lookup table '{self._name}' has no entry for {what}{more}{between}; {nearest_told}. Measure what is missing with "
            f"'paretune measure {target} STUDY.yaml --layers --to {self._path}', where STUDY.yaml is the study that needs it"
        )
