import numpy as np
import pytest
from predictor_cells import Cells, chains, members
from scipy.optimize import approx_fprime

from paretune.core.errors import BadInput
from paretune.predictors.mixture_process import WeightPrior, _objective, fit_mixture
from paretune.predictors.selection import spearman
from paretune.predictors.transfer import DeviceTransfer
from paretune.predictors.transfer_features import architecture_parts, covariances, variances
from paretune.spaces.nasbench201 import NasBench201

FAMILIES = ("one", "one", "two", "two", "three")


def pool(seed=0, noise=0.0):
    """400 chains with additive costs on six devices: each decision's price is shared by all, each device scales the choices anew."""
    space, rng = chains(), np.random.default_rng(seed)
    genotypes = members(space, 400)
    prices = rng.uniform(0.5, 2.0, (6, 1, 4)) + 0.1 * rng.uniform(size=(6, 8, 4))
    costs = np.stack([5 + price[np.arange(8), genotypes].sum(axis=1) for price in prices], axis=1)
    return space, genotypes, costs * (1 + noise * rng.standard_normal(costs.shape))


@pytest.fixture(scope="module")
def transfer():
    space, genotypes, costs = pool()
    return DeviceTransfer(space, genotypes, costs[:, :5], families=FAMILIES, seed=1), costs[:, 5]


def test_ten_measurements_order_an_additive_device(transfer):
    model, costs = transfer
    rows = model.choose(10)
    model.fit(rows, costs[rows])
    assert spearman(model.predict().mean, costs) > 0.97


def test_one_outlier_among_twenty_does_not_spoil_the_order(transfer):
    model, costs = transfer
    rows = model.choose(20)
    measured = costs[rows].copy()
    measured[3] *= 4  # a phone that did something else meanwhile
    model.fit(rows, measured)
    assert spearman(model.predict().mean, costs) > 0.95


def test_chosen_rows_are_distinct_candidates_and_grow_from_shorter_choices(transfer):
    model, _ = transfer
    candidates = np.arange(50, 150)
    longer = model.choose(20, candidates)
    assert len(set(longer.tolist())) == 20
    assert set(longer.tolist()) <= set(candidates.tolist())
    assert np.array_equal(model.choose(7, candidates), longer[:7])


def test_measurements_beyond_those_expected_tell_whether_dead_operations_run():
    space, rng = NasBench201(input_shape=(3, 32, 32), num_classes=10), np.random.default_rng(0)
    genotypes = space.from_index(rng.permutation(15625)[:1500])
    parts = architecture_parts(space, genotypes)
    prices = rng.uniform(1, 3, (5, parts["counts"].features.shape[1]))
    # Five known devices run every operation; the new one leaves out what does not lead to the output.
    known = np.stack([10 + parts["counts"].features @ price for price in prices], axis=1) * (1 + 0.02 * rng.standard_normal((1500, 5)))
    new = (10 + 3 * parts["live.counts"].features @ np.array([0.0, 1.0, 3.0, 5.0, 2.0])) * (1 + 0.02 * rng.standard_normal(1500))
    transfer = DeviceTransfer(space, genotypes, known, families=FAMILIES, seed=0)
    scores = {}
    for count in (10, 40):
        rows = transfer.choose(40)[:count]
        transfer.fit(rows, new[rows])
        scores[count] = spearman(transfer.predict().mean, new)
    assert np.array_equal(transfer.choose(26)[:12], transfer.choose(12))
    assert scores[40] > 0.98
    assert scores[40] > scores[10]


def test_chosen_measurements_leave_less_doubt_than_random_ones(transfer):
    model, costs = transfer
    doubts = []
    for rows in (model.choose(12), np.random.default_rng(0).permutation(400)[:12]):
        model.fit(rows, costs[rows])
        doubts.append(np.median(np.abs(model.predict().mean - costs)))
    assert doubts[0] < doubts[1]


def test_deviation_shrinks_where_measurements_are(transfer):
    model, costs = transfer
    rows = model.choose(12)
    model.fit(rows, costs[rows])
    deviation = model.predict().deviation
    assert deviation.min() > 0
    assert deviation[rows].mean() < np.delete(deviation, rows).mean()


def test_predictions_follow_the_unit_of_the_measurements(transfer):
    model, costs = transfer
    rows = model.choose(10)
    model.fit(rows, costs[rows])
    seconds = model.predict()
    model.fit(rows, costs[rows] * 1e3)
    assert np.allclose(model.predict().mean, 1e3 * seconds.mean)
    assert np.allclose(model.predict().deviation, 1e3 * seconds.deviation)


