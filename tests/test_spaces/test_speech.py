"""The speech space: official encoding, isomorphic cells proven by their outputs, two roads, graphs."""

from itertools import permutations

import numpy as np
import pytest
import torch

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Genotypes
from paretune.core.protocols import GraphSpace
from paretune.core.workload import Kind
from paretune.networks.counting import count_macs, count_parameters
from paretune.networks.onnx_conversion import to_onnx
from paretune.spaces.speech import Speech
from paretune.spaces.speech_blocks import SpeechCell
from paretune.spaces.speech_cells import OP_COLUMNS, OPERATIONS, ZERO, from_official, num_functions, representatives, to_official
from paretune.testing.space import all_genotypes, check_space, random_genotypes

WORDS = (13, 40)
LINEAR, CONV5, CONV7D2 = (OPERATIONS.index(name) for name in ("linear", "conv5", "conv7d2"))


def words_space(*, isomorphic: bool = False) -> Speech:
    return Speech(input_shape=WORDS, num_classes=10, isomorphic=isomorphic)


def row_of(*cell: tuple[int, ...]) -> Genotypes:
    return np.array([from_official(cell)], dtype=GENE)


def weights_of(width: int = 4) -> dict[int, dict[str, torch.Tensor]]:
    """For each of three calls of an operation, the weights of each kind of operation."""
    torch.manual_seed(0)
    made = {}
    for call in range(3):
        cells = {
            name: SpeechCell(((number, 0), (ZERO, 0, 0), (ZERO, 0, 0, 0)), width=width, groups=2) for number, name in enumerate(OPERATIONS)
        }
        made[call] = {name: next(cell.operations.parameters()).detach().double() for name, cell in cells.items() if name != "zero"}
    return made


def function_of(genotype: np.ndarray, weights: dict[int, dict[str, torch.Tensor]], inputs: torch.Tensor) -> frozenset[bytes]:
    """What a cell computes before its layer norm, whichever of its operations has which weights: rounded outputs for all orders of them."""
    cell = SpeechCell(to_official(genotype), width=inputs.shape[1], groups=2).double()
    outputs = set()
    for calls in permutations(range(3)):
        for node, operation in cell.operations.items():
            name = OPERATIONS[genotype[OP_COLUMNS[int(node)]]]
            next(operation.parameters()).data.copy_(weights[calls[int(node)]][name])
        with torch.no_grad():
            outputs.add(torch.round(cell.nodes(inputs)[-1] * 1e6).add(0.0).numpy().tobytes())
    return frozenset(outputs)


def test_speech_keeps_the_contract() -> None:
    check_space(words_space, input_shape=WORDS, num_classes=10, num_built=6)


def test_speech_with_isomorphic_cells_merged_keeps_the_contract() -> None:
    check_space(lambda: words_space(isomorphic=True), input_shape=WORDS, num_classes=10, num_built=6)


def test_there_are_as_many_cells_as_in_the_benchmark() -> None:
    space = words_space()
    # 6 operations of 3 nodes, 1 + 2 + 3 skip edges
    assert space.size == len(all_genotypes(space)) == 6**3 * 2**6 == 13_824
    assert words_space(isomorphic=True).size == num_functions() == 8_865


def test_official_encoding_goes_both_ways_for_every_cell() -> None:
    space = words_space()
    everything = all_genotypes(space)
    assert space.to_official(everything[0]) == ((0, 0), (0, 0, 0), (0, 0, 0, 0))
    assert space.to_official((1, 1, 5, 0, 1, 2, 0, 1, 1)) == ((1, 1), (5, 0, 1), (2, 0, 1, 1))
    for row in everything[::7]:
        assert from_official(space.to_official(row)) == tuple(row)


