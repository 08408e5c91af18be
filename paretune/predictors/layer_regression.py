"""Polynomials of layer shapes fitted on relative errors: NeuralPower's models, and the roofline they are compared with.

Legend: L layers, T terms.

Source: Cai et al., NeuralPower, ACML 2017.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.files import read_regular, write_durably
from paretune.predictors.fidelity import rmspe
from paretune.predictors.layer_features import PLAIN, RECIPES, Columns, Quantity, layer_features
from paretune.predictors.prediction import FloatArray

FORMAT = "paretune.layer_regression"
VERSION = 1
FOLDS = 10
PENALTIES = 25
"""Penalties tried, down to `SMALLEST` of the one that leaves nothing."""
SMALLEST = 1e-5
STEPS = 3000
LEAST_LAYERS = 2 * FOLDS
LEAST_ROWS = 5
"""Layers that a term must be there in: the weight of one that two or three small layers have says nothing of a large layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPolynomial:
    """Cost of one kind of layer."""

    terms: Mapping[str, float]
    """Term -> weight, SI; the others are 0."""
    floor: float
    """Least value in training: predictions do not go below it."""
    rmspe: float
    """Of layers left out of the fit, with the penalty that is best for them."""

    def predict(self, kind: str, columns: Columns, quantity: Quantity) -> FloatArray:
        """`(L,)` cost in SI units."""
        names, values_LT = layer_features(kind, columns, quantity)
        weights_T = np.array([self.terms.get(name, 0.0) for name in names])
        return np.asarray(np.maximum(values_LT @ weights_T, self.floor))


def fit_layers(kind: str, columns: Columns, costs_L: FloatArray, quantity: Quantity) -> LayerPolynomial:
    """Non-negative lasso on relative errors, its penalty chosen by 10-fold cross-validation.

    Departs: NeuralPower minimises squared errors. Costs span three decades and the largest layers would decide alone (RMSPE above 1);
    dividing rows by the measurement minimises what the paper reports. Weights are not negative, since no product of sizes makes a layer
    cheaper: this keeps extrapolations sane and costs nothing in held-out error.

    Args:
        kind: of all the layers.
        columns: name -> `(L,)`.
        costs_L: measured, positive, SI.
        quantity: what was measured.

    Raises:
        BadInput: fewer than 20 layers, or a cost that is not positive.
    """
    if len(costs_L) < LEAST_LAYERS:
        raise BadInput(f"{kind} layers: at least {LEAST_LAYERS} measurements are needed (got {len(costs_L)})")
    if not np.all(np.isfinite(costs_L) & (costs_L > 0)):
        raise BadInput(f"{kind} layers: every cost must be finite and positive (got {float(np.min(costs_L))})")
    names, values_LT = layer_features(kind, columns, quantity)
    kept = _usable(kind, names, values_LT, columns)
    weights_T, error = _relative_lasso(values_LT[:, kept], costs_L)
    terms = {names[place]: float(weight) for place, weight in zip(kept, weights_T, strict=True) if weight > 0}
    return LayerPolynomial(terms=terms, floor=float(costs_L.min()), rmspe=error)


def _usable(kind: str, names: Sequence[str], values_LT: FloatArray, columns: Columns) -> list[int]:
    """Places of the terms that enough layers have; those of layouts only where the measurements tell any."""
    told = any(np.any(np.asarray(columns.get(name, 0)) > 0) for name in RECIPES[kind].layouts)
    enough_T = np.count_nonzero(values_LT, axis=0) >= LEAST_ROWS
    return [place for place, name in enumerate(names) if enough_T[place] and (told or not name.startswith(f"{PLAIN}."))]


