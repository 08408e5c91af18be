"""Layer records: the one description of a network that every cost model reads, whatever built it.

`Layer` is one record for people and tests; `WorkloadBatch` holds the layers of many networks as a struct of arrays, so that
a cost model screens a whole population at once.

Legend: N networks, L layers of all networks together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Kind(IntEnum):
    """What a layer computes.

    Sequence layers (attention, FFT, butterfly, linear over tokens) have one position for each token: `out_height * out_width` of them.
    Attention is the part without weights, from queries, keys and values (`in_channels`) to their mixture (`out_channels`), with `groups`
    heads. An FFT transforms along tokens and along channels. A butterfly is a linear layer whose matrix is a product of sparse factors.
    """

    CONV = 0
    DEPTHWISE = 1
    LINEAR = 2
    POOL = 3
    ACTIVATION = 4
    ATTENTION = 5
    FFT = 6
    BUTTERFLY = 7
    ADD = 8


WEIGHTED = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR)
"""Kinds whose weights are kernel * kernel * (in_channels / groups) * out_channels."""


def log2_ceil(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exponent of the smallest power of two that is not below each value."""
    # frexp, not log2: the number of bits of value - 1 is exact.
    return np.frexp(np.maximum(values, 1) - 1.0)[1].astype(np.int64)


