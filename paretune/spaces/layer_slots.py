"""Workloads of many convolutional networks at once, written one layer position ("slot") at a time.

Legend: N networks, S slots, L layers of all networks together.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import NUMERIC_FIELDS, Kind, WorkloadBatch

Column = NDArray[np.int64] | int
"""`(N,)` values, or one value for every network."""


@dataclass(slots=True, kw_only=True)
class LayerSlots:
    """Collects the layers of N networks of one family, whose maps are square or, where `sequences` is set, one row."""

    num_networks: int
    """N."""
    bits: int = 32
    """Bits of a weight and of an activation."""
    sequences: bool = False
    """Whether maps are one row (time steps, tokens) instead of square."""
    _present: list[NDArray[np.bool_]] = field(default_factory=list, init=False)
    _columns: list[dict[str, Column]] = field(default_factory=list, init=False)
    _names: list[str] = field(default_factory=list, init=False)
    _reads: list[tuple[Column, ...]] = field(default_factory=list, init=False)

    def add(
        self,
        name: str,
        kind: Kind,
        *,
        channels: tuple[Column, Column],
        size: tuple[Column, Column],
        kernel: Column = 1,
        stride: Column = 1,
        padding: Column = 0,
        groups: Column = 1,
        taps: Column = 0,
        per_channel: int = 0,
        held_elements: Column = 0,
        present: NDArray[np.bool_] | None = None,
        reads: tuple[Column, ...] = (),
    ) -> int:
        """Add one layer to the networks that have it, and give its slot.

        Args:
            name: its name in every network.
            kind: what it computes.
            channels: in and out.
            size: width (and height, unless maps are one row) of the map that comes in and of the one that goes out.
            kernel: its height and width.
            stride: of the kernel.
            padding: on every side.
            groups: convolution groups.
            taps: weights kept of each kernel; a kernel over one row keeps one row of its square. 0 keeps all.
            per_channel: parameters of an output channel beside the weights.
            held_elements: elements of other tensors that stay in memory meanwhile.
            present: `(N,)` which networks have it; None where all do.
            reads: slots of the layers whose outputs it reads, each one that the network has; none for the layer before it.
        """
        self._reads.append(reads)
        self._names.append(name)
        self._present.append(np.ones(self.num_networks, dtype=np.bool_) if present is None else present)
        self._columns.append(
            {
                "kind": int(kind),
                "in_channels": channels[0],
                "out_channels": channels[1],
                "in_height": 1 if self.sequences else size[0],
                "in_width": size[0],
                "out_height": 1 if self.sequences else size[1],
                "out_width": size[1],
                "kernel": kernel,
                "stride": stride,
                "padding": padding,
                "groups": groups,
                "per_channel": per_channel,
                "held_elements": held_elements,
                "batch": 1,
                "weight_bits": self.bits,
                "activation_bits": self.bits,
                "taps": taps,
                "rank": 0,
            }
        )
        return len(self._names) - 1

    def batch(self) -> WorkloadBatch:
        """The layers, network after network."""
        present_NS = np.stack(self._present, axis=1)
        offsets = np.concatenate([[0], np.cumsum(present_NS.sum(axis=1))]).astype(np.int64)
        names_NS = np.broadcast_to(np.array(self._names, dtype=object), present_NS.shape)
        arrays = {name: self._gather(name, present_NS) for name in ("kind", *NUMERIC_FIELDS)}
        return WorkloadBatch(
            **arrays, offsets=offsets, names=tuple(names_NS[present_NS].tolist()), predecessors=self._predecessors(present_NS)
        )

    def _gather(self, name: str, present_NS: NDArray[np.bool_]) -> NDArray[np.int64]:
        values_NS = np.empty(present_NS.shape, dtype=np.int64)
        for slot, columns in enumerate(self._columns):
            values_NS[:, slot] = columns[name]
        return values_NS[present_NS]

    def _predecessors(self, present_NS: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        """`(L, K)` places of the layers that each layer reads; None where every layer reads the one before it."""
        widest = max(len(reads) for reads in self._reads)
        if widest == 0:
            return None
        place_NS = np.cumsum(present_NS, axis=1) - 1
        rows_N = np.arange(self.num_networks)
        found_NSK = np.full((*present_NS.shape, widest), -1, dtype=np.int64)
        found_NSK[:, :, 0] = place_NS - 1
        for slot, reads in enumerate(self._reads):
            for number, column in enumerate(reads):
                found_NSK[:, slot, number] = place_NS[rows_N, column]
        return found_NSK[present_NS]
