"""The released HotNAS model to the last digit: latencies in its unit, 1e5 cycles, of designs [Tm, Tn, Tr, Tc, Tk, Wp, Ip, Op].

Sources: the paper's tables, the released exploration logs and code, and values worked out from its formulas.
"""

from itertools import product

import numpy as np
import pytest
from hotnas_networks import (
    alexnet,
    cifar_big_transfer,
    cifar_densenet121,
    cifar_resnet18,
    mnasnet,
    mobilenet_v2,
    proxyless_mobile,
    resnet18,
    rewritten,
    squeezenet,
)

from paretune.core.costs import Estimates, design_violation
from paretune.core.errors import BadInput
from paretune.core.workload import Layer, WorkloadBatch
from paretune.hardware.analytic.fpga.tiled_engine import CHOICES, TiledEngine, Variant

CLOCK_HZ = 200e6
Design = tuple[int, ...]

RESNET_DESIGN = (70, 36, 64, 64, 7, 18, 6, 6)
RESNET_MOVED = (70, 36, 64, 64, 7, 20, 5, 6)  # W_p 18 -> 20, I_p 6 -> 5


def engine(design: Design, depthwise: int = 0, *, variant: Variant = "hotnas2020", search: tuple[str, ...] = ()) -> TiledEngine:
    tm, tn, tr, tc, tk, weights, inputs, outputs = design
    return TiledEngine(
        variant=variant,
        output_channel_tile=tm,
        input_channel_tile=tn,
        row_tile=tr,
        column_tile=tc,
        largest_kernel=tk,
        weight_port_words=weights,
        input_port_words=inputs,
        output_port_words=outputs,
        depthwise_channel_tile=depthwise,
        clock_hz=CLOCK_HZ,
        search=search,
    )


def estimated(model: TiledEngine, network: list[Layer]) -> Estimates:
    return model.estimate(WorkloadBatch.from_layers([network]), {})["latency_s"]


def table_cycles(model: TiledEngine, network: list[Layer]) -> float:
    """Latency in 1e5 cycles, the unit of the published tables."""
    return float(estimated(model, network).values[0]) * CLOCK_HZ / 1e5


# (network, design, channels of the depthwise engine, published value).
PUBLISHED = {
    "AlexNet": (alexnet(), (70, 36, 64, 32, 11, 18, 6, 2), 0, 4.0483),
    "AlexNet, second design": (alexnet(), (100, 25, 32, 32, 11, 8, 2, 2), 0, 6.132125),
    "AlexNet, wide input": (alexnet(), (10, 252, 32, 32, 11, 2, 2, 2), 0, 77.46192),
    "AlexNet, best of the exploration": (alexnet(), (70, 36, 64, 64, 11, 14, 6, 2), 0, 3.98175),
    "MobileNetV2": (mobilenet_v2(), (160, 12, 32, 32, 3, 10, 10, 10), 576, 12.585792),
    "ResNet-18, released maps": (resnet18(as_released=True), RESNET_DESIGN, 0, 12.54656),
    "ResNet-18, right maps": (resnet18(as_released=False), RESNET_DESIGN, 0, 14.8816),
    "ResNet-18 for CIFAR": (cifar_resnet18(), (130, 19, 32, 32, 3, 18, 2, 10), 0, 6.872905555555555),
    # Stem and first block keep 32 and 16 channels at width 0.5, as the first version of the public implementation had it.
    "MnasNet 0.5": (mnasnet((32, 16, 16, 24, 40, 48, 96, 160)), (100, 16, 32, 32, 5, 6, 10, 14), 832, 7.982816),
    "MnasNet": (mnasnet((32, 16, 24, 40, 80, 96, 192, 320)), (100, 18, 32, 32, 5, 10, 10, 10), 704, 11.885112),
    "ProxylessNAS mobile": (proxyless_mobile(), (100, 16, 32, 32, 7, 10, 10, 10), 832, 11.654764),
    "DenseNet-121 for CIFAR": (cifar_densenet121(), (70, 36, 32, 32, 3, 18, 6, 6), 0, 8.029626666666667),
    "BiT for CIFAR": (cifar_big_transfer(), (130, 19, 32, 32, 7, 18, 6, 6), 0, 13.763265555555556),
}