@pytest.mark.parametrize(
    "cell", [((0, 0), (0, 0, 0)), ((6, 0), (0, 0, 0), (0, 0, 0, 0)), ((0, 2), (0, 0, 0), (0, 0, 0, 0)), ((0,), (0, 0), ())]
)
def test_what_is_no_official_encoding_is_refused(cell: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(BadInput, match="is no NAS-Bench-ASR cell"):
        words_space().from_official(cell)


def test_isomorphic_cells_give_equal_outputs_with_equal_weights_and_others_do_not() -> None:
    # Cells of three operations, so that all of them can be run: 2 kinds and zero.
    kinds = {LINEAR, CONV5, ZERO}
    everything = all_genotypes(words_space())
    cells = everything[np.isin(everything[:, OP_COLUMNS], list(kinds)).all(axis=1)][::7]
    weights = weights_of()
    inputs = torch.randn(1, 4, 6, dtype=torch.float64)
    functions = [function_of(row, weights, inputs) for row in cells]
    classes = [row.tobytes() for row in representatives(cells)]
    assert len(set(functions)) == len(set(classes)) == len(set(zip(functions, classes, strict=True)))
    assert len(set(classes)) < len(cells) == 247


def test_a_representative_computes_what_each_of_its_cells_computes() -> None:
    everything = random_genotypes(words_space(), count=200, seed=3)
    found = representatives(everything)
    moved = (found != everything).any(axis=1)
    weights = weights_of()
    inputs = torch.randn(1, 4, 6, dtype=torch.float64)
    for row, representative in zip(everything[moved], found[moved], strict=True):
        assert function_of(row, weights, inputs) == function_of(representative, weights, inputs), row
    assert moved.sum() > 30


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        # node 1 is the input: skip edges from x0 and x1 are alike
        (((ZERO, 1), (LINEAR, 0, 1), (ZERO, 0, 0, 1)), ((ZERO, 1), (LINEAR, 1, 0), (ZERO, 0, 0, 1))),
        # nothing reads node 1 and 2
        (((CONV5, 1), (ZERO, 0, 0), (LINEAR, 1, 0, 1)), ((ZERO, 0), (ZERO, 0, 0), (ZERO, 1, 0, 0))),
    ],
)
def test_what_adds_nothing_collapses(cell: tuple[tuple[int, ...], ...], expected: tuple[tuple[int, ...], ...]) -> None:
    space = words_space(isomorphic=True)
    found, wanted = space.canonical(row_of(*cell)), space.canonical(row_of(*expected))
    assert np.array_equal(found, wanted)
    assert found[:, OP_COLUMNS].tolist() == wanted[:, OP_COLUMNS].tolist()


def test_two_calls_of_one_kind_are_not_one_call_used_twice() -> None:
    # conv5(x) + conv5(x) with one set of weights (a skip edge twice), and with two sets.
    once = row_of((CONV5, 0), (ZERO, 0, 1), (ZERO, 0, 1, 1))
    twice = row_of((CONV5, 0), (ZERO, 1, 0), (CONV5, 0, 1, 0))
    assert not np.array_equal(representatives(once), representatives(twice))


def test_representatives_hold_nothing_that_could_be_left_out() -> None:
    everything = all_genotypes(words_space())
    cells = np.unique(representatives(everything), axis=0)
    assert np.array_equal(representatives(cells), cells)
    for column in range(9):
        leaner = cells.copy()
        leaner[:, column] = ZERO if column in OP_COLUMNS else 0
        changed = (leaner != cells).any(axis=1)
        assert np.all((representatives(leaner[changed]) != cells[changed]).any(axis=1))


@pytest.mark.parametrize("isomorphic", [False, True])
def test_macs_and_parameters_equal_those_counted_on_the_built_networks(isomorphic: bool) -> None:
    space = words_space(isomorphic=isomorphic)
    genotypes = random_genotypes(space, count=40, seed=5)
    batch = space.workloads(genotypes)
    macs, parameters = batch.per_network_sum(batch.macs_L), batch.per_network_sum(batch.parameters_L)
    for index, row in enumerate(genotypes):
        network = space.build(tuple(row))
        assert (count_macs(network, (1, *WORDS)), count_parameters(network)) == (macs[index], parameters[index]), row


