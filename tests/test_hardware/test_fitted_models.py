import numpy as np
import pytest

from paretune.core.costs import ArchitectureCostModel
from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware import HARDWARE
from paretune.predictors.architecture_costs import choose_cost_predictor, learn_costs, read_costs, write_costs
from paretune.predictors.layer_regression import LayerModel, LayerPolynomial, LayerRegression
from paretune.predictors.layer_regression_file import write_layer_regression
from paretune.predictors.selection import spearman
from paretune.spaces.nasbench201 import NasBench201
from paretune.testing.cost_model import check_cost_model, small_network

SPACE = NasBench201(input_shape=(3, 32, 32), num_classes=10)
PRICE = np.array([0.0, 0.1, 1.0, 3.0, 0.5])  # of none, skip, 1x1, 3x3, pooling


def power_model(tmp_path):
    """2 us a MAC-free layer and 1 ns a MAC at 3 W for convolutions, 5 us at 1 W for linear layers."""

    def polynomial(terms, rmspe=0.1):
        return LayerModel(polynomial=LayerPolynomial(terms=terms, floor=0.0), rmspe=rmspe)

    latency = {"conv": polynomial({"1": 2e-6, "macs": 1e-9}), "depthwise": polynomial({"1": 2e-6}), "linear": polynomial({"1": 5e-6}, 0.2)}
    power = {"conv": polynomial({"1": 3.0}), "depthwise": polynomial({"1": 3.0}), "linear": polynomial({"1": 1.0})}
    write_layer_regression(tmp_path / "board.json", LayerRegression(device="board", models={"latency_s": latency, "power_w": power}))
    return HARDWARE.create("layer_regression", file=str(tmp_path / "board.json"))


def test_layer_polynomials_keep_the_contract(tmp_path):
    check_cost_model(lambda: power_model(tmp_path))


def test_network_sums_are_the_papers(tmp_path):
    conv = Layer(kind=Kind.CONV, in_channels=1, out_channels=2, out_height=10, out_width=10, kernel=3, padding=1)
    network = (conv, Layer(kind=Kind.POOL, in_channels=2, out_channels=2), Layer(kind=Kind.LINEAR, in_channels=2, out_channels=10))
    found = power_model(tmp_path).estimate(WorkloadBatch.from_layers([network]), {})
    # 2*9*100 = 1,800 MACs: 3.8 us at 3 W, pooling is free, 5 us at 1 W: T = 8.8 us, E = 11.4 + 5 = 16.4 uJ, P = 16.4 / 8.8 W.
    assert found["latency_s"].values[0] == pytest.approx(8.8e-6)
    assert found["energy_j"].values[0] == pytest.approx(16.4e-6)
    assert found["power_w"].values[0] == pytest.approx(16.4 / 8.8)
    assert found["latency_s"].layers == pytest.approx([3.8e-6, 0, 5e-6])
    # Errors of 10 % of 3.8 and 20 % of 5 us, independent.
    assert found["latency_s"].deviation[0] == pytest.approx(np.hypot(0.38e-6, 1e-6))


def test_published_networks_have_the_energy_of_time_and_power(tmp_path):
    # NeuralPower, ACML 2017: VGG 373.82 ms at 206.88 W is 77.336 J. One layer with these costs gives the product.
    latency, power = (LayerModel(polynomial=LayerPolynomial(terms={"1": value}, floor=0.0), rmspe=0.0) for value in (0.37382, 206.88))
    model = LayerRegression(device="", models={"latency_s": {"conv": latency}, "power_w": {"conv": power}})
    write_layer_regression(tmp_path / "vgg.json", model)
    workloads = WorkloadBatch.from_layers([[Layer(kind=Kind.CONV, in_channels=3, out_channels=64)]])
    found = HARDWARE.create("layer_regression", file=str(tmp_path / "vgg.json")).estimate(workloads, {})
    assert found["energy_j"].values[0] == pytest.approx(77.336, abs=5e-4)


def test_a_layer_that_was_not_fitted_is_an_error_with_its_name(tmp_path):
    network = (*small_network(4), Layer(kind=Kind.ATTENTION, in_channels=3, out_channels=3, name="block1.attention"))
    with pytest.raises(BadInput, match=r"layer block1\.attention is a attention.*conv, depthwise, linear"):
        power_model(tmp_path).estimate(WorkloadBatch.from_layers([network]), {})


@pytest.fixture(scope="module")
def fitted_file(tmp_path_factory):
    rows = np.random.default_rng(0).permutation(15625)[:150]
    genotypes = SPACE.from_index(rows)
    costs = (2 + PRICE[genotypes].sum(axis=1)) * 1e-3 * (1 + 0.01 * np.random.default_rng(1).standard_normal(150))
    path = tmp_path_factory.mktemp("fitted") / "board.npz"
    write_costs(path, learn_costs(SPACE, genotypes, {"latency_s": costs}, names=("ridge:onehot", "xgboost:onehot"), device="board"))
    return path


def test_fitted_predictor_rates_architectures_with_deviation_and_source(fitted_file):
    model = HARDWARE.create("predictor", file=str(fitted_file))
    assert isinstance(model, ArchitectureCostModel)
    assert [metric.name for metric in model.metrics] == ["latency_s"]
    genotypes = SPACE.from_index(np.arange(0, 15625, 25))
    found = model.estimate_architectures(SPACE, genotypes, {})["latency_s"]
    truth = (2 + PRICE[genotypes].sum(axis=1)) * 1e-3
    assert spearman(found.values, truth) > 0.99
    assert found.source == "predicted"
    assert 0.5 < np.mean(np.abs(found.values - truth) <= found.deviation) <= 1


def test_fitted_predictor_predicts_the_same_after_each_reading(fitted_file):
    genotypes = SPACE.from_index(np.arange(100))
    first, second = (HARDWARE.create("predictor", file=str(fitted_file)).estimate_architectures(SPACE, genotypes, {}) for _ in range(2))
    assert np.array_equal(first["latency_s"].values, second["latency_s"].values)
    assert read_costs(fitted_file).choices["latency_s"].predictor == "ridge:onehot"


def test_fitted_predictor_refuses_another_space(fitted_file):
    from paretune.spaces.fbnet import FBNet

    model, other = HARDWARE.create("predictor", file=str(fitted_file)), FBNet(input_shape=(3, 32, 32), num_classes=10)
    with pytest.raises(BadInput, match="was fitted on the space 'nasbench201' and cannot rate 'fbnet'"):
        model.estimate_architectures(other, np.zeros((1, 22), dtype=np.int8), {})


def test_files_that_are_no_fitted_predictor_are_refused(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    np.savez(tmp_path / "other.npz", genotypes=np.zeros(3))
    np.savez(tmp_path / "object.npz", facts=np.array([{}], dtype=object))  # would need pickle
    for name in ("bad.npz", "other.npz", "object.npz"):
        with pytest.raises(BadInput, match="is no fitted predictor"):
            HARDWARE.create("predictor", file=str(tmp_path / name))
    with pytest.raises(BadInput, match="no such file"):
        HARDWARE.create("predictor", file=str(tmp_path / "missing.npz"))


def test_the_scale_follows_the_data():
    genotypes = SPACE.from_index(np.random.default_rng(0).permutation(15625)[:150])
    sums, products = 1 + PRICE[genotypes].sum(axis=1), np.exp(PRICE[genotypes].sum(axis=1))
    assert choose_cost_predictor(("ridge:onehot",), SPACE, genotypes, sums, seed=0).scale == "linear"
    assert choose_cost_predictor(("ridge:onehot",), SPACE, genotypes, products, seed=0).scale == "log"
