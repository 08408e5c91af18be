"""Linear layers whose matrix is a product of sparse butterfly factors: 2 n log2(n) weights instead of n * n.

The structure is the fast Fourier transform's: with its twiddle factors and a bit reversal before, the layer is the Fourier transform.

Sources: Dao et al., Learning Fast Algorithms for Linear Transforms Using Butterfly Factorizations, ICML 2019; Fan et al., Adaptable
Butterfly Accelerator for Attention-based NNs via Hardware and Algorithm Co-design, MICRO 2022 (padding and stacks).
"""

import math

import torch
from torch import Tensor, nn


class ButterflyLinear(nn.Module):
    """A linear layer of butterfly factors with a bias.

    The input is padded with zeros to n, a power of two; outputs beyond n come from further stacks of factors, those too many are cut.

    Args:
        in_features: numbers that come in.
        out_features: numbers that go out.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.levels = max(1, math.ceil(math.log2(in_features)))
        self.padded = 2**self.levels
        stacks = -(-out_features // self.padded)
        self.weight = nn.Parameter(_rotations(stacks, self.levels, self.padded // 2))
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, inputs: Tensor) -> Tensor:
        """`(..., in_features)` -> `(..., out_features)`."""
        stacks = self.weight.shape[0]
        zeros = inputs.new_zeros((*inputs.shape[:-1], self.padded - self.in_features))
        values = torch.cat([inputs, zeros], dim=-1).reshape(-1, 1, self.padded).expand(-1, stacks, -1)
        for level in range(self.levels):
            distance = 2**level
            blocks = self.padded // (2 * distance)
            # Two numbers `distance` apart make two new ones: (row, stack, block, new, old, place).
            pairs = values.reshape(-1, stacks, blocks, 1, 2, distance)
            factor = self.weight[:, level].reshape(stacks, 2, 2, blocks, distance).permute(0, 3, 1, 2, 4)
            values = (pairs * factor).sum(dim=4).reshape(-1, stacks, self.padded)
        outputs = values.reshape(-1, stacks * self.padded)[:, : self.out_features] + self.bias
        return outputs.reshape(*inputs.shape[:-1], self.out_features)

    def multiply_accumulates(self, inputs: Tensor) -> int:
        """Each weight once a row of the input."""
        return self.weight.numel() * (inputs.numel() // self.in_features)


def _rotations(stacks: int, levels: int, blocks: int) -> Tensor:
    """`(stacks, levels, 2, 2, blocks)` random rotations: their product keeps the length of every input, however many levels there are."""
    angles = torch.rand(stacks, levels, blocks) * (2 * math.pi)
    cosine, sine = torch.cos(angles), torch.sin(angles)
    return torch.stack([torch.stack([cosine, -sine], dim=2), torch.stack([sine, cosine], dim=2)], dim=2)