def _relative_lasso(values_LT: NDArray[np.float64], costs_L: FloatArray) -> tuple[FloatArray, float]:
    """`(T,)` weights and the left-out RMSPE of the best penalty."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import KFold

    rows_LT = values_LT / costs_L[:, np.newaxis]
    scale_T = np.sqrt((rows_LT**2).mean(axis=0))
    scale_T[scale_T == 0] = 1
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    model = LassoCV(fit_intercept=False, positive=True, cv=folds, alphas=PENALTIES, eps=SMALLEST, max_iter=STEPS)
    with warnings.catch_warnings():
        # Monomials are nearly collinear: the last digits of the weights do not settle, the predictions do, and folds judge those.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows_LT / scale_T, np.ones(len(costs_L)))
    return np.asarray(model.coef_ / scale_T), float(np.sqrt(model.mse_path_.mean(axis=1).min()))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRegression:
    """Fitted polynomials of a device."""

    device: str
    polynomials: Mapping[Quantity, Mapping[str, LayerPolynomial]]
    """Quantity -> kind of layer -> polynomial."""


def write_layer_regression(path: Path, fitted: LayerRegression) -> None:
    """Write a fitted model as JSON.

    Raises:
        StorageError: the storage refuses.
    """
    polynomials = {
        quantity: {kind: {"terms": dict(item.terms), "floor": item.floor, "rmspe": item.rmspe} for kind, item in kinds.items()}
        for quantity, kinds in fitted.polynomials.items()
    }
    facts = {"format": FORMAT, "version": VERSION, "device": fitted.device, "polynomials": polynomials}
    write_durably(path, json.dumps(facts, indent=1, allow_nan=False).encode())


def read_layer_regression(path: Path) -> LayerRegression:
    """Read and check a fitted model.

    Raises:
        BadInput: there is no such file, or it is none of this format.
    """
    try:
        facts = json.loads(read_regular(path))
        if facts["format"] != FORMAT or facts["version"] != VERSION:
            raise BadInput(f"{path}: has format {facts['format']} {facts['version']}; expected {FORMAT} {VERSION}")
        found: dict[Quantity, dict[str, LayerPolynomial]] = {}
        quantities: tuple[Quantity, ...] = ("latency_s", "power_w")
        for quantity in quantities:
            for kind, item in facts["polynomials"].get(quantity, {}).items():
                if kind not in RECIPES:
                    raise BadInput(f"{path}: has a model of '{kind}' layers; known are {', '.join(RECIPES)}")
                terms = {str(name): float(weight) for name, weight in item["terms"].items()}
                polynomial = LayerPolynomial(terms=terms, floor=float(item["floor"]), rmspe=float(item["rmspe"]))
                found.setdefault(quantity, {})[kind] = polynomial
        if "latency_s" not in found:
            raise BadInput(f"{path}: holds no latency_s model")
        return LayerRegression(device=str(facts["device"]), polynomials=found)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; 'paretune hardware fit LAYERS --out {path}' writes one") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: is no layer regression of 'paretune hardware fit': {error!r}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedRoofline:
    """The larger of compute and transfer time, with the rates that explain measurements best."""

    flops_per_s: float
    bytes_per_s: float

    def predict(self, flops_L: FloatArray, bytes_L: FloatArray) -> FloatArray:
        """`(L,)` seconds."""
        return np.maximum(flops_L / self.flops_per_s, bytes_L / self.bytes_per_s)


def fit_roofline(flops_L: FloatArray, bytes_L: FloatArray, latency_L: FloatArray) -> FittedRoofline:
    """Effective peak and bandwidth with the least RMSPE, from nine starts.

    Source: Williams et al., Roofline, CACM 52(4), 2009.
    """
    from scipy.optimize import minimize

    def error(log_rates: FloatArray) -> float:
        return rmspe(np.maximum(flops_L / np.exp(log_rates[0]), bytes_L / np.exp(log_rates[1])), latency_L)

    quantiles = (0.3, 0.6, 0.9)
    starts = [
        (np.log(np.quantile(flops_L / latency_L, first)), np.log(np.quantile(bytes_L / latency_L, second)))
        for first in quantiles
        for second in quantiles
    ]
    best = min((minimize(error, start, method="Nelder-Mead") for start in starts), key=lambda found: float(found.fun))
    peak, bandwidth = np.exp(best.x)
    return FittedRoofline(flops_per_s=float(peak), bytes_per_s=float(bandwidth))
