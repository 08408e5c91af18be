"""Costs of architectures, learned from measurements of one search space: which predictor, on which scale, and a file without code.

Legend: N architectures, D decisions, K examples.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias
from zipfile import BadZipFile

import numpy as np

from paretune.core.errors import BadInput
from paretune.core.files import read_regular, write_durably
from paretune.core.genotype import GENE, Genotypes
from paretune.core.protocols import GraphSpace, SearchSpace
from paretune.predictors.encoding import encodings_of
from paretune.predictors.fidelity import share_within
from paretune.predictors.prediction import FloatArray, Prediction, Predictor
from paretune.predictors.selection import make_predictor, spearman

Scale: TypeAlias = Literal["linear", "log"]
"""Of the targets: sums of layers are linear, products of factors logarithmic."""
FORMAT = "paretune.architecture_costs"
VERSION = 1
MARGIN = 0.002
"""Rank correlation by which a later candidate must beat the earlier ones: a standard error of Spearman's rho of 0.95 from 900 examples is
(1 - 0.95^2) / 30 = 0.003."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostChoice:
    """A predictor for one metric, and how well it did on examples it was not fitted to."""

    predictor: str
    """`name:encoding`."""
    scale: Scale
    spearman: float
    """Rank correlation of left-out predictions."""
    within_10_percent: float
    """Share of left-out predictions within 10 %."""


def cost_candidates(space: SearchSpace) -> tuple[str, ...]:
    """Predictors of costs among which cross-validation chooses, the simplest first."""
    encodings = encodings_of(space)
    names = ["ridge:onehot", "gaussian_process:onehot"]
    if isinstance(space, GraphSpace):
        names += ["ridge:pruned_graph", "gaussian_process:genes_graph"]
    if "pairwise" in encodings:
        names.append("ridge:pairwise")
    return tuple(names)


def choose_cost_predictor(
    names: Sequence[str], space: SearchSpace, genotypes_ND: Genotypes, costs_N: FloatArray, *, seed: int
) -> CostChoice:
    """The predictor and scale whose left-out predictions are ordered best; the earlier one where two are as good.

    Raises:
        BadInput: no candidates, or costs that are not positive.
    """
    if not names:
        raise BadInput("predictor: at least one candidate is needed")
    if not np.all(costs_N > 0):
        raise BadInput(f"costs: must be positive (got {float(costs_N.min())}); leave such networks out")
    scales: tuple[Scale, ...] = ("linear", "log")
    fitted: list[tuple[str, Scale, np.ndarray, FloatArray]] = []
    for name in names:
        for scale in scales:
            predictor = make_predictor(name, space, seed=seed)
            predictor.fit(genotypes_ND, costs_N if scale == "linear" else np.log(costs_N))
            left_out_K = predictor.left_out().mean
            fitted.append((name, scale, predictor.kept(), left_out_K if scale == "linear" else np.exp(left_out_K)))
    common = reduce(np.intersect1d, (kept for _, _, kept, _ in fitted))
    best: CostChoice | None = None
    for name, scale, kept, left_out_K in fitted:
        predicted, measured = left_out_K[np.searchsorted(kept, common)], costs_N[common]
        found = CostChoice(
            predictor=name,
            scale=scale,
            spearman=spearman(predicted, measured),
            within_10_percent=share_within(predicted, measured, bound=0.10),
        )
        if best is None or found.spearman > best.spearman + MARGIN:
            best = found
    assert best is not None
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedCosts:
    """Measurements of one space and which predictor reads them: all that a fitted cost model is.

    The file keeps the measurements, not the fitted predictor: fitting again takes seconds and gives the same predictions, and a file of
    numbers and names cannot run code.
    """

    space: str
    """Name of the search space."""
    decisions: tuple[tuple[str, tuple[str, ...]], ...]
    """(name, choices as text) of the space: what another space is told by."""
    genotypes: Genotypes
    """`(K, D)`, canonical."""
    costs: Mapping[str, FloatArray]
    """Metric with its unit -> `(K,)` in SI units."""
    choices: Mapping[str, CostChoice]
    """Metric -> predictor."""
    seed: int
    device: str = ""
    """What was measured, in words."""

    def check_space(self, space: SearchSpace) -> None:
        """Refuse another space.

        Raises:
            BadInput: its name or one of its decisions differs from those of the measurements.
        """
        if space.name != self.space:
            raise BadInput(f"predictor: was fitted on the space '{self.space}' and cannot rate '{space.name}'; fit one on it")
        given = described(space)
        if given != self.decisions:
            known, asked = dict(self.decisions), dict(given)
            names = [name for name in {**known, **asked} if known.get(name) != asked.get(name)] or ["their order"]
            raise BadInput(
                f"predictor: was fitted on a '{self.space}' with other decisions; {', '.join(names[:3])} differ. "
                "Give the space the options it was measured with, or fit a predictor on measurements of this one"
            )

    def fitted(self, space: SearchSpace) -> "FittedCosts":
        """The predictors, fitted.

        Raises:
            BadInput: another space.
        """
        self.check_space(space)
        predictors = {}
        for metric, choice in self.choices.items():
            predictors[metric] = make_predictor(choice.predictor, space, seed=self.seed)
            costs_K = self.costs[metric]
            predictors[metric].fit(self.genotypes, costs_K if choice.scale == "linear" else np.log(costs_K))
        floors = {metric: 0.5 * float(costs_K.min()) for metric, costs_K in self.costs.items()}
        return FittedCosts(predictors=predictors, scales={name: choice.scale for name, choice in self.choices.items()}, floors=floors)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCosts:
    """Fitted predictors of one space."""

    predictors: Mapping[str, Predictor]
    scales: Mapping[str, Scale]
    floors: Mapping[str, float]
    """Half the least measured cost: predictions on a linear scale stay above it, since no network takes less than no time."""

    def predict(self, metric: str, genotypes_ND: Genotypes) -> Prediction:
        """Mean and deviation in SI units of canonical genotypes."""
        found = self.predictors[metric].predict(genotypes_ND)
        if self.scales[metric] == "linear":
            return Prediction(mean=np.maximum(found.mean, self.floors[metric]), deviation=found.deviation)
        # The median, which keeps the order; the deviation is that of a log-normal variable of small spread.
        mean_N = np.exp(found.mean)
        return Prediction(mean=mean_N, deviation=mean_N * np.sqrt(np.expm1(np.minimum(found.deviation, 1.0) ** 2)))


