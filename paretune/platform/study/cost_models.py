"""Cost models from measurements, fitted with a held-out report.

Legend: N networks, L layers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.protocols import SearchSpace
from paretune.predictors.architecture_costs import LearnedCosts, learn_costs, write_costs
from paretune.predictors.fidelity import Fidelity, fidelity
from paretune.predictors.layer_features import Quantity
from paretune.predictors.layer_regression import LayerModel, LayerRegression, fit_layers
from paretune.predictors.layer_regression_file import write_layer_regression
from paretune.predictors.measurements import (
    LayerMeasurements,
    NetworkMeasurements,
    is_layer_file,
    layer_measurements,
    network_measurements,
    read_parquet,
)
from paretune.spaces import SPACES

FloatArray = NDArray[np.float64]
LEAST_HELD_OUT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceOptions:
    """The space that a file of measurements is of, where its metadata do not say."""

    name: str | None = None
    input_shape: tuple[int, ...] | None = None
    classes: int | None = None
    options: tuple[str, ...] = ()
    """`NAME=VALUE`, values as JSON or plain text."""

    def build(self, facts: Mapping[str, Any]) -> SearchSpace:
        """The space; what is given here goes before what the file says.

        Raises:
            BadInput: nobody says which space, or it refuses an option.
        """
        details = facts.get("details", {})
        said = facts.get("space", "")
        name = self.name or (said.get("name", "") if isinstance(said, dict) else said)
        if not name:
            raise BadInput(
                f"measurements: the file does not say of which space the networks are; give --space ({', '.join(SPACES.names())})"
            )
        stored = said.get("options", {}) if isinstance(said, dict) else details.get("space_options", {})
        options = {**(stored if self.name in (None, name) and isinstance(stored, dict) else {}), **_parsed(self.options)}
        supplied = {
            "input_shape": self.input_shape or tuple(details.get("input_shape", (3, 32, 32))),
            "num_classes": self.classes or int(details.get("num_classes", 10)),
        }
        space: SearchSpace = SPACES.create(
            name, **supplied, **{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        )
        return space


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What was fitted and how true it is on what was held out."""

    path: Path
    rows: Mapping[str, tuple[str, Fidelity]]
    """Metric, or metric and kind of layer -> (what was fitted, fidelity)."""


def fit_costs(
    path: Path, out: Path, *, space: SpaceOptions, unit: str, only: Sequence[str], predictors: Sequence[str], held_out: float, seed: int
) -> FitReport:
    """Fit a cost model to a file and write it: `.npz` for networks, `.json` for layers.

    The report is of models that did not see the rows they are judged by; what is written has learned from all rows.

    Raises:
        BadInput: the file, the space or an option cannot be used.
    """
    if not 0 < held_out < 1:
        raise BadInput(f"held-out: must be above 0 and below 1 (got {held_out})")
    table, facts = read_parquet(path)
    device = str(facts.get("device", ""))
    suffix = ".json" if is_layer_file(table) else ".npz"
    if out.suffix != suffix:
        raise BadInput(f"--out: must end in {suffix} for measurements of {'layers' if suffix == '.json' else 'networks'} (got {out})")
    if suffix == ".json":
        return _fit_layers(layer_measurements(table), out, device=device, held_out=held_out, seed=seed)
    built = space.build(facts)
    found = _chosen(network_measurements(table, built, unit=unit), only)
    inside, outside = _split(_classes(built, found), held_out, seed)
    part = {name: costs_N[inside] for name, costs_N in found.costs.items()}
    trial = learn_costs(built, found.genotypes[inside], part, names=predictors, seed=seed)
    judged = _judged_networks(trial, built, found, outside)
    write_costs(out, learn_costs(built, found.genotypes, found.costs, names=predictors, seed=seed, device=device))
    return FitReport(path=out, rows=judged)


def _parsed(pairs: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise BadInput(f"--space-option {pair!r}: expected NAME=VALUE")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def _chosen(found: NetworkMeasurements, only: Sequence[str]) -> NetworkMeasurements:
    unknown = [name for name in only if name not in found.costs]
    if unknown:
        raise BadInput(f"--metric {', '.join(unknown)}: the file has {', '.join(found.costs)}")
    costs = {name: costs_N for name, costs_N in found.costs.items() if not only or name in only}
    return NetworkMeasurements(genotypes=found.genotypes, costs=costs, spreads=found.spreads)


def _classes(space: SearchSpace, found: NetworkMeasurements) -> NDArray[np.int64]:
    """`(N,)` equal numbers for networks that are the same or, in spaces with graphs, the same after pruning."""
    rows_ND: NDArray[Any] = space.canonical(found.genotypes)
    graphs = getattr(space, "graphs", None)
    if graphs is not None:
        pruned = graphs(rows_ND, pruned=True)
        rows_ND = np.hstack([pruned.operations, pruned.adjacency.reshape(len(rows_ND), -1)])
    return np.asarray(np.unique(rows_ND, axis=0, return_inverse=True)[1]).ravel()


def _split(classes_N: NDArray[np.int64], held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows to judge by, no class in both."""
    order = np.random.default_rng(seed).permutation(classes_N.max() + 1)
    judged_N = np.isin(classes_N, order[: max(LEAST_HELD_OUT, round(held_out * len(order)))])
    return np.flatnonzero(~judged_N), np.flatnonzero(judged_N)


def _judged_networks(
    trial: LearnedCosts, space: SearchSpace, found: NetworkMeasurements, outside: NDArray[np.int64]
) -> dict[str, tuple[str, Fidelity]]:
    fitted = trial.fitted(space)
    rows = {}
    for name, costs_N in found.costs.items():
        choice, spread_N = trial.choices[name], found.spreads.get(name)
        predicted = fitted.predict(name, space.canonical(found.genotypes[outside])).mean
        judged = fidelity(predicted, costs_N[outside], iqr_N=None if spread_N is None else spread_N[outside])
        rows[name] = f"{choice.predictor} {choice.scale}", judged
    return rows


def _fit_layers(found: LayerMeasurements, out: Path, *, device: str, held_out: float, seed: int) -> FitReport:
    kinds_L = np.array(found.kinds)
    models: dict[Quantity, dict[str, LayerModel]] = {}
    rows: dict[str, tuple[str, Fidelity]] = {}
    quantities: tuple[Quantity, ...] = ("latency_s", "power_w")
    for quantity in (name for name in quantities if name in found.costs):
        for kind in sorted(set(found.kinds)):
            chosen = np.flatnonzero(kinds_L == kind)
            inside, outside = _split(np.arange(len(chosen)), held_out, seed)
            costs_L = found.costs[quantity]
            trial = fit_layers(kind, _rows(found, chosen[inside]), costs_L[chosen[inside]], quantity)
            predicted = trial.predict(kind, _rows(found, chosen[outside]), quantity)
            rows[f"{quantity} {kind}"] = (
                f"{len(trial.polynomial.terms)} terms{' and process' if trial.process else ''}",
                fidelity(predicted, costs_L[chosen[outside]]),
            )
            models.setdefault(quantity, {})[kind] = fit_layers(kind, _rows(found, chosen), costs_L[chosen], quantity)
    write_layer_regression(out, LayerRegression(device=device, models=models))
    return FitReport(path=out, rows=rows)


def _rows(found: LayerMeasurements, rows_L: NDArray[np.int64]) -> dict[str, FloatArray]:
    return {name: values_L[rows_L] for name, values_L in found.columns.items()}
