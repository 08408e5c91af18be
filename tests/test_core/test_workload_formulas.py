"""Layer formulas against numbers worked by hand."""

import numpy as np
import pytest

from paretune.core.workload import Kind, Layer, WorkloadBatch


def batch_of(*layers: Layer) -> WorkloadBatch:
    return WorkloadBatch.from_layers([layers])


RESNET_STEM = Layer(
    kind=Kind.CONV, out_channels=64, in_channels=3, out_height=112, out_width=112, kernel=7, stride=2, padding=3, per_channel=2, name="stem"
)


def test_resnet_stem_costs_what_the_textbook_says() -> None:
    batch = batch_of(RESNET_STEM)
    # 112*112*64 outputs of 3*49 products each.
    assert batch.macs_L[0] == 118_013_952
    # 64*3*49 weights, and 64 scales and 64 shifts.
    assert batch.parameters_L[0] == 9_408 + 128
    # 3*224*224 in, 64*112*112 out, 4 bytes each.
    assert batch.input_elements_L[0] == 150_528
    assert batch.live_bytes_L[0] == 4 * (150_528 + 802_816)


def test_depthwise_layer_has_one_kernel_a_channel() -> None:
    layer = Layer(kind=Kind.DEPTHWISE, out_channels=32, in_channels=32, groups=32, out_height=8, out_width=8, kernel=3, padding=1)
    # 32*9 weights, each used at 64 positions.
    assert batch_of(layer).weights_L[0] == 288
    assert batch_of(layer).macs_L[0] == 18_432


def test_grouped_and_patterned_layers_keep_their_part_of_the_weights() -> None:
    grouped = Layer(kind=Kind.CONV, out_channels=16, in_channels=8, groups=4, kernel=3, padding=1)
    patterned = Layer(kind=Kind.CONV, out_channels=16, in_channels=8, kernel=3, padding=1, taps=4)
    # 16 outputs of 2 inputs and 9 taps; 16 outputs of 8 inputs and 4 of the 9 taps.
    assert batch_of(grouped, patterned).weights_L.tolist() == [288, 512]


def test_pooling_and_additions_multiply_nothing() -> None:
    pool = Layer(kind=Kind.POOL, out_channels=8, in_channels=8, kernel=4)
    add = Layer(kind=Kind.ADD, out_channels=8, in_channels=8, out_height=4, out_width=4, held_elements=128)
    batch = batch_of(pool, add)
    assert batch.macs_L.tolist() == [0, 0]
    assert batch.parameters_L.tolist() == [0, 0]
    # 8*16 in, 8 out; 128 in, 128 out, 128 of the other operand.
    assert batch.live_bytes_L.tolist() == [4 * 136, 4 * 384]


@pytest.mark.parametrize(
    ("out", "kernel", "stride", "padding", "expected"),
    [(112, 7, 2, 3, 224), (4, 3, 2, 1, 8), (8, 5, 1, 2, 8), (4, 2, 2, 0, 8), (1, 4, 1, 0, 4), (55, 11, 4, 2, 224)],
)
def test_input_size_is_the_one_the_stride_divides(out: int, kernel: int, stride: int, padding: int, expected: int) -> None:
    layer = Layer(
        kind=Kind.CONV, out_channels=1, in_channels=1, out_height=out, out_width=out, kernel=kernel, stride=stride, padding=padding
    )
    assert batch_of(layer).input_elements_L[0] == expected**2


def test_a_stated_input_size_is_taken_as_it_is() -> None:
    # 7 -> 4 at stride 2 as well as 8 -> 4: only the builder knows.
    layer = Layer(
        kind=Kind.CONV, out_channels=1, in_channels=2, out_height=4, out_width=4, in_height=7, in_width=7, kernel=3, stride=2, padding=1
    )
    assert batch_of(layer).input_elements_L[0] == 98


def test_bits_and_batch_scale_activations() -> None:
    layer = Layer(kind=Kind.LINEAR, out_channels=3, in_channels=5, batch=3, activation_bits=4)
    # 3 * (5 + 3) elements of half a byte.
    assert batch_of(layer).live_bytes_L[0] == 12
    # 9 elements of half a byte need 5 bytes.
    assert batch_of(Layer(kind=Kind.LINEAR, out_channels=4, in_channels=5, activation_bits=4)).live_bytes_L[0] == 5


def test_networks_are_summed_and_maximised_apart() -> None:
    batch = WorkloadBatch.from_layers([[RESNET_STEM], [Layer(kind=Kind.LINEAR, out_channels=2, in_channels=3), RESNET_STEM]])
    assert len(batch) == 2
    assert batch.per_network_sum(batch.macs_L).tolist() == [118_013_952, 118_013_958]
    assert batch.per_network_max(batch.in_channels).tolist() == [3, 3]
    assert batch.layers(1)[1] == RESNET_STEM


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="every network has a layer"):
        WorkloadBatch.from_layers([[RESNET_STEM], []])


def test_large_networks_do_not_overflow() -> None:
    wide = Layer(kind=Kind.CONV, out_channels=16_384, in_channels=16_384, out_height=1024, out_width=1024, kernel=3, padding=1)
    # 2**14 * 2**14 * 9 * 2**20
    assert batch_of(wide).macs_L[0] == 9 * 2**48
    assert batch_of(wide).macs_L.dtype == np.int64


def test_predecessors_need_a_row_for_each_layer() -> None:
    layers = [Layer(kind=Kind.CONV, out_channels=8, in_channels=8)] * 2
    chained = WorkloadBatch.from_layers([layers], predecessors=np.array([[-1], [0]]))
    assert chained.predecessors is not None
    assert WorkloadBatch.from_layers([layers]).predecessors is None
    with pytest.raises(ValueError, match="a row for each of the 2 layers; got 1"):
        WorkloadBatch.from_layers([layers], predecessors=np.array([[-1]]))
