"""NAS-Bench-Macro, FBNet and MnasNet: contracts, exact sizes, and the published costs and latencies."""

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pyarrow.parquet import read_table

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, row_keys
from paretune.core.workload import WorkloadBatch
from paretune.spaces.fbnet import BLOCKS, SKIP, FBNet
from paretune.spaces.layer_runs import identities_last, num_networks
from paretune.spaces.mnasnet import MnasNet
from paretune.spaces.nasbench_macro import NasBenchMacro
from paretune.testing.space import check_space, random_genotypes

SMALL = (3, 16, 16)


def columns_of(path: Path) -> dict[str, np.ndarray]:
    table = read_table(path)
    return {name: table.column(name).to_numpy() for name in table.column_names}


@pytest.mark.parametrize("isomorphic", [False, True])
def test_nasbench_macro_keeps_the_contract(isomorphic: bool) -> None:
    def make() -> NasBenchMacro:
        return NasBenchMacro(input_shape=SMALL, num_classes=7, isomorphic=isomorphic)

    check_space(make, input_shape=SMALL, num_classes=7, num_built=6)


@pytest.mark.parametrize("isomorphic", [False, True])
def test_fbnet_keeps_the_contract(isomorphic: bool) -> None:
    def make() -> FBNet:
        return FBNet(input_shape=SMALL, num_classes=7, isomorphic=isomorphic)

    check_space(make, input_shape=SMALL, num_classes=7, num_built=4)


def test_mnasnet_keeps_the_contract() -> None:
    check_space(lambda: MnasNet(input_shape=SMALL, num_classes=7), input_shape=SMALL, num_classes=7, num_built=4)


def test_exact_sizes() -> None:
    assert NasBenchMacro(input_shape=SMALL, num_classes=7).size == 3**8
    assert NasBenchMacro(input_shape=SMALL, num_classes=7, isomorphic=True).size == 3_969  # as the benchmark's page says
    assert FBNet(input_shape=SMALL, num_classes=7).size == 9**22
    # Expansion 3, kernel 2, squeeze-and-excite 2; three layers at most in six blocks and four in one.
    assert MnasNet(input_shape=SMALL, num_classes=7).size == 36**6 * 48


def test_runs_are_counted_as_they_can_be_listed() -> None:
    runs = (range(1, 3), range(4, 7))
    rows = np.array(list(itertools.product(range(3), repeat=7)), dtype=GENE)
    canonical = identities_last(rows, runs, identity=2)
    assert len(set(row_keys(canonical))) == num_networks(7, runs, num_choices=3) == 3 * 3 * 7 * 15
    assert identities_last(np.array([[2, 2, 0, 1, 2, 1, 0]], dtype=GENE), runs, identity=2).tolist() == [[2, 0, 2, 1, 1, 0, 2]]


def test_skips_move_only_among_layers_of_equal_shape() -> None:
    # CIFAR strides: layer 0 keeps the stem's shape; then each stage's first layer changes it and its other three keep it.
    space = FBNet(input_shape=(3, 32, 32), num_classes=10, isomorphic=True)
    written = np.zeros((1, 22), dtype=GENE)
    written[0, [1, 2, 5, 21]] = SKIP
    canonical = space.canonical(written)[0]
    assert np.flatnonzero(canonical == SKIP).tolist() == [1, 4, 5, 21]
    # 9 choices of the six layers that change the shape (five stages' first ones and the last), runs of one and of five times three.
    assert space.size == 9**6 * 9 * (1 + 8 + 64 + 512) ** 5


def test_costs_of_every_macro_architecture_are_the_published_ones(data_folder: Path) -> None:
    columns = columns_of(data_folder / "nas_bench_macro" / "nas_bench_macro_cifar10.parquet")
    space = NasBenchMacro(input_shape=(3, 32, 32), num_classes=10)
    genotypes = space.from_string(columns["arch"].tolist())
    batch = space.workloads(genotypes)
    assert np.array_equal(batch.per_network_sum(batch.parameters_L), columns["params"])
    assert np.array_equal(batch.per_network_sum(batch.macs_L), columns["flops"])  # its "flops" are MACs
    assert space.string_of(space.from_index(space.index_of(genotypes))) == columns["arch"].tolist()


