"""What a predictor is and what it gives: a mean and a deviation for each genotype, learned from what was told.

Legend: N genotypes, D decisions.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

LEAST_EXAMPLES = 4
"""Examples below which no predictor is fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One quantity of N genotypes, as a normal distribution each."""

    mean: FloatArray
    """`(N,)` in the unit of the targets."""
    deviation: FloatArray
    """`(N,)` standard deviation in the unit of the targets, positive."""


@runtime_checkable
class Predictor(Protocol):
    """Learns one quantity from examples and predicts it for whole populations. Equal examples and seed give equal predictions.

    Example of a call sequence::

        predictor = GaussianProcess(space, seed=1)
        predictor.fit(genotypes_ND, targets_N)
        predictor.predict(others_ND)   -> Prediction(mean, deviation)
    """

    def fit(self, genotypes_ND: Genotypes, targets_N: FloatArray) -> None:
        """Learn from canonical genotypes and their finite targets, smaller or larger being better alike; forgets earlier examples.

        Raises:
            BadInput: fewer than four examples, or a target is not finite.
        """
        ...

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation of canonical genotypes.

        Raises:
            BadInput: nothing was learned yet.
        """
        ...

    def left_out(self) -> Prediction:
        """What is predicted for each kept example by a model that did not see it, in the order of `kept`."""
        ...

    def kept(self) -> IntArray:
        """`(K,)` ascending indices of the examples that were learned from: predictors with many examples may leave some out."""
        ...


@runtime_checkable
class JointPredictor(Predictor, Protocol):
    """A predictor that also knows how its errors go together, so that a batch is not many times the same guess."""

    def covariance(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N, N)` covariance of the predicted values, without noise; in the squared unit of the targets."""
        ...


def checked_examples(genotypes_ND: Genotypes, targets_N: FloatArray) -> FloatArray:
    """The targets as floats, after the checks that every predictor makes.

    Raises:
        BadInput: fewer than four examples, another number of targets, or a target is not finite.
    """
    targets_N = np.asarray(targets_N, dtype=np.float64)
    if targets_N.shape != (len(genotypes_ND),):
        raise BadInput(f"predictor: {len(genotypes_ND)} genotypes need as many targets (got shape {targets_N.shape})")
    if len(targets_N) < LEAST_EXAMPLES:
        raise BadInput(f"predictor: at least {LEAST_EXAMPLES} examples are needed (got {len(targets_N)})")
    if not np.all(np.isfinite(targets_N)):
        raise BadInput("predictor: every target must be finite; leave failed candidates out")
    return targets_N


def not_fitted() -> BadInput:
    """The error of a predictor that is asked before it was fitted."""
    return BadInput("predictor: fit() must come before predict()")
