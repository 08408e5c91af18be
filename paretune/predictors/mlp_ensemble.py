"""Ensemble of small multi-layer perceptrons over genotypes (deep ensembles, Lakshminarayanan et al., NeurIPS 2017).

Legend: N genotypes, K examples, B members.
"""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.option_checks import one_of
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import derive_seed, stream
from paretune.predictors.encoding import EncodingName, Features, encoding_of
from paretune.predictors.ensemble import Ensemble
from paretune.predictors.networks_training import folds, pairwise_hinge, torch_alone, trained
from paretune.predictors.prediction import FloatArray, Prediction, checked_examples, not_fitted
from paretune.predictors.scores import ScoreScale

Target: TypeAlias = Literal["regression", "hinge"]


class MLPEnsemble(Ensemble):
    """Perceptrons that each leave out another part of the examples; the deviation is their spread and what they miss of that part.

    Args:
        space: what may be chosen.
        seed: decides weights, order and folds.
        encoding: which features.
        target: `regression` on the value, or `hinge`: the scores of any two are to be a margin of 0.1 apart in the right order, and are
            brought to the scale of the values by isotonic regression.
        members: perceptrons.
        width: hidden units of each of two layers.
        epochs: passes over the examples.

    Raises:
        BadInput: an option is out of range or the space lacks the encoding.

    Source: Lakshminarayanan et al., NeurIPS 2017; White et al., BANANAS, AAAI 2021 (in architecture search).
    """

    def __init__(
        self,
        space: GenotypeSpace,
        *,
        seed: int,
        encoding: EncodingName = "onehot",
        target: Target = "regression",
        members: int = 5,
        width: int = 64,
        epochs: int = 150,
    ) -> None:
        super().__init__()
        for name, value, least in (("members", members, 2), ("width", width, 1), ("epochs", epochs, 1)):
            if value < least:
                raise BadInput(f"{name}: must be at least {least} (got {value})")
        one_of("target", target, get_args(Target))
        self._seed, self._target, self._members, self._width, self._epochs = seed, target, members, width, epochs
        self._encoding = encoding_of(space, encoding)

    def fit(self, genotypes_ND: Genotypes, targets_N: FloatArray) -> None:
        """Learn from examples."""
        targets_N = checked_examples(genotypes_ND, targets_N)
        features_NF = self._encoding(genotypes_ND)
        self._centre_F, self._spread_F = features_NF.mean(axis=0), np.maximum(features_NF.std(axis=0), 0.05)
        scaled_N = self._begin(targets_N)
        features_NF = (features_NF - self._centre_F) / self._spread_F
        fold_N = folds(len(scaled_N), self._members, stream(self._seed, index=len(scaled_N), purpose="mlp_ensemble.folds"))
        self._scales = []
        for member in range(self._members):
            inside_N = fold_N != member
            with torch_alone(derive_seed(self._seed, "mlp_ensemble", member)):
                self._networks.append(self._trained(features_NF[inside_N], scaled_N[inside_N]))
            # Members that rank agree on no scale, so each has a map of its own, from the examples it did not see.
            scores_K = _outputs(self._networks[-1], features_NF[~inside_N])
            self._scales.append(ScoreScale(scores_K, scaled_N[~inside_N], monotone=self._target == "hinge"))
            self._left_out_K[~inside_N] = self._scales[-1](scores_K)
        self._end(scaled_N)

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation."""
        if not self._networks:
            raise not_fitted()
        features_NF = (self._encoding(genotypes_ND) - self._centre_F) / self._spread_F
        values_BN = np.stack([scale(_outputs(network, features_NF)) for network, scale in zip(self._networks, self._scales, strict=True)])
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
            scores: torch.Tensor = network(inputs[rows]).squeeze(1)
            return pairwise_hinge(scores, targets[rows]) if self._target == "hinge" else nn.functional.mse_loss(scores, targets[rows])

        trained(network, loss, len(targets_K), epochs=self._epochs, batch=32, learning_rate=5e-3, weight_decay=1e-2)
        return network


def _outputs(network: Any, features_NF: Features) -> FloatArray:
    import torch

    with torch.inference_mode():
        return np.asarray(network(torch.from_numpy(np.ascontiguousarray(features_NF))).squeeze(1).numpy(), dtype=np.float64)
