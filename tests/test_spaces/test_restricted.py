"""Spaces cut down to listed architectures: exact size, validity, and nearest members where few are listed."""

import numpy as np
import pytest

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE
from paretune.core.protocols import GraphSpace, SearchSpace
from paretune.spaces.mnasnet import MnasNet
from paretune.spaces.nasbench201 import NasBench201
from paretune.spaces.restricted import RestrictedSpace, restricted
from paretune.testing.space import check_space, random_genotypes

SMALL = (3, 8, 8)


def cells() -> NasBench201:
    return NasBench201(input_shape=SMALL, num_classes=5, channels=4, cells=1)


def some_cells() -> SearchSpace:
    return restricted(cells(), cells().from_index(np.arange(6_000)))


def few_networks() -> SearchSpace:
    whole = MnasNet(input_shape=(3, 16, 16), num_classes=5)
    return restricted(whole, random_genotypes(whole, count=500, seed=9))


def test_space_of_many_listed_architectures_keeps_the_contract() -> None:
    check_space(some_cells, input_shape=SMALL, num_classes=5)


def test_space_of_few_listed_architectures_keeps_the_contract() -> None:
    check_space(few_networks, input_shape=(3, 16, 16), num_classes=5, num_built=3)


def test_only_listed_architectures_are_valid() -> None:
    space = some_cells()
    assert space.size == 6_000
    assert space.valid(cells().from_index(np.arange(15_625))).nonzero()[0].tolist() == list(range(6_000))
    assert isinstance(space, GraphSpace)
    assert not isinstance(few_networks(), GraphSpace)


def test_genotype_stands_for_the_nearest_of_few() -> None:
    space = few_networks()
    assert isinstance(space, RestrictedSpace)
    genotypes = random_genotypes(space, count=50, seed=4)
    for genotype, stand_in in zip(genotypes, space.canonical(genotypes), strict=True):
        differing = (space.members() != genotype).sum(axis=1)
        assert stand_in.tolist() == space.members()[differing.argmin()].tolist()
    assert space.valid(genotypes).all()
    assert np.array_equal(space.canonical(space.members()), space.members())


def test_space_of_everything_is_the_space_itself() -> None:
    space = cells()
    assert restricted(space, space.from_index(np.arange(15_625))) is space


@pytest.mark.parametrize(
    ("rows", "words"),
    [([], "is left"), ([[0, 0, 0, 0, 0, 5]], "only canonical"), ([[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 1]], "twice")],
)
def test_impossible_lists_are_refused(rows: list[list[int]], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        RestrictedSpace(cells(), np.array(rows, dtype=GENE).reshape(-1, 6))
