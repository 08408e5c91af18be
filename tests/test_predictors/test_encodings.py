import numpy as np
import pytest
from predictor_cells import Cells, chains, members

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, Decision
from paretune.predictors.encoding import Encoding, encoding_of, encodings_of
from paretune.testing.problems import TabulatedSpace

MIXED = TabulatedSpace(
    [Decision(name="width", choices=(8, 16, 32), ordinal=True), Decision(name="operation", choices=("conv", "pool", "none"), ordinal=False)]
)


def rows(*genotypes):
    return np.array(genotypes, dtype=GENE)


def test_genes_are_positions_where_ordinal_and_one_hot_elsewhere():
    encoding = Encoding(MIXED, "genes")
    half = np.sqrt(0.5)
    assert encoding(rows((1, 2))) == pytest.approx(np.array([[0.5, 0, 0, half]]))
    assert encoding.groups.tolist() == [0, 1, 1, 1]


def test_two_names_that_differ_are_at_distance_one():
    first, second = Encoding(MIXED, "onehot")(rows((0, 0), (0, 2)))
    assert np.sum((first - second) ** 2) == pytest.approx(1.0)


def test_pairwise_holds_a_column_for_each_pair_of_choices():
    # 3 + 3 one-hot columns and 3 * 3 products; none of them constant.
    assert Encoding(MIXED, "pairwise").num_features == 6 + 9


def test_columns_that_never_differ_are_left_out():
    space = TabulatedSpace([Decision(name="only", choices=("one",), ordinal=False), Decision(name="two", choices=(1, 2), ordinal=True)])
    assert Encoding(space, "onehot").num_features == 2
    assert Encoding(space, "onehot").groups.tolist() == [0, 0]


def test_pruned_graphs_of_cells_that_compute_the_same_are_equal():
    # Edge 0->1 is none, so nothing reaches edge 1->2 whatever it holds.
    dead = rows((0, 2, 1), (0, 2, 3))
    pruned, whole = Encoding(Cells(), "pruned_graph")(dead), Encoding(Cells(), "graph")(dead)
    assert np.array_equal(pruned[0], pruned[1])
    assert not np.array_equal(whole[0], whole[1])


def test_graphs_tell_apart_what_the_pruned_genes_tell_apart():
    space = Cells()
    living = rows(*[(a, b, c) for a in (1, 2, 3) for b in range(4) for c in (1, 2, 3)])
    assert len(np.unique(Encoding(space, "pruned_graph")(living), axis=0)) == len(living)


def test_features_of_a_read_only_pool_are_worked_out_once():
    encoding, pool = Encoding(chains(), "genes"), members(chains(), 20)
    assert encoding(pool) is not encoding(pool)
    pool.flags.writeable = False
    assert encoding(pool) is encoding(pool)


def test_predictors_of_a_space_share_an_encoding():
    space = chains()
    assert encoding_of(space, "genes") is encoding_of(space, "genes")
    assert encoding_of(chains(), "genes") is not encoding_of(space, "genes")


def test_a_space_without_graphs_refuses_their_encoding():
    assert "graph" not in encodings_of(MIXED)
    with pytest.raises(BadInput, match=r"'graph' needs a space with graphs\(\)"):
        Encoding(MIXED, "graph")
    with pytest.raises(BadInput, match="must be one of"):
        Encoding(MIXED, "hot")
