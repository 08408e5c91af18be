"""The layer-wise convolution space: counting, canonical form, two roads to MACs and parameters, refusals."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, row_keys
from paretune.core.workload import NUMERIC_FIELDS, Kind, WorkloadBatch
from paretune.networks.counting import count_macs, count_parameters
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.space import all_genotypes, check_space, random_genotypes

SHAPE = (1, 8, 8)


def default_space() -> DigitsConv:
    return DigitsConv(input_shape=SHAPE, num_classes=10)


def reduced_space() -> DigitsConv:
    return DigitsConv(
        input_shape=SHAPE,
        num_classes=10,
        stages=2,
        stem_widths=(4,),
        widths=(4, 8),
        depths=(1, 2),
        strides=(1, 2),
        kernels=(3, 5),
        expansions=(1, 2),
    )


def described(batch: WorkloadBatch, network: int) -> bytes:
    """All numbers of a network's layers, but not their names."""
    stop = slice(int(batch.offsets[network]), int(batch.offsets[network + 1]))
    return np.stack([getattr(batch, name)[stop] for name in ("kind", *NUMERIC_FIELDS)]).tobytes()


def wiring(network: torch.nn.Module) -> tuple[str, ...]:
    """Everything that tells two built networks apart: modules in order with their shapes, and the shortcuts."""
    return tuple(
        f"shortcut={module.shortcut}" if hasattr(module, "shortcut") else repr(module)
        for module in network.modules()
        if hasattr(module, "shortcut") or not list(module.children())
    )


def test_digits_conv_keeps_the_contract() -> None:
    check_space(default_space, input_shape=SHAPE, num_classes=10)


def test_reduced_space_keeps_the_contract_with_every_genotype_counted() -> None:
    check_space(reduced_space, input_shape=SHAPE, num_classes=10)


def test_default_space_has_more_than_a_million_architectures() -> None:
    # 2 stems; 4 widths * 2 strides * (6 + 6**2 sets of blocks) for each of 3 stages.
    assert default_space().size == 2 * (4 * 2 * 42) ** 3 == 75_866_112


def test_as_many_workloads_as_canonical_rows_as_the_size_says() -> None:
    space = reduced_space()
    everything = all_genotypes(space)
    canonical = space.canonical(everything)
    rows = row_keys(canonical)
    batch = space.workloads(everything)
    workloads = [described(batch, index) for index in range(len(batch))]
    # (2 widths * 2 strides * (4 + 16)) ** 2
    assert space.size == 6_400
    assert len(set(rows)) == len(set(workloads)) == len(set(zip(rows, workloads, strict=True))) == 6_400


def test_equal_rows_and_only_they_are_built_alike() -> None:
    # Stages of equal width and stride 1: where one ends shows in the missing shortcut only.
    space = DigitsConv(
        input_shape=SHAPE,
        num_classes=3,
        stages=2,
        stem_widths=(4,),
        widths=(4,),
        depths=(1, 2),
        strides=(1,),
        kernels=(3, 5),
        expansions=(1,),
    )
    everything = all_genotypes(space)
    rows = row_keys(space.canonical(everything))
    built = [wiring(space.build(tuple(row))) for row in everything]
    # (2 + 4) ** 2
    assert len(set(rows)) == len(set(built)) == len(set(zip(rows, built, strict=True))) == space.size == 36


def test_macs_and_parameters_equal_those_counted_on_a_thousand_built_networks() -> None:
    space = default_space()
    genotypes = random_genotypes(space, count=1_000, seed=5)
    batch = space.workloads(genotypes)
    macs, parameters = batch.per_network_sum(batch.macs_L), batch.per_network_sum(batch.parameters_L)
    for index, row in enumerate(genotypes):
        network = space.build(tuple(row))
        assert (count_macs(network, (1, *SHAPE)), count_parameters(network)) == (macs[index], parameters[index]), row


