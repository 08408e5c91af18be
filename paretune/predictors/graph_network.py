"""Graph convolutional network over architectures, trained on which of two is better (BRP-NAS, Dudziak et al., NeurIPS 2020).

Legend: N genotypes, K examples, V nodes (a global one first), O operations, B members.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.option_checks import one_of
from paretune.core.protocols import GenotypeSpace, GraphSpace
from paretune.core.rng import derive_seed, stream
from paretune.predictors.ensemble import Ensemble
from paretune.predictors.networks_training import folds, pairwise_hinge, torch_alone, trained
from paretune.predictors.prediction import FloatArray, Prediction, checked_examples, not_fitted
from paretune.predictors.scores import ScoreScale

if TYPE_CHECKING:
    import torch

Target: TypeAlias = Literal["relation", "hinge", "regression"]
GraphEncoding: TypeAlias = Literal["pruned_graph", "graph"]
BLOCK = 4096
"""Graphs scored at once."""


class GraphNetwork(Ensemble):
    """Graph network whose scores put architectures in order; brought to the scale of the values by isotonic regression.

    A global node sees all others; a layer is ReLU(LN(A X W + b)) with self-loops and without normalisation of A, as published.

    Args:
        space: a space with `graphs()`.
        seed: decides weights, order and folds.
        encoding: the graph as it is, or pruned to what lies between input and output.
        target: `relation`: all pairs of a batch, the probability that one is better being a sigmoid of the difference of their scores;
            `hinge`: all pairs of a batch, scores of two being at least a margin of 0.1 apart; `regression`: the value itself.
        members: networks, each of which leaves out another part of the examples.
        layers: graph convolutions.
        width: features of a node.
        epochs: passes over the examples.

    Raises:
        BadInput: an option is out of range or the space has no graphs.

    Source: Dudziak et al., BRP-NAS, NeurIPS 2020.
    Departs: the published head reads both embeddings and need not agree with itself when they are swapped; the sigmoid of a difference
        does, and gives one score for each architecture. Narrower and fewer epochs, for the processor's sake.
    """

    def __init__(
        self,
        space: GenotypeSpace,
        *,
        seed: int,
        encoding: GraphEncoding = "pruned_graph",
        target: Target = "relation",
        members: int = 3,
        layers: int = 4,
        width: int = 64,
        epochs: int = 80,
    ) -> None:
        super().__init__()
        for name, value, least in (("members", members, 2), ("layers", layers, 1), ("width", width, 1), ("epochs", epochs, 1)):
            if value < least:
                raise BadInput(f"{name}: must be at least {least} (got {value})")
        if not isinstance(space, GraphSpace):
            raise BadInput("predictor 'graph' needs a space with graphs(); use 'gaussian_process' or 'xgboost' here")
        one_of("target", target, get_args(Target))
        one_of("encoding", encoding, get_args(GraphEncoding))
        self._space: GraphSpace = space
        self._seed, self._pruned, self._target, self._members = seed, encoding == "pruned_graph", target, members
        self._layers, self._width, self._epochs = layers, width, epochs

    def fit(self, genotypes_ND: Genotypes, targets_N: FloatArray) -> None:
        """Learn from examples."""
        targets_N = checked_examples(genotypes_ND, targets_N)
        inputs = self._inputs(genotypes_ND)
        scaled_N = self._begin(targets_N)
        fold_N = folds(len(scaled_N), self._members, stream(self._seed, index=len(scaled_N), purpose="graph_network.folds"))
        self._scales = []
        for member in range(self._members):
            inside, outside = np.flatnonzero(fold_N != member), np.flatnonzero(fold_N == member)
            with torch_alone(derive_seed(self._seed, "graph_network", member)):
                self._networks.append(self._trained([part[inside] for part in inputs], scaled_N[inside]))
            # Members agree on no scale, so each has a map of its own, from the examples it did not see.
            scores_K = _scored(self._networks[-1], [part[outside] for part in inputs])
            self._scales.append(ScoreScale(scores_K, scaled_N[outside], monotone=self._target != "regression"))
            self._left_out_K[outside] = self._scales[-1](scores_K)
        self._end(scaled_N)

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation."""
        if not self._networks:
            raise not_fitted()
        inputs = self._inputs(genotypes_ND)
        values_BN = np.stack([scale(_scored(network, inputs)) for network, scale in zip(self._networks, self._scales, strict=True)])
        return self._prediction(values_BN)

    def _inputs(self, genotypes_ND: Genotypes) -> "list[torch.Tensor]":
        """Adjacency with the global node and self-loops, and one-hot operations."""
        import torch

        graphs = self._space.graphs(genotypes_ND, pruned=self._pruned)
        num_graphs, num_nodes = graphs.operations.shape
        adjacency_NVV = np.zeros((num_graphs, num_nodes + 1, num_nodes + 1), dtype=np.float32)
        adjacency_NVV[:, 0, :] = 1  # row: who listens
        adjacency_NVV[:, 1:, 1:] = graphs.adjacency.transpose(0, 2, 1)
        adjacency_NVV[:, np.arange(num_nodes + 1), np.arange(num_nodes + 1)] = 1
        nodes_NVO = np.zeros((num_graphs, num_nodes + 1, graphs.num_operations), dtype=np.float32)
        nodes_NVO[:, 0, 0] = 1  # no operation is 0, which a node that is missing does not show: the global node's own
        nodes_NVO[:, 1:, 1:] = graphs.operations[:, :, np.newaxis] == np.arange(1, graphs.num_operations)
        return [torch.from_numpy(adjacency_NVV), torch.from_numpy(nodes_NVO)]

    def _trained(self, inputs: "list[torch.Tensor]", targets_K: FloatArray) -> Any:
        import torch
        from torch import nn

        network = _network(inputs[1].shape[2], self._layers, self._width)
        targets = torch.from_numpy(targets_K.astype(np.float32))

        def loss(rows: torch.Tensor) -> torch.Tensor:
            scores = network(inputs[0][rows], inputs[1][rows])
            if self._target == "regression":
                return nn.functional.mse_loss(scores, targets[rows])
            if self._target == "hinge":
                return pairwise_hinge(scores, targets[rows])
            differences = scores[:, None] - scores[None, :]
            apart = targets[rows][:, None] - targets[rows][None, :]
            # The target is the softmax of the two values, as published; the diagonal says nothing.
            losses = nn.functional.binary_cross_entropy_with_logits(differences, torch.sigmoid(4 * apart), reduction="none")
            return losses[~torch.eye(len(rows), dtype=torch.bool)].mean()

        trained(network, loss, len(targets_K), epochs=self._epochs, batch=64, learning_rate=2e-3, weight_decay=5e-4)
        return network


def _network(num_operations: int, num_layers: int, width: int) -> Any:
    """The network `(adjacency, nodes) -> (N,)` scores."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [num_operations] + [width] * num_layers
            self.convolutions = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))
            self.head = nn.Linear(width, 1)
            for weight in (weight for weight in self.convolutions.parameters() if weight.ndim == 2):
                nn.init.xavier_uniform_(weight)

        def forward(self, adjacency: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
            for convolution, norm in zip(self.convolutions, self.norms, strict=True):
                nodes = torch.relu(norm(adjacency @ convolution(nodes)))
            scores: torch.Tensor = self.head(nodes[:, 0]).squeeze(1)
            return scores

    return Network()


def _scored(network: Any, inputs: "list[torch.Tensor]") -> FloatArray:
    import torch

    with torch.inference_mode():
        blocks = [network(*(part[first : first + BLOCK] for part in inputs)) for first in range(0, len(inputs[0]), BLOCK)]
    return np.asarray(torch.cat(blocks).numpy() if blocks else np.zeros(0), dtype=np.float64)
