import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from predictor_cells import Cells, chains, members, smooth_cost
from scipy.optimize import check_grad

from paretune.core.errors import BadInput
from paretune.predictors import PREDICTORS
from paretune.predictors.boosted_trees import BoostedTrees
from paretune.predictors.encoding import encoding_of
from paretune.predictors.gaussian_process import GaussianProcess, kept_examples
from paretune.predictors.graph_network import GraphNetwork
from paretune.predictors.kernel import Likelihood
from paretune.predictors.mlp_ensemble import MLPEnsemble
from paretune.predictors.networks_training import pairwise_hinge
from paretune.predictors.prediction import JointPredictor, Predictor
from paretune.predictors.ridge import Ridge
from paretune.predictors.selection import spearman

SPACE, CELLS = chains(), Cells()
EVERY_CELL = CELLS.members()


def cell_cost(genotypes_ND):
    """Convolutions help on living ways only: what a graph shows and single genes do not."""
    first, direct, second = np.asarray(genotypes_ND, dtype=float).T
    return 3.0 - (direct == 2) - 1.5 * ((first == 2) & (second > 0)) - 1.5 * ((second == 2) & (first > 0)) + 0.1 * direct


MAKE = {
    "gaussian_process": lambda: GaussianProcess(SPACE, seed=1),
    "ridge": lambda: Ridge(SPACE, seed=1),
    "xgboost": lambda: BoostedTrees(SPACE, seed=1, encoding="genes", trees=40),
    "xgboost_ranking": lambda: BoostedTrees(SPACE, seed=1, encoding="genes", target="ranking", trees=40),
    "mlp": lambda: MLPEnsemble(SPACE, seed=1, members=2, width=24, epochs=60),
    "mlp_hinge": lambda: MLPEnsemble(SPACE, seed=1, target="hinge", members=2, width=24, epochs=60),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_a_predictor_orders_what_it_has_not_seen(make):
    genotypes_ND = members(SPACE, 200)
    predictor = make()
    assert isinstance(predictor, Predictor)
    predictor.fit(genotypes_ND[:120], smooth_cost(genotypes_ND[:120]))
    prediction = predictor.predict(genotypes_ND[120:])
    assert spearman(prediction.mean, smooth_cost(genotypes_ND[120:])) > 0.7
    assert np.all(prediction.deviation > 0)
    left_out = predictor.left_out()
    assert spearman(left_out.mean, smooth_cost(genotypes_ND[:120])[predictor.kept()]) > 0.6


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_equal_examples_and_seed_give_equal_predictions(make):
    genotypes_ND = members(SPACE, 60)
    first, second = make(), make()
    second.fit(genotypes_ND[30:], smooth_cost(genotypes_ND[30:]))  # forgotten by the next fit
    for predictor in (first, second):
        predictor.fit(genotypes_ND[:40], smooth_cost(genotypes_ND[:40]))
    one, other = first.predict(genotypes_ND), second.predict(genotypes_ND)
    assert np.array_equal(one.mean, other.mean)
    assert np.array_equal(one.deviation, other.deviation)


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_examples_that_cannot_be_learned_from_are_refused(make):
    genotypes_ND = members(SPACE, 5)
    with pytest.raises(BadInput, match=r"fit\(\) must come before"):
        make().predict(genotypes_ND)
    with pytest.raises(BadInput, match="at least 4 examples"):
        make().fit(genotypes_ND[:3], np.zeros(3))
    with pytest.raises(BadInput, match="every target must be finite"):
        make().fit(genotypes_ND, np.array([1.0, 2.0, np.inf, 3.0, 4.0]))
    with pytest.raises(BadInput, match="as many targets"):
        make().fit(genotypes_ND, np.zeros(4))


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_constant_targets_are_predicted_as_they_are(make):
    genotypes_ND = members(SPACE, 20)
    predictor = make()
    predictor.fit(genotypes_ND, np.full(20, 7.0))
    assert predictor.predict(genotypes_ND).mean == pytest.approx(7.0, abs=0.2)


def test_every_registered_predictor_is_tested():
    assert sorted({name.removesuffix("_ranking").removesuffix("_hinge") for name in MAKE} | {"graph"}) == list(PREDICTORS.names())


def test_ridge_is_exact_for_costs_that_add_up():
    genotypes_ND = members(SPACE, 100)
    cost = genotypes_ND @ np.arange(1.0, 9.0)
    predictor = Ridge(SPACE, seed=0, encoding="genes")
    predictor.fit(genotypes_ND[:30], cost[:30])
    assert predictor.predict(genotypes_ND[30:]).mean == pytest.approx(cost[30:], rel=2e-3, abs=0.05)


@pytest.mark.parametrize("kind", [Ridge, GaussianProcess])
def test_left_out_predictions_in_closed_form_equal_those_of_leaving_out(kind):
    genotypes_ND = members(SPACE, 25)
    cost = smooth_cost(genotypes_ND)
    predictor = kind(SPACE, seed=0, encoding="genes")
    predictor.fit(genotypes_ND, cost)
    if kind is Ridge:
        features = encoding_of(SPACE, "genes")(genotypes_ND).astype(float)
        rest, left = features[1:], features[0]
        centre, mean = rest.mean(axis=0), cost[1:].mean()
        weights = np.linalg.solve(
            (rest - centre).T @ (rest - centre) + predictor._penalty * np.eye(8), (rest - centre).T @ (cost[1:] - mean)
        )
        assert predictor.left_out().mean[0] == pytest.approx(mean + (left - centre) @ weights, rel=1e-6)
    else:
        kernel, features = predictor._kernel, predictor._features_KF
        matrix = kernel.between(features, features) + (kernel.noise + 1e-6) * np.eye(25)
        scaled = (cost - cost.mean()) / cost.std()
        mean = matrix[0, 1:] @ np.linalg.solve(matrix[1:, 1:], scaled[1:])
        assert predictor.left_out().mean[0] == pytest.approx(cost.mean() + cost.std() * mean, rel=1e-6)


def test_the_gaussian_process_is_sure_of_what_it_saw_and_unsure_far_away():
    genotypes_ND = np.unique(np.minimum(members(SPACE, 40), 1), axis=0)
    predictor = GaussianProcess(SPACE, seed=0)
    predictor.fit(genotypes_ND, smooth_cost(genotypes_ND))
    seen, far = predictor.predict(genotypes_ND), predictor.predict(np.full((1, 8), 3, dtype=np.int16))
    assert far.deviation[0] > 2 * seen.deviation.max()
    assert seen.mean == pytest.approx(smooth_cost(genotypes_ND), abs=0.1 * np.ptp(smooth_cost(genotypes_ND)))
    assert isinstance(predictor, JointPredictor)
    # Two roads: the variance on the diagonal is that of `predict` without noise.
    noise = predictor._scale**2 * predictor._kernel.noise
    rounding = 1e-5 * predictor._scale**2  # predict works in single precision
    assert np.diag(predictor.covariance(genotypes_ND)) + noise == pytest.approx(seen.deviation**2, rel=0.05, abs=rounding)


def test_means_alone_are_the_means():
    genotypes_ND = members(SPACE, 50)
    predictor = GaussianProcess(SPACE, seed=0)
    predictor.fit(genotypes_ND[:30], smooth_cost(genotypes_ND[:30]))
    assert np.array_equal(predictor.means(genotypes_ND), predictor.predict(genotypes_ND).mean)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_gradient_of_the_likelihood_is_that_of_finite_differences(seed):
    rng = np.random.default_rng(seed)
    likelihood = Likelihood(rng.normal(size=(12, 4)), rng.normal(size=12), np.array([0, 1, 1, 2]))
    at = likelihood.prior_mean + rng.normal(size=6) * 0.5
    scale = 1 + np.abs(likelihood(at)[1]).max()
    assert check_grad(lambda x: likelihood(x)[0], lambda x: likelihood(x)[1], at) < 1e-3 * scale


def test_of_too_many_examples_the_best_and_some_others_are_kept():
    targets = np.arange(100.0)[::-1]
    kept = kept_examples(targets, 20, seed=3)
    assert len(kept) == len(set(kept)) == 20
    assert set(range(90, 100)) <= set(kept)
    assert np.array_equal(kept, kept_examples(targets, 20, seed=3))
    assert kept_examples(targets, 100, seed=3).tolist() == list(range(100))


@pytest.mark.parametrize("target", ["relation", "hinge", "regression"])
def test_the_graph_network_orders_cells_by_what_lives_in_them(target):
    order = np.random.default_rng(0).permutation(64)
    predictor = GraphNetwork(CELLS, seed=1, target=target, members=2, layers=3, width=24, epochs=60)
    predictor.fit(EVERY_CELL[order[:44]], cell_cost(EVERY_CELL[order[:44]]))
    prediction = predictor.predict(EVERY_CELL[order[44:]])
    assert spearman(prediction.mean, cell_cost(EVERY_CELL[order[44:]])) > 0.6
    dead = np.array([(0, 2, 1), (0, 2, 3)], dtype=np.int16)
    assert np.ptp(predictor.predict(dead).mean) < 1e-5


def test_the_graph_network_refuses_spaces_without_graphs():
    with pytest.raises(BadInput, match=r"needs a space with graphs\(\)"):
        GraphNetwork(SPACE, seed=0)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (GaussianProcess, {"most_examples": 5}, "most_examples: must be at least 10"),
        (Ridge, {"most_examples": 1}, "most_examples: must be at least 10"),
        (BoostedTrees, {"trees": 0}, "trees: must be at least 1"),
        (BoostedTrees, {"bags": 1}, "bags: must be at least 2"),
        (BoostedTrees, {"learning_rate": 0.0}, "learning_rate: must be above 0"),
        (BoostedTrees, {"target": "order"}, "target: must be one of"),
        (MLPEnsemble, {"members": 1}, "members: must be at least 2"),
    ],
)
def test_options_out_of_range_are_refused(kind, options, message):
    with pytest.raises(BadInput, match=message):
        kind(SPACE, seed=0, **options)


def test_the_hinge_asks_for_a_margin_between_any_two_in_the_right_order():
    # Each pair lacks 0.1 - (score of the higher value - score of the lower): 0.1 - 0.05, 0.1 - 0.04, 0.1 + 0.01.
    scores, values = torch.tensor([0.0, 0.05, 0.04]), torch.tensor([1.0, 2.0, 3.0])
    assert float(pairwise_hinge(scores, values)) == pytest.approx((0.05 + 0.06 + 0.11) / 3)
    assert float(pairwise_hinge(scores, torch.ones(3))) == 0.0  # nothing to put in order


def test_a_ranking_learns_the_order_of_the_best_of_many():
    genotypes_ND = members(SPACE, 900)
    cost_N = smooth_cost(genotypes_ND)
    predictor = BoostedTrees(SPACE, seed=1, encoding="onehot", target="ranking")
    predictor.fit(genotypes_ND[:600], cost_N[:600])
    best = 600 + np.flatnonzero(cost_N[600:] <= np.quantile(cost_N[600:], 0.3))
    assert spearman(predictor.predict(genotypes_ND[best]).mean, cost_N[best]) > 0.8
