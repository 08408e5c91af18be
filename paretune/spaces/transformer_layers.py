"""Workload layers of transformer encoders, without torch; `transformer_blocks` builds the same.

Legend: N networks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import Kind
from paretune.spaces.layer_slots import Column, LayerSlots

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderColumns:
    """The same encoder layer of N networks."""

    tokens: int
    embedding: Integers
    """`(N,)` features of a token."""
    heads: Integers
    """`(N,)`, read only where the layer attends."""
    feed_forward: Integers
    """`(N,)` features between the two linear layers."""
    attends: Mask
    """`(N,)` attention; a Fourier transform otherwise."""
    butterfly: Mask
    """`(N,)` whether linear layers are products of butterfly factors."""
    present: Mask
    """`(N,)` which networks have the layer."""


def add_encoder_layer(slots: LayerSlots, name: str, layer: EncoderColumns) -> None:
    """Add the mixing of tokens and the feed-forward part, each with its addition and layer norm."""
    tokens, embedding, attends = layer.tokens, layer.embedding, layer.present & layer.attends
    whole = (tokens, tokens)
    # The shortcut's input waits in memory; while a layer reads that very input, it is counted there already.
    waiting = embedding * tokens
    _add_linear(slots, f"{name}.queries_keys_values", layer, channels=(embedding, 3 * embedding), held=0, present=attends)
    slots.add(
        f"{name}.attention",
        Kind.ATTENTION,
        channels=(3 * embedding, embedding),
        size=whole,
        groups=layer.heads,
        held_elements=waiting + layer.heads * tokens**2,
        present=attends,
    )
    _add_linear(slots, f"{name}.projection", layer, channels=(embedding, embedding), held=waiting, present=attends)
    slots.add(f"{name}.fft", Kind.FFT, channels=(embedding, embedding), size=whole, present=layer.present & ~layer.attends)
    _add_sum(slots, f"{name}.mixing_add", layer)
    _add_linear(slots, f"{name}.expand", layer, channels=(embedding, layer.feed_forward), held=0, present=layer.present)
    _add_linear(slots, f"{name}.contract", layer, channels=(layer.feed_forward, embedding), held=waiting, present=layer.present)
    _add_sum(slots, f"{name}.feed_forward_add", layer)


def _add_sum(slots: LayerSlots, name: str, layer: EncoderColumns) -> None:
    """The addition of the shortcut's input, with layer norm."""
    slots.add(
        name,
        Kind.ADD,
        channels=(layer.embedding, layer.embedding),
        size=(layer.tokens, layer.tokens),
        per_channel=2,
        held_elements=layer.embedding * layer.tokens,
        present=layer.present,
    )


def _add_linear(
    slots: LayerSlots, name: str, layer: EncoderColumns, *, channels: tuple[Column, Column], held: Column, present: Mask
) -> None:
    """A linear layer with bias for each token, dense or butterfly."""
    whole = (layer.tokens, layer.tokens)
    for kind, having in ((Kind.LINEAR, ~layer.butterfly), (Kind.BUTTERFLY, layer.butterfly)):
        slots.add(name, kind, channels=channels, size=whole, per_channel=1, held_elements=held, present=present & having)
