"""Fitted costs of layers as a JSON file, which cannot run code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.files import read_regular, write_durably
from paretune.predictors.kernel import Kernel
from paretune.predictors.layer_features import RECIPES, Quantity
from paretune.predictors.layer_process import LayerProcess
from paretune.predictors.layer_regression import LayerModel, LayerPolynomial, LayerRegression

FORMAT = "paretune.layer_regression"
VERSION = 2
ARRAYS = ("shapes_KF", "solved_K", "mean_F", "scale_F")


def write_layer_regression(path: Path, fitted: LayerRegression) -> None:
    """Write a fitted model as JSON.

    Raises:
        StorageError: the storage refuses; `path` is as it was.
    """
    models = {quantity: {kind: _as_json(model) for kind, model in kinds.items()} for quantity, kinds in fitted.models.items()}
    facts = {"format": FORMAT, "version": VERSION, "device": fitted.device, "models": models}
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
        found: dict[Quantity, dict[str, LayerModel]] = {}
        quantities: tuple[Quantity, ...] = ("latency_s", "power_w")
        for quantity in quantities:
            for kind, item in facts["models"].get(quantity, {}).items():
                if kind not in RECIPES:
                    raise BadInput(f"{path}: has a model of '{kind}' layers; known are {', '.join(RECIPES)}")
                found.setdefault(quantity, {})[kind] = _model(item)
        if "latency_s" not in found:
            raise BadInput(f"{path}: holds no latency_s model")
        return LayerRegression(device=str(facts["device"]), models=found)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; 'paretune hardware fit LAYERS --out {path}' writes one") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: is no layer regression of 'paretune hardware fit': {error!r}") from error


def _as_json(model: LayerModel) -> dict[str, Any]:
    polynomial, process = model.polynomial, model.process
    found: dict[str, Any] = {"rmspe": model.rmspe, "terms": dict(polynomial.terms), "floor": polynomial.floor}
    if process is not None:
        kernel = process.kernel
        found["process"] = {
            "kernel": [kernel.linear, kernel.matern, kernel.noise],
            "weights": kernel.weights.tolist(),
            "log_mean": process.log_mean,
            "log_scale": process.log_scale,
            **{name: getattr(process, name).tolist() for name in ARRAYS},
        }
    return found


def _model(item: Mapping[str, Any]) -> LayerModel:
    terms = {str(name): float(weight) for name, weight in item["terms"].items()}
    process = _process(item["process"]) if "process" in item else None
    return LayerModel(polynomial=LayerPolynomial(terms=terms, floor=float(item["floor"])), process=process, rmspe=float(item["rmspe"]))


def _process(item: Mapping[str, Any]) -> LayerProcess:
    linear, matern, noise = (float(value) for value in item["kernel"])
    weights_F = np.array(item["weights"], dtype=np.float64)
    shapes_KF, solved_K, mean_F, scale_F = (np.array(item[name], dtype=np.float64) for name in ARRAYS)
    num_layers, num_features = shapes_KF.shape
    if solved_K.shape != (num_layers,) or any(values_F.shape != (num_features,) for values_F in (weights_F, mean_F, scale_F)):
        raise ValueError("the sizes of its arrays do not agree")
    return LayerProcess(
        kernel=Kernel(linear=linear, matern=matern, noise=noise, weights=weights_F, groups=np.arange(num_features)),
        shapes_KF=shapes_KF,
        solved_K=solved_K,
        mean_F=mean_F,
        scale_F=scale_F,
        log_mean=float(item["log_mean"]),
        log_scale=float(item["log_scale"]),
    )
