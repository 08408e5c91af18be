"""Torch networks of transformer encoder layers that mix tokens by attention or Fourier transform, with dense or butterfly weights.

Layer norm comes after each addition, as in the first transformer, FNet and FABNet.

Sources: Vaswani et al., Attention Is All You Need, NeurIPS 2017; Lee-Thorp et al., FNet, NAACL 2022; Fan et al., Adaptable Butterfly
Accelerator, MICRO 2022; Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021 (patches).
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paretune.spaces.butterfly import ButterflyLinear


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """One encoder layer."""

    embedding: int
    tokens: int
    heads: int
    """Of attention; read only where the layer attends."""
    feed_forward: int
    """Features between the two linear layers that follow the mixing."""
    attends: bool
    """Whether tokens are mixed by attention; by a Fourier transform otherwise."""
    butterfly: bool
    """Whether linear layers are products of butterfly factors."""


class Patches(nn.Module):
    """Cuts images into square patches, each a token: `(batch, C, H, W)` -> `(batch, tokens, C * size * size)`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Patches row by row."""
        batch, channels, height, width = images.shape
        rows, columns = height // self.size, width // self.size
        cut = images.reshape(batch, channels, rows, self.size, columns, self.size).permute(0, 2, 4, 1, 3, 5)
        return cut.reshape(batch, rows * columns, channels * self.size**2)


class Transposed(nn.Module):
    """`(batch, features, length)` -> `(batch, length, features)`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Swap the last two axes."""
        return inputs.transpose(1, 2)


class Positions(nn.Module):
    """Adds a trained vector to each token."""

    def __init__(self, tokens: int, embedding: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(tokens, embedding) * 0.02)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, tokens, embedding)` -> the same shape."""
        return inputs + self.vectors


class Attend(nn.Module):
    """Scaled dot-product attention of queries, keys and values that come side by side."""

    def __init__(self, embedding: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, embedding // heads

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, tokens, 3 * embedding)` -> `(batch, tokens, embedding)`."""
        batch, tokens = inputs.shape[:2]
        queries, keys, values = inputs.reshape(batch, tokens, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(queries @ keys.transpose(2, 3) / math.sqrt(self.width), dim=3)
        return (weights @ values).transpose(1, 2).reshape(batch, tokens, self.heads * self.width)

    def multiply_accumulates(self, inputs: Tensor) -> int:
        """Each query with each key, each weight with its value, over all heads."""
        batch, tokens, features = inputs.shape
        return 2 * batch * tokens * tokens * (features // 3)


class FourierMixing(nn.Module):
    """Real part of the Fourier transform along tokens and channels; has no weights.

    Departs: scaled to keep the length of its input (FNet does not scale), so that the shortcut beside it is not drowned.
    """

    cosine_tokens: Tensor
    sine_tokens: Tensor
    cosine_channels: Tensor
    sine_channels: Tensor

    def __init__(self, tokens: int, embedding: int) -> None:
        super().__init__()
        # ONNX has no complex numbers: there the same transform is two products with real matrices.
        for name, size in (("tokens", tokens), ("channels", embedding)):
            angles = 2 * math.pi / size * torch.outer(torch.arange(size), torch.arange(size)).remainder(size)
            self.register_buffer(f"cosine_{name}", torch.cos(angles) / math.sqrt(size), persistent=False)
            self.register_buffer(f"sine_{name}", torch.sin(angles) / math.sqrt(size), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, tokens, embedding)` -> the same shape."""
        return self.by_matrices(inputs) if torch.onnx.is_in_onnx_export() else torch.fft.fft2(inputs, norm="ortho").real

    def by_matrices(self, inputs: Tensor) -> Tensor:
        """The same transform without complex numbers."""
        return self.cosine_tokens @ inputs @ self.cosine_channels - self.sine_tokens @ inputs @ self.sine_channels

    def multiply_accumulates(self, inputs: Tensor) -> int:
        """2 n log2(n) for each transform of n numbers, padded to a power of two (see `WorkloadBatch.macs_L`)."""
        tokens, channels = inputs.shape[-2:]
        levels = (tokens - 1).bit_length() + (channels - 1).bit_length()
        return 2 * inputs.numel() * levels


class EncoderLayer(nn.Module):
    """Mixing of tokens, then two linear layers for each token; each with a shortcut and layer norm."""

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__()
        linear = ButterflyLinear if plan.butterfly else nn.Linear
        embedding = plan.embedding
        mixing: list[nn.Module] = [FourierMixing(plan.tokens, embedding)]
        if plan.attends:
            mixing = [linear(embedding, 3 * embedding), Attend(embedding, plan.heads), linear(embedding, embedding)]
        self.mixing = nn.Sequential(*mixing)
        self.mixing_norm = nn.LayerNorm(embedding)
        self.feed_forward = nn.Sequential(linear(embedding, plan.feed_forward), nn.GELU(), linear(plan.feed_forward, embedding))
        self.feed_forward_norm = nn.LayerNorm(embedding)

    def forward(self, inputs: Tensor) -> Tensor:
        """`(batch, tokens, embedding)` -> the same shape."""
        mixed: Tensor = self.mixing_norm(inputs + self.mixing(inputs))
        outputs: Tensor = self.feed_forward_norm(mixed + self.feed_forward(mixed))
        return outputs


class TokenMean(nn.Module):
    """`(batch, tokens, embedding)` -> `(batch, embedding)`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Mean over all tokens."""
        return inputs.mean(dim=1)


def transformer_network(*, tokenizer: nn.Module, token_features: int, layers: Sequence[LayerPlan], num_classes: int) -> nn.Module:
    """A classifier: tokens, their embedding with positions, encoder layers, the mean token, a linear layer."""
    embedding = layers[0].embedding
    modules: OrderedDict[str, nn.Module] = OrderedDict(tokenizer=tokenizer, embedding=nn.Linear(token_features, embedding))
    modules["positions"] = Positions(layers[0].tokens, embedding)
    for number, plan in enumerate(layers, start=1):
        modules[f"layer{number}"] = EncoderLayer(plan)
    modules["pool"] = TokenMean()
    modules["classifier"] = nn.Linear(embedding, num_classes)
    return nn.Sequential(modules)
