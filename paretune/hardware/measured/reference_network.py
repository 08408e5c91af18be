"""The fixed network whose latency tells whether a device is what it was: measured between candidates, compared with its own baseline."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

REFERENCE_SHAPE = (1, 3, 32, 32)
"""Of its input, batch first."""


def reference_network() -> "nn.Module":
    """Dense, depthwise and pointwise convolutions and a linear layer, 1.0 million MACs, with the same weights every time.

    Well below a millisecond on a laptop's core, so that it costs little between candidates; both kinds of convolution, since clocks and
    memory do not slow them alike. Do not change it: latencies of it are compared across sessions.
    """
    from torch.random import fork_rng

    with fork_rng(devices=[]):  # layers draw their first weights; measuring must leave the global generator alone
        return _with_fixed_weights(_layers())


@cache
def reference_onnx() -> bytes:
    """The network as ONNX, converted once a process: that takes as long as measuring it."""
    from paretune.networks.onnx_conversion import to_onnx

    return to_onnx(reference_network(), REFERENCE_SHAPE)


def _layers() -> "nn.Module":
    from torch import nn

    def activated(layer: nn.Module) -> nn.Module:
        return nn.Sequential(layer, nn.ReLU())

    return nn.Sequential(
        activated(nn.Conv2d(3, 16, 3, stride=2, padding=1)),
        activated(nn.Conv2d(16, 16, 3, padding=1, groups=16)),
        activated(nn.Conv2d(16, 32, 1)),
        activated(nn.Conv2d(32, 32, 3, stride=2, padding=1)),
        activated(nn.Conv2d(32, 32, 3, padding=1, groups=32)),
        activated(nn.Conv2d(32, 64, 1)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def _with_fixed_weights(network: "nn.Module") -> "nn.Module":
    from torch import Generator, no_grad, randn

    generator = Generator().manual_seed(0)
    with no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * randn(parameter.shape, generator=generator))
    return network.eval()