def test_isomorphic_macro_architectures_were_trained_once(data_folder: Path) -> None:
    columns = columns_of(data_folder / "nas_bench_macro" / "nas_bench_macro_cifar10.parquet")
    space = NasBenchMacro(input_shape=(3, 32, 32), num_classes=10, isomorphic=True)
    accuracies = defaultdict(set)
    for key, accuracy in zip(row_keys(space.canonical(space.from_string(columns["arch"].tolist()))), columns["mean_acc"], strict=True):
        accuracies[key].add(accuracy)
    assert len(accuracies) == space.size
    assert {len(found) for found in accuracies.values()} == {1}


def test_fbnet_latency_is_linear_in_the_encoding(data_folder: Path) -> None:
    columns = columns_of(data_folder / "help_latency" / "fbnet_latency.parquet")
    space = FBNet(input_shape=(3, 32, 32), num_classes=100)
    genotypes = np.stack([columns[decision.name] for decision in space.decisions], axis=1).astype(GENE)
    assert len(BLOCKS) == genotypes.max() + 1 == 9
    # One latency for each layer and block, fitted on 2,500 networks, predicts the other 2,500 exactly on these two.
    features = space.encode(genotypes)
    for device in ("pixel3", "fpga"):
        parts = np.linalg.lstsq(features[:2500], columns[device][:2500], rcond=None)[0]
        np.testing.assert_allclose(features[2500:] @ parts, columns[device][2500:], atol=1e-9)


def counted_by_thop(batch: WorkloadBatch) -> np.ndarray:
    """MACs as the published counter has them: four operations for each element out of a batch norm, one for each in and out of a pool."""
    suffix = np.array([name.rpartition(".")[2] for name in batch.names])
    normed = np.isin(suffix, ("stem", "expand", "depthwise", "project", "head"))
    pooled = np.isin(suffix, ("squeeze", "pool"))
    extra = 4 * batch.output_elements_L * normed + (batch.input_elements_L + batch.output_elements_L) * pooled
    return batch.per_network_sum(batch.macs_L + extra)


def test_costs_of_mnasnets_are_the_published_ones(data_folder: Path) -> None:
    columns = columns_of(data_folder / "accel_nasbench" / "accel_nasbench.parquet")
    space = MnasNet(input_shape=(3, 224, 224), num_classes=1000)
    genes = [[decision.choices.index(cell) for cell in columns[decision.name][:1500].tolist()] for decision in space.decisions]
    batch = space.workloads(np.array(genes, dtype=GENE).T)
    np.testing.assert_array_equal(batch.per_network_sum(batch.parameters_L), np.round(columns["params_m"][:1500] * 1e6))
    np.testing.assert_array_equal(counted_by_thop(batch), np.round(columns["macs_m"][:1500] * 1e6))


def test_large_images_get_the_strides_of_the_paper() -> None:
    small, large = FBNet(input_shape=(3, 32, 32), num_classes=10), FBNet(input_shape=(3, 224, 224), num_classes=1000)
    row = random_genotypes(small, count=1, seed=3)
    heights = [dict(zip(space.workloads(row).names, space.workloads(row).out_height.tolist(), strict=True)) for space in (small, large)]
    assert (heights[0]["head"], heights[1]["head"]) == (4, 7)


@pytest.mark.parametrize("string", ["2221220", "22212203", "x2212202", ""])
def test_wrong_macro_strings_are_refused(string: str) -> None:
    with pytest.raises(BadInput, match="expected eight digits"):
        NasBenchMacro(input_shape=SMALL, num_classes=7).from_string([string])
    with pytest.raises(BadInput, match="0 to 6,560"):
        NasBenchMacro(input_shape=SMALL, num_classes=7).from_index(np.array([6_561]))
