"""Secure inference: counts of the two published networks, worked out from their layers, and what they cost.

Published (Bian et al., ECAI 2020): Gazelle's network 1.815 GB, 3.2 s homomorphic, 13.2 s garbled, 16.4 s; NASS's 977 MB, 1.62, 6.38, 8.0 s.
Only the first column calibrates the model.
"""

import pytest

from paretune.core.errors import BadInput
from paretune.core.workload import Kind, Layer, WorkloadBatch
from paretune.hardware.analytic.secure import Secure
from paretune.hardware.analytic.secure_counts import secure_counts
from paretune.testing.cost_model import check_cost_model


def convolutions(channels: tuple[int, ...], kernels: tuple[tuple[int, int], ...], sizes: tuple[int, ...]) -> tuple[Layer, ...]:
    """A chain of convolutions from 3 channels; a kernel that is not square is one with as many taps."""
    return tuple(
        Layer(
            kind=Kind.CONV,
            in_channels=before,
            out_channels=after,
            kernel=max(kernel),
            taps=kernel[0] * kernel[1],
            padding=max(kernel) // 2,
            in_height=size,
            in_width=size,
            out_height=size,
            out_width=size,
        )
        for before, after, kernel, size in zip((3, *channels), channels, kernels, sizes, strict=False)
    )


# Six 3x3 convolutions of 64 channels, two at each size, pooled between: the counts below leave out what follows them.
GAZELLE = convolutions((64,) * 6, ((3, 3),) * 6, (32, 32, 16, 16, 8, 8))
# The published counts fit one shape of five layers ending in 24 x 8 x 8, with these kernels or (3, 5), (5, 5), (3, 5), ... instead.
NASS = convolutions((24, 48, 48, 36, 24), ((3, 5), (3, 5), (5, 7), (3, 3), (1, 7)), (32, 32, 16, 16, 8))
TWIN = convolutions((24, 48, 48, 36, 24), ((3, 5), (5, 5), (3, 5), (3, 3), (1, 7)), (32, 32, 16, 16, 8))


@pytest.mark.parametrize(
    ("network", "relus", "macs", "multiplications", "input_rotations", "output_rotations"),
    [
        (GAZELLE, 172_032, 63_111_168, 30_816, 432, 2_216),
        (NASS, 96_768, 43_812_864, 21_393, 460, 773),
        (TWIN, 96_768, 43_812_864, 21_393, 460, 773),
    ],
)
def test_counts_of_the_published_networks(
    network: tuple[Layer, ...], relus: int, macs: int, multiplications: int, input_rotations: int, output_rotations: int
) -> None:
    workloads = WorkloadBatch.from_layers([network])
    counts = secure_counts(workloads, slots=2048, relus_listed=False)
    assert workloads.macs_L.sum() == macs
    assert counts.relus.sum() == relus
    assert counts.multiplications.sum() == multiplications
    assert counts.input_rotations.sum() == input_rotations
    assert round(counts.output_rotations.sum()) == output_rotations


def test_a_convolution_and_a_linear_layer_worked_by_hand() -> None:
    image = {"in_height": 16, "in_width": 16, "out_height": 16, "out_width": 16, "padding": 1}
    conv = Layer(kind=Kind.CONV, out_channels=16, in_channels=12, kernel=3, **image)
    linear = Layer(kind=Kind.LINEAR, out_channels=16, in_channels=1024)
    counts = secure_counts(WorkloadBatch.from_layers([[conv, linear]]), slots=2048, relus_listed=False)
    # 8 channels a ciphertext: 9 * 12 * 16 / 8 products; 2 ciphertexts rotated 8 times; 7 * 12 * 16 / 64 rotations of outputs.
    # Linear: 1024 * 16 / 2048 = 8 products, log2(2048 / 16) + 8 - 1 rotations, no ReLU.
    assert counts.multiplications.tolist() == [216, 8]
    assert counts.input_rotations.tolist() == [16, 14]
    assert counts.output_rotations.tolist() == [21, 0]
    assert counts.relus.tolist() == [16 * 256, 0]


