"""What a cost model must offer: the cost of a whole population at once, on the hardware that each candidate is to run on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import Choice, Decision, Genotypes
from paretune.core.metrics import Metric
from paretune.core.protocols import SearchSpace
from paretune.core.workload import WorkloadBatch

Designs: TypeAlias = Mapping[str, NDArray[Any]]
"""Hardware decision -> `(N,)` chosen values, the i-th for network i, or `(1,)` where all networks share them. Every decision of the model's
`space()` is there, and nothing else; empty where the hardware is fixed."""


def one_design(config: Mapping[str, Choice]) -> Designs:
    """One configuration that all networks share."""
    return {name: np.array([choice]) for name, choice in config.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """How much of a resource designs use, and how much there is. Using more makes a design infeasible."""

    used: NDArray[np.float64]
    """`(N,)`, or `(1,)` where all networks share the design."""
    available: float


def design_violation(uses: Mapping[str, ResourceUse]) -> NDArray[np.float64]:
    """`(N,)` or `(1,)`: by how much designs exceed their resources, in shares of what there is, summed over resources; 0 is feasible."""
    exceeded = [np.maximum(use.used / use.available - 1, 0) for use in uses.values()]
    return np.asarray(sum(exceeded, start=np.zeros(1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """One metric of N networks, and where the numbers come from."""

    values: NDArray[np.float64]
    """`(N,)` in SI units."""
    source: str
    """`measured`, `lookup_table`, `analytic` or `predicted`."""
    deviation: NDArray[np.float64] | None = None
    """`(N,)` standard deviation in the same unit; None where the number is exact or nobody knows."""
    layers: NDArray[np.float64] | None = None
    """`(L,)` parts by layer, where the model is made of layers."""
    layer_bottlenecks: NDArray[np.str_] | None = None
    """`(L,)` what limits each layer, where the model knows; its documentation explains the labels."""
    interpolated: NDArray[np.bool_] | None = None
    """`(N,)` whether a lookup table had to be interpolated; None where nothing was."""


@runtime_checkable
class CostModel(Protocol):
    """What a network costs on some hardware, computed for a whole population at once."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `estimate` returns, without the target's prefix."""
        ...

    def space(self) -> tuple[Decision, ...]:
        """Hardware decisions of its own (tile sizes, ports, dataflows); empty where the hardware is fixed."""
        ...

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Use of each resource by hardware designs; empty where nothing is limited."""
        ...

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Each metric of every network on its design, whether or not the design is feasible.

        Raises:
            BadInput: the model does not know a layer of some network, or cannot use a design.
        """
        ...


@runtime_checkable
class ArchitectureCostModel(Protocol):
    """A cost model that reads architectures (encodings, graphs) instead of layers: a predictor fitted on one search space."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What `estimate_architectures` returns, without the target's prefix."""
        ...

    def space(self) -> tuple[Decision, ...]:
        """Hardware decisions of its own; empty where the hardware is fixed."""
        ...

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Use of each resource by hardware designs; empty where nothing is limited."""
        ...

    def estimate_architectures(self, space: SearchSpace, genotypes_ND: Genotypes, designs: Designs) -> Mapping[str, Estimates]:
        """Each metric of every architecture on its design.

        Raises:
            BadInput: the model was fitted on another search space, or cannot use a design.
        """
        ...