def test_the_marginal_likelihood_has_the_right_gradient():
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((9, 3)) for _ in range(3)]
    parts = np.stack([item @ item.T for item in features])
    targets, prior = rng.standard_normal(9), WeightPrior(mean=np.full(4, -1.0), deviation=np.full(4, 1.5))
    noise, at = rng.uniform(0.5, 2, 9), np.array([-0.5, -2.0, 0.3, -1.2])
    numeric = approx_fprime(at, lambda x: _objective(x, parts, targets, prior, noise)[0], 1e-6)
    assert np.allclose(_objective(at, parts, targets, prior, noise)[1], numeric, rtol=1e-3, atol=1e-4)


def test_the_part_that_explains_the_targets_gets_the_weight():
    rng = np.random.default_rng(0)
    right, wrong = rng.standard_normal((60, 2)), rng.standard_normal((60, 2))
    parts = np.stack([right @ right.T, wrong @ wrong.T])
    fitted = fit_mixture(parts, right @ [1.0, -1.0], WeightPrior(mean=np.full(3, -2.0), deviation=np.full(3, 3.0)))
    assert fitted.weights[0] > 20 * fitted.weights[1]


def test_own_variances_are_the_diagonals_of_the_covariances():
    space = Cells()
    parts, rows = architecture_parts(space, members(space, 20)), np.arange(20)
    assert np.allclose(variances(parts, rows), np.einsum("pkk->pk", covariances(parts, rows, rows)))


def test_live_places_leave_out_what_no_way_leads_from():
    space = NasBench201(input_shape=(3, 32, 32), num_classes=10)
    # Node 2 is read by nothing (edge 2->3 is none), so the operations on edges 0->2 and 1->2 make no difference: 2 (1x1) or 3 (3x3).
    strings = [f"|nor_conv_3x3~0|+|{dead}~0|{dead}~1|+|skip_connect~0|nor_conv_1x1~1|none~2|" for dead in ("nor_conv_1x1", "nor_conv_3x3")]
    live = "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_1x1~1|skip_connect~2|"
    others = space.from_index(np.arange(0, 15625, 625))  # so that no operation is absent from the pool
    features = architecture_parts(space, np.concatenate([space.from_string([*strings, live]), others]))
    assert np.allclose(features["live.places"].features[0], features["live.places"].features[1])
    assert not np.allclose(features["live.places"].features[0], features["live.places"].features[2])
    assert not np.allclose(features["places"].features[0], features["places"].features[1])


@pytest.mark.parametrize(
    ("tables", "families", "message"),
    [
        (np.ones((10, 2)), ("a", "a"), "at least two families"),
        (np.ones((9, 2)), ("a", "b"), "10 architectures x 2 devices"),
        (np.full((10, 2), np.nan), ("a", "b"), "finite"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tables, families, message):
    space = chains()
    with pytest.raises(BadInput, match=message):
        DeviceTransfer(space, members(space, 10), tables, families=families)


def test_rows_that_cannot_be_learned_from_are_refused(transfer):
    model, _ = transfer
    with pytest.raises(BadInput, match="at least 4 rows"):
        model.fit(np.arange(3), np.ones(3))
    with pytest.raises(BadInput, match="rows must be 0 to 399"):
        model.fit(np.array([0, 1, 2, 400]), np.ones(4))
    with pytest.raises(BadInput, match="count"):
        model.choose(11, np.arange(10))


def test_unseen_phone_is_ordered_better_than_by_the_baseline(data_folder):
    import pyarrow.parquet as parquet

    names = ["silver_4114", "silver_4210r", "1080ti_1", "1080ti_256", "fpga", "samsung_a50"]
    table = parquet.read_table(data_folder / "help_latency" / "nasbench201_latency.parquet", columns=names)
    rows = np.random.default_rng(0).permutation(15625)[:3000]
    costs = np.stack([np.asarray(table[name]) for name in names], axis=1)[rows]
    space = NasBench201(input_shape=(3, 32, 32), num_classes=10)
    model = DeviceTransfer(space, space.from_index(rows), costs[:, :5], families=("xeon", "xeon", "gpu", "gpu", "fpga"))
    chosen = model.choose(10)
    model.fit(chosen, costs[chosen, 5])
    assert spearman(model.predict().mean, costs[:, 5]) > 0.97  # Bayesian ridge on components of logs: 0.95 to 0.96
