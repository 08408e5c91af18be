"""Search problems with known answers, as arrays: measured tables of whole spaces and one made-up space. No training, no Ray.

A task has two faces. Its *signal* is what a searcher is told (say, validation accuracy after 12 epochs); its *report* is what the front
that it chose by the signal is worth (test accuracy after 200 epochs). Where a table has only one of them, both are the same.
The tables are read from the folder `PARETUNE_DATA`, by default `../shared/data` beside the repository.

Legend: N genotypes, D decisions, R rows of a table, M objectives, F points of a front.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from made_up import MobileSpace, error_and_latency, stored_front
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Decision, Genotypes, as_genotypes, num_choices
from paretune.core.metrics import Direction
from paretune.core.objectives import Objective, Problem
from paretune.core.pareto import hypervolume, non_dominated
from paretune.core.protocols import GenotypeSpace, Graphs
from paretune.core.trial import Outcome, Trial
from paretune.spaces.nasbench201 import NasBench201

DATA = Path(os.environ.get("PARETUNE_DATA", Path(__file__).parents[2] / "shared" / "data"))
DEVICES = ("1080ti_1", "silver_4114", "gold_6240", "pixel3", "samsung_s7", "fpga")
"""A GPU, two server processors, two phones and an FPGA (modelled): columns of the table of latencies."""
WORST_ERROR = {"cifar10": 0.25, "cifar100": 0.5}
"""Reference point of the test error after 200 epochs."""
WORST_ERROR_EARLY = {"cifar10": 0.5, "cifar100": 0.75}
"""Reference point of the validation error after 12 epochs."""
BEYOND = 1.001
"""The reference of a cost is its largest value in the table times this."""
LARGEST_CODED = 2**24


class RowsSpace:
    """A space that holds exactly the networks of a table.

    Args:
        name: for messages.
        decisions: what is to be chosen.
        rows_RD: the distinct genotypes of the table.
        nearest: whether a genotype that is not in the table stands for the row that differs in the fewest genes (the first of them);
            otherwise it is invalid.
    """

    def __init__(self, name: str, decisions: Sequence[Decision], rows_RD: Genotypes, *, nearest: bool = False) -> None:
        self.name, self.decisions, self.rows_RD, self.size = name, tuple(decisions), rows_RD, len(rows_RD)
        self._choices_D, self._nearest = num_choices(self.decisions), nearest
        self.projecting_ns = 0
        """CPU time of finding nearest rows: what makes the table a space, not a searcher's work."""
        self._onehot_RC = self._onehot(rows_RD)
        self._known = {row.tobytes(): index for index, row in enumerate(rows_RD)}
        counts = self._choices_D.tolist()
        self._row_of_code = None
        if prod(counts) <= LARGEST_CODED:
            self._row_of_code = np.full(prod(counts), -1, dtype=np.int32)
            self._row_of_code[np.ravel_multi_index(tuple(rows_RD.T.astype(np.int64)), counts)] = np.arange(len(rows_RD))

    def rows(self, genotypes_ND: Genotypes) -> NDArray[np.int64]:
        """`(N,)` row of each genotype, -1 where it has none."""
        if self._row_of_code is not None:
            codes_N = np.ravel_multi_index(tuple(np.asarray(genotypes_ND, dtype=np.int64).T), self._choices_D.tolist())
            return self._row_of_code[codes_N].astype(np.int64)
        contiguous_ND = np.ascontiguousarray(genotypes_ND, dtype=GENE)
        rows_N = np.array([self._known.get(row.tobytes(), -1) for row in contiguous_ND], dtype=np.int64)
        if self._nearest:
            start_ns = time.process_time_ns()
            missing = np.flatnonzero(rows_N < 0)
            for start in range(0, len(missing), 1024):
                some = missing[start : start + 1024]
                rows_N[some] = (self._onehot(contiguous_ND[some]) @ self._onehot_RC.T).argmax(axis=1)
            self.projecting_ns += time.process_time_ns() - start_ns
        return rows_N

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` rows of the table where every genotype stands for one, else a copy."""
        return self.rows_RD[self.rows(genotypes_ND)] if self._nearest else np.array(genotypes_ND, dtype=GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the genotypes that the table holds."""
        return self.rows(genotypes_ND) >= 0

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, C)` one column for each choice of each decision."""
        return self._onehot(self.canonical(genotypes_ND)).astype(np.float64)

    def members(self) -> Genotypes:
        """`(size, D)` every genotype."""
        return self.rows_RD.copy()

    def _onehot(self, genotypes_ND: Genotypes) -> NDArray[np.float32]:
        columns = [genotypes_ND[:, [decision]] == np.arange(count) for decision, count in enumerate(self._choices_D)]
        return np.concatenate(columns, axis=1).astype(np.float32)


class CellRowsSpace(RowsSpace):
    """The cells of NAS-Bench-201 that a table holds."""

    def graphs(self, genotypes_ND: Genotypes, *, pruned: bool) -> Graphs:
        """Those of NAS-Bench-201."""
        return nasbench201().graphs(genotypes_ND, pruned=pruned)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTask:
    """One problem for searchers."""

    name: str
    space: GenotypeSpace
    """What may be chosen."""
    problem: Problem
    """Objectives as the searcher is told them: the signal."""
    signal: Callable[[Genotypes], NDArray[np.float64]]
    """`(N, M)` metrics of canonical genotypes, as the problem names them, in their natural direction."""
    report: Callable[[Genotypes], NDArray[np.float64]]
    """`(N, M)` what the same networks are worth, minimised."""
    reference: NDArray[np.float64]
    """`(M,)` reference point of the report."""
    front: NDArray[np.float64]
    """`(F, M)` the front of the report, every point once: of the whole space where it was listed, else the best known."""
    bound: float
    """Hypervolume over the front's that the front of the whole signal is worth; 1.0 where signal and report are the same."""

    def trial(self, ask_index: int, genotype_D: Genotypes) -> Trial:
        """What a searcher is told of one canonical genotype."""
        values = self.signal(genotype_D[np.newaxis])[0]
        metrics = {objective.metric: float(value) for objective, value in zip(self.problem.objectives, values, strict=True)}
        return Trial(ask_index=ask_index, genotype=tuple(genotype_D.tolist()), outcome=Outcome.OK, metrics=metrics)

    def minimised_signal(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, M)` the signal with every objective to be made small."""
        return self.signal(genotypes_ND) * [objective.sign for objective in self.problem.objectives]

    def quality(self, genotypes_ND: Genotypes) -> tuple[float, float]:
        """Hypervolume over the exact front's, and share of its points found, of the front that the signal shows among some genotypes."""
        chosen_ND = genotypes_ND[non_dominated(self.minimised_signal(genotypes_ND))]
        report_NM = self.report(chosen_ND)
        volume = hypervolume(report_NM, self.reference) / hypervolume(self.front, self.reference)
        if report_NM.shape[1] == 1:
            return volume, float(report_NM.min() <= self.front[0, 0])
        found = {tuple(point) for point in report_NM.tolist()} & {tuple(point) for point in self.front.tolist()}
        return volume, len(found) / len(self.front)


def distinct_front(points_NM: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(F, M)` the non-dominated points, each once."""
    return np.unique(points_NM[non_dominated(points_NM)], axis=0)


def table_task(
    name: str,
    space: RowsSpace,
    objectives: Sequence[Objective],
    signal_RM: NDArray[np.float64],
    *,
    report_RM: NDArray[np.float64] | None = None,
    report_reference: Sequence[float] | None = None,
) -> SearchTask:
    """A task from a table in natural directions; the report has the objectives' directions."""
    problem = Problem(objectives=tuple(objectives))
    signs_M = np.array([objective.sign for objective in objectives])
    report_RM = signs_M * (signal_RM if report_RM is None else report_RM)
    reference_M = problem.reference if report_reference is None else signs_M * report_reference
    front_FM = distinct_front(report_RM)
    chosen_RM = report_RM[non_dominated(signs_M * signal_RM)]
    return SearchTask(
        name=name,
        space=space,
        problem=problem,
        signal=lambda genotypes_ND: signal_RM[space.rows(genotypes_ND)],
        report=lambda genotypes_ND: report_RM[space.rows(genotypes_ND)],
        reference=reference_M,
        front=front_FM,
        bound=hypervolume(chosen_RM, reference_M) / hypervolume(front_FM, reference_M),
    )