def butterfly_weights(in_channels: NDArray[np.int64], out_channels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weights of butterfly layers: log2(n) factors of n / 2 blocks of 2x2, as often as n goes into the output, rounded up.

    n is the input padded to a power of two, at least 2: 2 n log2(n) weights instead of n * n.

    Source: Fan et al., Adaptable Butterfly Accelerator for Attention-based NNs, MICRO 2022.
    """
    levels = np.maximum(log2_ceil(in_channels), 1)
    padded = 2**levels
    return np.asarray(-(-out_channels // padded) * 2 * padded * levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer, with the letters of the co-design papers beside each field."""

    kind: Kind
    out_channels: int
    """M."""
    in_channels: int
    """N."""
    out_height: int = 1
    """R."""
    out_width: int = 1
    """C."""
    in_height: int = 0
    """Rows it reads, without padding; 0 where the output decides it (see `input_elements_L`)."""
    in_width: int = 0
    """Columns it reads, without padding; 0 as above."""
    kernel: int = 1
    """K, height and width."""
    stride: int = 1
    """S."""
    padding: int = 0
    """P, on every side."""
    groups: int = 1
    """Convolution groups; equal to the channels in a depthwise layer; heads of attention."""
    batch: int = 1
    """Images at once."""
    weight_bits: int = 32
    activation_bits: int = 32
    taps: int = 0
    """Weights kept of each kernel's `kernel ** 2` by a pruning pattern; 0 keeps all."""
    rank: int = 0
    """Rank of a factorised layer; 0 is dense."""
    per_channel: int = 0
    """Parameters of each output channel beside the weights: 1 for a bias, 2 for batch norm's scale and shift."""
    held_elements: int = 0
    """Elements of other tensors that must stay in memory while this layer runs, for example a residual input."""
    name: str = ""
    """Where it is in the network, for example `stage1.block0.expand`."""


NUMERIC_FIELDS = tuple(item.name for item in fields(Layer) if item.name not in ("kind", "name"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadBatch:
    """The layers of N networks, one after another, as arrays of length L."""

    kind: NDArray[np.int64]
    out_channels: NDArray[np.int64]
    in_channels: NDArray[np.int64]
    out_height: NDArray[np.int64]
    out_width: NDArray[np.int64]
    in_height: NDArray[np.int64]
    in_width: NDArray[np.int64]
    kernel: NDArray[np.int64]
    stride: NDArray[np.int64]
    padding: NDArray[np.int64]
    groups: NDArray[np.int64]
    batch: NDArray[np.int64]
    weight_bits: NDArray[np.int64]
    activation_bits: NDArray[np.int64]
    taps: NDArray[np.int64]
    rank: NDArray[np.int64]
    per_channel: NDArray[np.int64]
    held_elements: NDArray[np.int64]
    offsets: NDArray[np.int64]
    """`(N + 1,)`: layers of network i are `offsets[i]:offsets[i + 1]`."""
    names: tuple[str, ...] = ()
    """`(L,)` layer names, or empty where nobody needs them."""
    predecessors: NDArray[np.int64] | None = None
    """`(L, K)` places, within its network, of the earlier layers that each layer reads, -1 for none; None where each reads the one before.
    Only models that run layers side by side ask for it."""

    def __post_init__(self) -> None:
        if len(self.offsets) == 0 or self.offsets[0] != 0 or self.offsets[-1] != len(self.kind) or np.any(np.diff(self.offsets) < 1):
            raise ValueError("offsets must rise from 0 to the number of layers; every network has a layer")
        if self.predecessors is not None and len(self.predecessors) != len(self.kind):
            raise ValueError(f"predecessors must have a row for each of the {len(self.kind)} layers; got {len(self.predecessors)}")

    @classmethod
    def from_layers(cls, networks: Sequence[Sequence[Layer]], *, predecessors: NDArray[np.int64] | None = None) -> "WorkloadBatch":
        """Pack the layers of each network; every network needs at least one layer."""
        flat = [layer for network in networks for layer in network]
        columns = {name: np.array([getattr(layer, name) for layer in flat], dtype=np.int64) for name in ("kind", *NUMERIC_FIELDS)}
        offsets = np.cumsum([0, *(len(network) for network in networks)], dtype=np.int64)
        return cls(**columns, offsets=offsets, names=tuple(layer.name for layer in flat), predecessors=predecessors)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def layers(self, network: int) -> tuple[Layer, ...]:
        """The layers of one network as records."""
        start, stop = int(self.offsets[network]), int(self.offsets[network + 1])
        return tuple(
            Layer(
                kind=Kind(int(self.kind[index])),
                name=self.names[index] if self.names else "",
                **{name: int(getattr(self, name)[index]) for name in NUMERIC_FIELDS},
            )
            for index in range(start, stop)
        )

    @property
    def weights_L(self) -> NDArray[np.int64]:
        """Weights of each layer, without biases and batch norm."""
        taps_L = np.where(self.taps > 0, self.taps, self.kernel**2)
        dense_L = np.where(np.isin(self.kind, WEIGHTED), taps_L * (self.in_channels // self.groups) * self.out_channels, 0)
        return np.where(self.kind == Kind.BUTTERFLY, butterfly_weights(self.in_channels, self.out_channels), dense_L)

    @property
    def parameters_L(self) -> NDArray[np.int64]:
        """Trained parameters of each layer."""
        return self.weights_L + self.per_channel * self.out_channels

    @property
    def macs_L(self) -> NDArray[np.int64]:
        """Multiply-accumulates of each layer: every weight once an output position and image.

        Attention multiplies queries with keys and the result with values. An FFT is counted as radix-2 butterflies of one complex
        product (4 MACs) each, padded to powers of two: 2 n log2(n) for n numbers, which is a butterfly layer's count.
        """
        positions_L = self.out_height * self.out_width
        attention_L = np.where(self.kind == Kind.ATTENTION, 2 * self.out_channels * positions_L, 0)
        fft_L = np.where(self.kind == Kind.FFT, 2 * self.out_channels * (log2_ceil(self.out_channels) + log2_ceil(positions_L)), 0)
        return (self.weights_L + attention_L + fft_L) * positions_L * self.batch

    @property
    def output_elements_L(self) -> NDArray[np.int64]:
        """Elements each layer writes."""
        return self.out_channels * self.out_height * self.out_width * self.batch

    @property
    def input_elements_L(self) -> NDArray[np.int64]:
        """Elements each layer reads, without padding and without `held_elements`.

        Several input sizes give one output size where the stride is above 1; a layer that leaves `in_height` and `in_width` at 0 is
        taken to read the one that the stride divides, as maps that are halved again and again do (224 -> 112, not 223 -> 112).
        """
        return self.in_channels * self.read_height_L * self.read_width_L * self.batch

    @property
    def read_height_L(self) -> NDArray[np.int64]:
        """Rows each layer reads, without padding; as for `input_elements_L` where `in_height` is 0."""
        return np.where(self.in_height > 0, self.in_height, self._usual_input(self.out_height))

    @property
    def read_width_L(self) -> NDArray[np.int64]:
        """Columns each layer reads, without padding."""
        return np.where(self.in_width > 0, self.in_width, self._usual_input(self.out_width))

    def _usual_input(self, out_L: NDArray[np.int64]) -> NDArray[np.int64]:
        smallest_L = np.maximum((out_L - 1) * self.stride + self.kernel - 2 * self.padding, 1)
        return np.asarray(-(-smallest_L // self.stride) * self.stride)

    @property
    def live_bytes_L(self) -> NDArray[np.int64]:
        """Bytes of activations in memory while each layer runs: its input, its output and what is held for later layers."""
        elements_L = self.input_elements_L + self.output_elements_L + self.held_elements
        return -(-elements_L * self.activation_bits // 8)

    def per_network_sum(self, values_L: NDArray[np.int64]) -> NDArray[np.int64]:
        """`(N,)` sum of a per-layer quantity over each network."""
        return np.asarray(np.add.reduceat(values_L, self.offsets[:-1]))

    def per_network_max(self, values_L: NDArray[np.int64]) -> NDArray[np.int64]:
        """`(N,)` largest per-layer quantity of each network."""
        return np.asarray(np.maximum.reduceat(values_L, self.offsets[:-1]))
