"""The contract of `core.protocols.SearchSpace`, sentence by sentence, as a check that takes a factory.

Use it for a space of your own::

    def test_my_space_keeps_the_contract():
        check_space(lambda: MySpace(input_shape=(1, 8, 8), num_classes=10), input_shape=(1, 8, 8), num_classes=10)
"""

from collections.abc import Callable

import numpy as np

from paretune.core.genotype import GENE, Genotypes, from_named, named, num_choices, row_keys
from paretune.core.protocols import ListedSpace, SearchSpace
from paretune.core.rng import stream

Factory = Callable[[], SearchSpace]
MAX_ENUMERATED = 200_000
"""Spaces with at most so many genotypes are counted through."""


def check_space(
    factory: Factory, *, input_shape: tuple[int, ...], num_classes: int, num_samples: int = 200, num_built: int = 10, seed: int = 0
) -> None:
    """Check every sentence of the search space protocol on random genotypes.

    Args:
        factory: makes the space; called twice.
        input_shape: shape of one input, without the batch.
        num_classes: number of outputs.
        num_samples: genotypes to check on arrays.
        num_built: genotypes to build with torch.
        seed: of the genotypes.

    Raises:
        AssertionError: saying which sentence is broken, with the genotype.
    """
    space, twin = factory(), factory()
    assert isinstance(space, SearchSpace), f"{type(space).__name__} lacks a member of the SearchSpace protocol"
    names = [decision.name for decision in space.decisions]
    assert len(set(names)) == len(names), f"decisions share a name: {sorted(name for name in names if names.count(name) > 1)}"
    assert space.decisions == twin.decisions, "two spaces with the same options have different decisions"
    genotypes_ND = random_genotypes(space, count=num_samples, seed=seed)
    _check_canonical(space, genotypes_ND)
    _check_size(space)
    _check_members(space, genotypes_ND)
    _check_encoding(space, genotypes_ND)
    _check_workloads(space, genotypes_ND)
    _check_networks(space, genotypes_ND[:num_built], input_shape=input_shape, num_classes=num_classes)


def random_genotypes(space: SearchSpace, *, count: int, seed: int) -> Genotypes:
    """`(count, D)` rows whose every index names a choice, canonical or not, valid or not."""
    rng = stream(seed, index=0, purpose="testing.space")
    return rng.integers(0, num_choices(space.decisions), size=(count, len(space.decisions))).astype(GENE)


def all_genotypes(space: SearchSpace) -> Genotypes:
    """Every row whose every index names a choice, for small spaces."""
    grids = np.meshgrid(*(np.arange(count) for count in num_choices(space.decisions)), indexing="ij")
    return np.stack([grid.ravel() for grid in grids], axis=1).astype(GENE)


def _check_canonical(space: SearchSpace, genotypes_ND: Genotypes) -> None:
    before = genotypes_ND.copy()
    canonical_ND = space.canonical(genotypes_ND)
    assert np.array_equal(genotypes_ND, before), "canonical changes its argument"
    assert canonical_ND.dtype == GENE, f"canonical gives {canonical_ND.dtype}; expected {np.dtype(GENE)}"
    assert canonical_ND.shape == genotypes_ND.shape, f"canonical gives {canonical_ND.shape} for {genotypes_ND.shape}"
    assert np.array_equal(space.canonical(canonical_ND), canonical_ND), "canonical is not idempotent"
    assert np.array_equal(space.valid(genotypes_ND), space.valid(canonical_ND)), "a genotype and its canonical form differ in validity"
    assert len(space.canonical(genotypes_ND[:0])) == 0, "canonical of no genotypes is not empty"
    alone = space.canonical(genotypes_ND[:1])
    assert np.array_equal(alone, canonical_ND[:1]), "the canonical form of a row depends on the other rows"
    outside = genotypes_ND[:1].copy()
    outside[0, 0] = len(space.decisions[0].choices)
    assert not space.valid(outside)[0], f"valid accepts index {outside[0, 0]} for '{space.decisions[0].name}', which has as many choices"
    for row in canonical_ND[:10]:
        again = from_named(space.decisions, named(space.decisions, row))
        assert again == tuple(int(gene) for gene in row), f"{row.tolist()} does not survive being named"