def test_a_cell_has_the_layers_worked_by_hand() -> None:
    space = Speech(input_shape=WORDS, num_classes=10, widths=(8,), strides=(2,), groups=2)
    batch = space.workloads(row_of((CONV7D2, 1), (ZERO, 1, 0), (LINEAR, 1, 1, 0)))
    layers = {layer.name: layer for layer in batch.layers(0)}
    macs = dict(zip(batch.names, batch.macs_L.tolist(), strict=True))
    live = dict(zip(batch.names, (batch.live_bytes_L // 4).tolist(), strict=True))
    assert macs == {
        "block1.reduce": 20 * 7 * 13 * 8,
        "block1.cell1.node1.convolution": 20 * 7 * 4 * 8,
        "block1.cell1.node1.add0": 0,
        "block1.cell1.node3.linear": 20 * 8 * 8,
        "block1.cell1.node3.add0": 0,
        "block1.cell1.node3.add1": 0,
        "block1.cell1.norm": 0,
        "pool": 0,
        "classifier": 80,
    }
    assert (layers["block1.reduce"].out_height, layers["block1.reduce"].out_width) == (1, 20)
    assert layers["block1.cell1.node1.convolution"].padding == 6
    assert layers["block1.cell1.node1.convolution"].kind is Kind.CONV
    value = 8 * 20
    # The convolution reads x0, which is its input already; adding x0 to it holds the sum.
    assert live["block1.cell1.node1.convolution"] == 2 * value
    assert live["block1.cell1.node1.add0"] == 3 * value
    # Node 2 is x0 again; while node 3's operation reads it, x0 and x1 wait for their skip edges.
    assert live["block1.cell1.node3.linear"] == 2 * value + 2 * value
    assert live["block1.cell1.node3.add0"] == 2 * value + value + value
    assert live["block1.cell1.node3.add1"] == 3 * value


def test_graphs_hold_operations_and_sums() -> None:
    space = words_space()
    assert isinstance(space, GraphSpace)
    rows = np.concatenate([row_of((CONV5, 0), (ZERO, 1, 0), (LINEAR, 0, 1, 0)), row_of((LINEAR, 0), (ZERO, 0, 0), (LINEAR, 0, 0, 0))])
    graphs = space.graphs(rows, pruned=False)
    conv5, linear = 3 + CONV5, 3 + LINEAR
    # input, op1, sum1, op2, sum2, op3, output
    assert graphs.operations[0].tolist() == [1, conv5, 8, 0, 8, linear, 2]
    assert {(int(a), int(b)) for a, b in np.argwhere(graphs.adjacency[0])} == {(0, 1), (1, 2), (0, 4), (2, 6), (4, 5), (5, 6)}
    assert not np.any(np.tril(graphs.adjacency))
    pruned = space.graphs(rows, pruned=True)
    assert np.array_equal(pruned.adjacency[0], graphs.adjacency[0])
    # Nothing leads from the input to the output of the second cell.
    assert not pruned.adjacency[1].any()
    assert pruned.operations[1].tolist() == [1, 0, 0, 0, 0, 0, 2]


def test_different_cells_have_different_graphs() -> None:
    space = words_space()
    graphs = space.graphs(all_genotypes(space), pruned=False)
    flat = np.concatenate([graphs.adjacency.reshape(-1, 49).astype(np.int8), graphs.operations], axis=1)
    assert len(np.unique(flat, axis=0)) == space.size


def test_networks_convert_to_onnx_and_take_odd_lengths() -> None:
    space = Speech(input_shape=(5, 17), num_classes=3, cells=2)
    row = from_official(((CONV7D2, 1), (LINEAR, 1, 0), (CONV5, 0, 1, 1)))
    network = space.build(row)
    assert to_onnx(network, (1, 5, 17))
    batch = space.workloads(np.array([row], dtype=GENE))
    assert count_macs(network, (1, 5, 17)) == batch.macs_L.sum()
    # 17 -> 17 -> 9 -> 5
    assert [layer.out_width for layer in batch.layers(0) if layer.name.endswith("reduce")] == [17, 9, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (1, 8, 8)}, "input_shape: must be \\(features, time steps\\)"),
        ({"widths": (10,), "strides": (1,)}, "widths: 10 cannot be divided into 4 groups"),
        ({"widths": (8, 16)}, "strides: must be as many as widths"),
        ({"strides": (1, 0, 1)}, "strides: must be a whole number of at least 1; got 0"),
        ({"kernel": 8}, "kernel: 8 is even"),
        ({"num_classes": 1}, "num_classes: must be a whole number of at least 2"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Speech(**{"input_shape": WORDS, "num_classes": 10, **options})  # type: ignore[arg-type]
