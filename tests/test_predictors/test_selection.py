import numpy as np
import pytest
from predictor_cells import Cells, chains, members, smooth_cost

from paretune.core.errors import BadInput, UnknownName
from paretune.predictors.prediction import Prediction
from paretune.predictors.selection import calibration, choose_predictor, default_candidates, make_predictor, ordering, spearman


def test_spearman_of_orders_worked_by_hand():
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = 0.8.
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([10.0, 30, 20, 40])) == pytest.approx(0.8)
    assert spearman(np.ones(4), np.arange(4.0)) == 0.0


def test_ordering_minds_the_better_half_most():
    targets = np.arange(8.0)
    bad_at_the_top, bad_at_the_bottom = np.array([3.0, 2, 1, 0, 4, 5, 6, 7]), np.array([0.0, 1, 2, 3, 7, 6, 5, 4])
    assert spearman(bad_at_the_top, targets) == pytest.approx(spearman(bad_at_the_bottom, targets))
    assert ordering(bad_at_the_top, targets) < ordering(bad_at_the_bottom, targets)


def test_calibration_of_predictions_worked_by_hand():
    targets = np.arange(20.0)
    perfect = calibration(Prediction(mean=targets, deviation=np.ones(20)), targets)
    assert (perfect.kendall, perfect.spearman, perfect.top_decile_found) == pytest.approx((1, 1, 1))
    assert (perfect.within_one_deviation, perfect.within_two_deviations, perfect.top_decile_kendall) == (1.0, 1.0, 1.0)
    # Every mean 1.5 deviations off: none within one, all within two; the two best of 20 are still found.
    shifted = calibration(Prediction(mean=targets + 1.5, deviation=np.ones(20)), targets)
    assert (shifted.within_one_deviation, shifted.within_two_deviations, shifted.top_decile_found) == (0.0, 1.0, 1.0)
    # Reversed: nothing of the best tenth is found.
    reverse = calibration(Prediction(mean=-targets, deviation=np.ones(20)), targets)
    assert (reverse.kendall, reverse.top_decile_found) == pytest.approx((-1, 0))


def test_the_choice_goes_to_the_encoding_that_shows_what_matters():
    space = Cells()
    cells = space.members()
    first, direct, second = cells.T.astype(float)
    living = 3.0 - (direct == 2) - ((first == 2) & (second > 0)) - ((second == 2) & (first > 0)) - 0.3 * ((first == 3) & (second == 3))
    rows = np.random.default_rng(2).permutation(64)[:40]
    chosen = choose_predictor(["ridge:genes", "gaussian_process:pruned_graph"], space, cells[rows], living[rows], seed=0)
    assert chosen.name == "gaussian_process:pruned_graph"
    additive = cells @ np.array([1.0, 2.0, 4.0])
    chosen = choose_predictor(["ridge:onehot", "gaussian_process:graph"], space, cells[rows], additive[rows], seed=0)
    assert chosen.name == "ridge:onehot"
    assert chosen.correlation > 0.95


def test_default_candidates_can_all_be_made():
    for space in (Cells(), chains(), chains(num_decisions=30)):
        genotypes_ND = members(space, 20)
        for name in default_candidates(space):
            predictor = make_predictor(name, space, seed=0)
            predictor.fit(genotypes_ND, genotypes_ND.sum(axis=1).astype(float))


def test_unknown_predictors_and_encodings_are_named():
    with pytest.raises(UnknownName, match="Did you mean 'xgboost'"):
        make_predictor("xgbost", chains(), seed=0)
    with pytest.raises(UnknownName, match=r"encoding or target of predictor ridge 'pairs'\. Did you mean 'pairwise'"):
        make_predictor("ridge:pairs", chains(), seed=0)
    with pytest.raises(UnknownName, match="encoding or target of predictor mlp 'genes'"):
        make_predictor("mlp:onehot:genes", chains(), seed=0)
    with pytest.raises(BadInput, match="at least one candidate"):
        choose_predictor([], chains(), members(chains(), 5), np.zeros(5), seed=0)


def test_a_name_may_carry_encoding_and_target_in_any_order():
    genotypes_ND = members(chains(), 40)
    for name in ("xgboost:ranking", "xgboost:genes:ranking", "xgboost:ranking:genes", "mlp:hinge"):
        predictor = make_predictor(name, chains(), seed=0)
        predictor.fit(genotypes_ND, smooth_cost(genotypes_ND))
        assert spearman(predictor.predict(genotypes_ND).mean, smooth_cost(genotypes_ND)) > 0.8
    first, second = (make_predictor(name, chains(), seed=0) for name in ("xgboost:genes:ranking", "xgboost:ranking:genes"))
    for predictor in (first, second):
        predictor.fit(genotypes_ND, smooth_cost(genotypes_ND))
    assert np.array_equal(first.predict(genotypes_ND).mean, second.predict(genotypes_ND).mean)