def test_a_small_network_has_the_layers_worked_by_hand() -> None:
    space = DigitsConv(
        input_shape=SHAPE,
        num_classes=10,
        stages=1,
        stem_widths=(8,),
        widths=(16,),
        depths=(2,),
        strides=(2,),
        kernels=(3,),
        expansions=(2,),
    )
    batch = space.workloads(np.zeros((1, len(space.decisions)), dtype=GENE))
    layers = {layer.name: layer for layer in batch.layers(0)}
    macs = dict(zip(batch.names, batch.macs_L.tolist(), strict=True))
    live = dict(zip(batch.names, (batch.live_bytes_L // 4).tolist(), strict=True))
    assert macs == {
        "stem": 64 * 9 * 8,
        "stage1.block1.expand": 64 * 8 * 16,
        "stage1.block1.depthwise": 16 * 9 * 16,
        "stage1.block1.project": 16 * 16 * 16,
        "stage1.block2.expand": 16 * 16 * 32,
        "stage1.block2.depthwise": 16 * 9 * 32,
        "stage1.block2.project": 16 * 32 * 16,
        "stage1.block2.add": 0,
        "pool": 0,
        "classifier": 160,
    }
    assert layers["stage1.block2.add"].kind is Kind.ADD
    # The 16x4x4 input of block 2 is held from the depthwise convolution to the addition; in `expand` it is the input itself.
    assert live["stage1.block1.depthwise"] == 16 * 64 + 16 * 16
    assert live["stage1.block2.expand"] == 16 * 16 + 32 * 16
    assert live["stage1.block2.depthwise"] == 32 * 16 + 32 * 16 + 16 * 16
    assert live["stage1.block2.project"] == 32 * 16 + 16 * 16 + 16 * 16
    assert live["stage1.block2.add"] == 3 * 16 * 16
    assert live["pool"] == 16 * 16 + 16


def test_odd_maps_are_halved_upwards_on_both_roads() -> None:
    space = DigitsConv(input_shape=(3, 7, 7), num_classes=4, stages=2, depths=(1,), strides=(2,))
    genotypes = random_genotypes(space, count=5, seed=1)
    batch = space.workloads(genotypes)
    macs = batch.per_network_sum(batch.macs_L)
    assert [count_macs(space.build(tuple(row)), (1, 3, 7, 7)) for row in genotypes] == macs.tolist()
    # 7 -> 4 -> 2; the first depthwise layer reads 7x7.
    assert {layer.out_height for layer in batch.layers(0) if layer.kind is Kind.DEPTHWISE} == {4, 2}
    assert next(layer for layer in batch.layers(0) if layer.kind is Kind.DEPTHWISE).in_height == 7


@pytest.mark.parametrize(("size", "kernel", "stride"), [(2, 3, 1), (4, 3, 2), (4, 5, 1), (1, 5, 1), (7, 5, 2), (8, 3, 1)])
def test_depthwise_layer_gives_the_same_numbers_and_gradients_in_training_as_plain_torch(size: int, kernel: int, stride: int) -> None:
    from paretune.spaces.conv_blocks import DepthwiseConv2d

    torch.manual_seed(0)
    ours = DepthwiseConv2d(6, 6, kernel, stride=stride, padding=kernel // 2, groups=6, bias=False)
    plain = torch.nn.Conv2d(6, 6, kernel, stride=stride, padding=kernel // 2, groups=6, bias=False)
    plain.load_state_dict(ours.state_dict())
    images = torch.randn(4, 6, size, size)
    torch.testing.assert_close(ours(images), plain(images))
    ours(images).square().sum().backward()
    plain(images).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)


def test_inactive_decisions_change_neither_features_nor_layers() -> None:
    space = default_space()
    names = [decision.name for decision in space.decisions]
    row = np.zeros((1, len(names)), dtype=GENE)
    other = row.copy()
    other[0, names.index("stage1.block2.kernel")] = 1  # depth 1: block 2 is not there
    assert np.array_equal(space.encode(row), space.encode(other))
    assert space.workloads(row).layers(0) == space.workloads(other).layers(0)
    other[0, names.index("stage1.depth")] = 1
    assert not np.array_equal(space.encode(row), space.encode(other))


def test_choices_are_sorted_so_that_neighbours_are_alike() -> None:
    space = DigitsConv(input_shape=SHAPE, num_classes=10, widths=(32, 8, 16))
    assert next(decision for decision in space.decisions if decision.name == "stage1.width").choices == (8, 16, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": (3, 4)}, "kernels: 4 is even"),
        ({"kernels": (9,)}, "kernels: 9 is larger than the 8x8 input"),
        ({"kernels": ()}, "kernels: needs at least one value"),
        ({"widths": (8, 8)}, "widths: 8 is listed twice"),
        ({"widths": (8, -1)}, "widths: must be a whole number of at least 1; got -1"),
        ({"depths": (0, 1)}, "depths: must be a whole number of at least 1; got 0"),
        ({"expansions": (1.5,)}, "expansions: must be a whole number of at least 1; got 1.5"),
        ({"expansions": (True,)}, "expansions: must be a whole number"),
        ({"stages": 4}, "strides: 4 stages of stride 2 reduce the map by 16, more than the 8x8 input"),
        ({"stages": 0}, "stages: must be a whole number of at least 1"),
        ({"input_shape": (1, 8, 9)}, "input_shape: must be .*square"),
        ({"input_shape": (64,)}, "input_shape: must be .*square"),
        ({"num_classes": 1}, "num_classes: must be a whole number of at least 2"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        DigitsConv(**{"input_shape": SHAPE, "num_classes": 10, **options})  # type: ignore[arg-type]


def test_genotypes_of_another_space_are_refused() -> None:
    space = default_space()
    with pytest.raises(BadInput, match="has 22 indices; got 3"):
        space.build((0, 0, 0))
    with pytest.raises(BadInput, match="outside its decision's choices"):
        space.build((9,) * 22)
    with pytest.raises(BadInput, match="outside its decision's choices"):
        space.build((-1,) * 22)


def test_importing_listing_and_screening_need_no_torch() -> None:
    program = """
import sys
import numpy as np
from paretune.hardware import HARDWARE
from paretune.hardware.free import FreeCosts
from paretune.spaces import SPACES
from paretune.tasks import TASKS
for registry in (SPACES, TASKS, HARDWARE):
    for name in registry.names():
        registry.describe(name), registry.options(name)
space = SPACES.create("digits_conv", input_shape=(1, 8, 8), num_classes=10)
FreeCosts().estimate(space.workloads(np.zeros((3, len(space.decisions)), dtype=np.int16)), {})
heavy = {"torch", "sklearn", "onnx", "onnxruntime", "ray", "mlflow"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
