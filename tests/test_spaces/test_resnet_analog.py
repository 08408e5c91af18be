"""The AnalogNAS-like space: counting, two roads, strides and block types in the built network, named mutations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import BadInput
from paretune.core.genotype import GENE, from_named, named, row_keys
from paretune.core.protocols import MutatingSpace
from paretune.core.workload import Kind
from paretune.networks.counting import count_macs, count_parameters
from paretune.networks.evaluation import evaluating
from paretune.networks.onnx_conversion import to_onnx
from paretune.spaces.resnet_analog import ResnetAnalog
from paretune.testing.space import all_genotypes, check_space, random_genotypes

DIGITS = (1, 8, 8)
CIFAR = (3, 32, 32)


def digits_space() -> ResnetAnalog:
    return ResnetAnalog(input_shape=DIGITS, num_classes=10)


def small_space() -> ResnetAnalog:
    return ResnetAnalog(
        input_shape=DIGITS,
        num_classes=3,
        first_widths=(4, 6),
        main_blocks=(1, 2),
        residual_blocks=(1, 2),
        branches=(1, 2),
        widenings=(1.0, 2.0),
    )


def genotype_of(space: ResnetAnalog, **choices: object) -> tuple[int, ...]:
    """The smallest network, with these choices (`main1__type` for `main1.type`)."""
    smallest = named(space.decisions, np.zeros(len(space.decisions), dtype=GENE))
    return from_named(space.decisions, {**smallest, **{name.replace("__", "."): value for name, value in choices.items()}})  # type: ignore[dict-item]


def test_resnet_analog_keeps_the_contract() -> None:
    check_space(digits_space, input_shape=DIGITS, num_classes=10)


def test_small_space_keeps_the_contract_counted_through() -> None:
    check_space(small_space, input_shape=DIGITS, num_classes=3)
    # 2 first widths * (16 + 16 ** 2), 16 = 2 residual blocks * 2 branches * 2 types * 2 widenings
    assert small_space().size == 544


def test_cifar_size_has_the_ranges_of_the_paper() -> None:
    space = ResnetAnalog(input_shape=CIFAR, num_classes=10)
    # 16 residual blocks * 4 branches * 2 types * 4 widenings = 512 forms of a main block; 6 first widths
    assert space.size == 6 * (512 + 512**2 + 512**3 + 512**4 + 512**5)
    smallest = genotype_of(space)
    batch = space.workloads(np.array([smallest], dtype=GENE))
    network = space.build(smallest)
    assert count_macs(network, (1, *CIFAR)) == int(batch.macs_L.sum())
    assert count_parameters(network) == int(batch.parameters_L.sum())


def test_macs_and_parameters_equal_those_counted_on_the_built_networks() -> None:
    space = digits_space()
    genotypes = random_genotypes(space, count=60, seed=5)
    batch = space.workloads(genotypes)
    macs, parameters = batch.per_network_sum(batch.macs_L), batch.per_network_sum(batch.parameters_L)
    for index, row in enumerate(genotypes):
        network = space.build(tuple(row))
        assert (count_macs(network, (1, *DIGITS)), count_parameters(network)) == (macs[index], parameters[index]), row


def test_equal_rows_and_only_they_are_built_alike() -> None:
    space = small_space()
    everything = all_genotypes(space)
    rows = row_keys(space.canonical(everything))
    kept = np.unique(rows, return_index=True)[1]
    built = {repr(space.build(tuple(everything[index]))) for index in kept}
    assert len(set(rows)) == len(built) == space.size


def test_a_main_block_has_the_layers_worked_by_hand() -> None:
    space = small_space()
    row = genotype_of(space, main_blocks=2, main2__type="bottleneck", main2__widening=2.0, main2__branches=2)
    batch = space.workloads(np.array([row], dtype=GENE))
    macs = dict(zip(batch.names, batch.macs_L.tolist(), strict=True))
    live = dict(zip(batch.names, (batch.live_bytes_L // 4).tolist(), strict=True))
    assert macs == {
        "stem": 64 * 9 * 4,
        "main1.block1.branch1.conv1": 64 * 9 * 4 * 4,
        "main1.block1.branch1.conv2": 64 * 9 * 4 * 4,
        "main1.block1.branch1.add": 0,
        # 4 -> 8 channels, 8x8 -> 4x4; the bottleneck is 2 wide and strides in its 3x3 convolution.
        "main2.block1.shortcut": 16 * 4 * 8,
        "main2.block1.branch1.conv1": 64 * 4 * 2,
        "main2.block1.branch1.conv2": 16 * 9 * 2 * 2,
        "main2.block1.branch1.conv3": 16 * 2 * 8,
        "main2.block1.branch1.add": 0,
        "main2.block1.branch2.conv1": 64 * 4 * 2,
        "main2.block1.branch2.conv2": 16 * 9 * 2 * 2,
        "main2.block1.branch2.conv3": 16 * 2 * 8,
        "main2.block1.branch2.add": 0,
        "pool": 0,
        "classifier": 8 * 3,
    }
    # Identity shortcut, one branch: the 4x8x8 input waits behind the first convolution.
    assert live["main1.block1.branch1.conv1"] == 256 + 256
    assert live["main1.block1.branch1.conv2"] == 256 + 256 + 256
    assert live["main1.block1.branch1.add"] == 3 * 256
    # Projection: the 8x4x4 sum waits from the start, and the input as long as another branch will read it.
    assert live["main2.block1.branch1.conv1"] == 256 + 2 * 64 + 128
    assert live["main2.block1.branch1.conv2"] == 2 * 64 + 2 * 16 + 128 + 256
    assert live["main2.block1.branch2.conv2"] == 2 * 64 + 2 * 16 + 128
    assert live["main2.block1.branch2.add"] == 3 * 128


def test_maps_are_halved_by_every_main_block_but_the_first() -> None:
    space = digits_space()
    row = genotype_of(space, main_blocks=3, main1__residual_blocks=2)
    network = space.build(row)
    sizes = []
    handles = [
        network.get_submodule(f"main{group}").register_forward_hook(lambda _module, _inputs, outputs: sizes.append(outputs.shape[-1]))
        for group in (1, 2, 3)
    ]
    with evaluating(network):
        network(torch.zeros((1, *DIGITS)))
    for handle in handles:
        handle.remove()
    assert sizes == [8, 4, 2]
    depth_sizes = [layer.out_height for layer in space.workloads(np.array([row], dtype=GENE)).layers(0) if layer.kind is Kind.ADD]
    assert depth_sizes == [8, 8, 4, 2]


def test_block_type_changes_the_network() -> None:
    space = small_space()
    basic, bottleneck = (space.build(genotype_of(space, main1__type=kind)) for kind in ("basic", "bottleneck"))
    kernels = [
        [module.kernel_size[0] for module in net.main1.modules() if isinstance(module, torch.nn.Conv2d)] for net in (basic, bottleneck)
    ]
    assert kernels == [[3, 3], [1, 3, 1]]


def test_branches_are_added_up() -> None:
    space = ResnetAnalog(input_shape=DIGITS, num_classes=3, first_widths=(4,), widenings=(1.0,), branches=(1, 3))
    network = space.build(genotype_of(space, main1__branches=3))
    block = network.main1.block1
    images = torch.randn(2, 4, 8, 8)
    with evaluating(network):
        expected = torch.relu(images + sum(branch(images) for branch in block.branches))
        torch.testing.assert_close(block(images), expected)
    assert len(block.branches) == 3


def test_networks_convert_to_onnx() -> None:
    space = digits_space()
    assert to_onnx(space.build(genotype_of(space, main_blocks=2, main1__branches=2)), (1, *DIGITS))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["depth", "width", "other"]))
def test_every_mutant_is_valid_canonical_and_changes_what_its_name_says(seed: int, name: str) -> None:
    space = digits_space()
    parents = space.canonical(random_genotypes(space, count=50, seed=seed))
    mutants = space.mutation_operators()[name](parents, np.random.default_rng(seed))
    assert mutants.dtype == GENE
    assert mutants.shape == parents.shape
    assert np.all(space.valid(mutants))
    assert np.array_equal(space.canonical(mutants), mutants)
    names = np.array([decision.name for decision in space.decisions])
    columns = {
        "depth": np.char.endswith(names, "_blocks"),
        "width": np.char.endswith(names, ".widening"),
        "other": (names == "first_width") | np.char.endswith(names, ".type") | np.char.endswith(names, ".branches"),
    }[name]
    changed = mutants != parents
    assert np.all(changed[:, columns].sum(axis=1) >= 1), "a mutant is its parent"
    grown = changed[:, 1] if name == "depth" else np.zeros(len(parents), dtype=bool)  # a new or lost main block brings all of its decisions
    assert np.all(changed[~grown].sum(axis=1) == 1)
    assert not np.any(changed[~grown][:, ~columns])
    ordinal = np.array([decision.ordinal for decision in space.decisions])
    assert np.all(np.abs(mutants.astype(int) - parents)[~grown][:, ordinal] <= 1)


def test_mutations_leave_their_argument_alone_and_follow_their_generator() -> None:
    space = digits_space()
    assert isinstance(space, MutatingSpace)
    parents = space.canonical(random_genotypes(space, count=20, seed=1))
    before = parents.copy()
    for mutate in space.mutation_operators().values():
        first, second = (mutate(parents, np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(first, second)
        assert np.array_equal(parents, before)
        assert mutate(parents[:0], np.random.default_rng(3)).shape == (0, len(space.decisions))


def test_new_main_blocks_are_of_every_kind() -> None:
    space = digits_space()
    parents = np.tile(np.array([genotype_of(space, main_blocks=1)], dtype=GENE), (400, 1))
    mutants = space.mutation_operators()["depth"](parents, np.random.default_rng(0))
    kind = [decision.name for decision in space.decisions].index("main2.type")
    grown = mutants[mutants[:, 1] == 1]
    assert {0, 1} == set(grown[:, kind].tolist())


def test_a_row_without_a_second_choice_stays_as_it_is() -> None:
    space = ResnetAnalog(input_shape=DIGITS, num_classes=3, widenings=(1.0,))
    parents = space.canonical(random_genotypes(space, count=5, seed=0))
    assert np.array_equal(space.mutation_operators()["width"](parents, np.random.default_rng(0)), parents)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widenings": (0.5,)}, "widenings: must be numbers of at least 1; got 0.5"),
        ({"widenings": (1.0, 1.05)}, "widenings: 1 and 1.05 may give the same width from 8 channels"),
        ({"widenings": (float("nan"),)}, "widenings: must be numbers of at least 1"),
        ({"block_types": ("basic", "dense")}, "block_types: 'dense' is not one of basic, bottleneck"),
        ({"branches": (0,)}, "branches: must be a whole number of at least 1; got 0"),
        ({"main_blocks": (1, 1)}, "main_blocks: 1 is listed twice"),
        ({"stem_kernel": 4}, "stem_kernel: 4 is even"),
        ({"input_shape": (8, 8)}, "input_shape: must be .*square"),
        ({"num_classes": 1}, "num_classes: must be a whole number of at least 2"),
    ],
)
def test_unusable_options_are_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ResnetAnalog(**{"input_shape": DIGITS, "num_classes": 10, **options})  # type: ignore[arg-type]


def test_genotypes_of_another_space_are_refused() -> None:
    with pytest.raises(BadInput, match="has 14 indices; got 3"):
        digits_space().build((0, 0, 0))
    with pytest.raises(BadInput, match="outside its decision's choices"):
        digits_space().build((9,) * 14)
