import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput
from paretune.core.genotype import (
    GENE,
    Decision,
    NamedGenotype,
    as_genotypes,
    canonical_json,
    fingerprint,
    from_named,
    named,
    num_choices,
    row_keys,
)
from paretune.testing.strategies import decisions, genotypes, spaces

MODEST = settings(max_examples=60, deadline=None)
KERNEL = Decision(name="stage1.kernel", choices=(3, 5, 7), ordinal=True)
OPERATION = Decision(name="operation", choices=("conv", "pool"), ordinal=False)


def test_a_genotype_reads_as_named_choices_and_back():
    assert named([KERNEL, OPERATION], (2, 0)) == {"stage1.kernel": 7, "operation": "conv"}
    assert from_named([KERNEL, OPERATION], {"operation": "conv", "stage1.kernel": 7}) == (2, 0)


@MODEST
@given(st.data())
def test_from_named_undoes_named_whatever_the_types_of_the_choices(data):
    # True == 1 == 1.0 in Python: a decision may offer all three, and each must come back as itself.
    space = data.draw(spaces())
    for row in data.draw(genotypes(space)):
        assert from_named(space.decisions, named(space.decisions, row)) == tuple(row.tolist())


@MODEST
@given(st.data())
def test_a_named_genotype_read_lazily_equals_the_dictionary(data):
    space = data.draw(spaces())
    row = tuple(data.draw(genotypes(space, max_size=1))[0].tolist())
    lazy = NamedGenotype(space.decisions, row)
    assert dict(lazy) == named(space.decisions, row)
    assert len(lazy) == len(row)
    with pytest.raises(KeyError):
        lazy["no such decision"]


def test_whole_floats_and_integers_name_the_same_choice():
    # A JSON or YAML round trip may turn 5 into 5.0.
    assert from_named([KERNEL], {"stage1.kernel": 5.0}) == (1,)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"stage1.kernel": 3}, r"decision 'operation' is missing \(one of \['conv', 'pool'\]\)"),
        ({"stage1.kernel": 4, "operation": "conv"}, r"stage1.kernel: 4 is not one of \[3, 5, 7\]"),
        ({"stage1.kernle": 3, "operation": "conv"}, "unknown decision 'stage1.kernle'. Did you mean 'stage1.kernel'?"),
    ],
)
def test_named_choices_that_fit_no_genotype_are_refused(choices, message):
    with pytest.raises(BadInput, match=message):
        from_named([KERNEL, OPERATION], choices)


def test_true_is_not_taken_for_one():
    with pytest.raises(BadInput, match="True is not one of"):
        from_named([Decision(name="depth", choices=(1, 2), ordinal=True)], {"depth": True})


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ((), "needs at least one value"),
        ((3, 5, 3), "3 is listed twice"),
        ((1.0, float("nan")), "nan is no choice"),
        ((float("inf"),), "inf is no choice"),
        (tuple(range(40_000)), "40000 values; at most 32767"),
    ],
)
def test_senseless_decisions_are_refused(choices, message):
    with pytest.raises(BadInput, match=f"kernel: {message}"):
        Decision(name="kernel", choices=choices, ordinal=True)


def test_equal_values_of_different_types_are_different_choices():
    assert num_choices([Decision(name="x", choices=(1, 1.0, True, "1"), ordinal=False), KERNEL]).tolist() == [4, 3]


@pytest.mark.parametrize(
    ("choices", "numeric"), [((1, 2.5), True), (("a", "b"), False), ((True, False), False), ((1, "a"), False), ((1, True), False)]
)
def test_only_numbers_make_an_axis(choices, numeric):
    assert Decision(name="x", choices=choices, ordinal=True).is_numeric == numeric


def test_genotype_arrays_have_a_row_a_candidate_even_without_candidates():
    assert as_genotypes([(1, 2, 3), (4, 5, 6)], 3).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert as_genotypes([], 3).shape == (0, 3)
    assert as_genotypes(np.zeros((0, 3)), 3).shape == (0, 3)
    assert as_genotypes((row for row in [[1, 2]]), 2).dtype == np.int16


@pytest.mark.parametrize(
    "rows", [[(1, 2, 3), (4, 5, 6)], [(1,), (2,)], np.zeros(4), np.array([[70_000, 0]]), [(0.5, 1)], [(float("nan"), 1)]]
)
def test_rows_that_are_no_genotypes_of_two_genes_are_refused(rows):
    # Reshaping two rows of three into three of two, or wrapping 70,000 to 4,464, would go unnoticed.
    with pytest.raises(ValueError), np.errstate(invalid="ignore"):
        as_genotypes(rows, 2)


@MODEST
@given(st.data())
def test_row_keys_are_equal_exactly_where_rows_are(data):
    rows = data.draw(genotypes(data.draw(spaces())))
    keys = row_keys(rows)
    for i in range(len(rows)):
        for j in range(len(rows)):
            assert (keys[i] == keys[j]) == bool(np.array_equal(rows[i], rows[j]))
    assert row_keys(np.asfortranarray(rows.astype(np.int64))) == keys


def test_fingerprint_is_sha256_of_the_canonical_json():
    # printf '{"a":[1,2.5],"b":"\\u00e9"}' | sha256sum
    assert canonical_json({"b": "é", "a": [1, 2.5]}) == '{"a":[1,2.5],"b":"\\u00e9"}'
    assert fingerprint({"b": "é", "a": [1, 2.5]}) == "60d4fe7d84d09285a774fa6c850ed0e739e0153890529471751ae4df4e1df886"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@MODEST
@given(JSON_VALUES)
def test_a_fingerprint_survives_json(value):
    assert fingerprint(json.loads(json.dumps(value))) == fingerprint(value)
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@MODEST
@given(st.dictionaries(st.text(max_size=3), st.integers(), min_size=2, max_size=5))
def test_a_fingerprint_ignores_the_order_of_keys_only(mapping):
    assert fingerprint(dict(reversed(mapping.items()))) == fingerprint(mapping)
    assert fingerprint(list(mapping.items())) != fingerprint(mapping)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_what_json_cannot_hold_has_no_fingerprint(value):
    with pytest.raises(ValueError):
        fingerprint(value)


@MODEST
@given(decisions())
def test_drawn_decisions_are_immutable_records(decision):
    with pytest.raises(AttributeError):
        decision.name = "other"


def test_rows_have_equal_keys_exactly_where_they_are_equal_however_the_array_lies_in_memory() -> None:
    rows = np.array([[1, 2, 3], [1, 2, 4], [1, 2, 3]], dtype=GENE)
    first, second, third = row_keys(rows)
    assert first == third != second
    assert row_keys(rows[0][np.newaxis]) == row_keys(rows[:1][::-1]) == [first]
    assert row_keys(np.broadcast_to(rows[1], (2, 3))) == [second, second]
    assert row_keys(np.asfortranarray(rows)) == row_keys(rows.astype(np.int64)) == [first, second, third]
    assert row_keys(rows[:0]) == []
    assert row_keys(rows[:, :0]) == [b"", b"", b""]
