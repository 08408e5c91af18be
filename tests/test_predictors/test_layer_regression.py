import json
import math

import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.predictors.fidelity import rmspe
from paretune.predictors.fitted_roofline import fit_roofline
from paretune.predictors.layer_features import layer_features, layer_shapes
from paretune.predictors.layer_process import fit_layer_process
from paretune.predictors.layer_regression import LayerModel, LayerPolynomial, LayerRegression, fit_layers
from paretune.predictors.layer_regression_file import read_layer_regression, write_layer_regression

TILES = 15  # 4 x 4 sizes of tiles without 1x1
RATES = 5  # four bounds of the narrower side
LAYOUTS = 3 * (RATES + 4)  # plain, transposed input, transposed weights: rates, a constant and the sizes of three operands


def convolutions(count, seed=0):
    """Random convolutions whose sizes span three decades of MACs."""
    rng = np.random.default_rng(seed)
    size, kernel = rng.choice([7, 14, 28, 56], count).astype(float), rng.choice([1, 3, 5], count).astype(float)
    return {
        "batch": np.ones(count),
        "out_height": size,
        "out_width": size,
        "in_height": size,
        "in_width": size,
        "kernel_height": kernel,
        "kernel_width": kernel,
        "padding_height": (kernel - 1) / 2,
        "padding_width": (kernel - 1) / 2,
        "in_channels": rng.choice([8, 16, 64, 128], count).astype(float),
        "out_channels": rng.choice([8, 24, 64, 256], count).astype(float),
    }


def macs(columns):
    return columns["out_height"] ** 2 * columns["kernel_width"] ** 2 * columns["in_channels"] * columns["out_channels"]


@pytest.mark.parametrize(
    ("kind", "quantity", "count"),
    [
        # NeuralPower: monomials of 7 variables up to degree 3: 7 + 28 + 84 = 119, and 8 special terms; a constant and tiles beside them.
        ("conv", "latency_s", 1 + 119 + 8 + TILES + RATES),
        # Power: degree 2 of 7 variables and their logarithms: 14 + 105 = 119, and the 8.
        ("conv", "power_w", 1 + 119 + 8),
        # Pooling: 6 variables, degree 3: 6 + 21 + 56 = 83, and 3.
        ("pool", "latency_s", 1 + 83 + 3),
        # Linear: 3 variables, degree 2: 3 + 6 = 9, and 4 products.
        ("linear", "latency_s", 1 + 9 + 4 + TILES + RATES + LAYOUTS),
    ],
)
def test_features_have_the_papers_terms(kind, quantity, count):
    names, values = layer_features(kind, convolutions(5), quantity)
    assert len(names) == count == values.shape[1]
    assert len(set(names)) == count


