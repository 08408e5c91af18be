"""Parameters and multiply-accumulates counted on a built network: the second road beside `core.workload`."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from paretune.networks.evaluation import evaluating


@runtime_checkable
class Multiplies(Protocol):
    """A module that multiplies by other means than a convolution or linear layer, and says how often."""

    def multiply_accumulates(self, inputs: Tensor) -> int:
        """Multiply-accumulates of one call with `inputs`, without those of modules inside it."""
        ...


def count_parameters(network: nn.Module) -> int:
    """Number of trained values; shared ones count once."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, example_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of what really runs on one input of `example_shape`, batch first.

    Counted are convolutions, linear layers and modules that are `Multiplies` (attention, FFT, butterfly layers).
    """
    total = 0

    def count(module: nn.Module, inputs: Any, outputs: Tensor) -> None:
        nonlocal total
        if isinstance(module, Multiplies):
            total += module.multiply_accumulates(inputs[0])
            return
        weights: Any = module.weight
        # Each output element takes one product with every weight of its own output channel.
        total += outputs.numel() * weights.numel() // weights.shape[0]

    kinds = (nn.Conv1d, nn.Conv2d, nn.Linear, Multiplies)
    handles = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, kinds)]
    try:
        with evaluating(network):
            network(torch.zeros(example_shape))
    finally:
        for handle in handles:
            handle.remove()
    return total