@cache
def columns(path: str) -> Mapping[str, NDArray[Any]]:
    """The columns of a parquet file below the data folder."""
    table = pyarrow.parquet.read_table(DATA / path)
    return {name: table[name].to_numpy() for name in table.column_names}


def accuracy(reference: float) -> Objective:
    return Objective(metric="accuracy", direction=Direction.MAX, reference=reference)


def cost(metric: str, values_R: NDArray[np.float64]) -> Objective:
    return Objective(metric=metric, direction=Direction.MIN, reference=BEYOND * float(values_R.max()))


@cache
def nasbench201() -> NasBench201:
    """The space of the library: every one of the 15,625 cells counts, as in the tables."""
    return NasBench201(input_shape=(3, 32, 32), num_classes=10)


@cache
def nasbench201_rows() -> CellRowsSpace:
    """All 15,625 cells in the order of the benchmark's own index, from the operations that the table lists."""
    table = columns("nb201/nb201.parquet")
    order = np.argsort(table["arch_idx"])
    operations = [table[f"op_{decision.name.replace('edge', 'e')}"][order] for decision in nasbench201().decisions]
    return CellRowsSpace("nasbench201", nasbench201().decisions, np.stack(operations, axis=1).astype(GENE))


def nasbench201_task(data: str, device: str, *, early: bool) -> SearchTask:
    """Accuracy and latency of a device; `early` searches on 12-epoch validation accuracy, otherwise on what is reported."""
    table, latencies = columns("nb201/nb201.parquet"), columns("help_latency/nasbench201_latency.parquet")
    order = np.argsort(table["arch_idx"])
    latency_R = latencies[device][np.argsort(latencies["arch_idx"])] / 1000
    final_R, early_R = (table[f"{data}_{column}"][order] / 100 for column in ("test_200ep", "valid_12ep"))
    limit = cost("latency_s", latency_R)
    final = (1 - WORST_ERROR[data], limit.reference)
    return table_task(
        f"nb201 {data} {device} {'12 epochs' if early else '200 epochs'}",
        nasbench201_rows(),
        [accuracy(1 - WORST_ERROR_EARLY[data] if early else final[0]), limit],
        np.column_stack([early_R if early else final_R, latency_R]),
        report_RM=np.column_stack([final_R, latency_R]),
        report_reference=final,
    )


