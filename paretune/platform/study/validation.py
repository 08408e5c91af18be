"""Cost models judged by measurements, network by network and layer by layer, and devices compared by rank.

Legend: N networks, C columns of costs, E entries of a layer table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import ArchitectureCostModel, CostModel, Designs, Estimates, one_design
from paretune.core.errors import BadInput
from paretune.core.genotype import named
from paretune.core.protocols import SearchSpace
from paretune.core.workload import WorkloadBatch
from paretune.hardware import HARDWARE
from paretune.hardware.tables.layer_signature import in_words, layer_of
from paretune.hardware.tables.layer_table_file import LayerEntries, read_layer_table
from paretune.platform.study.cost_models import SpaceOptions
from paretune.platform.study.opening import kind_and_options
from paretune.predictors.fidelity import Fidelity, fidelity
from paretune.predictors.measurements import NetworkMeasurements, is_layer_file, network_measurements, read_parquet
from paretune.predictors.selection import spearman

FloatArray = NDArray[np.float64]
FITTED = {".npz": "predictor", ".json": "layer_regression"}
"""Ending of a fitted file -> kind of hardware that reads it."""
LEAST_LAYERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """A model against measurements, network by network or layer by layer."""

    fidelities: Mapping[str, Fidelity]
    predicted: Mapping[str, FloatArray]
    measured: Mapping[str, FloatArray]
    labels: tuple[str, ...]
    """`(N,)` what each network or layer is."""
    of: Literal["networks", "layers"] = "networks"
    """What was compared."""

    def worst(self, metric: str, count: int) -> list[tuple[str, float, float]]:
        """(label, predicted, measured) of the largest relative errors."""
        errors_N = np.abs(self.predicted[metric] / self.measured[metric] - 1)
        order = np.argsort(-np.nan_to_num(errors_N), kind="stable")[:count]
        return [(self.labels[row], float(self.predicted[metric][row]), float(self.measured[metric][row])) for row in order.tolist()]


def validate(target: str, path: Path, *, space: SpaceOptions, unit: str) -> Validation:
    """A model against a file of measured networks, or of measured layers.

    Args:
        target: a fitted file, a target or its file, or a kind of hardware without required options.
        path: what `paretune measure` wrote, or networks by their decisions.
        space: of the networks, where the file does not say.
        unit: of columns whose names end in none.

    Raises:
        BadInput: target and measurements have no metric in common, or one of them cannot be used.
    """
    model = open_model(target)
    table, facts = read_parquet(path)
    if is_layer_file(table):
        return validate_layers(model, target, path)
    built = space.build(facts)
    found = network_measurements(table, built, unit=unit)
    estimates = predict(model, built, found.genotypes)
    common = [name for name in found.costs if name in estimates]
    if not common and len(estimates) == 1 and len(found.costs) == 1:
        common = list(found.costs)
        estimates = {common[0]: next(iter(estimates.values()))}
    if not common:
        raise BadInput(f"{target} gives {', '.join(estimates)}; {path} has {', '.join(found.costs)}: nothing in common")
    labels = tuple(" ".join(f"{key}={value}" for key, value in named(built.decisions, row).items()) for row in found.genotypes.tolist())
    return Validation(
        fidelities={name: fidelity(estimates[name].values, found.costs[name], iqr_N=found.spreads.get(name)) for name in common},
        predicted={name: estimates[name].values for name in common},
        measured={name: found.costs[name] for name in common},
        labels=labels,
    )


def validate_layers(model: CostModel | ArchitectureCostModel, target: str, path: Path) -> Validation:
    """A model against a layer table, each entry a network of one layer; layers that cost nothing measurable are left out.

    Raises:
        BadInput: the model predicts whole networks only, the file is no layer table, or they have no metric in common.
    """
    if isinstance(model, ArchitectureCostModel):
        raise BadInput(f"{target}: predicts whole networks, not layers; validate it against 'paretune measure TARGET SPACE --networks N'")
    entries = read_layer_table(path)
    workloads = WorkloadBatch.from_layers([[layer_of(row)] for row in entries.signatures.tolist()])
    estimates = model.estimate(workloads, _first_design(model))
    common = [name for name in entries.values if name in estimates]
    if not common:
        raise BadInput(f"{target} gives {', '.join(estimates)}; {path} has {', '.join(entries.values)}: nothing in common")
    costly_E = np.all([entries.values[name] > 0 for name in common], axis=0)
    if costly_E.sum() < LEAST_LAYERS:
        raise BadInput(f"{path}: has {int(costly_E.sum())} layers that cost anything; at least {LEAST_LAYERS} are needed to judge a model")
    predicted = {name: _of_layers(estimates[name])[costly_E] for name in common}
    measured = {name: entries.values[name][costly_E] for name in common}
    return Validation(
        fidelities={name: fidelity(predicted[name], measured[name], iqr_N=_spread(entries, name, costly_E)) for name in common},
        predicted=predicted,
        measured=measured,
        labels=tuple(in_words(row) for row in entries.signatures[costly_E].tolist()),
        of="layers",
    )


def _of_layers(estimates: Estimates) -> FloatArray:
    """`(E,)` the part of the layer alone where the model tells it: a network also has what an inference costs beside its layers."""
    parts = estimates.layers
    return estimates.values if parts is None or len(parts) != len(estimates.values) else parts


def _spread(entries: LayerEntries, metric: str, rows_E: NDArray[np.bool_]) -> FloatArray | None:
    stem, _, unit = metric.rpartition("_")
    found = entries.spreads.get(f"{stem}_iqr_{unit}")
    return None if found is None else np.nan_to_num(found[rows_E])


def compare(sources: Sequence[str], *, space: SpaceOptions, unit: str) -> tuple[tuple[str, ...], FloatArray]:
    """Names `(C,)` and Spearman's rank correlations `(C, C)` of every two columns of measurements and fitted targets.

    Networks of the first file are compared: fitted targets predict them, and further files must hold the same networks, in any order.

    Raises:
        BadInput: no measurements, fewer than two columns, or files of other networks.
    """
    files = [source for source in sources if source.endswith(".parquet")]
    if not files:
        raise BadInput("compare: at least one file of measurements (.parquet) is needed: its networks are compared")
    columns: dict[str, FloatArray] = {}
    table, facts = read_parquet(Path(files[0]))
    built = space.build(facts)
    first = network_measurements(table, built, unit=unit)
    for source in sources:
        prefix = "" if len(sources) == 1 else f"{Path(source).stem}."
        if source.endswith(".parquet"):
            found = first if source == files[0] else network_measurements(read_parquet(Path(source))[0], built, unit=unit)
            rows = _matching(first, found, source)
            columns |= {f"{prefix}{name}": costs_N[rows] for name, costs_N in found.costs.items()}
        else:
            estimates = predict(open_model(source), built, first.genotypes)
            columns |= {f"{prefix}{name}": item.values for name, item in estimates.items()}
    if len(columns) < 2:
        raise BadInput(f"compare: at least two columns of costs are needed (got {', '.join(columns)})")
    names = tuple(columns)
    return names, np.array([[spearman(columns[left], columns[right]) for right in names] for left in names])


def open_model(target: str) -> CostModel | ArchitectureCostModel:
    """The cost model of a fitted file, of a target or its file, or of a registered kind of hardware with its defaults.

    Raises:
        BadInput: there is no such target, or it measures instead of computing.
    """
    fitted = FITTED.get(Path(target).suffix)
    if fitted is not None:
        kind, options = fitted, {"file": target}
    else:
        kind, options = kind_and_options(target)
    model = HARDWARE.create(kind, **options)
    if not isinstance(model, CostModel | ArchitectureCostModel):
        raise BadInput(f"{target}: is a device that measures, not a model; measure with it and compare the files")
    return model


def predict(model: CostModel | ArchitectureCostModel, space: SearchSpace, genotypes_ND: NDArray[np.int16]) -> Mapping[str, Estimates]:
    """What a model says of architectures; designs are each decision's first choice."""
    designs = _first_design(model)
    if isinstance(model, ArchitectureCostModel):
        return model.estimate_architectures(space, genotypes_ND, designs)
    return model.estimate(space.workloads(genotypes_ND), designs)


def _first_design(model: CostModel | ArchitectureCostModel) -> Designs:
    return one_design({decision.name: decision.choices[0] for decision in model.space()})


def _matching(first: NetworkMeasurements, other: NetworkMeasurements, source: str) -> NDArray[np.int64]:
    """Rows of the other file in the order of the first one's networks."""
    where = {tuple(row): index for index, row in enumerate(other.genotypes.tolist())}
    missing = sum(tuple(row) not in where for row in first.genotypes.tolist())
    if missing:
        raise BadInput(f"{source}: lacks {missing} of the first file's networks; compare files of the same networks")
    return np.array([where[tuple(row)] for row in first.genotypes.tolist()], dtype=np.int64)
