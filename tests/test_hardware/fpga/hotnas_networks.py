"""The networks of HotNAS' published latencies as layers of 16 bits, with the maps that its released code gives them.

That code runs the convolutions and pools of a network in the order in which they are defined. So a shortcut's convolution, defined after
the main branch, reads the main branch's output, and a stage of a ResNet halves the map twice: `as_released`. Without it the maps are right.
"""

from collections.abc import Sequence
from dataclasses import replace

from paretune.core.workload import Kind, Layer


class Definition:
    """Collects the convolutions of a network and follows the size of the map."""

    def __init__(self, *, size: int, channels: int = 3, as_released: bool = False) -> None:
        self.layers: list[Layer] = []
        self.size, self.channels, self.as_released = size, channels, as_released

    def conv(self, out: int, kernel: int, stride: int = 1, *, padding: int | None = None, depthwise: bool = False, name: str = "") -> None:
        """A convolution of the current map, `same` padding unless given."""
        self._add(out, kernel, stride, kernel // 2 if padding is None else padding, depthwise, name)

    def pool(self, kernel: int, stride: int, *, padding: int = 0, ceil: bool = False) -> None:
        """A pool of the current map."""
        span = self.size + 2 * padding - kernel
        self.size = (-(-span // stride) if ceil else span // stride) + 1

    def shortcut(self, out: int, stride: int, *, channels: int, size: int, name: str) -> None:
        """The 1x1 convolution of a block whose input had `channels` and `size`; the main branch is done."""
        after = self.size
        if not self.as_released:
            self.size = size
        self.channels = channels
        self._add(out, 1, stride, 0, False, name)
        if not self.as_released:
            self.size = after

    def _add(self, out: int, kernel: int, stride: int, padding: int, depthwise: bool, name: str) -> None:
        before, self.size = self.size, (self.size + 2 * padding - kernel) // stride + 1
        self.layers.append(
            Layer(
                kind=Kind.DEPTHWISE if depthwise else Kind.CONV,
                out_channels=out,
                in_channels=self.channels,
                out_height=self.size,
                out_width=self.size,
                in_height=before,
                in_width=before,
                kernel=kernel,
                stride=stride,
                padding=padding,
                groups=self.channels if depthwise else 1,
                weight_bits=16,
                activation_bits=16,
                name=name,
            )
        )
        self.channels = out


def alexnet() -> list[Layer]:
    """AlexNet's convolutions (one column)."""
    made = Definition(size=224)
    made.conv(64, 11, 4, padding=2)
    made.pool(3, 2)
    made.conv(192, 5)
    made.pool(3, 2)
    for out in (384, 256, 256):
        made.conv(out, 3)
    return made.layers


def _resnet18_stages(made: Definition) -> list[Layer]:
    for stage, out in enumerate((64, 128, 256, 512), start=1):
        for block in (0, 1):
            name, size, channels = f"layer{stage}.{block}", made.size, made.channels
            stride = 2 if stage > 1 and block == 0 else 1
            made.conv(out, 3, stride, name=f"{name}.conv1")
            made.conv(out, 3, name=f"{name}.conv2")
            if stride == 2:
                made.shortcut(out, 2, channels=channels, size=size, name=f"{name}.downsample")
    return made.layers


def resnet18(*, as_released: bool) -> list[Layer]:
    """ResNet-18 for ImageNet."""
    made = Definition(size=224, as_released=as_released)
    made.conv(64, 7, 2, name="conv1")
    made.pool(3, 2, padding=1)
    return _resnet18_stages(made)


def cifar_resnet18() -> list[Layer]:
    """ResNet-18 for CIFAR: 3x3 stem of stride 1, but with the pool; maps as released."""
    made = Definition(size=32, as_released=True)
    made.conv(64, 3, name="conv1")
    made.pool(3, 2, padding=1)
    return _resnet18_stages(made)


def _inverted_bottleneck(made: Definition, out: int, *, expansion: int, kernel: int, stride: int) -> None:
    wide = made.channels * expansion
    if expansion > 1:
        made.conv(wide, 1)
    made.conv(wide, kernel, stride, depthwise=True)
    made.conv(out, 1)


def mobilenet_v2() -> list[Layer]:
    """MobileNetV2, width 1."""
    made = Definition(size=224)
    made.conv(32, 3, 2)
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, out, depth, first_stride in stages:
        for block in range(depth):
            _inverted_bottleneck(made, out, expansion=expansion, kernel=3, stride=first_stride if block == 0 else 1)
    made.conv(1280, 1)
    return made.layers


def mnasnet(widths: Sequence[int]) -> list[Layer]:
    """MnasNet-B1 with the widths of its stem, first separable convolution and six stages."""
    stem, first, *stages = widths
    made = Definition(size=224)
    made.conv(stem, 3, 2)
    made.conv(stem, 3, depthwise=True)
    made.conv(first, 1)
    kinds = ((3, 3, 3, 2), (5, 3, 3, 2), (5, 6, 3, 2), (3, 6, 2, 1), (5, 6, 4, 2), (3, 6, 1, 1))
    for out, (kernel, expansion, depth, first_stride) in zip(stages, kinds, strict=True):
        for block in range(depth):
            _inverted_bottleneck(made, out, expansion=expansion, kernel=kernel, stride=first_stride if block == 0 else 1)
    made.conv(1280, 1)
    return made.layers


def proxyless_mobile() -> list[Layer]:
    """ProxylessNAS found for mobile phones."""
    made = Definition(size=224)
    made.conv(32, 3, 2)
    _inverted_bottleneck(made, 16, expansion=1, kernel=3, stride=1)
    stages = (
        (32, 2, ((5, 3), (3, 3))),
        (40, 2, ((7, 3), (3, 3), (5, 3), (5, 3))),
        (80, 2, ((7, 6), (5, 3), (5, 3), (5, 3))),
        (96, 1, ((5, 6), (5, 3), (5, 3), (5, 3))),
        (192, 2, ((7, 6), (7, 6), (7, 3), (7, 3))),
        (320, 1, ((7, 6),)),
    )
    for out, first_stride, blocks in stages:
        for index, (kernel, expansion) in enumerate(blocks):
            _inverted_bottleneck(made, out, expansion=expansion, kernel=kernel, stride=first_stride if index == 0 else 1)
    made.conv(1280, 1)
    return made.layers


def squeezenet() -> list[Layer]:
    """SqueezeNet 1.0; the two expansions of a fire module stand one after another, each reading the squeezed map."""
    made = Definition(size=224)
    made.conv(96, 7, 2, padding=0)
    made.pool(3, 2, ceil=True)
    modules = ((16, 64), (16, 64), (32, 128), "pool", (32, 128), (48, 192), (48, 192), (64, 256), "pool", (64, 256))
    for module in modules:
        if module == "pool":
            made.pool(3, 2, ceil=True)
            continue
        squeezed, expanded = module
        made.conv(squeezed, 1)
        made.conv(expanded, 1)
        made.channels = squeezed
        made.conv(expanded, 3)
        made.channels = 2 * expanded
    made.conv(1000, 1)
    return made.layers


def cifar_densenet121() -> list[Layer]:
    """DenseNet-121 for CIFAR: 3x3 stem of stride 1 with a pool."""
    made = Definition(size=32)
    made.conv(64, 3)
    made.pool(3, 2, padding=1)
    channels = 64
    for stage, depth in enumerate((6, 12, 24, 16)):
        for _ in range(depth):
            made.channels = channels
            made.conv(128, 1)
            made.conv(32, 3)
            channels += 32
        if stage < 3:
            made.channels = channels
            channels //= 2
            made.conv(channels, 1)
            made.pool(2, 2)
    return made.layers


def cifar_big_transfer() -> list[Layer]:
    """BiT-M-R50x1 on 32x32 images with 10 outputs, maps as released: the padding before its pool is skipped."""
    made = Definition(size=32, as_released=True)
    made.conv(64, 7, 2)
    made.pool(3, 2)
    for stage, (out, depth) in enumerate(((256, 3), (512, 4), (1024, 6), (2048, 3))):
        for block in range(depth):
            size, channels = made.size, made.channels
            stride = 2 if stage > 0 and block == 0 else 1
            made.conv(out // 4, 1)
            made.conv(out // 4, 3, stride)
            made.conv(out, 1)
            if block == 0:
                made.shortcut(out, stride, channels=channels, size=size, name=f"block{stage}.downsample")
    made.size = 1
    made.conv(10, 1)
    return made.layers


def rewritten(network: Sequence[Layer], changes: dict[str, dict[str, int]]) -> list[Layer]:
    """The network with fields of named layers changed: pruned, quantised, cut."""
    assert set(changes) <= {layer.name for layer in network}
    return [replace(layer, **changes.get(layer.name, {})) for layer in network]