def nasbench201_single_task() -> SearchTask:
    """CIFAR-100 accuracy alone; the best of the 15,625 cells has 73.51 %."""
    table = columns("nb201/nb201.parquet")
    accuracy_R1 = table["cifar100_test_200ep"][np.argsort(table["arch_idx"]), np.newaxis] / 100
    return table_task("nb201 cifar100 alone", nasbench201_rows(), [accuracy(0.5)], accuracy_R1)


@cache
def analog_cells() -> tuple[RowsSpace, Mapping[str, NDArray[np.float64]]]:
    """The cells with a 1-day result, the first of repeated runs, and for each of them: accuracies as shares, MACs."""
    table, cells = columns("analognasbench/analognasbench_nb201_cifar10.parquet"), columns("nb201/nb201.parquet")
    macs_R = cells["macs_cifar10"][np.argsort(cells["arch_idx"])].astype(np.float64)
    found = {
        "accuracy": table["hwt_drift_86400s_mean"] / 100,
        "deviation": table["hwt_drift_86400s_std"] / 100,
        "avm": (table["hwt_drift_60s_mean"] - table["hwt_drift_2592000s_mean"]) / 100,
        "digital_accuracy": table["fp32_acc"] / 100,
        "macs": macs_R[table["arch_idx"]],
    }
    # Two rows have no accuracy at all, and cells of others are damaged; the README of the table lists them.
    usable = np.flatnonzero(np.all([np.isfinite(found[name]) for name in ("accuracy", "deviation", "digital_accuracy")], axis=0))
    _, first = np.unique(table["arch_idx"][usable], return_index=True)
    kept = usable[np.sort(first)]
    everything = nasbench201_rows()
    space = CellRowsSpace("analognasbench", everything.decisions, everything.rows_RD[table["arch_idx"][kept]])
    return space, {name: values[kept] for name, values in found.items()}


def analog_task() -> SearchTask:
    """AnalogNAS-Bench: accuracy after a day of drift, its deviation, MACs."""
    space, found = analog_cells()
    objectives = [accuracy(0.5), cost("accuracy_deviation", found["deviation"]), cost("macs", found["macs"])]
    values_R3 = np.column_stack([found[name] for name in ("accuracy", "deviation", "macs")])
    return table_task("analog accuracy deviation macs", space, objectives, values_R3)


