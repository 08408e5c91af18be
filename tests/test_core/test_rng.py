import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.rng import derive_seed, stream

SEEDS = st.integers(0, 2**63 - 1)
INDICES = st.integers(0, 2**40)
PURPOSES = st.text(max_size=8)
MODEST = settings(max_examples=60, deadline=None)


@MODEST
@given(SEEDS, INDICES, PURPOSES)
def test_a_stream_is_the_same_whenever_it_is_opened(seed, index, purpose):
    first = stream(seed, index=index, purpose=purpose).random(5)
    stream(seed, index=index + 1, purpose=purpose).random(1000)
    assert np.array_equal(stream(seed, index=index, purpose=purpose).random(5), first)


@MODEST
@given(st.lists(st.tuples(SEEDS, INDICES, PURPOSES), min_size=2, max_size=6, unique=True))
def test_another_seed_index_or_purpose_is_another_stream(keys):
    draws = [tuple(stream(seed, index=index, purpose=purpose).integers(2**63, size=2)) for seed, index, purpose in keys]
    assert len(set(draws)) == len(keys)


def test_neighbouring_streams_do_not_overlap():
    # A stream that ran on into its neighbour would repeat the neighbour's first draws.
    draws = [stream(3, index=index, purpose="ask").integers(2**63, size=4096) for index in range(8)]
    assert len(np.unique(np.concatenate(draws))) == 8 * 4096


def test_draws_across_streams_are_uniform_and_uncorrelated():
    # First draws of 4,000 consecutive streams: mean 1/2 and lag-1 correlation 0, each within 4.5 standard errors.
    first = np.array([stream(11, index=index, purpose="ask").random() for index in range(4000)])
    assert abs(first.mean() - 0.5) < 4.5 / np.sqrt(12 * 4000)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4.5 / np.sqrt(4000)


def test_numpy_integers_open_the_same_stream_as_python_ones():
    assert stream(5, index=np.int64(2), purpose="x").random() == stream(5, index=2, purpose="x").random()


@MODEST
@given(st.lists(st.integers() | st.text(max_size=4), max_size=4), st.lists(st.integers() | st.text(max_size=4), max_size=4))
def test_derived_seeds_differ_where_their_parts_do(parts, others):
    assert (derive_seed(*parts) == derive_seed(*others)) == (parts == others)
    assert 0 <= derive_seed(*parts) < 2**63


@pytest.mark.parametrize(("parts", "others"), [(("a:b",), ("a", "b")), ((1,), ("1",)), (("a", ""), ("a",)), ((12, 3), (1, 23))])
def test_parts_are_not_run_together(parts, others):
    assert derive_seed(*parts) != derive_seed(*others)


def test_streams_and_seeds_ignore_the_hash_seed_of_python():
    code = "from paretune.core.rng import derive_seed, stream; print(derive_seed('a', 1), stream(4, index=9, purpose='x').integers(2**63))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