@pytest.mark.parametrize(("network", "design", "depthwise", "value"), PUBLISHED.values(), ids=PUBLISHED)
def test_released_model_gives_the_published_latency(network: list[Layer], design: Design, depthwise: int, value: float) -> None:
    assert table_cycles(engine(design, depthwise), network) == pytest.approx(value, rel=1e-14)


LOGGED = {
    "AlexNet": (alexnet(), (10, 252, 32, 32, 11, 2, 2, 2), 107.4465),
    "AlexNet, chosen design": (alexnet(), (70, 36, 64, 32, 11, 18, 6, 2), 4.0483),
    "AlexNet, small tiles": (alexnet(), (100, 25, 32, 32, 11, 8, 2, 2), 6.132125),
    "ResNet-18": (resnet18(as_released=True), RESNET_DESIGN, 12.5744),
    "ResNet-18, small tiles": (resnet18(as_released=True), (70, 36, 32, 32, 7, 8, 4, 4), 22.36248),
    "SqueezeNet": (squeezenet(), (130, 19, 64, 64, 7, 6, 10, 14), 9.51259761904762),
    "SqueezeNet, small tiles": (squeezenet(), (130, 19, 32, 32, 7, 4, 6, 6), 19.305335),
}


@pytest.mark.parametrize(("network", "design", "value"), LOGGED.values(), ids=LOGGED)
def test_earlier_form_gives_the_logged_latency(network: list[Layer], design: Design, value: float) -> None:
    assert table_cycles(engine(design, variant="hotnas2020_log"), network) == pytest.approx(value, rel=1e-14)


def test_alexnet_layer_by_layer() -> None:
    found = estimated(engine((70, 36, 64, 32, 11, 18, 6, 2)), alexnet())
    assert found.layers is not None
    assert found.layer_bottlenecks is not None
    assert (found.layers * CLOCK_HZ).round(6).tolist() == [33880, 144150, 72900, 89100, 64800]
    assert "".join(found.layer_bottlenecks) == "WCCCC"
    # 2.02 ms in the paper.
    assert 1e3 * found.values[0] == pytest.approx(2.02415, rel=1e-12)


# The moves of the walk-through, in its order. Patterns go to the 3x3 layers that compute too long in the released maps, also where the
# maps are right and three more layers would ask for them.
PATTERNS = {
    f"{name}.conv{number}": {"taps": 6}
    for name, number in [
        ("layer1.0", 1),
        ("layer1.0", 2),
        ("layer1.1", 1),
        ("layer1.1", 2),
        ("layer2.0", 2),
        ("layer2.1", 1),
        ("layer2.1", 2),
    ]
}
CHANNELS = {
    "layer4.0.conv1": {"out_channels": 480},
    "layer4.0.conv2": {"in_channels": 480},
    "layer4.1.conv1": {"out_channels": 496},
    "layer4.1.conv2": {"in_channels": 496},
}
BITS = {f"layer4.{block}.conv{number}": {"weight_bits": 8} for block, number in product((0, 1), (1, 2))}


@pytest.mark.parametrize(
    ("as_released", "milliseconds"),
    [
        (True, [6.27328, 5.70016, 5.54896, 4.28896, 4.21592]),
        (False, [7.4408, 6.71312, 6.56192, 5.4722, 5.667104]),
    ],
)
def test_walk_through_of_resnet18(as_released: bool, milliseconds: list[float]) -> None:
    network = resnet18(as_released=as_released)
    pruned = rewritten(network, PATTERNS)
    cut = rewritten(pruned, CHANNELS)
    quantised = rewritten(cut, BITS)
    published = engine(RESNET_DESIGN)
    steps = [(published, network), (published, pruned), (published, cut), (published, quantised), (engine(RESNET_MOVED), quantised)]
    assert [table_cycles(*step) / 2 for step in steps] == pytest.approx(milliseconds, rel=1e-12)


def test_moves_of_the_walk_through_one_at_a_time() -> None:
    network, published = resnet18(as_released=True), engine(RESNET_DESIGN)
    base = table_cycles(published, network) / 2
    assert table_cycles(published, rewritten(network, PATTERNS)) / 2 - base == pytest.approx(-0.57312)
    assert table_cycles(engine(RESNET_MOVED), network) / 2 - base == pytest.approx(-0.31976)
    assert table_cycles(engine(RESNET_MOVED), network) / 2 == pytest.approx(5.95352, rel=1e-12)


