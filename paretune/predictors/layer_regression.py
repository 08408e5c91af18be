"""Costs of layers from their shapes: NeuralPower's polynomials, fitted on relative errors, and a Gaussian process beside them.

Legend: L layers, T terms.

Source: Cai et al., NeuralPower, ACML 2017.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.predictors.fidelity import rmspe
from paretune.predictors.layer_features import PLAIN, RECIPES, Columns, Quantity, layer_features
from paretune.predictors.layer_process import LayerProcess, fit_layer_process
from paretune.predictors.prediction import FloatArray

FOLDS = 10
PENALTIES = 25
"""Penalties tried, down to `SMALLEST` of the one that leaves nothing."""
SMALLEST = 1e-5
STEPS = 3000
LEAST_LAYERS = 2 * FOLDS
CLEARLY = 0.8
"""Below this share of the error of the mean of polynomial and process, the polynomial stands alone: a few layers left out say little, and
means of two models are seldom far off."""
LEAST_ROWS = 5
"""Layers that a term must be there in: the weight of one that two or three small layers have says nothing of a large layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPolynomial:
    """Sum of weighted terms, the cost of one kind of layer."""

    terms: Mapping[str, float]
    """Term -> weight, SI; the others are 0."""
    floor: float
    """Least value in training: predictions do not go below it."""

    def predict(self, kind: str, columns: Columns, quantity: Quantity) -> FloatArray:
        """`(L,)` cost in SI units."""
        names, values_LT = layer_features(kind, columns, quantity)
        weights_T = np.array([self.terms.get(name, 0.0) for name in names])
        return np.asarray(np.maximum(values_LT @ weights_T, self.floor))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerModel:
    """Cost of one kind of layer: the polynomial, or the geometric mean of it and a Gaussian process.

    Departs: NeuralPower has the polynomial alone. Libraries choose among kernels, and what a kernel is good for is no monomial; the process
    learns that from neighbours, and errs elsewhere than the polynomial.
    """

    polynomial: LayerPolynomial
    process: LayerProcess | None = None
    rmspe: float
    """Of layers left out of the fit."""

    def predict(self, kind: str, columns: Columns, quantity: Quantity) -> FloatArray:
        """`(L,)` cost in SI units."""
        found_L = self.polynomial.predict(kind, columns, quantity)
        return found_L if self.process is None else np.asarray(np.sqrt(found_L * self.process.predict(kind, columns)))


def fit_layers(kind: str, columns: Columns, costs_L: FloatArray, quantity: Quantity) -> LayerModel:
    """Polynomial and process, the latter unless the polynomial alone is clearly closer to layers left out.

    Args:
        kind: of all the layers.
        columns: name -> `(L,)`.
        costs_L: measured, positive, SI.
        quantity: what was measured.

    Raises:
        BadInput: fewer than 20 layers, or a cost that is not positive.
    """
    polynomial, by_polynomial_L = _fit_polynomial(kind, columns, costs_L, quantity)
    process, by_process_L = fit_layer_process(kind, columns, costs_L)
    alone, both = rmspe(by_polynomial_L, costs_L), rmspe(np.sqrt(by_polynomial_L * by_process_L), costs_L)
    if alone < CLEARLY * both:
        return LayerModel(polynomial=polynomial, rmspe=alone)
    return LayerModel(polynomial=polynomial, process=process, rmspe=both)


def _fit_polynomial(kind: str, columns: Columns, costs_L: FloatArray, quantity: Quantity) -> tuple[LayerPolynomial, FloatArray]:
    """Non-negative lasso on relative errors, its penalty chosen by 10-fold cross-validation; also `(L,)` predictions of layers left out.

    Departs: NeuralPower minimises squared errors. Costs span three decades and the largest layers would decide alone (RMSPE above 1);
    dividing rows by the measurement minimises what the paper reports. Weights are not negative, since no product of sizes makes a layer
    cheaper: this keeps extrapolations sane and costs nothing in held-out error.
    """
    if len(costs_L) < LEAST_LAYERS:
        raise BadInput(f"{kind} layers: at least {LEAST_LAYERS} measurements are needed (got {len(costs_L)})")
    if not np.all(np.isfinite(costs_L) & (costs_L > 0)):
        raise BadInput(f"{kind} layers: every cost must be finite and positive (got {float(np.min(costs_L))})")
    names, values_LT = layer_features(kind, columns, quantity)
    kept = _usable(kind, names, values_LT, columns)
    weights_T, left_out_L = _relative_lasso(values_LT[:, kept], costs_L)
    terms = {names[place]: float(weight) for place, weight in zip(kept, weights_T, strict=True) if weight > 0}
    floor = float(costs_L.min())
    return LayerPolynomial(terms=terms, floor=floor), np.maximum(left_out_L, floor)


def _usable(kind: str, names: Sequence[str], values_LT: FloatArray, columns: Columns) -> list[int]:
    """Places of the terms that enough layers have; those of layouts only where the measurements tell any."""
    told = any(np.any(np.asarray(columns.get(name, 0)) > 0) for name in RECIPES[kind].layouts)
    enough_T = np.count_nonzero(values_LT, axis=0) >= LEAST_ROWS
    return [place for place, name in enumerate(names) if enough_T[place] and (told or not name.startswith(f"{PLAIN}."))]


def _relative_lasso(values_LT: NDArray[np.float64], costs_L: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`(T,)` weights with the best penalty, and `(L,)` what is predicted with it for layers left out."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso, LassoCV
    from sklearn.model_selection import KFold, cross_val_predict

    rows_LT = values_LT / costs_L[:, np.newaxis]
    scale_T = np.sqrt((rows_LT**2).mean(axis=0))
    scale_T[scale_T == 0] = 1
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    model = LassoCV(fit_intercept=False, positive=True, cv=folds, alphas=PENALTIES, eps=SMALLEST, max_iter=STEPS)
    with warnings.catch_warnings():
        # Monomials are nearly collinear: the last digits of the weights do not settle, the predictions do, and folds judge those.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows_LT / scale_T, np.ones(len(costs_L)))
        chosen = Lasso(alpha=model.alpha_, fit_intercept=False, positive=True, max_iter=STEPS)
        shares_L = cross_val_predict(chosen, rows_LT / scale_T, np.ones(len(costs_L)), cv=folds)
    return np.asarray(model.coef_ / scale_T), np.asarray(shares_L * costs_L)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRegression:
    """Fitted layers of a device."""

    device: str
    models: Mapping[Quantity, Mapping[str, LayerModel]]
    """Quantity -> kind of layer -> model."""