def test_a_map_larger_than_a_ciphertext_fills_several() -> None:
    image = {"in_height": 64, "in_width": 64, "out_height": 64, "out_width": 64}
    conv = Layer(kind=Kind.CONV, out_channels=2, in_channels=3, kernel=1, **image)
    counts = secure_counts(WorkloadBatch.from_layers([[conv]]), slots=2048, relus_listed=False)
    assert (counts.multiplications[0], counts.output_rotations[0]) == (12, 0)  # 4096 values are 2 ciphertexts: 2 * 3 * 2 products


def test_the_calibrated_column_comes_back_and_the_other_is_predicted() -> None:
    found = Secure().estimate(WorkloadBatch.from_layers([GAZELLE, NASS]), {})
    gazelle_s, nass_s = found["time_s"].values
    gazelle_bytes, nass_bytes = found["bandwidth_bytes"].values
    assert gazelle_s == pytest.approx(16.4, rel=0.001)
    assert gazelle_bytes == pytest.approx(1.815e9, rel=0.001)
    # Published 8.0 s and 977 MB.
    assert nass_s == pytest.approx(8.0, rel=0.2)
    assert nass_bytes == pytest.approx(977e6, rel=0.05)
    # 96,768 ReLUs of 10,550 bytes: 1,021 MB, 4.5 % more than published.
    assert nass_bytes == pytest.approx(1.021e9, rel=5e-4)
    assert 0.45 <= nass_s / gazelle_s <= 0.60


@pytest.mark.parametrize(("plaintext_bits", "garbled_s"), [(23, 7.42), (20, 6.46)])
def test_both_parts_of_the_predicted_column(plaintext_bits: int, garbled_s: float) -> None:
    workloads = WorkloadBatch.from_layers([NASS])
    garbled = Secure(multiplication_s=0, rotation_s=0, plaintext_bits=plaintext_bits).estimate(workloads, {})["time_s"].values[0]
    homomorphic = Secure(relu_s=0).estimate(workloads, {})["time_s"].values[0]
    assert garbled == pytest.approx(garbled_s, abs=0.01)
    assert garbled == pytest.approx(6.38, rel=0.2)  # published
    assert homomorphic == pytest.approx(1.62, rel=0.2)  # published


def test_plaintext_bits_follow_the_layer_where_none_are_given() -> None:
    layer = Layer(kind=Kind.CONV, out_channels=4, in_channels=8, kernel=3, padding=1, weight_bits=6, activation_bits=8)
    found = Secure(plaintext_bits=None).estimate(WorkloadBatch.from_layers([[layer]]), {})
    # 6 + 8 + ceil(log2(72)) = 21 bits
    assert found["bandwidth_bytes"].values[0] == pytest.approx(4 * 10_550 * 21 / 23)


def test_relus_are_those_listed_where_asked() -> None:
    relu = Layer(kind=Kind.ACTIVATION, out_channels=4, in_channels=4)
    layers = (*NASS, relu)
    assert Secure(activations="listed").estimate(WorkloadBatch.from_layers([layers]), {})["relus"].values[0] == 4


def test_relus_and_not_products_dominate() -> None:
    found = Secure().estimate(WorkloadBatch.from_layers([GAZELLE]), {})["time_s"]
    assert found.layer_bottlenecks is not None
    assert found.layer_bottlenecks.tolist()[:2] == ["garbled", "garbled"]


def test_secure_keeps_the_contract_and_refuses_what_it_cannot_use() -> None:
    check_cost_model(Secure)
    with pytest.raises(BadInput, match="slots: must be a whole number of at least 1"):
        Secure(slots=0)
    with pytest.raises(BadInput, match="secure: knows no cost of attention layer number 1"):
        Secure().estimate(WorkloadBatch.from_layers([[Layer(kind=Kind.ATTENTION, out_channels=8, in_channels=24)]]), {})
