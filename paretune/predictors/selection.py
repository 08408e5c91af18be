"""Which predictor orders best what it has not seen: chosen by the rank correlation of left-out predictions.

Legend: N examples, K of them kept by every predictor.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from paretune.core.errors import BadInput, UnknownName
from paretune.core.genotype import Genotypes
from paretune.core.protocols import GenotypeSpace
from paretune.predictors import PREDICTORS
from paretune.predictors.encoding import encodings_of
from paretune.predictors.prediction import LEAST_EXAMPLES, FloatArray, IntArray, Prediction, Predictor

CLEARLY = 0.01
"""Rank correlation by which a later candidate must beat the earlier ones; the earlier are the surer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorChoice:
    """A predictor and how well it ordered left-out examples."""

    name: str
    """As `make_predictor` reads it."""
    correlation: float
    """Rank correlation of left-out predictions: the mean over all examples and over their better half."""


def make_predictor(name: str, space: GenotypeSpace, *, seed: int) -> Predictor:
    """The predictor of `gaussian_process`, `mlp:hinge` or `xgboost:genes_graph:ranking`: its name, then encoding and target where wanted.

    Raises:
        UnknownName: no such predictor, or neither its encodings nor its targets are called so.
        BadInput: it has no such encoding.
    """
    kind, *words = name.split(":")
    choices = {option.name: get_args(option.annotation) for option in PREDICTORS.options(kind) if option.name in ("encoding", "target")}
    options: dict[str, str] = {}
    for word in words:
        option = next((option for option in choices if word in choices[option] and option not in options), None)
        if option is None:
            known = sorted(choice for option in choices if option not in options for choice in choices[option])
            raise UnknownName(f"encoding or target of predictor {kind}", word, known)
        options[option] = word
    predictor: Predictor = PREDICTORS.create(kind, space, seed=seed, **options)
    return predictor


def default_candidates(space: GenotypeSpace) -> tuple[str, ...]:
    """Predictors among which `auto` chooses, the surest first; those that train networks cost seconds and must be named."""
    encodings = encodings_of(space)
    names = ["gaussian_process:genes"]
    if "pruned_graph" in encodings:
        names += ["gaussian_process:pruned_graph", "gaussian_process:genes_graph", "xgboost:genes_graph"]
    else:
        names += ["gaussian_process:onehot", "xgboost:onehot"]
    if "pairwise" in encodings:
        names.append("ridge:pairwise")
    return tuple(names)


def choose_predictor(
    names: Sequence[str],
    space: GenotypeSpace,
    genotypes_ND: Genotypes,
    targets_N: FloatArray,
    *,
    seed: int,
    groups_N: NDArray[np.integer[Any]] | None = None,
) -> PredictorChoice:
    """The one of `names` that orders left-out examples best.

    Args:
        names: candidates, the surest first; one wins over those before it only where it is clearly better.
        space: what may be chosen.
        genotypes_ND: canonical examples.
        targets_N: their values, smaller is better.
        seed: of the predictors.
        groups_N: examples of different groups (results after different epochs) are not compared; None is one group.

    Raises:
        BadInput: no candidates.
    """
    if not names:
        raise BadInput("predictor: at least one candidate is needed")
    fitted = []
    for name in names:
        predictor = make_predictor(name, space, seed=seed)
        predictor.fit(genotypes_ND, targets_N)
        fitted.append((predictor.kept(), predictor.left_out()))
    common = reduce(np.intersect1d, (kept for kept, _ in fitted))
    best = PredictorChoice(name=names[0], correlation=-np.inf)
    for name, (kept, left_out) in zip(names, fitted, strict=True):
        left_out_N = left_out.mean[np.searchsorted(kept, common)]
        groups = [np.arange(len(common))] if groups_N is None else _members(groups_N[common])
        orders = [ordering(left_out_N[group], targets_N[common][group]) for group in groups]
        correlation = orders[0] if len(orders) == 1 else float(np.average(orders, weights=[len(group) for group in groups]))
        if correlation > best.correlation + CLEARLY:
            best = PredictorChoice(name=name, correlation=correlation)
    return best


def _members(groups_N: NDArray[np.integer[Any]]) -> list[IntArray]:
    """Indices of the members of each group that is large enough to be ordered; of all together where none is."""
    found = [np.flatnonzero(groups_N == group) for group in np.unique(groups_N)]
    return [members for members in found if len(members) >= LEAST_EXAMPLES] or [np.arange(len(groups_N))]


def ordering(predicted_N: FloatArray, targets_N: FloatArray) -> float:
    """Mean of Spearman's rank correlation over all examples and over the half with the smallest targets; 0.0 where one is constant."""
    better_N = targets_N <= np.median(targets_N)
    return 0.5 * (spearman(predicted_N, targets_N) + spearman(predicted_N[better_N], targets_N[better_N]))


def spearman(predicted_N: FloatArray, targets_N: FloatArray) -> float:
    """Spearman's rank correlation, 0.0 where one side is constant."""
    from scipy.stats import rankdata

    first_N, second_N = rankdata(predicted_N), rankdata(targets_N)
    if len(first_N) < 2 or first_N.std() == 0 or second_N.std() == 0:
        return 0.0
    return float(np.corrcoef(first_N, second_N)[0, 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far predictions can be trusted, from examples that were not learned from."""

    kendall: float
    """Kendall's tau of all examples."""
    spearman: float
    """Spearman's rho of all examples."""
    top_decile_kendall: float
    """Kendall's tau within the tenth with the smallest targets, which is what a search looks at; NaN for fewer than 20 examples."""
    top_decile_found: float
    """Share of that tenth which the prediction puts into its own first tenth."""
    within_one_deviation: float
    """Share of the targets within one deviation of the mean; 0.683 is right."""
    within_two_deviations: float
    """Share within two; 0.954 is right."""


def calibration(prediction: Prediction, targets_N: FloatArray) -> Calibration:
    """Compare predictions with the truth; smaller targets are better."""
    apart_N = np.abs(targets_N - prediction.mean) / prediction.deviation
    return calibration_of(prediction.mean, targets_N, within_one_N=apart_N <= 1, within_two_N=apart_N <= 2)


def calibration_of(
    predicted_N: FloatArray, targets_N: FloatArray, *, within_one_N: NDArray[np.bool_], within_two_N: NDArray[np.bool_]
) -> Calibration:
    """The same where it is known which targets lie within one and two deviations, for deviations that are no plain numbers."""
    from scipy.stats import kendalltau

    num_top = max(1, len(targets_N) // 10)
    top, top_predicted = (np.argsort(values_N, kind="stable")[:num_top] for values_N in (targets_N, predicted_N))
    return Calibration(
        kendall=float(kendalltau(predicted_N, targets_N).statistic),
        spearman=spearman(predicted_N, targets_N),
        top_decile_kendall=float(kendalltau(predicted_N[top], targets_N[top]).statistic) if num_top > 1 else float("nan"),
        top_decile_found=len(np.intersect1d(top, top_predicted)) / num_top,
        within_one_deviation=float(within_one_N.mean()),
        within_two_deviations=float(within_two_N.mean()),
    )
