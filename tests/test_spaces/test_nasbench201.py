"""NAS-Bench-201: official strings and numbers, isomorphic cells, costs by three roads, graphs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow.parquet import read_table

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes
from paretune.core.protocols import GraphSpace, NumberedSpace
from paretune.core.workload import Kind
from paretune.spaces.nasbench201 import NasBench201
from paretune.spaces.nasbench201_blocks import Cell
from paretune.spaces.nasbench201_cells import AVERAGE, CONV_3X3, NONE, SKIP, every_cell, function_of
from paretune.testing.space import check_space, random_genotypes

SMALL = (3, 8, 8)
PUBLISHED = {
    0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    9: "|avg_pool_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|",
    123: "|avg_pool_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|",
}
"""The benchmark's generator asserts these three."""


def benchmark(*, isomorphic: bool = False, num_classes: int = 10, size: int = 32) -> NasBench201:
    return NasBench201(input_shape=(3, size, size), num_classes=num_classes, isomorphic=isomorphic)


def small(*, isomorphic: bool = False) -> NasBench201:
    return NasBench201(input_shape=SMALL, num_classes=5, isomorphic=isomorphic, channels=4, cells=1)


@pytest.fixture(scope="module")
def columns(data_folder: Path) -> dict[str, np.ndarray]:
    table = read_table(data_folder / "nb201" / "nb201.parquet")
    return {name: table.column(name).to_numpy() for name in table.column_names}


@pytest.mark.parametrize("isomorphic", [False, True])
def test_nasbench201_keeps_the_contract(isomorphic: bool) -> None:
    check_space(lambda: small(isomorphic=isomorphic), input_shape=SMALL, num_classes=5)
    assert isinstance(small(), GraphSpace)
    assert isinstance(small(), NumberedSpace)


def test_published_numbers_and_strings_belong_together() -> None:
    space = benchmark()
    genotypes = space.from_string(list(PUBLISHED.values()))
    assert space.index_of(genotypes).tolist() == list(PUBLISHED)
    assert space.string_of(space.from_index(np.array(list(PUBLISHED)))) == list(PUBLISHED.values())


def test_every_number_leads_to_its_own_cell_and_back() -> None:
    space = benchmark()
    everything = space.from_index(np.arange(15_625))
    assert len(np.unique(everything, axis=0)) == space.size == 15_625
    assert np.array_equal(space.index_of(everything), np.arange(15_625))
    assert np.array_equal(space.from_string(space.string_of(everything)), everything)


def test_strings_and_numbers_are_those_of_the_table(columns: dict[str, np.ndarray]) -> None:
    assert benchmark().string_of(benchmark().from_index(columns["arch_idx"])) == columns["arch_str"].tolist()


@pytest.mark.parametrize(("data", "num_classes", "size"), [("cifar10", 10, 32), ("cifar100", 100, 32), ("imagenet16_120", 120, 16)])
def test_macs_and_parameters_are_those_of_the_table(columns: dict[str, np.ndarray], data: str, num_classes: int, size: int) -> None:
    space = benchmark(num_classes=num_classes, size=size)
    batch = space.workloads(space.from_index(columns["arch_idx"]))
    # The table's counter also counts one addition for each bias of the classifier.
    macs = batch.per_network_sum(batch.macs_L) + num_classes
    assert np.array_equal(macs, columns[f"macs_{data}"])
    assert np.array_equal(batch.per_network_sum(batch.parameters_L), columns[f"params_{data}"])


def test_first_architecture_has_the_published_cost() -> None:
    batch = benchmark().workloads(benchmark().from_index(np.array([0])))
    assert int(batch.macs_L.sum()) + 10 == 15_647_370  # published: 15.64737 M
    assert int(batch.parameters_L.sum()) == 129_306  # published: 0.129306 M


def test_isomorphic_cells_share_the_architecture_that_the_table_names(columns: dict[str, np.ndarray]) -> None:
    space = benchmark(isomorphic=True)
    canonical = space.canonical(space.from_index(columns["arch_idx"]))
    assert np.array_equal(space.index_of(canonical), columns["iso_rep_idx"])


def test_as_many_functions_as_published() -> None:
    assert benchmark(isomorphic=True).size == 6_466
    assert len({function_of(cell) for cell in every_cell().tolist()}) == 6_466


