"""What a lookup table knows a layer by: its signature, in numbers and in words.

Legend: L layers, E entries of a table, F fields of a signature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import Kind, Layer, WorkloadBatch

Integers = NDArray[np.int64]

SIGNATURE = (
    "kind",
    "in_channels",
    "out_channels",
    "in_height",
    "in_width",
    "out_height",
    "out_width",
    "kernel",
    "stride",
    "padding",
    "groups",
    "taps",
    "rank",
    "weight_bits",
    "activation_bits",
    "batch",
)
"""Fields of a layer that decide its cost, in the order of a signature."""
EVERYDAY_BITS = 32
_MULTIPLIERS_F = np.random.Generator(np.random.Philox(key=20)).integers(1 << 62, size=len(SIGNATURE), dtype=np.uint64) * np.uint64(
    2
) + np.uint64(1)


def signature_columns(workloads: WorkloadBatch) -> dict[str, Integers]:
    """The signatures of all layers, each field `(L,)`; input sizes that the output decides are filled in."""
    read = {"in_height": workloads.read_height_L, "in_width": workloads.read_width_L}
    return {name: read[name] if name in read else getattr(workloads, name) for name in SIGNATURE}


def as_rows(columns: Mapping[str, Integers]) -> Integers:
    """`(L, F)` signatures."""
    return np.stack([columns[name] for name in SIGNATURE], axis=1).astype(np.int64)


def layer_of(signature: Sequence[int]) -> Layer:
    """A layer with this signature."""
    fields = {name: int(value) for name, value in zip(SIGNATURE, signature, strict=True)}
    return Layer(kind=Kind(fields.pop("kind")), **fields)  # type: ignore[arg-type]


def signature_of(layer: Layer) -> tuple[int, ...]:
    """The signature of one layer."""
    row_F: list[int] = as_rows(signature_columns(WorkloadBatch.from_layers([[replace(layer, name="")]])))[0].tolist()
    return tuple(row_F)


def in_words(signature: Sequence[int]) -> str:
    """A layer as people read it: `conv 3x3 s2 24->72 at 56x56`; the size is that of the map that it reads."""
    layer = layer_of(signature)
    parts = [layer.kind.name.lower()]
    if layer.kernel > 1 or layer.kind in (Kind.CONV, Kind.DEPTHWISE):
        parts.append(f"{layer.kernel}x{layer.kernel}")
    parts += [f"s{layer.stride}"] if layer.stride > 1 else []
    parts.append(f"{layer.in_channels}->{layer.out_channels}" if layer.in_channels != layer.out_channels else f"{layer.in_channels}")
    if layer.in_height * layer.in_width > 1:
        parts.append(f"at {layer.in_height}x{layer.in_width}")
    if layer.kind not in (Kind.CONV, Kind.DEPTHWISE) and (layer.out_height, layer.out_width) != (layer.in_height, layer.in_width):
        parts.append(f"to {layer.out_height}x{layer.out_width}")
    parts += [f"in {layer.groups} groups"] if layer.groups > 1 and layer.kind is not Kind.DEPTHWISE else []
    parts += [f"{layer.taps} taps"] if layer.taps else []
    parts += [f"rank {layer.rank}"] if layer.rank else []
    if (layer.weight_bits, layer.activation_bits) != (EVERYDAY_BITS, EVERYDAY_BITS):
        parts.append(f"of {layer.weight_bits}-bit weights and {layer.activation_bits}-bit activations")
    parts += [f"batch {layer.batch}"] if layer.batch > 1 else []
    return " ".join(parts)


def nearest(signature: Sequence[int], entries_EF: Integers, count: int = 3) -> list[int]:
    """Indices of the entries of the same kind that are most alike, best first.

    Kernel, stride, groups, bits and batch count most; then channels and sizes by their ratios.
    """
    field = {name: index for index, name in enumerate(SIGNATURE)}
    wanted_F = np.asarray(signature, dtype=np.int64)
    same = np.flatnonzero(entries_EF[:, field["kind"]] == wanted_F[field["kind"]])
    logs = np.abs(np.log2(np.maximum(entries_EF[same], 1)) - np.log2(np.maximum(wanted_F, 1)))
    grouped = (entries_EF[same, field["groups"]] > 1) != (wanted_F[field["groups"]] > 1)
    far = 8.0 * sum(
        entries_EF[same, field[name]] != wanted_F[field[name]] for name in ("kernel", "stride", "weight_bits", "activation_bits", "batch")
    )
    distances = (
        logs[:, [field[name] for name in ("in_channels", "out_channels", "in_height", "in_width")]].sum(axis=1) + far + 8.0 * grouped
    )
    order: list[int] = same[np.argsort(distances, kind="stable")[:count]].tolist()
    return order


@dataclass(frozen=True, slots=True)
class SignatureIndex:
    """Finds signatures among the entries of a table, many at once."""

    entries: Integers
    """Signatures of the entries, each once."""
    _keys: NDArray[np.uint64]
    _order: Integers

    @classmethod
    def of(cls, entries_EF: Integers) -> "SignatureIndex":
        """The index of a table's entries."""
        keys_E = _keys(dict(zip(SIGNATURE, entries_EF.T, strict=True)))
        order_E = np.argsort(keys_E, kind="stable")
        return cls(entries_EF, keys_E[order_E], order_E)

    def find(self, columns: Mapping[str, Integers]) -> Integers:
        """`(L,)` entry of each layer, -1 where there is none."""
        if not len(self.entries):
            return np.full(len(columns["kind"]), -1, dtype=np.int64)
        keys_L = _keys(columns)
        place_L = np.minimum(np.searchsorted(self._keys, keys_L), len(self._keys) - 1)
        found_L = np.where(self._keys[place_L] == keys_L, self._order[place_L], -1)
        for number, name in enumerate(SIGNATURE):  # two signatures may share a key
            found_L = np.where(self.entries[found_L, number] == columns[name], found_L, -1)
        return found_L


def _keys(columns: Mapping[str, Integers]) -> NDArray[np.uint64]:
    """`(L,)` sums of the fields times odd numbers, modulo 2 ** 64."""
    keys_L = np.zeros(len(columns["kind"]), dtype=np.uint64)
    for name, multiplier in zip(SIGNATURE, _MULTIPLIERS_F, strict=True):
        keys_L += np.asarray(columns[name]).astype(np.uint64) * multiplier
    return keys_L
