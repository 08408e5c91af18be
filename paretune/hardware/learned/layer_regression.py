"""Hardware whose layers were measured and fitted: runtime, power and energy after NeuralPower (ACML 2017).

Legend: N networks, L layers of all networks.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.environment import resolve_env
from paretune.core.errors import BadInput
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.workload import Kind, WorkloadBatch
from paretune.predictors.layer_features import Quantity, workload_columns
from paretune.predictors.layer_regression_file import read_layer_regression
from paretune.predictors.prediction import FloatArray

FREE = (Kind.POOL, Kind.ACTIVATION, Kind.ADD)
"""Kinds that cost nothing where nothing was fitted for them: the paper leaves activations and additions out, and runtimes fuse them."""


class FittedLayers:
    """Sum of what was fitted for each layer; power too where it was measured, then energy.

    With T_n and P_n of layer n: T = sum T_n, P = sum P_n T_n / sum T_n, E = sum P_n T_n. Layers of kinds that were not fitted are an
    error, but for pooling, activations and additions, which are then free. Deviations take the errors of layers as independent.

    Args:
        file: what `paretune hardware fit` wrote.

    Raises:
        BadInput: the file cannot be read.
    """

    def __init__(self, *, file: str) -> None:
        self._fitted = read_layer_regression(Path(resolve_env(file)).expanduser())

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Latency; power and energy where power was fitted."""
        found = [Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0, description="sum of the layers' fitted costs")]
        if "power_w" in self._fitted.models:
            found += [
                Metric(name="power_w", unit="w", direction=Direction.MIN, lower=0, description="mean over the latency"),
                Metric(name="energy_j", unit="j", direction=Direction.MIN, lower=0, description="power times latency, layer by layer"),
            ]
        return tuple(found)

    def space(self) -> tuple[Decision, ...]:
        """No decisions: the hardware is what was measured."""
        return ()

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:  # noqa: ARG002 -- the protocol's
        """No resources."""
        return {}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:  # noqa: ARG002 -- the protocol's
        """Each metric of every network.

        Raises:
            BadInput: a network has a layer of a kind that was not fitted.
        """
        time_L, time_error_L = self._by_layer(workloads, "latency_s")
        total_N = _sums(workloads, time_L)
        found = {"latency_s": _estimates(total_N, np.sqrt(_sums(workloads, (time_error_L * time_L) ** 2)), time_L)}
        if "power_w" not in self._fitted.models:
            return found
        power_L, power_error_L = self._by_layer(workloads, "power_w")
        energy_L = power_L * time_L
        energy_N = _sums(workloads, energy_L)
        energy_deviation_N = np.sqrt(_sums(workloads, (time_error_L**2 + power_error_L**2) * energy_L**2))
        power_deviation_N = np.sqrt(_sums(workloads, (power_error_L * energy_L) ** 2))
        busy_N = np.maximum(total_N, np.finfo(np.float64).tiny)
        found["power_w"] = _estimates(energy_N / busy_N, power_deviation_N / busy_N, None)
        found["energy_j"] = _estimates(energy_N, energy_deviation_N, energy_L)
        return found

    def _by_layer(self, workloads: WorkloadBatch, quantity: Quantity) -> tuple[FloatArray, FloatArray]:
        """`(L,)` cost of each layer and its relative error."""
        values_L, errors_L = np.zeros(len(workloads.kind)), np.zeros(len(workloads.kind))
        models = self._fitted.models[quantity]
        for number in np.unique(workloads.kind).tolist():
            kind = Kind(number)
            chosen_L = workloads.kind == number
            model = models.get(kind.name.lower())
            if model is None:
                if kind not in FREE:
                    first = int(np.argmax(chosen_L))
                    name = workloads.names[first] if workloads.names else f"number {first}"
                    raise BadInput(
                        f"layer regression: layer {name} is a {kind.name.lower()}, and {quantity} of {self._fitted.device or 'the device'} "
                        f"was fitted for {', '.join(models)}. Measure such layers and fit again"
                    )
                continue
            values_L[chosen_L] = model.predict(kind.name.lower(), workload_columns(workloads, chosen_L), quantity)
            errors_L[chosen_L] = model.rmspe
        return values_L, errors_L


def _sums(workloads: WorkloadBatch, values_L: FloatArray) -> FloatArray:
    return np.asarray(np.add.reduceat(values_L, workloads.offsets[:-1]))


def _estimates(values_N: FloatArray, deviation_N: FloatArray, layers_L: FloatArray | None) -> Estimates:
    return Estimates(values=values_N, source="predicted", deviation=deviation_N, layers=layers_L)