def test_cells_without_weights_compute_what_their_representative_does() -> None:
    cells = every_cell()
    cells = cells[np.isin(cells, (NONE, SKIP, AVERAGE)).all(axis=1)]  # 3 ** 6 = 729
    representatives = benchmark(isomorphic=True).canonical(cells)
    inputs = torch.rand((1, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    changed = 0
    for cell, representative in zip(cells.tolist(), representatives.tolist(), strict=True):
        torch.testing.assert_close(Cell(cell, 1)(inputs), Cell(representative, 1)(inputs))
        changed += cell != representative
    assert changed > 300


def test_sums_of_the_same_terms_are_one_function() -> None:
    # 0 -> 1 -> 3: the convolution is on the first edge or on the second, the other one is a skip.
    first = [CONV_3X3, NONE, NONE, NONE, SKIP, NONE]
    second = [SKIP, NONE, NONE, NONE, CONV_3X3, NONE]
    assert function_of(first) == function_of(second)
    # A convolution that reads a node of zeros is zero too.
    assert function_of([NONE, NONE, NONE, SKIP, CONV_3X3, NONE]) == function_of([NONE, NONE, NONE, SKIP, NONE, NONE])
    assert function_of(first) != function_of([CONV_3X3, NONE, NONE, NONE, AVERAGE, NONE])


def as_cell(text: str) -> Genotypes:
    return np.array([[int(digit) for digit in text]], dtype=GENE)


def test_graph_has_the_operations_on_its_nodes() -> None:
    graphs = small().graphs(as_cell("432110"), pruned=False)
    assert graphs.num_operations == 8
    # input, the operations + 3, output
    assert graphs.operations.tolist() == [[1, 7, 6, 5, 4, 4, 3, 2]]
    edges = {(int(source), int(target)) for source, target in zip(*np.nonzero(graphs.adjacency[0]), strict=True)}
    # Edges 0-1, 0-2, 0-3 (nodes 1, 2, 4) read the input; 1-2 and 1-3 (3, 5) read 0-1; 2-3 (6) reads 0-2 and 1-2; 4, 5, 6 are the output.
    assert edges == {(0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7)}


def test_pruned_graph_keeps_only_what_reaches_the_output() -> None:
    # 0-1 conv, 0-2 none, 1-2 average, 0-3 skip, 1-3 none, 2-3 none: nothing leaves nodes 1 and 2, so the skip is all.
    graphs = small().graphs(as_cell("304100"), pruned=True)
    assert graphs.operations.tolist() == [[1, 0, 0, 0, 4, 0, 0, 2]]
    assert np.argwhere(graphs.adjacency[0]).tolist() == [[0, 4], [4, 7]]


def test_graph_without_a_way_through_is_empty_when_pruned() -> None:
    graphs = small().graphs(as_cell("333000"), pruned=True)
    assert not graphs.adjacency.any()
    assert graphs.operations.tolist() == [[1, 0, 0, 0, 0, 0, 0, 2]]


def test_pruning_takes_away_and_never_adds() -> None:
    genotypes = random_genotypes(small(), count=300, seed=2)
    raw, pruned = small().graphs(genotypes, pruned=False), small().graphs(genotypes, pruned=True)
    assert not (pruned.adjacency & ~raw.adjacency).any()
    assert np.all((pruned.operations == raw.operations) | (pruned.operations == 0))
    touched = pruned.adjacency.any(axis=1) | pruned.adjacency.any(axis=2)
    assert np.array_equal(touched[:, 1:-1], pruned.operations[:, 1:-1] > 0)
    assert np.all(np.triu(np.ones((8, 8), dtype=bool), k=1) | ~raw.adjacency)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("|nor_conv_3x4~0|+|none~0|none~1|+|none~0|none~1|none~2|", "Did you mean 'nor_conv_3x3'"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "expected |OP~0|+"),
        ("|none~1|+|none~0|none~1|+|none~0|none~1|none~2|", "expected |OP~0|+"),
        ("", "is no NAS-Bench-201 architecture"),
    ],
)
def test_wrong_strings_are_refused(text: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        benchmark().from_string([text])
    assert words in str(caught.value)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(BadInput, match=r"15625 is no number .* 0 to 15,624"):
        benchmark().from_index(np.array([3, 15_625]))
    with pytest.raises(BadInput, match="has 6 indices; got 5"):
        benchmark().build((0, 0, 0, 0, 0))


def test_layers_read_the_layers_before_them_in_the_cell() -> None:
    space = NasBench201(input_shape=(3, 8, 8), num_classes=2, cells=1)
    # Node 1: 3x3 of the input. Node 2: mean of the input + node 1 itself. Node 3: 1x1 of the input + 3x3 of node 2; 1-3 carries nothing.
    cell = "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"
    batch = space.workloads(np.concatenate([space.from_string([cell]), space.from_index(np.array([0]))]))
    names = batch.names[: batch.offsets[1]]
    read = {
        name: {names[place] for place in row if place >= 0}
        for name, row in zip(names, batch.predecessors[: len(names)].tolist(), strict=True)
    }
    assert read["stage1.cell1.0-1.conv"] == read["stage1.cell1.0-2.mean"] == read["stage1.cell1.0-3.conv"] == {"stem"}
    assert read["stage1.cell1.1-2.add"] == {"stage1.cell1.0-2.mean", "stage1.cell1.0-1.conv"}
    assert read["stage1.cell1.2-3.conv"] == {"stage1.cell1.1-2.add"}
    assert read["stage1.cell1.2-3.add"] == {"stage1.cell1.0-3.conv", "stage1.cell1.2-3.conv"}
    assert read["reduction1.first"] == read["reduction1.mean"] == {"stage1.cell1.2-3.add"}
    assert read["reduction1.add"] == {"reduction1.second", "reduction1.shortcut"}
    assert read["stage2.cell1.0-1.conv"] == {"reduction1.add"}
    assert read["norm"] == {"stage3.cell1.2-3.add"}
    assert read["classifier"] == {"pool"}
    assert read["stem"] == set()


def test_every_layer_of_any_cell_reads_earlier_layers() -> None:
    space = NasBench201(input_shape=(3, 8, 8), num_classes=2, cells=2)
    batch = space.workloads(space.from_index(np.arange(0, 15_625, 101)))
    place_L = np.arange(len(batch.kind)) - np.repeat(batch.offsets[:-1], np.diff(batch.offsets))
    assert np.all(batch.predecessors < place_L[:, None])
    assert np.all(batch.predecessors[place_L > 0].max(axis=1) >= 0)
    assert np.all((batch.predecessors >= 0).sum(axis=1)[batch.kind == Kind.ADD] == 2)
