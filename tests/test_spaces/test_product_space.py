"""Networks x hardware designs: the contract of a search space, and what belongs to the network alone."""

import pickle
from typing import Any

import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision, num_choices, row_keys
from paretune.core.protocols import GraphSpace, MutatingSpace, SearchSpace
from paretune.core.rng import stream
from paretune.searchers.operators import mutated_by
from paretune.spaces.digits_conv import DigitsConv
from paretune.spaces.fbnet import FBNet
from paretune.spaces.nasbench201 import NasBench201
from paretune.spaces.product import ProductSpace, product
from paretune.spaces.resnet_analog import ResnetAnalog
from paretune.testing.space import check_space, random_genotypes

HARDWARE = (
    Decision(name="fpga.tile", choices=(4, 8, 16), ordinal=True),
    Decision(name="fpga.dataflow", choices=("weight", "output", "row"), ordinal=False),
    Decision(name="asic.lanes", choices=(1, 2), ordinal=True),
)


def small() -> SearchSpace:
    return product(DigitsConv(input_shape=(1, 8, 8), num_classes=10, stages=1), HARDWARE)


def rows(space: SearchSpace, count: int = 40) -> Any:
    found = random_genotypes(space, count=count, seed=3)
    return space.canonical(found[space.valid(found)])


def test_product_keeps_the_contract_of_a_space() -> None:
    check_space(small, input_shape=(1, 8, 8), num_classes=10, num_samples=100, num_built=3)


@pytest.mark.parametrize("hardware", [HARDWARE[:1], HARDWARE[1:2], HARDWARE], ids=["one ordinal decision", "one unordered decision", "all"])
def test_encoding_tells_designs_apart_and_keeps_the_network_features(hardware: tuple[Decision, ...]) -> None:
    network = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    space = product(network, hardware)
    assert isinstance(space, ProductSpace)
    genotypes_ND = rows(space, 200)
    network_NW, _ = space.split(genotypes_ND)
    features_NF = space.encode(genotypes_ND)
    assert np.array_equal(features_NF[:, : network.encode(network_NW).shape[1]], network.encode(network_NW))
    assert len(np.unique(features_NF, axis=0)) == len(set(row_keys(genotypes_ND)))


def test_nothing_to_choose_leaves_the_network_space() -> None:
    network = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    assert product(network, ()) is network


def test_shared_name_is_refused() -> None:
    network = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    with pytest.raises(BadInput, match=f"share a name: {network.decisions[0].name}"):
        product(network, (network.decisions[0],))


def test_size_is_networks_times_designs() -> None:
    network = DigitsConv(input_shape=(1, 8, 8), num_classes=10)
    assert product(network, HARDWARE).size == network.size * 3 * 3 * 2


def test_graphs_differ_where_networks_or_designs_differ() -> None:
    space = product(NasBench201(input_shape=(3, 32, 32), num_classes=10), HARDWARE)
    assert isinstance(space, GraphSpace)
    genotypes_ND = rows(space, 300)
    graphs = space.graphs(genotypes_ND, pruned=False)
    plain = NasBench201(input_shape=(3, 32, 32), num_classes=10).graphs(genotypes_ND[:, :-3], pruned=False)
    num_nodes = plain.operations.shape[1]
    assert graphs.operations.shape == (len(genotypes_ND), num_nodes + 3)
    assert not np.tril(graphs.adjacency).any(), "edges run from lower to higher nodes"
    assert (graphs.operations[:, 0] == 1).all()
    assert (graphs.operations[:, -1] == 2).all()
    assert graphs.operations.max() < graphs.num_operations == plain.num_operations + 8
    own = np.r_[0 : num_nodes - 1, num_nodes + 2]
    assert np.array_equal(graphs.adjacency[:, own[:, np.newaxis], own], plain.adjacency)
    assert np.array_equal(graphs.operations[:, own], plain.operations)
    codes = {(graphs.operations[index].tobytes(), graphs.adjacency[index].tobytes()) for index in range(len(genotypes_ND))}
    plain_codes = {(plain.operations[index].tobytes(), plain.adjacency[index].tobytes()) for index in range(len(genotypes_ND))}
    assert len(codes) > len(plain_codes)


def test_mutations_of_the_network_keep_the_design_and_the_other_way_round() -> None:
    network = ResnetAnalog(input_shape=(3, 32, 32), num_classes=10)
    assert isinstance(network, MutatingSpace)
    space = product(network, HARDWARE)
    assert isinstance(space, MutatingSpace)
    genotypes_ND = rows(space)
    operators = space.mutation_operators()
    assert list(operators) == [*network.mutation_operators(), "hardware"]
    for name, mutate in operators.items():
        mutants_ND = mutate(genotypes_ND, stream(1, index=0, purpose="test"))
        assert space.valid(mutants_ND).all()
        assert np.array_equal(space.canonical(mutants_ND), mutants_ND)
        kept, changed = (slice(None, -3), slice(-3, None)) if name == "hardware" else (slice(-3, None), slice(None, -3))
        assert np.array_equal(mutants_ND[:, kept], genotypes_ND[:, kept])
        assert (mutants_ND[:, changed] != genotypes_ND[:, changed]).any()
    designs = mutated_by({"hardware": operators["hardware"]}, genotypes_ND, stream(2, index=0, purpose="test"))[:, -3:]
    assert ((designs != genotypes_ND[:, -3:]).sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    "network",
    [
        DigitsConv(input_shape=(1, 8, 8), num_classes=10),
        NasBench201(input_shape=(3, 32, 32), num_classes=10),
        ResnetAnalog(input_shape=(3, 32, 32), num_classes=10),
        FBNet(input_shape=(3, 224, 224), num_classes=10),
    ],
    ids=lambda space: space.name,
)
def test_product_offers_what_the_network_space_offers_and_travels(network: SearchSpace) -> None:
    space = pickle.loads(pickle.dumps(product(network, HARDWARE)))
    assert isinstance(space, SearchSpace)
    assert isinstance(space, GraphSpace) == isinstance(network, GraphSpace)
    assert isinstance(space, MutatingSpace) == isinstance(network, MutatingSpace)
    assert space.valid(np.zeros((1, len(space.decisions)), dtype=GENE)).shape == (1,)
    outside = (num_choices(space.decisions))[np.newaxis].astype(GENE)
    assert not space.valid(outside)[0]