def test_patterned_layers_are_those_that_compute_too_long() -> None:
    found = estimated(engine(RESNET_DESIGN), resnet18(as_released=True))
    assert found.layer_bottlenecks is not None
    labels = dict(zip([layer.name for layer in resnet18(as_released=True)], found.layer_bottlenecks, strict=True))
    assert [name for name, label in labels.items() if label == "C" and name != "conv1"] == list(PATTERNS)
    assert all(labels[name] == "W" for name in BITS)


def test_detection_names_what_a_move_relieves() -> None:
    network, published = resnet18(as_released=True), engine(RESNET_DESIGN)
    found = estimated(published, network)
    assert found.layer_bottlenecks is not None

    def moved_cycles(name: str, change: dict[str, int]) -> float:
        return round(1e5 * (table_cycles(published, rewritten(network, {name: change})) - table_cycles(published, network)), 6)

    for layer, label in zip(network, found.layer_bottlenecks, strict=True):
        if label == "C":
            assert moved_cycles(layer.name, {"weight_bits": 8}) == 0, "quantising a layer that computes changes nothing"
        if label == "W" and layer.kernel == 3:
            assert moved_cycles(layer.name, {"taps": 6}) == 0, "pruning a layer that loads weights changes nothing"
    assert moved_cycles("layer4.1.conv2", {"weight_bits": 8}) == -75600
    assert moved_cycles("layer1.0.conv1", {"taps": 6}) == -20184
    # Channels help where a tile is lost: 512 -> 496 leaves 8 tiles of 70 outputs, but 14 instead of 15 of 36 inputs.
    assert moved_cycles("layer4.1.conv1", {"out_channels": 496}) == 0
    assert moved_cycles("layer4.1.conv2", {"in_channels": 496}) == -151200 / 15


SEARCHED = ("output_channel_tile", "row_tile", "column_tile", "weight_port_words", "input_port_words", "output_port_words")


@pytest.mark.parametrize("variant", ["hotnas2020", "hotnas2020_log"])
def test_exhaustive_exploration_finds_a_better_design_than_the_published_one(variant: Variant) -> None:
    model = engine((70, 0, 64, 64, 11, 18, 6, 2), variant=variant, search=SEARCHED)
    assert [decision.name for decision in model.space()] == list(SEARCHED)
    grid = np.array(list(product(*(CHOICES[name] for name in SEARCHED))), dtype=np.int64)
    designs = dict(zip(SEARCHED, grid.T, strict=True))
    feasible = design_violation(model.check(designs)) == 0
    assert feasible.sum() == 5184
    few = {name: values[feasible] for name, values in designs.items()}
    one = WorkloadBatch.from_layers([alexnet()] * 5184)
    latency_s = model.estimate(one, few)["latency_s"].values
    best = int(latency_s.argmin())
    assert latency_s[best] * CLOCK_HZ / 1e5 == pytest.approx(3.98175, rel=1e-14)
    # [70, 36, 64, 64, 11, 14, 6, 2]; 36 = 2520 // 70.
    assert [int(few[name][best]) for name in SEARCHED] == [70, 64, 64, 14, 6, 2]


def test_resources_of_the_published_design() -> None:
    model = engine(RESNET_DESIGN)
    uses = model.check({})
    assert {name: (use.used.tolist(), use.available) for name, use in uses.items()} == {"dsps": ([2520], 2520), "port_bits": ([480], 512)}
    # 2*36*4 + 2*70*4 + 70*36*1, far beyond the 1,824 of the device, which the released code does not notice and the corrected one does.
    assert model.block_rams({}).tolist() == [3368]
    assert design_violation(uses).tolist() == [0]
    corrected = engine(RESNET_DESIGN, variant="corrected").check({})
    assert design_violation(corrected) == pytest.approx([3368 / 1824 - 1])


def test_released_model_refuses_what_it_cannot_run() -> None:
    with pytest.raises(BadInput, match=r"depthwise_channel_tile: must be above 0, for there is a depthwise layer number 2; got 0"):
        estimated(engine((160, 12, 32, 32, 3, 10, 10, 10)), mobilenet_v2())
    with pytest.raises(BadInput, match=r"largest_kernel: must be at least the 7 of conv layer 'conv1'; got 3"):
        estimated(engine((70, 36, 64, 64, 3, 18, 6, 6)), resnet18(as_released=True))