def _check_size(space: SearchSpace) -> None:
    assert isinstance(space.size, int), f"size is {type(space.size).__name__}; expected a plain int, exact at any size"
    assert space.size >= 1, f"size is {space.size}"
    if int(np.prod(num_choices(space.decisions).astype(float))) <= MAX_ENUMERATED:
        everything = all_genotypes(space)
        found = len(set(row_keys(space.canonical(everything[space.valid(everything)]))))
        assert found == space.size, f"size is {space.size}, but there are {found} canonical genotypes"


def _check_members(space: SearchSpace, genotypes_ND: Genotypes) -> None:
    """Where a space says which architectures it has, those are all of them."""
    if not isinstance(space, ListedSpace):
        return
    members_ND = space.members()
    assert np.array_equal(space.canonical(members_ND), members_ND), "members() has genotypes that are not canonical"
    assert space.valid(members_ND).all(), "members() has invalid genotypes"
    keys = set(row_keys(members_ND))
    assert len(keys) == len(members_ND) == space.size, f"members() has {len(keys):,} architectures, size is {space.size:,}"
    drawn_ND = space.canonical(genotypes_ND[space.valid(genotypes_ND)])
    assert keys.issuperset(row_keys(drawn_ND)), "a valid genotype is none of members()"


def _check_encoding(space: SearchSpace, genotypes_ND: Genotypes) -> None:
    genotypes_ND = genotypes_ND[space.valid(genotypes_ND)]
    canonical_ND = space.canonical(genotypes_ND)
    features_NF = space.encode(genotypes_ND)
    assert features_NF.dtype == np.float64, f"encode gives {features_NF.dtype}"
    assert len(features_NF) == len(genotypes_ND), "encode gives another number of rows"
    assert np.all((features_NF >= 0) & (features_NF <= 1)), "encode leaves [0, 1]"
    assert np.array_equal(features_NF, space.encode(canonical_ND)), "equal networks have different features"
    num_networks, num_codes = len(set(row_keys(canonical_ND))), len(np.unique(features_NF, axis=0))
    assert num_networks == num_codes, f"{num_networks} different networks have {num_codes} different encodings"


def _check_workloads(space: SearchSpace, genotypes_ND: Genotypes) -> None:
    genotypes_ND = genotypes_ND[space.valid(genotypes_ND)]
    batch, canonical_batch = space.workloads(genotypes_ND), space.workloads(space.canonical(genotypes_ND))
    assert len(batch) == len(genotypes_ND), f"workloads gives {len(batch)} networks for {len(genotypes_ND)} genotypes"
    for index in range(min(len(batch), 20)):
        layers = batch.layers(index)
        assert layers == canonical_batch.layers(index), f"{genotypes_ND[index].tolist()} and its canonical form have different layers"
        alone = space.workloads(genotypes_ND[index : index + 1]).layers(0)
        assert layers == alone, f"the layers of {genotypes_ND[index].tolist()} depend on the other rows"


def _check_networks(space: SearchSpace, genotypes_ND: Genotypes, *, input_shape: tuple[int, ...], num_classes: int) -> None:
    import torch

    from paretune.networks.counting import count_macs, count_parameters
    from paretune.networks.evaluation import evaluating

    genotypes_ND = genotypes_ND[space.valid(genotypes_ND)]
    batch = space.workloads(genotypes_ND)
    macs_N, parameters_N = batch.per_network_sum(batch.macs_L), batch.per_network_sum(batch.parameters_L)
    for index, row in enumerate(genotypes_ND):
        genotype = tuple(int(gene) for gene in row)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(index)
            network = space.build(genotype)
            torch.manual_seed(index)
            again = space.build(genotype)
        same = all(torch.equal(first, second) for first, second in zip(network.parameters(), again.parameters(), strict=True))
        assert same, f"{genotype}: the initial weights do not come from torch's global generator alone"
        counted = count_macs(network, (1, *input_shape)), count_parameters(network)
        described = int(macs_N[index]), int(parameters_N[index])
        assert counted == described, f"{genotype}: the network has (MACs, parameters) {counted}, its workload says {described}"
        with evaluating(network):
            shape = tuple(network(torch.zeros((2, *input_shape))).shape)
        assert shape == (2, num_classes), f"{genotype}: two inputs give outputs of shape {shape}; expected {(2, num_classes)}"
