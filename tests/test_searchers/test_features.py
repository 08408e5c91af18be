"""Scores that are known before training correct predictions where they help, and only there."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.core.genotype import Genotypes
from paretune.core.rng import derive_seed
from paretune.core.trial import Trial
from paretune.predictors.selection import make_predictor, spearman
from paretune.searchers.features import KnownBefore, corrected, fit_correction
from paretune.searchers.fidelities import Inputs
from paretune.searchers.predictor_guided import PredictorGuided
from paretune.searchers.surrogate import fitted_surrogate
from paretune.searchers.told import Told
from paretune.testing.problems import known_front_problem
from paretune.testing.searcher import drive

KNOWN = known_front_problem()


def costs(genotypes_ND: Genotypes) -> dict[str, np.ndarray]:
    return {"parameters": genotypes_ND.sum(axis=1).astype(float)}


def hidden(genotype: Sequence[int]) -> float:
    """A part of the accuracy, 0 to 0.5, that genes do not show."""
    return derive_seed("hidden", *(int(gene) for gene in genotype)) / 2**64


def scores(genotypes_ND: Genotypes) -> dict[str, np.ndarray]:
    """A proxy that tells the hidden part, on a scale of its own, and one that tells nothing."""
    return {"proxy.synflow": np.exp([9 * hidden(row) for row in genotypes_ND]), "proxy.naswot": np.ones(len(genotypes_ND))}


def scored(trial: Trial) -> Trial:
    """With the hidden part and the proxies."""
    proxies = {name: float(values[0]) for name, values in scores(np.array([trial.genotype], dtype=np.int16)).items()}
    return replace(trial, metrics={**trial.metrics, **proxies, "accuracy": trial.metrics["accuracy"] + hidden(trial.genotype)})


def guided(**options: object) -> PredictorGuided:
    chosen = {"initial": 12, "batch": 6, "predictor": "ridge:genes", "costs": costs, "scores": scores, **options}
    return PredictorGuided(KNOWN.space, KNOWN.problem, seed=1, **chosen)  # type: ignore[arg-type]


def test_a_correction_worked_by_hand() -> None:
    # The error is 1 where the score is in the upper half: ranks tell that exactly, whatever the scores' scale.
    left_out, targets = np.zeros(20), np.repeat([0.0, 1.0], 10)
    found = fit_correction(left_out, targets, np.exp(np.arange(20.0))[:, np.newaxis])
    assert found is not None
    assert found.left < 0.4
    added = found(np.array([[1.0], [np.exp(19.0)]]), np.zeros(2))
    assert added[0] < 0.1
    assert added[1] > 0.9
    assert spearman(found.left_out, targets) > 0.8


def test_scores_that_say_nothing_are_left_out() -> None:
    rng = np.random.default_rng(3)
    found = fit_correction(np.zeros(40), rng.standard_normal(40), rng.standard_normal((40, 1)))
    assert found is None or found.left > 0.9
    assert fit_correction(np.zeros(9), np.arange(9.0), np.arange(9.0)[:, np.newaxis]) is None  # too few
    nothing = np.full((20, 1), np.nan)
    assert fit_correction(np.zeros(20), np.arange(20.0), nothing) is None


def test_a_good_proxy_makes_predictions_better_and_surer() -> None:
    rows = np.unique(np.random.default_rng(0).integers(0, 2, size=(60, len(KNOWN.space.decisions))), axis=0).astype(np.int16)
    rows = KNOWN.space.canonical(rows)
    told, others = Told(KNOWN.problem, num_decisions=rows.shape[1], scores=["proxy.synflow"]), rows[25:]
    told.add([scored(KNOWN.trial(index, row)) for index, row in enumerate(rows[:25])])
    truth = np.array([scored(KNOWN.trial(0, row)).metrics["accuracy"] for row in others])
    inputs, known = Inputs(KNOWN.space), KnownBefore(["proxy.synflow"], costs=None, scores=scores)
    predictors = {(item.metric, "ridge:genes"): make_predictor("ridge:genes", KNOWN.space, seed=0) for item in KNOWN.problem.objectives}
    plain = fitted_surrogate(told, KNOWN.problem, inputs, predictors)
    better = corrected(plain, told, KNOWN.problem, known)
    errors, widths = [], []
    for surrogate in (plain, better):
        expected = [item["accuracy"] for item in surrogate.expectations(others)]
        errors.append(np.abs(np.array([item.middle for item in expected]) - truth).mean())
        widths.append(np.mean([item.bounds[3] - item.bounds[1] for item in expected]))
    assert errors[1] < errors[0]
    assert widths[1] < widths[0]
    assert expected[0].predictor == "ridge:genes + proxy.synflow"


def test_proposals_with_features_are_the_same_again_and_hold_no_repeats() -> None:
    first, second = (
        [trial.genotype for trial in drive(guided(features=("parameters", "proxy.synflow"), scored=30), KNOWN, num_candidates=40)]
        for _ in range(2)
    )
    assert first == second
    assert len(set(first)) == 40


def test_only_the_shortlist_is_scored() -> None:
    asked: list[int] = []

    def counted(genotypes_ND: Genotypes) -> dict[str, np.ndarray]:
        asked.append(len(genotypes_ND))
        return scores(genotypes_ND)

    searcher = guided(features=("proxy.synflow",), scored=20, scores=counted)
    searcher.tell([scored(KNOWN.trial(index, row)) for index, row in enumerate(searcher.ask(12))])
    searcher.ask(6)
    assert 0 < max(asked) <= 20
    assert KNOWN.space.size > 100


def test_what_nobody_supplies_is_named() -> None:
    searcher = guided(features=("macs",))
    searcher.tell([KNOWN.trial(index, row) for index, row in enumerate(searcher.ask(12))])
    assert len(searcher.ask(6)) == 6  # unknown of what was told: nothing is corrected
    with pytest.raises(BadInput, match="nothing gives 'macs' before a candidate is trained; there are: parameters"):
        KnownBefore(["macs"], costs=costs, scores=None).of(np.zeros((1, 3), dtype=np.int16))
    with pytest.raises(BadInput, match="features: each may be named once"):
        guided(features=("macs", "macs"))
    with pytest.raises(BadInput, match="scored: must be at least 1"):
        guided(scored=0)
