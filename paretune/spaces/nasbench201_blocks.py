"""Torch networks of NAS-Bench-201: three stages of equal cells with residual blocks that halve the map between them.

Source: Dong & Yang, NAS-Bench-201, ICLR 2020.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paretune.spaces.nasbench201_cells import AVERAGE, CONV_1X1, CONV_3X3, EDGES, LAST_NODE, SKIP


def _relu_conv_norm(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(out_channels))


def _operation(gene: int, channels: int) -> nn.Module:
    if gene == SKIP:
        return nn.Identity()
    if gene == AVERAGE:
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return _relu_conv_norm(channels, channels, kernel={CONV_1X1: 1, CONV_3X3: 3}[gene])


class Cell(nn.Module):
    """Four nodes; each sums what the edges from earlier nodes bring. A node without edges is zero.

    Args:
        genes: operation of each edge, in the order of `EDGES`; `none` edges are left out.
        channels: of every node.
    """

    def __init__(self, genes: Sequence[int], channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {f"{source}-{target}": _operation(gene, channels) for gene, (source, target) in zip(genes, EDGES, strict=True) if gene}
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, channels, H, W)` -> the same shape. Edges that nothing reads run too: the benchmark counts their cost."""
        nodes = [inputs]
        for target in range(1, LAST_NODE + 1):
            terms = [self.edges[name](nodes[source]) for source in range(target) if (name := f"{source}-{target}") in self.edges]
            nodes.append(torch.stack(terms).sum(dim=0) if len(terms) > 1 else terms[0] if terms else torch.zeros_like(inputs))
        return nodes[-1]


class Reduction(nn.Module):
    """Residual block that halves the map and doubles the channels; its shortcut is a mean of 2x2 and a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = _relu_conv_norm(in_channels, out_channels, kernel=3, stride=2)
        self.second = _relu_conv_norm(out_channels, out_channels, kernel=3)
        pool = nn.AvgPool2d(2, stride=2, ceil_mode=True, count_include_pad=False)
        self.shortcut = nn.Sequential(pool, nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, in_channels, H, W)` -> `(batch, out_channels, ceil(H / 2), ceil(W / 2))`."""
        outputs: Tensor = self.shortcut(inputs) + self.second(self.first(inputs))
        return outputs


def cell_network(
    genes: Sequence[int], *, in_channels: int, num_classes: int, channels: int, cells_per_stage: int, num_stages: int
) -> nn.Module:
    """The network of one cell, with fresh weights from torch's global generator."""
    stem = nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)
    for stage in range(1, num_stages + 1):
        if stage > 1:
            layers[f"reduction{stage - 1}"] = Reduction(channels, 2 * channels)
            channels *= 2
        layers[f"stage{stage}"] = nn.Sequential(*(Cell(genes, channels) for _ in range(cells_per_stage)))
    layers["norm"] = nn.BatchNorm2d(channels)
    layers["activation"] = nn.ReLU(inplace=True)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(channels, num_classes)
    return nn.Sequential(layers)
