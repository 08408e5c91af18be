"""XGBoost over genotypes: regression with bagged deviations, and pairwise ranking (Chen & Guestrin, KDD 2016).

Legend: N genotypes, K examples, B bags.
"""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.option_checks import one_of
from paretune.core.protocols import GenotypeSpace
from paretune.core.rng import derive_seed, stream
from paretune.predictors.encoding import EncodingName, encoding_of
from paretune.predictors.prediction import FloatArray, IntArray, Prediction, checked_examples, not_fitted
from paretune.predictors.scores import ScoreScale

Target: TypeAlias = Literal["regression", "ranking"]
GRADES = 32
"""Grades of relevance that the ranking tells apart."""
PAIRS = 16
"""Others that the ranking compares each example with, for each tree."""


class BoostedTrees:
    """Gradient-boosted trees; their deviation is the spread of bags and what they miss of the examples outside each bag.

    Args:
        space: what may be chosen.
        seed: decides the bags.
        encoding: which features.
        target: `regression` on the value, or `ranking`: pairs of examples are put in order, and the score is brought to the scale of
            the values by isotonic regression.
        trees: trees of each bag.
        depth: of each tree.
        learning_rate: share of each tree that is added.
        bags: models, each on four fifths of the examples.

    Raises:
        BadInput: an option is out of range or the space lacks the encoding.
    """

    def __init__(
        self,
        space: GenotypeSpace,
        *,
        seed: int,
        encoding: EncodingName = "onehot",
        target: Target = "regression",
        trees: int = 80,
        depth: int = 4,
        learning_rate: float = 0.15,
        bags: int = 4,
    ) -> None:
        for name, value in (("trees", trees), ("depth", depth)):
            if value < 1:
                raise BadInput(f"{name}: must be at least 1 (got {value})")
        if bags < 2:
            raise BadInput(f"bags: must be at least 2 (got {bags})")
        if not 0 < learning_rate <= 1:
            raise BadInput(f"learning_rate: must be above 0 and at most 1 (got {learning_rate})")
        one_of("target", target, get_args(Target))
        self._seed, self._target, self._trees, self._bags = seed, target, trees, bags
        self._options = {"max_depth": depth, "eta": learning_rate, "min_child_weight": 1.0, "lambda": 1.0, "nthread": 1, "verbosity": 0}
        self._encoding = encoding_of(space, encoding)
        self._boosters: list[Any] = []

    def fit(self, genotypes_ND: Genotypes, targets_N: FloatArray) -> None:
        """Learn from examples."""
        targets_N = checked_examples(genotypes_ND, targets_N)
        features_NF = self._encoding(genotypes_ND)
        num_examples = len(targets_N)
        bag_N = stream(self._seed, index=num_examples, purpose="boosted_trees.bags").permutation(num_examples) % max(self._bags, 2)
        self._mean, self._scale = float(targets_N.mean()), float(targets_N.std()) or 1.0
        scaled_N, self._boosters, left_out_N = (targets_N - self._mean) / self._scale, [], np.zeros(num_examples)
        for bag in range(self._bags):
            inside_N = bag_N != bag
            self._boosters.append(self._boosted(features_NF[inside_N], scaled_N[inside_N], bag))
            left_out_N[~inside_N] = _scores(self._boosters[-1], features_NF[~inside_N])
        self._scores_scale = ScoreScale(left_out_N, scaled_N, monotone=self._target == "ranking")
        missed_N = scaled_N - self._scores_scale(left_out_N)
        self._missed = max(float(np.sqrt((missed_N**2).mean())), 1e-6)
        self._left_out_N = self._scores_scale(left_out_N)

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation."""
        if not self._boosters:
            raise not_fitted()
        features_NF = self._encoding(genotypes_ND)
        values_BN = np.stack([self._scores_scale(_scores(booster, features_NF)) for booster in self._boosters])
        # Examples that a bag left out were predicted without its spread; half the variance each keeps the sum honest.
        deviation_N = np.sqrt(values_BN.var(axis=0, ddof=1) + 0.5 * self._missed**2)
        return Prediction(mean=self._mean + self._scale * values_BN.mean(axis=0), deviation=self._scale * deviation_N)

    def left_out(self) -> Prediction:
        """Predictions of each example by the bag that did not see it."""
        if not self._boosters:
            raise not_fitted()
        count = len(self._left_out_N)
        return Prediction(mean=self._mean + self._scale * self._left_out_N, deviation=np.full(count, self._scale * self._missed))

    def kept(self) -> IntArray:
        """`(K,)` every example."""
        return np.arange(len(self._left_out_N))

    def _boosted(self, features_KF: Any, targets_K: FloatArray, bag: int) -> Any:
        import xgboost

        options: dict[str, Any] = self._options | {"seed": derive_seed(self._seed, "boosted_trees", bag) % 2**31, "tree_method": "hist"}
        if self._target == "regression":
            data = xgboost.DMatrix(features_KF, label=targets_K, nthread=1)
            return xgboost.train(options | {"objective": "reg:squarederror"}, data, num_boost_round=self._trees)
        # Relevance is high where the value is high: only the order matters, the scale is learned afterwards.
        ranks_K = np.argsort(np.argsort(targets_K, kind="stable"), kind="stable")
        data = xgboost.DMatrix(features_KF, label=ranks_K * GRADES // len(ranks_K), qid=np.zeros(len(ranks_K), dtype=np.int64), nthread=1)
        # Every example meets random others; the default compares with the 32 of highest relevance alone, here the worst.
        pairs = {"lambdarank_pair_method": "mean", "lambdarank_num_pair_per_sample": PAIRS}
        return xgboost.train(options | {"objective": "rank:pairwise"} | pairs, data, num_boost_round=self._trees)


def _scores(booster: Any, features_NF: Any) -> FloatArray:
    return np.asarray(booster.inplace_predict(features_NF), dtype=np.float64)
