"""A second look at the most promising: what is known of a network before training corrects the predictors, whose inputs are genes only.

Free costs (parameters, MACs) and zero-cost proxies say something of the trained accuracy, most of all while few candidates were
trained. Proxies take tens of milliseconds a network, too long for a whole pool; so the pool is screened on encodings, and a shortlist
is scored and predicted anew: what is left over of left-out predictions is fitted by a ridge regression on the ranks of the scores.

Source: Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021 (proxies beside a predictor); Krishnakumar et al.,
NAS-Bench-Suite-Zero, NeurIPS 2022 (proxies as further features). Departs: they are features of a correction and not of the predictor,
so that one that does not help is left out by its left-out error, and any predictor can be corrected.

Legend: N candidates, K examples, F scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.metrics import PROXY_PREFIX
from paretune.core.objectives import Problem
from paretune.predictors.prediction import FloatArray, IntArray, JointPredictor, Prediction, Predictor
from paretune.searchers.surrogate import MetricModel, Surrogate
from paretune.searchers.told import Told

Scores: TypeAlias = Callable[[Genotypes], Mapping[str, NDArray[Any]]]
"""`(N, D)` genotypes -> name -> `(N,)` values; equal genotypes have equal values."""

LEAST_SCORED = 10
"""Examples with scores below which nothing is corrected."""
PENALTIES = 10.0 ** np.arange(-2, 5)
"""Penalties tried; the largest leave next to nothing of a correction."""


class KnownBefore:
    """Scores of candidates that are known before they are trained.

    Args:
        names: which; those that begin with `proxy.` come from `scores`, the others from `costs`.
        costs: free costs.
        scores: zero-cost proxies.
    """

    def __init__(self, names: Sequence[str], *, costs: Scores | None, scores: Scores | None) -> None:
        self.names = tuple(names)
        self._costs, self._scores = costs, scores

    def of(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N, F)` scores of candidates.

        Raises:
            BadInput: nobody supplies a score.
        """
        found: dict[str, NDArray[Any]] = {}
        for source, wanted in ((self._costs, self._free), (self._scores, self._proxies)):
            found |= source(genotypes_ND) if wanted and source is not None else {}
        missing = [name for name in self.names if name not in found]
        if missing:
            raise BadInput(f"features: nothing gives '{missing[0]}' before a candidate is trained; there are: {', '.join(found) or 'none'}")
        return np.stack([np.asarray(found[name], dtype=np.float64) for name in self.names], axis=1)

    def of_told(self, told: Told) -> FloatArray:
        """`(K, F)` scores of everything told: proxies as they were told, NaN where they were not; free costs computed."""
        columns = {name: told.metric(name) for name in self.names}
        if self._free and self._costs is not None:
            columns |= {name: np.asarray(values) for name, values in self._costs(told.genotypes).items() if name in self._free}
        return np.stack([columns[name] for name in self.names], axis=1)

    @property
    def _free(self) -> list[str]:
        return [name for name in self.names if not name.startswith(PROXY_PREFIX)]

    @property
    def _proxies(self) -> list[str]:
        return [name for name in self.names if name.startswith(PROXY_PREFIX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What scores say of a metric beyond its predictor, on the predictor's scale."""

    known: FloatArray
    """`(F + 1, K)` scores of the examples and their left-out predictions, each row sorted: a score counts by its rank among them."""
    weights: FloatArray
    """`(F + 1,)` of the ranks; that of the prediction takes back from a predictor that knows too little yet."""
    offset: float
    """Added to every prediction."""
    left: float
    """Part of the mean squared left-out error that is left with the correction, below 1."""
    left_out: FloatArray
    """`(K,)` left-out predictions of the examples with the correction, each corrected by a fit that did not see it."""
    examples: IntArray
    """`(K,)` their indices among the examples that the predictor kept."""

    def __call__(self, scores_NF: FloatArray, mean_N: FloatArray) -> FloatArray:
        """`(N,)` what is to be added to the predicted means."""
        return np.asarray(_ranks(np.column_stack([scores_NF, mean_N]), self.known) @ self.weights + self.offset)


def fit_correction(left_out_K: FloatArray, targets_K: FloatArray, scores_KF: FloatArray) -> Correction | None:
    """The correction with the least left-out error; None where none is better than to leave predictions as they are.

    Args:
        left_out_K: predictions of examples by predictors that did not see them.
        targets_K: their values, on the same scale.
        scores_KF: their scores; rows that are not finite are left out.
    """
    from sklearn.linear_model import RidgeCV

    rows = np.flatnonzero(np.isfinite(scores_KF).all(axis=1))
    if len(rows) < LEAST_SCORED:
        return None
    errors_K = targets_K[rows] - left_out_K[rows]
    inputs_KF = np.column_stack([scores_KF[rows], left_out_K[rows]])
    known_FK = np.sort(inputs_KF.T, axis=1)
    ranks_KF = _ranks(inputs_KF, known_FK)
    ridge = RidgeCV(alphas=PENALTIES, store_cv_results=True).fit(ranks_KF, errors_K)
    # With these results scikit-learn gives squared left-out errors, not predictions: the sign is that of the residual.
    squared_K = ridge.cv_results_[:, int(np.flatnonzero(ridge.alpha_ == PENALTIES)[0])]
    left = float(squared_K.mean() / max(float((errors_K**2).mean()), 1e-300))
    if not left < 1:
        return None
    residuals_K = np.sign(errors_K - ridge.predict(ranks_KF)) * np.sqrt(squared_K)
    return Correction(
        known=known_FK,
        weights=np.asarray(ridge.coef_),
        offset=float(ridge.intercept_),
        left=left,
        left_out=targets_K[rows] - residuals_K,
        examples=rows,
    )


def _ranks(scores_NF: FloatArray, known_FK: FloatArray) -> FloatArray:
    """`(N, F)` share of the known scores below each, less a half; equal ones count half."""
    columns = [
        (np.searchsorted(known_K, scores_N, side="left") + np.searchsorted(known_K, scores_N, side="right")) / (2 * len(known_K))
        for known_K, scores_N in zip(known_FK, scores_NF.T, strict=True)
    ]
    return np.stack(columns, axis=1) - 0.5


class Corrected:
    """A fitted predictor with a correction; predicts only."""

    def __init__(self, base: Predictor, correction: Correction, known: KnownBefore, *, num_decisions: int) -> None:
        self._base, self._correction, self._known, self._num_decisions = base, correction, known, num_decisions

    def predict(self, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation."""
        found = self._base.predict(genotypes_ND)
        added_N = self._correction(self._known.of(np.ascontiguousarray(genotypes_ND[:, : self._num_decisions])), found.mean)
        return Prediction(mean=found.mean + added_N, deviation=found.deviation * np.sqrt(self._correction.left))

    def fit(self, genotypes_ND: Genotypes, targets_N: FloatArray) -> None:  # noqa: ARG002 - the protocol's
        """A correction belongs to what its predictor learned from."""
        raise BadInput("predictor: a corrected one cannot be fitted anew; fit its base and correct that")

    def left_out(self) -> Prediction:
        """As the base says."""
        return self._base.left_out()

    def kept(self) -> IntArray:
        """As the base says."""
        return self._base.kept()


class JointCorrected(Corrected):
    """The same for a predictor that knows how its errors go together."""

    def covariance(self, genotypes_ND: Genotypes) -> FloatArray:
        """`(N, N)` covariance of the predicted values, without noise."""
        assert isinstance(self._base, JointPredictor)
        return self._base.covariance(genotypes_ND) * self._correction.left


def corrected(surrogate: Surrogate, told: Told, problem: Problem, known: KnownBefore) -> Surrogate:
    """The surrogate with every metric corrected whose left-out error gets smaller by it."""
    scores_KF, num_decisions = known.of_told(told), told.genotypes.shape[1]
    models: dict[str, MetricModel] = {}
    for metric, model in surrogate.models.items():
        kept = model.predictor.kept()
        correction = fit_correction(model.predictor.left_out().mean, model.targets[kept], scores_KF[model.rows[kept]])
        if correction is None:
            models[metric] = model
            continue
        kind = JointCorrected if isinstance(model.predictor, JointPredictor) else Corrected
        predictor = kind(model.predictor, correction, known, num_decisions=num_decisions)
        models[metric] = replace(model, predictor=predictor, shown=f"{model.name} + {', '.join(known.names)}")
    return Surrogate(problem, models, surrogate.inputs, surrogate.known)
