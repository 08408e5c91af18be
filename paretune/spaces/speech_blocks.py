"""Torch networks of NAS-Bench-ASR cells over features and time.

Source: Mehrotra et al., NAS-Bench-ASR, ICLR 2021.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paretune.spaces.speech_cells import OPERATIONS, Cell

CONVOLUTIONS = {"conv5": (5, 1), "conv5d2": (5, 2), "conv7": (7, 1), "conv7d2": (7, 2)}
"""Kernel and dilation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """A convolution that may shorten time, and cells behind it."""

    width: int
    stride: int
    cells: int


class ClippedReLU(nn.Hardtanh):
    """ReLU that ends at 20, as in the benchmark."""

    def __init__(self) -> None:
        super().__init__(0.0, 20.0)


class FeatureNorm(nn.Module):
    """Layer norm over the features of each time step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-3)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, width, time)` -> the same shape."""
        outputs: Tensor = self.norm(inputs.transpose(1, 2))
        return outputs.transpose(1, 2)


class Linear(nn.Module):
    """A linear layer without bias for each time step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, width, time)` -> the same shape."""
        outputs: Tensor = self.linear(inputs.transpose(1, 2))
        return outputs.transpose(1, 2)


class SpeechCell(nn.Module):
    """One cell: three nodes, each an operation on the one before plus skip edges, and layer norm."""

    def __init__(self, cell: Cell, *, width: int, groups: int) -> None:
        super().__init__()
        self.skips = tuple(node[1:] for node in cell)
        operations = [_operation(OPERATIONS[node[0]], width=width, groups=groups) for node in cell]
        self.operations = nn.ModuleDict({str(node): operation for node, operation in enumerate(operations) if operation is not None})
        self.norm = FeatureNorm(width)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, width, time)` -> the same shape."""
        outputs: Tensor = self.norm(self.nodes(inputs)[-1])
        return outputs

    def nodes(self, inputs: Tensor) -> list[Tensor]:
        """The input and the three nodes, before layer norm."""
        values = [inputs]
        for node, skips in enumerate(self.skips):
            name = str(node)
            parts = [self.operations[name](values[node])] if name in self.operations else []
            parts += [values[source] for source, skip in enumerate(skips) if skip]
            value = torch.zeros_like(inputs) if not parts else parts[0]
            for part in parts[1:]:
                value = value + part
            values.append(value)
        return values


class TimeMean(nn.Module):
    """`(batch, width, time)` -> `(batch, width)`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Mean over time."""
        return inputs.mean(dim=2)


def speech_network(*, features: int, blocks: Sequence[BlockPlan], kernel: int, groups: int, cell: Cell, num_classes: int) -> nn.Module:
    """A classifier of `(batch, features, time)`: blocks, the mean over time, a linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, block in enumerate(blocks, start=1):
        convolution = nn.Conv1d(features, block.width, kernel, stride=block.stride, padding=kernel // 2, bias=False)
        layers[f"block{number}"] = nn.Sequential(
            OrderedDict(
                reduce=nn.Sequential(convolution, ClippedReLU(), FeatureNorm(block.width)),
                cells=nn.Sequential(*(SpeechCell(cell, width=block.width, groups=groups) for _ in range(block.cells))),
            )
        )
        features = block.width
    layers["pool"] = TimeMean()
    layers["classifier"] = nn.Linear(features, num_classes)
    return nn.Sequential(layers)


def _operation(name: str, *, width: int, groups: int) -> nn.Module | None:
    """A module without bias, or None for `zero`."""
    if name == "zero":
        return None
    if name == "linear":
        return nn.Sequential(Linear(width), ClippedReLU())
    kernel, dilation = CONVOLUTIONS[name]
    margin = dilation * (kernel // 2)
    convolution = nn.Conv1d(width, width, kernel, padding=margin, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(convolution, ClippedReLU())
