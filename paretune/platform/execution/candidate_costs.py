"""What candidates cost before anything runs: the free costs of their networks, and every computed target on the design that each chose.

Legend: N candidates, D decisions, W network decisions, L layers of all networks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import ArchitectureCostModel, CostModel, Designs, Estimates, ResourceUse, design_violation
from paretune.core.errors import BadInput, EvaluationError
from paretune.core.genotype import Choice, Decision, Genotypes, as_genotypes
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Constraint
from paretune.core.protocols import SearchSpace
from paretune.core.workload import WorkloadBatch
from paretune.hardware.free import FreeCosts
from paretune.spaces.product import product

ComputedTarget: TypeAlias = CostModel | ArchitectureCostModel

EXCESS = "excess"
"""Metric `TARGET.excess` of a target with limited resources: by how much a design exceeds them. The search keeps it at 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCosts:
    """What one target says of N candidates."""

    designs: Designs
    """Its decisions as each candidate chose them, without the target's name."""
    estimates: Mapping[str, Estimates]
    """By metric, without the target's name."""
    uses: Mapping[str, ResourceUse]
    """By resource."""


class CandidateCosts:
    """The costs of candidates that need no run, computed for whole populations; travels to the workers.

    Args:
        network: the networks.
        targets: computed hardware by target name. Its decisions become decisions of the candidates, `TARGET.DECISION`.

    Raises:
        BadInput: a target has a metric or a decision of a name that is taken.
    """

    def __init__(self, network: SearchSpace, targets: Mapping[str, ComputedTarget]) -> None:
        self.network, self.targets = network, dict(targets)
        decisions = [replace(item, name=f"{target}.{item.name}") for target, model in targets.items() for item in model.space()]
        self.space = product(network, tuple(decisions))
        """What candidates are: networks, on designs where there is something to choose."""
        self.hardware_decisions = tuple(item.name for item in decisions)
        """Names of the decisions that say nothing of the network."""
        self._limited = [target for target, model in targets.items() if is_limited(model)]
        self.metrics = {metric.name: metric for metric in FreeCosts.metrics}
        """Inner name -> metric, all free."""
        for target, model in targets.items():
            excess = [excess_metric()] if target in self._limited else []
            for metric in (*model.metrics, *excess):
                name = f"{target}.{metric.name}"
                if name in self.metrics:
                    raise BadInput(f"'{name}' is computed twice")
                self.metrics[name] = replace(metric, name=name, free=True)

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """A design that does not fit its hardware is infeasible, by as much as it exceeds it."""
        return tuple(Constraint(metric=f"{target}.{EXCESS}", upper=0.0) for target in self._limited)

    @property
    def num_designs(self) -> int:
        """Designs that each network may be on; 1 where nothing is to be chosen."""
        return self.space.size // self.network.size

    def network_part(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, W)`: the genotypes of the networks."""
        return genotypes_ND[:, : len(self.network.decisions)]

    def values(self, genotypes_ND: Genotypes) -> dict[str, NDArray[np.float64]]:
        """`(N,)` of every metric.

        Raises:
            BadInput: a target does not know a layer of a network, or gives an impossible value.
        """
        workloads = self.network.workloads(self.network_part(genotypes_ND))  # once for all: a third of the time of a cost model
        found = FreeCosts().estimate(workloads, {})
        values = {name: estimates.values for name, estimates in found.items()}
        for target in self.targets:
            values |= self.target_values(target, genotypes_ND, workloads)
        return values

    def target_values(self, target: str, genotypes_ND: Genotypes, workloads: WorkloadBatch | None = None) -> dict[str, NDArray[np.float64]]:
        """`(N,)` of every metric of one target; `workloads` are those of the networks, where they are known.

        Raises:
            BadInput: it does not know a layer of a network, or gives an impossible value.
        """
        costs = self.costs_on(target, genotypes_ND, workloads)
        values = {f"{target}.{name}": estimates.values for name, estimates in costs.estimates.items()}
        if target in self._limited:
            values[f"{target}.{EXCESS}"] = np.broadcast_to(design_violation(costs.uses), len(genotypes_ND))
        for name, metric in self.metrics.items():
            if name.startswith(f"{target}."):
                _check_values(metric, values.get(name), len(genotypes_ND))
        return values

    def costs_on(self, target: str, genotypes_ND: Genotypes, workloads: WorkloadBatch | None = None) -> TargetCosts:
        """All that one target says of N candidates; `workloads` are those of the networks, where they are known.

        Raises:
            BadInput: it does not know a layer of a network.
        """
        model, network_NW = self.targets[target], self.network_part(genotypes_ND)
        designs = self._designs(target, genotypes_ND)
        try:
            if isinstance(model, CostModel):
                estimates = model.estimate(self.network.workloads(network_NW) if workloads is None else workloads, designs)
            else:
                estimates = model.estimate_architectures(self.network, network_NW, designs)
            return TargetCosts(designs=designs, estimates=estimates, uses=model.check(designs))
        except BadInput as error:
            raise BadInput(f"target '{target}': {error}") from error

    def _designs(self, target: str, genotypes_ND: Genotypes) -> Designs:
        """The decisions of one target as N candidates chose them."""
        prefix, columns = f"{target}.", enumerate(self.space.decisions)
        own = [(column, item) for column, item in columns if item.name in self.hardware_decisions and item.name.startswith(prefix)]
        return {item.name.removeprefix(prefix): _choices(item)[genotypes_ND[:, column]] for column, item in own}

    def of_candidate(self, genotype: tuple[int, ...]) -> tuple[dict[str, float], dict[str, Any]]:
        """Every metric of one candidate, and by target what helps to judge the numbers (JSON).

        Raises:
            BadInput: a target does not know a layer of the network, or gives an impossible value.
        """
        genotypes_ND = as_genotypes([genotype], len(self.space.decisions))
        metrics = {name: float(values[0]) for name, values in self.values(genotypes_ND).items()}
        return metrics, {target: _details(self.costs_on(target, genotypes_ND)) for target in self.targets}

    def sources(self, genotypes_ND: Genotypes) -> dict[str, str]:
        """Metric of a target -> where its values come from: `analytic`, `lookup_table`, `predicted` or `measured`."""
        costs = {target: self.costs_on(target, genotypes_ND[:1]) for target in self.targets}
        return {f"{target}.{name}": found.source for target in costs for name, found in costs[target].estimates.items()}


def excess_metric() -> Metric:
    """By how much a design exceeds its resources, without the target's name."""
    told = "by how much the design exceeds the resources, in shares of what there is, summed; 0 fits"
    return Metric(name=EXCESS, unit="", direction=Direction.MIN, lower=0.0, description=told)


def is_limited(model: ComputedTarget) -> bool:
    """Whether a model's hardware has resources that a design may exceed."""
    return bool(model.check({item.name: _choices(item)[:1] for item in model.space()}))


def _choices(decision: Decision) -> NDArray[Any]:
    """The choices as an array: of their own type, or of objects where they have several (True and 2, "auto" and 4)."""
    kinds = {type(choice) for choice in decision.choices}
    return np.array(decision.choices, dtype=None if len(kinds) == 1 or kinds == {int, float} else object)


def _check_values(metric: Metric, values_N: NDArray[np.float64] | None, count: int) -> None:
    """Refuse what no candidate can cost: a bug in a cost model must not look like a good network.

    Raises:
        EvaluationError: naming the metric.
    """
    if values_N is None:
        raise EvaluationError(f"'{metric.name}' is missing from what its cost model estimates")
    if values_N.shape != (count,):
        raise EvaluationError(f"'{metric.name}' has shape {values_N.shape} for {count} candidates")
    wrong_N = ~(np.isfinite(values_N) & (values_N >= metric.lower) & (values_N <= metric.upper))
    if wrong_N.any():
        raise EvaluationError(f"'{metric.name}' is {values_N[wrong_N][0]}; expected a finite number, {metric.lower:g} to {metric.upper:g}")


def _details(costs: TargetCosts) -> dict[str, Any]:
    """What one target says of one candidate, as JSON values."""
    design: dict[str, Choice] = {
        name: values_N[0].item() if hasattr(values_N[0], "item") else values_N[0] for name, values_N in costs.designs.items()
    }
    details: dict[str, Any] = {name: _estimate_details(estimates) for name, estimates in costs.estimates.items()}
    details["source"] = ", ".join(dict.fromkeys(estimates.source for estimates in costs.estimates.values()))
    if design:
        details["design"] = design
    if costs.uses:
        details["resources"] = {name: {"used": float(use.used[0]), "available": float(use.available)} for name, use in costs.uses.items()}
    return details


def _estimate_details(estimates: Estimates) -> dict[str, Any]:
    details: dict[str, Any] = {"source": estimates.source}
    if estimates.deviation is not None:
        details["deviation"] = float(estimates.deviation[0])
    if estimates.interpolated is not None:
        details["interpolated"] = bool(estimates.interpolated[0])
    if estimates.layer_bottlenecks is not None and len(estimates.layer_bottlenecks):
        details["bottlenecks"] = _bottleneck_shares(estimates)
    return details


def _bottleneck_shares(estimates: Estimates) -> dict[str, float]:
    """Label -> its share of the metric, or of the layers where the metric is no sum of layers; largest first."""
    labels_L = estimates.layer_bottlenecks
    assert labels_L is not None
    parts_L = np.ones(len(labels_L)) if estimates.layers is None or not estimates.layers.sum() > 0 else estimates.layers
    shares = {str(label): round(float(parts_L[labels_L == label].sum() / parts_L.sum()), 4) for label in np.unique(labels_L)}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
