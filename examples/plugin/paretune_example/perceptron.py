"""Multilayer perceptrons: how many hidden layers, how wide is each."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from paretune.core.genotype import GENE, Decision, Genotypes, num_choices
from paretune.core.workload import Kind, Layer, WorkloadBatch

if TYPE_CHECKING:
    from torch import nn


class Perceptron:
    """Multilayer perceptrons with ReLU.

    Args:
        input_shape: shape of one input, given by the task.
        num_classes: number of outputs, given by the task.
        widths: neurons of a hidden layer, to choose from.
        max_depth: hidden layers at most.
    """

    name = "perceptron"

    def __init__(
        self, *, input_shape: tuple[int, ...], num_classes: int, widths: tuple[int, ...] = (8, 16, 32, 64), max_depth: int = 3
    ) -> None:
        self._num_inputs, self._num_classes, self._widths = prod(input_shape), num_classes, widths
        depth = Decision(name="depth", choices=tuple(range(1, max_depth + 1)), ordinal=True)
        layers = (Decision(name=f"layer{layer}.width", choices=widths, ordinal=True) for layer in range(1, max_depth + 1))
        self.decisions = (depth, *layers)

    @property
    def size(self) -> int:
        """`widths ** depth` networks of each depth."""
        return sum(len(self._widths) ** int(depth) for depth in self.decisions[0].choices)

    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        """Layers that the depth leaves out get the first width."""
        return np.where(self._active(genotypes_ND), genotypes_ND, 0).astype(GENE)

    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """Every index that names a choice gives a network."""
        return np.asarray(np.all((genotypes_ND >= 0) & (genotypes_ND < num_choices(self.decisions)), axis=1))

    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        """`(N, D)`: (index + 1) / choices, 0.0 for layers that are left out."""
        return np.where(self._active(genotypes_ND), (genotypes_ND + 1.0) / num_choices(self.decisions), 0.0)

    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        """Linear layers with a bias; ReLU costs nothing of its own."""
        return WorkloadBatch.from_layers(
            [
                [
                    Layer(kind=Kind.LINEAR, in_channels=before, out_channels=after, per_channel=1, name=f"layer{layer}")
                    for layer, (before, after) in enumerate(self._sizes(row), start=1)
                ]
                for row in genotypes_ND
            ]
        )

    def build(self, genotype: Sequence[int]) -> "nn.Module":
        """The torch network of one genotype."""
        from torch import nn

        *hidden, last = self._sizes(genotype)
        layers = [module for before, after in hidden for module in (nn.Linear(before, after), nn.ReLU())]
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(*last))

    def _sizes(self, genotype: Sequence[int]) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer."""
        depth = int(genotype[0]) + 1
        sizes = [self._num_inputs, *(self._widths[int(gene)] for gene in genotype[1 : depth + 1]), self._num_classes]
        return list(pairwise(sizes))

    def _active(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        """`(N, D)` which decisions matter: the depth itself and as many layers as it says."""
        return np.arange(len(self.decisions)) <= genotypes_ND[:, :1] + 1
