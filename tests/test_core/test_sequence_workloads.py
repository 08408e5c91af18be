"""Formulas of attention, FFT and butterfly layers against numbers worked by hand or published."""

import numpy as np
import pytest

from paretune.core.workload import Kind, Layer, WorkloadBatch, log2_ceil


def batch_of(*layers: Layer) -> WorkloadBatch:
    return WorkloadBatch.from_layers([layers])


@pytest.mark.parametrize(
    ("before", "after", "weights"),
    [
        # 2 n log2 n: 2*64*6, where a dense layer has 4,096; 2*1024*10, where it has 1,048,576.
        (64, 64, 768),
        (1024, 1024, 20_480),
        # Two stacks of 2*64*6 give 128 outputs; 100 outputs need both.
        (64, 128, 1_536),
        (64, 100, 1_536),
        # 48 inputs are padded to 64; 3 outputs are cut from one stack.
        (48, 3, 768),
        # One input still needs a block of 2x2.
        (1, 2, 4),
    ],
)
def test_butterfly_layers_have_2_n_log2_n_weights(before: int, after: int, weights: int) -> None:
    layer = Layer(kind=Kind.BUTTERFLY, in_channels=before, out_channels=after, out_width=5, per_channel=1)
    assert batch_of(layer).weights_L[0] == weights
    assert batch_of(layer).parameters_L[0] == weights + after
    assert batch_of(layer).macs_L[0] == 5 * weights


def test_attention_multiplies_queries_with_keys_and_weights_with_values() -> None:
    layer = Layer(kind=Kind.ATTENTION, in_channels=96, out_channels=32, out_width=10, groups=4, batch=2)
    # 10*10 pairs of tokens, 32 products each, twice; 2 images.
    assert batch_of(layer).macs_L[0] == 2 * 2 * 100 * 32
    assert batch_of(layer).parameters_L[0] == 0


def test_an_fft_is_counted_as_butterflies_of_one_complex_product() -> None:
    layer = Layer(kind=Kind.FFT, in_channels=8, out_channels=8, out_height=4, out_width=4)
    # 16 transforms of 8 numbers: 4*3 butterflies of 4 MACs; 8 transforms of 16 numbers: 8*4 butterflies of 4 MACs.
    assert batch_of(layer).macs_L[0] == 16 * 48 + 8 * 128
    padded = Layer(kind=Kind.FFT, in_channels=8, out_channels=8, out_width=9)
    # 9 tokens count like 16: 4 levels.
    assert batch_of(padded).macs_L[0] == 2 * 8 * 9 * (3 + 4)


def test_exponents_are_exact_around_powers_of_two() -> None:
    values = np.array([1, 2, 3, 4, 5, 2**40 - 1, 2**40, 2**40 + 1])
    assert log2_ceil(values).tolist() == [0, 1, 2, 2, 3, 40, 40, 41]
