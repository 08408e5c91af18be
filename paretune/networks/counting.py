"""Parameters and multiply-accumulates counted on a built network: the second road beside `core.workload`."""

from typing import Any

import torch
from torch import Tensor, nn

from paretune.networks.evaluation import evaluating


def count_parameters(network: nn.Module) -> int:
    """Number of trained values; shared ones count once."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, example_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the convolutions and linear layers that really run on one input of `example_shape`, batch first."""
    total = 0

    def count(module: nn.Module, _inputs: Any, outputs: Tensor) -> None:
        nonlocal total
        weights: Any = module.weight
        # Each output element takes one product with every weight of its own output channel.
        total += outputs.numel() * weights.numel() // weights.shape[0]

    handles = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)]
    try:
        with evaluating(network):
            network(torch.zeros(example_shape))
    finally:
        for handle in handles:
            handle.remove()
    return total
