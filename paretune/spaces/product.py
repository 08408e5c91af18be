"""Networks x hardware designs as one search space, so that any searcher decides both at once.

A genotype holds the network's decisions first, then the hardware's. Two candidates with the same network on different designs differ.

Legend: N candidates, D decisions of both, W network decisions, H hardware decisions, V nodes of a graph.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, Genotypes, num_choices
from paretune.core.protocols import Graphs, GraphSpace, MutatingSpace, Mutation, SearchSpace
from paretune.core.workload import WorkloadBatch
from paretune.spaces.mutations import stepped
from paretune.spaces.one_hot import one_hot
from paretune.spaces.rows import in_range

if TYPE_CHECKING:
    from torch import nn

HARDWARE_MUTATION = "hardware"
"""Name of the mutation operator that changes the design and keeps the network."""


class ProductSpace:
    """Every network of a space on every design of some hardware. Networks alone have layers and are built; designs are only chosen.

    Args:
        network: what may be built.
        hardware: what may be chosen of the hardware, at least one decision.

    Raises:
        BadInput: two decisions share a name.
    """

    def __init__(self, network: SearchSpace, hardware: tuple[Decision, ...]) -> None:
        self.network = network
        """The space of the networks."""
        self.hardware = hardware
        """The hardware decisions."""
        self.decisions = (*network.decisions, *hardware)
        names = [decision.name for decision in self.decisions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadInput(f"decisions of network and hardware share a name: {', '.join(twice)}")

    @property
    def name(self) -> str:
        """Name of the network space."""
        return self.network.name

    @property
    def num_designs(self) -> int:
        """Designs of the hardware."""
        return prod(len(decision.choices) for decision in self.hardware)

    @property
    def size(self) -> int:
        """Networks times designs."""
        return self.network.size * self.num_designs

    def split(self, genotypes_ND: Genotypes) -> tuple[Genotypes, Genotypes]:
        """`(N, W)` network genotypes and `(N, H)` designs."""
        num_network = len(self.network.decisions)
        return genotypes_ND[:, :num_network], genotypes_ND[:, num_network:]

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """`(N, D)` with the canonical form of each network; designs have no inactive decisions."""
        network_NW, hardware_NH = self.split(genotypes_ND)
        return np.concatenate([self.network.canonical(network_NW), hardware_NH], axis=1).astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N,)` mask of the valid networks on a design whose every index names a choice."""
        network_NW, hardware_NH = self.split(genotypes_ND)
        return np.asarray(self.network.valid(network_NW) & in_range(self.hardware, hardware_NH))

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, F)`: the network's features, then (index + 1) / choices of each ordinal hardware decision and the others one-hot."""
        network_NW, hardware_NH = self.split(genotypes_ND)
        ordinal_H = np.array([decision.ordinal for decision in self.hardware], dtype=np.bool_)
        scaled_NH = (hardware_NH + 1.0) / num_choices(self.hardware)
        names = [decision for decision in self.hardware if not decision.ordinal]
        parts = [self.network.encode(network_NW), scaled_NH[:, ordinal_H]]
        return np.concatenate([*parts, one_hot(hardware_NH[:, ~ordinal_H], names)] if names else parts, axis=1)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """The layers of the N networks."""
        return self.network.workloads(self.split(genotypes_ND)[0])

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype."""
        return self.network.build(tuple(genotype)[: len(self.network.decisions)])


class _WithGraphs(ProductSpace):
    """Adds graphs where the networks are graphs."""

    def graphs(self, genotypes_ND: Genotypes, *, pruned: bool) -> Graphs:
        """The networks' graphs with a node for each hardware decision, between input and output; its operation is the choice made.

        Raises:
            BadInput: operations and choices together are more than 127.
        """
        assert isinstance(self.network, GraphSpace)
        network_NW, hardware_NH = self.split(genotypes_ND)
        found = self.network.graphs(network_NW, pruned=pruned)
        num_rows, num_nodes = found.operations.shape
        num_hardware, last = len(self.hardware), num_nodes - 1
        choices_H = num_choices(self.hardware)
        num_operations = found.num_operations + int(choices_H.sum())
        if num_operations > np.iinfo(np.int8).max:
            raise BadInput(f"{num_operations} operations and hardware choices are more than graphs can tell apart; choose other features")
        operations_NH = found.num_operations + np.concatenate([[0], np.cumsum(choices_H)[:-1]]) + hardware_NH
        operations_NV = np.insert(found.operations, [last] * num_hardware, operations_NH.astype(np.int8), axis=1)
        places_V = np.concatenate([np.arange(last), [last + num_hardware]])
        adjacency_NVV = np.zeros((num_rows, num_nodes + num_hardware, num_nodes + num_hardware), dtype=np.bool_)
        adjacency_NVV[:, places_V[:, np.newaxis], places_V] = found.adjacency
        adjacency_NVV[:, 0, last : last + num_hardware] = True
        adjacency_NVV[:, last : last + num_hardware, -1] = True
        return Graphs(adjacency=adjacency_NVV, operations=operations_NV, num_operations=num_operations)


class _WithMutations(ProductSpace):
    """Adds the network's own mutations where it has some, and one of the design."""

    def mutation_operators(self) -> Mapping[str, Mutation]:
        """The network's operators, each leaving the design alone, and `hardware`: one step of one hardware decision."""
        assert isinstance(self.network, MutatingSpace)
        operators = self.network.mutation_operators()
        return {**{name: self._on_network(mutate) for name, mutate in operators.items()}, HARDWARE_MUTATION: self._mutate_design}

    def _on_network(self, mutate: Mutation) -> Mutation:
        def mutated(genotypes_ND: Genotypes, rng: np.random.Generator) -> Genotypes:
            network_NW, hardware_NH = self.split(genotypes_ND)
            return np.concatenate([mutate(network_NW, rng), hardware_NH], axis=1).astype(GENE)

        return mutated

    def _mutate_design(self, genotypes_ND: Genotypes, rng: np.random.Generator) -> Genotypes:
        network_NW, hardware_NH = self.split(self.canonical(genotypes_ND))
        mutant_NH = stepped(self.hardware, hardware_NH, np.ones(hardware_NH.shape, dtype=np.bool_), rng)
        return np.concatenate([network_NW, mutant_NH], axis=1).astype(GENE)


class _WithBoth(_WithGraphs, _WithMutations):
    """Adds graphs and mutations."""


def product(network: SearchSpace, hardware: tuple[Decision, ...]) -> SearchSpace:
    """Networks x designs, with graphs and mutations where the network space has them; the network space itself where nothing is chosen.

    Raises:
        BadInput: two decisions share a name.
    """
    if not hardware:
        return network
    has_graphs, mutates = isinstance(network, GraphSpace), isinstance(network, MutatingSpace)
    if has_graphs and mutates:
        return _WithBoth(network, hardware)
    if has_graphs:
        return _WithGraphs(network, hardware)
    return _WithMutations(network, hardware) if mutates else ProductSpace(network, hardware)