def analog_single_task() -> SearchTask:
    """AnalogNAS-Bench: accuracy after a day of drift alone; the best is 90.07 %."""
    space, found = analog_cells()
    return table_task("analog accuracy alone", space, [accuracy(0.5)], found["accuracy"][:, np.newaxis])


def accel_task() -> SearchTask:
    """Accel-NASBench: ImageNet accuracy and ZCU102 latency of the rows measured; the mean of repeated measurements."""
    table = columns("accel_nasbench/accel_nasbench.parquet")
    names = [f"block{block}_{part}" for block in range(7) for part in ("e", "k", "l", "se")]
    choices = [np.unique(table[name]) for name in names]
    decisions = [
        Decision(name=name, choices=tuple(values.tolist()), ordinal=not name.endswith("se"))
        for name, values in zip(names, choices, strict=True)
    ]
    usable = np.isfinite(table["latency_zcu102_mean"])
    genotypes_RD = np.stack([np.searchsorted(values, table[name][usable]) for name, values in zip(names, choices, strict=True)], axis=1)
    rows_RD, row_of = np.unique(genotypes_RD.astype(GENE), axis=0, return_inverse=True)
    measured = np.column_stack([table["val_top1"][usable] / 100, table["latency_zcu102_mean"][usable] / 1000])
    values_R2 = np.column_stack([np.bincount(row_of.ravel(), column) / np.bincount(row_of.ravel()) for column in measured.T])
    space = RowsSpace("accel_nasbench", decisions, as_genotypes(rows_RD, len(names)), nearest=True)
    return table_task("accel accuracy zcu102", space, [accuracy(0.42), cost("latency_s", values_R2[:, 1])], values_R2)


def macro_task() -> SearchTask:
    """NAS-Bench-Macro: accuracy of one seed as the signal, the mean of the other two as the report; parameters."""
    table = columns("nas_bench_macro/nas_bench_macro_cifar10.parquet")
    decisions = [Decision(name=f"layer{layer}", choices=("identity", "mb3_k3", "mb6_k5"), ordinal=False) for layer in range(8)]
    space = RowsSpace("nasbench_macro", decisions, np.stack([table[f"op{layer}"] for layer in range(8)], axis=1).astype(GENE))
    parameters_R = table["params"].astype(np.float64)
    others_R = (table["test_acc_1"] + table["test_acc_2"]) / 200
    return table_task(
        "macro accuracy parameters",
        space,
        [accuracy(0.8), cost("parameters", parameters_R)],
        np.column_stack([table["test_acc_0"] / 100, parameters_R]),
        report_RM=np.column_stack([others_R, parameters_R]),
        report_reference=(0.8, BEYOND * float(parameters_R.max())),
    )


def mobile_task() -> SearchTask:
    """The made-up problem of 49 genes; its front is the best known."""
    objectives = (
        Objective(metric="error", direction=Direction.MIN, reference=35.0),
        Objective(metric="latency_ms", direction=Direction.MIN, reference=45.0),
    )
    return SearchTask(
        name="mobile error latency",
        space=MobileSpace(),
        problem=Problem(objectives=objectives),
        signal=error_and_latency,
        report=error_and_latency,
        reference=np.array([35.0, 45.0]),
        front=distinct_front(error_and_latency(stored_front())),
        bound=1.0,
    )


def task_makers() -> dict[str, Callable[[], SearchTask]]:
    """Every task by name, in the order of the tables."""
    makers: dict[str, Callable[[], SearchTask]] = {}
    for early in (False, True):
        for data in ("cifar10", "cifar100"):
            for device in DEVICES:
                name = f"nb201 {data} {device} {'12 epochs' if early else '200 epochs'}"
                makers[name] = lambda data=data, device=device, early=early: nasbench201_task(data, device, early=early)
    return makers | {
        "accel accuracy zcu102": accel_task,
        "macro accuracy parameters": macro_task,
        "analog accuracy deviation macs": analog_task,
        "mobile error latency": mobile_task,
        "nb201 cifar100 alone": nasbench201_single_task,
        "analog accuracy alone": analog_single_task,
    }
