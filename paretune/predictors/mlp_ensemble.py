"""Ensemble of small multi-layer perceptrons over genotypes (deep ensembles, Lakshminarayanan et al., NeurIPS 2017).

Legend: N genotypes, K examples, B members.
"""

from typing import Any

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import derive_seed, stream
from paretune.predictors.encoding import EncodingName, Features, encoding_of
from paretune.predictors.ensemble import Ensemble
from paretune.predictors.networks_training import folds, torch_alone, trained
from paretune.predictors.prediction import FloatArray, Prediction, checked_examples, not_fitted


class MLPEnsemble(Ensemble):
    """Perceptrons that each leave out another part of the examples; the deviation is their spread and what they miss of that part.

    Args:
        space: what may be chosen.
        seed: decides weights, order and folds.
        encoding: which features.
        members: perceptrons.
        width: hidden units of each of two layers.
        epochs: passes over the examples.

    Raises:
        BadInput: an option is out of range or the space lacks the encoding.

    Source: Lakshminarayanan et al., NeurIPS 2017; White et al., BANANAS, AAAI 2021 (in architecture search).
    """

    def __init__(
        self, space: GenotypeSpace, *, seed: int, encoding: EncodingName = "onehot", members: int = 5, width: int = 64, epochs: int = 150
    ) -> None:
        super().__init__()
        for name, value, least in (("members", members, 2), ("width", width, 1), ("epochs", epochs, 1)):
            if value < least:
                raise BadInput(f"{name}: must be at least {least} (got {value})")
        self._seed, self._members, self._width, self._epochs = seed, members, width, epochs
        self._encoding = encoding_of(space, encoding)

    def fit(self, genotypes_ND: Genotypes, targets_N: FloatArray) -> None:
        """Learn from examples."""
        targets_N = checked_examples(genotypes_ND, targets_N)
        features_NF = self._encoding(genotypes_ND)
        self._centre_F, self._spread_F = features_NF.mean(axis=0), np.maximum(features_NF.std(axis=0), 0.05)
        scaled_N = self._begin(targets_N)
        features_NF = (features_NF - self._centre_F) / self._spread_F
        fold_N = folds(len(scaled_N), self._members, stream(self._seed, index=len(scaled_N), purpose="mlp_ensemble.folds"))
        for member in range(self._members):
            inside_N = fold_N != member
            with torch_alone(derive_seed(self._seed, "mlp_ensemble", member)):
                self._networks.append(self._trained(features_NF[inside_N], scaled_N[inside_N]))
            self._left_out_K[~inside_N] = _outputs(self._networks[-1], features_NF[~inside_N])
        self._end(scaled_N)

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation."""
        if not self._networks:
            raise not_fitted()
        features_NF = (self._encoding(genotypes_ND) - self._centre_F) / self._spread_F
        values_BN = np.stack([_outputs(network, features_NF) for network in self._networks])
        return self._prediction(values_BN)

    def _trained(self, features_KF: Features, targets_K: FloatArray) -> Any:
        import torch
        from torch import nn

        network = nn.Sequential(
            nn.Linear(features_KF.shape[1], self._width),
            nn.SiLU(),
            nn.Linear(self._width, self._width),
            nn.SiLU(),
            nn.Linear(self._width, 1),
        )
        inputs, targets = torch.from_numpy(np.ascontiguousarray(features_KF)), torch.from_numpy(targets_K.astype(np.float32))

        def loss(rows: torch.Tensor) -> torch.Tensor:
            return nn.functional.mse_loss(network(inputs[rows]).squeeze(1), targets[rows])

        trained(network, loss, len(targets_K), epochs=self._epochs, batch=32, learning_rate=5e-3, weight_decay=1e-2)
        return network


def _outputs(network: Any, features_NF: Features) -> FloatArray:
    import torch

    with torch.inference_mode():
        return np.asarray(network(torch.from_numpy(np.ascontiguousarray(features_NF))).squeeze(1).numpy(), dtype=np.float64)