def products(count, seed=0):
    """Matrix products, half of them with transposed weights, for which the library has a kernel of a third of the speed."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.choice([16, 64, 256, 1024], count).astype(float) for name in ("batch", "in_channels", "out_channels")}
    columns["transposed_weights"] = rng.integers(2, size=count).astype(float)
    costs = 1e-6 + 1e-12 * columns["batch"] * columns["in_channels"] * columns["out_channels"] * (1 + 2 * columns["transposed_weights"])
    return columns, costs


def test_layouts_of_the_operands_have_rates_of_their_own():
    (inside, costs), (outside, truth) = products(120), products(60, seed=1)
    known = fit_layers("linear", inside, costs, "latency_s")
    assert rmspe(known.predict("linear", outside, "latency_s"), truth) < 0.05
    sizes = {name: values for name, values in inside.items() if name != "transposed_weights"}
    blind = fit_layers("linear", sizes, costs, "latency_s")
    assert rmspe(blind.predict("linear", outside, "latency_s"), truth) > 0.2
    assert not any(name.startswith("plain.") for name in blind.polynomial.terms)
    # Networks do not tell layouts: their layers are plain.
    plain = {name: values for name, values in outside.items() if name != "transposed_weights"}
    expected = 1e-6 + 1e-12 * np.prod(list(plain.values()), axis=0)
    assert rmspe(known.predict("linear", plain, "latency_s"), expected) < 0.05


def test_a_term_that_few_layers_have_gets_no_weight():
    columns, costs = products(60)
    columns["transposed_input"] = (np.arange(60) < 4).astype(float)
    fitted = fit_layers("linear", columns, costs, "latency_s")
    assert not any(name.startswith("transposed_input") for name in fitted.polynomial.terms)


def test_special_terms_are_the_products_they_are_called_by():
    # 3x3 convolution 16 -> 32 in two groups at 8x8, batch 2: 2 * 64 * 9 * 8 * 32 = 294,912 MACs; 128 rows and 32 columns fill tiles of 64
    # and 32; in tiles of 64 columns it is 2 * 294,912.
    one = {name: np.array([value]) for name, value in {"batch": 2.0, "out_height": 8.0, "out_width": 8.0, "groups": 2.0}.items()}
    one |= {"in_height": np.array([8.0]), "in_width": np.array([8.0]), "in_channels": np.array([16.0]), "out_channels": np.array([32.0])}
    one |= {f"{name}_{side}": np.array([value]) for name, value in (("kernel", 3.0), ("padding", 1.0)) for side in ("height", "width")}
    names, values = layer_features("conv", one, "latency_s")
    found = dict(zip(names, values[0], strict=True))
    assert found["macs"] == found["macs_in_tiles_64x32"] == 294_912
    assert found["macs_in_tiles_64x64"] == 2 * 294_912
    assert (found["weights"], found["output_elements"], found["input_elements"]) == (9 * 8 * 32, 2 * 64 * 32, 2 * 64 * 16)
    assert found["batch*out_height*in_height"] == 2 * 8 * 8


def test_a_polynomial_device_is_recovered_in_relative_terms():
    columns, others = convolutions(200), convolutions(100, seed=1)

    def latency_of(shapes):
        return 2e-6 + 1e-10 * macs(shapes) + 1e-9 * shapes["out_channels"] * shapes["out_height"] ** 2

    fitted = fit_layers("conv", columns, latency_of(columns), "latency_s")
    assert rmspe(fitted.predict("conv", others, "latency_s"), latency_of(others)) < 0.03
    assert fitted.rmspe < 0.03
    assert all(weight > 0 for weight in fitted.polynomial.terms.values())


def test_predictions_stay_above_the_least_measurement():
    polynomial = LayerPolynomial(terms={"macs": 1e-12}, floor=1.05e-4)
    assert polynomial.predict("conv", convolutions(50), "latency_s").min() == 1.05e-4


def test_roofline_recovers_its_rates():
    columns = convolutions(100)
    flops, moved = 2 * macs(columns), np.random.default_rng(0).uniform(1e4, 1e7, 100)
    found = fit_roofline(flops, moved, np.maximum(flops / 4e12, moved / 3e10))
    assert found.flops_per_s == pytest.approx(4e12, rel=0.01)
    assert found.bytes_per_s == pytest.approx(3e10, rel=0.01)


def test_a_process_is_joined_only_where_it_helps():
    columns, others = convolutions(120), convolutions(60, seed=1)
    # Two kernels of a library: one is four times as fast from 64 output channels on at 3x3. No monomial says so, neighbours do.
    for law, helps in (
        (lambda shapes: np.where((shapes["out_channels"] >= 64) & (shapes["kernel_width"] == 3), 0.25, 1.0), True),
        (None, False),
    ):
        costs, truth = (1e-6 + 1e-10 * macs(shapes) * (law(shapes) if law else 1.0) for shapes in (columns, others))
        fitted = fit_layers("conv", columns, costs, "latency_s")
        assert (fitted.process is not None) == helps
        alone = rmspe(fitted.polynomial.predict("conv", others, "latency_s"), truth)
        assert rmspe(fitted.predict("conv", others, "latency_s"), truth) < 0.75 * alone if helps else alone < 0.03


def test_a_process_knows_power_laws_and_says_how_well_it_does_on_layers_left_out():
    columns, others = convolutions(80), convolutions(40, seed=1)
    law = [2e-9 * macs(shapes) ** 0.7 * shapes["out_height"] ** 0.3 for shapes in (columns, others)]
    process, left_out = fit_layer_process("conv", columns, law[0])
    assert rmspe(process.predict("conv", others), law[1]) < 0.02
    assert rmspe(left_out, law[0]) < 0.02
    # With noise of 20 % the left-out error is that noise, not the smaller error of the fit.
    noisy = law[0] * np.exp(np.random.default_rng(0).normal(0, 0.2, 80))
    process, left_out = fit_layer_process("conv", columns, noisy)
    assert 0.17 < rmspe(left_out, noisy) < 0.35
    assert rmspe(process.predict("conv", columns), noisy) < rmspe(left_out, noisy)


def test_left_out_predictions_of_a_process_are_those_of_a_process_without_that_layer():
    columns = convolutions(30)
    costs = 1e-6 + 1e-10 * macs(columns) * (1 + columns["out_channels"] / 64)
    process, left_out = fit_layer_process("conv", columns, costs)
    kernel, shapes, targets = process.kernel, process.shapes_KF, (np.log(costs) - process.log_mean) / process.log_scale
    for place in (0, 17):
        rest = np.arange(30) != place
        covariance = kernel.between(shapes[rest], shapes[rest]) + kernel.noise * np.eye(29)
        expected = kernel.between(shapes[[place]], shapes[rest]) @ np.linalg.solve(covariance, targets[rest])
        assert np.log(left_out[place]) == pytest.approx(expected[0] * process.log_scale + process.log_mean, abs=1e-6)


def test_a_process_of_many_layers_learns_from_some_of_them():
    columns = convolutions(700)
    process, left_out = fit_layer_process("conv", columns, 1e-6 + 1e-10 * macs(columns))
    assert len(process.solved_K) == 500
    assert left_out.shape == (700,)


def test_shapes_hold_what_the_matrix_product_wastes():
    # 2 images of 8x8 are 128 rows: two tiles of 64. 32 columns fill a quarter of 128.
    sizes, layouts = layer_shapes("conv", {name: values[:1] for name, values in convolutions(1).items()} | {"batch": np.array([2.0])})
    assert layouts.shape == (1, 0)
    assert sizes.min() >= 1
    one = {
        "batch": np.array([65.0]),
        "in_channels": np.array([16.0]),
        "out_channels": np.array([32.0]),
        "transposed_input": np.array([1.0]),
    }
    sizes, layouts = layer_shapes("linear", one)
    assert sizes[0].tolist() == [65, 16, 32, 65, 16, 65 * 16 * 32, 128 / 65, 4]
    assert layouts.tolist() == [[1, 0]]


@pytest.mark.parametrize("joined", [False, True])
def test_written_models_come_back(tmp_path, joined):
    columns = convolutions(40)
    process = fit_layer_process("conv", columns, 1e-6 + 1e-10 * macs(columns))[0] if joined else None
    model = LayerModel(polynomial=LayerPolynomial(terms={"macs": 1e-12, "1": 2e-6}, floor=2e-6), process=process, rmspe=0.125)
    write_layer_regression(tmp_path / "board.json", LayerRegression(device="board", models={"latency_s": {"conv": model}}))
    found = read_layer_regression(tmp_path / "board.json")
    assert found.device == "board"
    again = found.models["latency_s"]["conv"]
    assert (again.polynomial, again.rmspe) == (model.polynomial, model.rmspe)
    predicted = again.predict("conv", columns, "latency_s")
    assert predicted.tolist() == model.predict("conv", columns, "latency_s").tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"version": 1},
        {"models": {}},
        {"models": {"latency_s": {"conv3": {}}}},
        {"models": {"latency_s": {"conv": {"terms": {}, "floor": 1, "rmspe": 0, "process": {"kernel": [1, 2]}}}}},
        {"device": None, "version": "x"},
    ],
)
def test_files_of_another_format_are_refused(tmp_path, change):
    model = LayerModel(polynomial=LayerPolynomial(terms={}, floor=1.0), rmspe=0.0)
    path = tmp_path / "board.json"
    write_layer_regression(path, LayerRegression(device="", models={"latency_s": {"conv": model}}))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match=r"board\.json"):
        read_layer_regression(path)


def test_arrays_that_do_not_agree_are_refused(tmp_path):
    columns = convolutions(40)
    process = fit_layer_process("conv", columns, 1e-6 + 1e-10 * macs(columns))[0]
    model = LayerModel(polynomial=LayerPolynomial(terms={}, floor=1.0), process=process, rmspe=0.0)
    path = tmp_path / "board.json"
    write_layer_regression(path, LayerRegression(device="", models={"latency_s": {"conv": model}}))
    facts = json.loads(path.read_text())
    facts["models"]["latency_s"]["conv"]["process"]["mean_F"].pop()
    path.write_text(json.dumps(facts))
    with pytest.raises(BadInput, match="do not agree"):
        read_layer_regression(path)


def test_unusable_measurements_are_refused():
    with pytest.raises(BadInput, match="at least 20 measurements"):
        fit_layers("conv", convolutions(19), np.ones(19), "latency_s")
    with pytest.raises(BadInput, match="positive"):
        fit_layers("conv", convolutions(20), np.array([0.0] + [1.0] * 19), "latency_s")
    with pytest.raises(BadInput, match="no features of 'fft' layers"):
        layer_features("fft", convolutions(2), "latency_s")
    with pytest.raises(BadInput, match="kernel_width"):
        layer_features("conv", {k: v for k, v in convolutions(2).items() if k != "kernel_width"}, "latency_s")


def test_fitted_layers_beat_a_roofline_twice_over_on_a_measured_accelerator(data_folder):
    import pyarrow.parquet as parquet

    table = parquet.read_table(data_folder / "deepbench" / "conv.parquet").to_pylist()
    rows = [row for row in table if row["device"] == "NV_TitanXp" and row["mode"] == "train"]
    assert len(rows) == 94
    names = {"batch": "N", "in_channels": "C", "out_channels": "K", "out_height": "P", "out_width": "Q", "in_height": "H", "in_width": "W"}
    names |= {"kernel_height": "R_filter_h", "kernel_width": "S_filter_w", "padding_height": "pad_h", "padding_width": "pad_w"}
    columns = {name: np.array([row[key] for row in rows], dtype=float) for name, key in names.items()}
    latency = np.array([row["fwd_ms"] for row in rows]) * 1e-3
    weights = math.prod([columns[name] for name in ("in_channels", "out_channels", "kernel_height", "kernel_width")])
    positions = columns["batch"] * columns["out_height"] * columns["out_width"]
    moved = (
        weights
        + positions * columns["out_channels"]
        + columns["batch"] * columns["in_channels"] * columns["in_height"] * columns["in_width"]
    )
    inside = np.random.default_rng(0).permutation(94) < 63
    fitted = fit_layers("conv", {name: values[inside] for name, values in columns.items()}, latency[inside], "latency_s")
    predicted = fitted.predict("conv", {name: values[~inside] for name, values in columns.items()}, "latency_s")
    roofline = fit_roofline(2 * (weights * positions)[inside], 4 * moved[inside], latency[inside])
    bound = roofline.predict(2 * (weights * positions)[~inside], 4 * moved[~inside])
    assert rmspe(predicted, latency[~inside]) < 0.5 * rmspe(bound, latency[~inside])
