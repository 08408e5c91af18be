"""The mobile space: exact counts of once-for-all, its published table, two roads, widths and resolutions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, from_named, named, row_keys
from paretune.core.workload import Kind
from paretune.networks.counting import count_macs, count_parameters
from paretune.networks.evaluation import evaluating
from paretune.networks.onnx_conversion import to_onnx
from paretune.spaces.mobile import Mobile
from paretune.testing.space import all_genotypes, check_space, random_genotypes

DIGITS = (1, 8, 8)
IMAGENET = (3, 224, 224)
RESOLUTIONS = tuple(range(128, 225, 4))


def digits_space() -> Mobile:
    return Mobile(input_shape=DIGITS, num_classes=10)


def wide_space() -> Mobile:
    return Mobile(
        input_shape=(3, 12, 12),
        num_classes=4,
        depths=(1, 2),
        width_multipliers=(0.5, 1.0, 1.2),
        resolutions=(8, 12, 13),
        stage_widths=(16, 16, 24, 24, 32),
        stage_strides=(1, 1, 2, 1, 2),
    )


def genotype_of(space: Mobile, **choices: object) -> tuple[int, ...]:
    """The smallest network, with these choices."""
    smallest = named(space.decisions, np.zeros(len(space.decisions), dtype=GENE))
    return from_named(space.decisions, {**smallest, **choices})  # type: ignore[dict-item]


def test_mobile_keeps_the_contract() -> None:
    check_space(digits_space, input_shape=DIGITS, num_classes=10)


def test_mobile_with_widths_and_resolutions_keeps_the_contract() -> None:
    check_space(wide_space, input_shape=(3, 12, 12), num_classes=4)


def test_once_for_all_has_its_published_number_of_networks() -> None:
    # A stage of 2, 3 or 4 layers of 3 kernels and 3 expansions: 9**2 + 9**3 + 9**4 = 7,371 forms; five stages.
    assert Mobile(input_shape=IMAGENET, num_classes=1000).size == 7_371**5 == 21_758_655_492_572_485_851
    many = Mobile(input_shape=IMAGENET, num_classes=1000, resolutions=RESOLUTIONS, width_multipliers=(1.0, 1.2))
    assert many.size == 21_758_655_492_572_485_851 * 25 * 2


def test_size_equals_the_number_of_canonical_rows_of_a_small_space() -> None:
    space = Mobile(input_shape=DIGITS, num_classes=10, kernels=(3,), expansions=(2, 3), depths=(1,), resolutions=(6, 8))
    assert len(set(row_keys(space.canonical(all_genotypes(space))))) == space.size == 2**5 * 2
    deeper = Mobile(input_shape=DIGITS, num_classes=10, kernels=(3,), expansions=(2, 3), depths=(1, 2))
    # 2 + 4 forms of each stage
    assert len(set(row_keys(deeper.canonical(all_genotypes(deeper))))) == deeper.size == 6**5


def test_rows_of_the_published_table_are_genotypes_whose_macs_explain_their_latency(data_folder: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(data_folder / "help_latency" / "ofa_latency.parquet")[::10]
    space = Mobile(input_shape=IMAGENET, num_classes=1000, resolutions=RESOLUTIONS)
    names = [decision.name for decision in space.decisions]
    assert names == [*(f"ks_{i}" for i in range(20)), *(f"e_{i}" for i in range(20)), *(f"d_{i}" for i in range(5)), "r"]
    rows = np.array([from_named(space.decisions, row) for row in table[names].to_dict("records")], dtype=GENE)
    assert np.all(space.valid(rows))
    batch = space.workloads(rows)
    macs = batch.per_network_sum(batch.macs_L)
    correlation = np.corrcoef(np.argsort(np.argsort(macs)), np.argsort(np.argsort(table["2080ti_64"].to_numpy())))[0, 1]
    assert correlation > 0.95


def test_macs_and_parameters_equal_those_counted_on_the_built_networks() -> None:
    space = wide_space()
    genotypes = random_genotypes(space, count=40, seed=5)
    batch = space.workloads(genotypes)
    macs, parameters = batch.per_network_sum(batch.macs_L), batch.per_network_sum(batch.parameters_L)
    for index, row in enumerate(genotypes):
        network = space.build(tuple(row))
        assert (count_macs(network, (1, 3, 12, 12)), count_parameters(network)) == (macs[index], parameters[index]), row


@pytest.mark.parametrize("shape", [(3, 96, 96), (3, 33, 33)])
def test_larger_images_have_wider_frames_and_two_roads_to_their_costs(shape: tuple[int, ...]) -> None:
    space = Mobile(input_shape=shape, num_classes=10, resolutions=(32, shape[1]))
    row = genotype_of(space, r=32, ks_0=7, e_5=6, d_2=4)
    batch = space.workloads(np.array([row], dtype=GENE))
    network = space.build(row)
    assert count_macs(network, (1, *shape)) == batch.macs_L.sum()
    assert count_parameters(network) == batch.parameters_L.sum()
    layers = {layer.name: layer for layer in batch.layers(0)}
    # Total stride 32 as published, 8 for images of CIFAR size.
    assert layers["head"].out_height == (1 if shape[1] >= 96 else 4)
    assert layers["last"].out_channels == 1280


def test_equal_rows_and_only_they_are_built_alike() -> None:
    # Stages of equal width and stride 1: where one ends shows in the missing shortcut only.
    space = Mobile(
        input_shape=DIGITS,
        num_classes=3,
        kernels=(3,),
        expansions=(2,),
        depths=(1, 2),
        stage_widths=(8, 8, 8, 8, 8),
        stage_strides=(1, 1, 1, 1, 1),
    )
    everything = all_genotypes(space)
    kept = everything[np.unique(row_keys(space.canonical(everything)), return_index=True)[1]]

    def wiring(network: nn.Module) -> str:
        return repr([(repr(module), module.shortcut) for module in network.blocks])

    built = {wiring(space.build(tuple(row))) for row in kept}
    assert len(kept) == len(built) == space.size == 2**5


def test_a_layer_has_the_records_worked_by_hand() -> None:
    space = Mobile(input_shape=DIGITS, num_classes=10, depths=(1, 2), resolutions=(4, 8))
    row = genotype_of(space, d_1=2, ks_3=5, e_3=4)
    batch = space.workloads(np.array([row], dtype=GENE))
    layers = {layer.name: layer for layer in batch.layers(0)}
    macs = dict(zip(batch.names, batch.macs_L.tolist(), strict=True))
    assert layers["resize"].kind is Kind.POOL
    assert (layers["resize"].in_height, layers["resize"].out_height) == (8, 4)
    assert macs["stem"] == 16 * 9 * 8
    assert macs["first.depthwise"] == 16 * 9 * 8
    assert "first.expand" not in macs
    # Stage 1 halves 4x4; its second layer: 16 channels, 4 * 16 inside, kernel 5, squeeze of 64 / 4 = 16.
    assert macs["stage1.layer1.expand"] == 4 * 16 * 64
    assert macs["stage1.layer1.depthwise"] == 4 * 25 * 64
    assert macs["stage1.layer1.reduce"] == macs["stage1.layer1.excite"] == 16 * 64
    assert macs["stage1.layer1.project"] == 4 * 64 * 16
    assert "stage1.layer0.add" not in macs
    assert "stage1.layer1.add" in macs
    assert "stage0.layer0.reduce" not in macs
    assert (macs["last"], macs["classifier"]) == (96 * 128, 1280)


def test_widths_follow_the_multiplier_in_multiples_of_eight() -> None:
    space = wide_space()
    channels = {
        width: [
            layer.out_channels
            for layer in space.workloads(np.array([genotype_of(space, w=width)], dtype=GENE)).layers(0)
            if ".project" in layer.name
        ]
        for width in (0.5, 1.0, 1.2)
    }
    assert channels == {0.5: [8, 8, 8, 16, 16, 16], 1.0: [8, 16, 16, 24, 24, 32], 1.2: [16, 24, 24, 32, 32, 40]}


def test_images_are_resized_before_the_first_convolution() -> None:
    space = Mobile(input_shape=DIGITS, num_classes=10, resolutions=(4, 8))
    small, whole = (space.build(genotype_of(space, r=resolution)) for resolution in (4, 8))
    assert not hasattr(whole, "resize")
    images = torch.randn(2, *DIGITS)
    # Halving by bilinear interpolation is the mean of 2x2 pixels.
    torch.testing.assert_close(small.resize(images), nn.functional.avg_pool2d(images, 2))
    with evaluating(small):
        assert small(images).shape == (2, 10)


def test_networks_convert_to_onnx() -> None:
    space = Mobile(input_shape=DIGITS, num_classes=10, depths=(1,), resolutions=(6, 8))
    assert to_onnx(space.build(genotype_of(space, r=6)), (1, *DIGITS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": (4,)}, "kernels: 4 is even"),
        ({"expansions": (1,)}, "expansions: must be a whole number of at least 2; got 1"),
        ({"width_multipliers": (1.0, 1.01)}, "width_multipliers: 1 and 1.01 give the same widths"),
        ({"width_multipliers": (0.0,)}, "width_multipliers: must be numbers of at least 0.1"),
        ({"stage_widths": (8, 16)}, "stage_widths: must be 5 numbers, one a stage; got 2"),
        ({"stage_strides": (1, 1, 0, 1, 1)}, "stage_strides: must be a whole number of at least 1; got 0"),
        ({"resolutions": (0,)}, "resolutions: must be a whole number of at least 1; got 0"),
        ({"input_shape": (1, 8, 9)}, "input_shape: must be .*square"),
        ({"num_classes": 1}, "num_classes: must be a whole number of at least 2"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        Mobile(**{"input_shape": DIGITS, "num_classes": 10, **options})  # type: ignore[arg-type]