def described(space: SearchSpace) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The decisions of a space as names and texts."""
    return tuple((decision.name, tuple(str(choice) for choice in decision.choices)) for decision in space.decisions)


def learn_costs(
    space: SearchSpace,
    genotypes_ND: Genotypes,
    costs: Mapping[str, FloatArray],
    *,
    names: Sequence[str] = (),
    seed: int = 0,
    device: str = "",
) -> LearnedCosts:
    """Choose a predictor for each metric.

    Args:
        space: of the networks.
        genotypes_ND: measured networks.
        costs: metric with its unit -> `(N,)`, SI, positive.
        names: candidates; none for `cost_candidates`.
        seed: of the predictors.
        device: what was measured.

    Raises:
        BadInput: too few networks, or costs that are not positive.
    """
    canonical_ND = space.canonical(genotypes_ND)
    choices = {
        metric: choose_cost_predictor(tuple(names) or cost_candidates(space), space, canonical_ND, costs_N, seed=seed)
        for metric, costs_N in costs.items()
    }
    return LearnedCosts(
        space=space.name, decisions=described(space), genotypes=canonical_ND, costs=costs, choices=choices, seed=seed, device=device
    )


def write_costs(path: Path, learned: LearnedCosts) -> None:
    """Write a fitted model as an `.npz` file of numbers and one JSON text.

    Raises:
        StorageError: the storage refuses; `path` is as it was.
    """
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "space": learned.space,
        "decisions": learned.decisions,
        "seed": learned.seed,
        "device": learned.device,
        "choices": {
            metric: [choice.predictor, choice.scale, choice.spearman, choice.within_10_percent]
            for metric, choice in learned.choices.items()
        },
    }
    buffer = BytesIO()
    arrays: dict[str, Any] = {f"cost.{metric}": costs_K for metric, costs_K in learned.costs.items()}
    np.savez_compressed(buffer, facts=np.array(json.dumps(facts)), genotypes=learned.genotypes, **arrays)
    write_durably(path, buffer.getvalue())


def read_costs(path: Path) -> LearnedCosts:
    """Read what `write_costs` wrote; the file cannot run code.

    Raises:
        BadInput: there is no such file, or it is none of this format.
    """
    try:
        with np.load(BytesIO(read_regular(path)), allow_pickle=False) as archive:
            facts = json.loads(str(archive["facts"]))
            if facts["format"] != FORMAT or facts["version"] != VERSION:
                raise BadInput(f"{path}: has format {facts['format']} {facts['version']}; expected {FORMAT} {VERSION}")
            return LearnedCosts(
                space=facts["space"],
                decisions=tuple((name, tuple(choices)) for name, choices in facts["decisions"]),
                genotypes=archive["genotypes"].astype(GENE),
                costs={metric: archive[f"cost.{metric}"].astype(np.float64) for metric in facts["choices"]},
                choices={metric: _choice(values) for metric, values in facts["choices"].items()},
                seed=int(facts["seed"]),
                device=facts["device"],
            )
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; 'paretune hardware fit MEASUREMENTS --out {path}' writes one") from error
    except (BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise BadInput(f"{path}: is no fitted predictor of 'paretune hardware fit': {error}") from error


def _choice(values: Sequence[object]) -> CostChoice:
    predictor, scale, rank_correlation, within = values
    if scale not in ("linear", "log"):
        raise ValueError(f"scale {scale!r}")
    return CostChoice(predictor=str(predictor), scale=scale, spearman=float(str(rank_correlation)), within_10_percent=float(str(within)))
