"""An ASIC of one or several sub-accelerators, each a dataflow with processing elements and a share of the on-chip network.

First-order: a layer takes as long as its arithmetic, its traffic on the on-chip network or its traffic to DRAM, whichever is longest.

Source: Yang et al., Co-exploration of neural architectures and heterogeneous ASIC accelerator designs targeting multiple tasks (NASAIC),
DAC 2020. Departs: the paper takes the cost of a layer from MAESTRO; here it follows from closed forms of the three dataflows, which are
vectorised over layers.

Legend: N networks, L layers (of all networks together, or of the longest), S sub-accelerators.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.errors import BadInput
from paretune.core.genotype import Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import not_negative, one_of, positive, whole
from paretune.core.workload import NUMERIC_FIELDS, WorkloadBatch
from paretune.hardware.analytic.asic_dataflows import COSTS, DATAFLOWS, KINDS, Dataflow, LayerShapes, layer_shapes
from paretune.hardware.analytic.asic_mapping import map_layers
from paretune.hardware.analytic.design_options import by_layer, check_designs, searched
from paretune.hardware.analytic.layers import UNWEIGHTED, Floats, check_kinds

LABELS = np.array(["compute", "noc", "dram", "free"])
SEARCHABLE = ("dataflows", "pes", "bandwidths")
PE_CHOICES = (256, 512, 1024, 1536, 2048, 3072)
BANDWIDTH_CHOICES = (8e9, 16e9, 24e9, 32e9, 48e9)
CHUNK = 512
"""Networks at a time: their arrays stay in the processor's cache, which doubles the speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    """Layers on one sub-accelerator."""

    times: Floats
    energies: Floats
    labels: NDArray[np.int64]


class Asic:
    """Latency, energy and area of heterogeneous sub-accelerators (NASAIC) for convolutions and linear layers.

    A mapper assigns layers to sub-accelerators. Pooling, activations and additions are left out.

    Args:
        dataflows: of each sub-accelerator: `dla` (NVDLA), `shi` (ShiDianNao) or `rs` (row-stationary, Eyeriss).
        pes: processing elements of each.
        bandwidths_bytes_per_s: of the on-chip network, of each.
        search: what to search: `dataflows`, `pes`, `bandwidths`. Choices are the three dataflows, 256 to 3072 elements, 8 to 48 GB/s.
        max_pes: elements of all sub-accelerators together, a resource.
        max_bandwidth_bytes_per_s: of all together, a resource.
        latency_limit_s: the mapper takes the least energy within it; None for the least latency.
        images: inferences that start together; latency is until all are done, energy is of one.
        clock_hz: of the arrays.
        dram_bandwidth_bytes_per_s: of the memory that all share.
        word_bits: bits of a word; layers of fewer bits move less.
        mac_energy_j: of one multiply-accumulate.
        register_energy_ratio: of a register access, in MACs; a MAC has three.
        buffer_energy_ratio: of a word from or to the shared buffer, in MACs.
        dram_energy_ratio: of a word from or to DRAM, in MACs.
        pe_area_mm2: of an element with its share of the buffer.
        noc_area_mm2_per_byte_per_s: of the on-chip network.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(name="latency_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="makespan of the mapped layers"),
        Metric(name="energy_j", unit="j", direction=Direction.MIN, lower=0, free=True, description="arithmetic, buffer and DRAM energy"),
        Metric(name="area_mm2", unit="mm2", direction=Direction.MIN, lower=0, free=True, description="elements and on-chip network"),
    )

    def __init__(
        self,
        *,
        dataflows: tuple[Dataflow, ...] = ("dla", "shi"),
        pes: tuple[int, ...] = (2048, 2048),
        bandwidths_bytes_per_s: tuple[float, ...] = (32e9, 32e9),
        search: tuple[Literal["dataflows", "pes", "bandwidths"], ...] = (),
        max_pes: int = 4096,
        max_bandwidth_bytes_per_s: float = 64e9,
        latency_limit_s: float | None = None,
        images: int = 1,
        clock_hz: float = 1e9,
        dram_bandwidth_bytes_per_s: float = 25.6e9,
        word_bits: int = 16,
        mac_energy_j: float = 1e-12,
        register_energy_ratio: float = 1.0,
        buffer_energy_ratio: float = 6.0,
        dram_energy_ratio: float = 200.0,
        pe_area_mm2: float = 0.073,
        noc_area_mm2_per_byte_per_s: float = 1e-10,
    ) -> None:
        if not dataflows or not len(dataflows) == len(pes) == len(bandwidths_bytes_per_s):
            raise BadInput(
                f"dataflows: give one dataflow, one number of elements and one bandwidth for each sub-accelerator; "
                f"got {len(dataflows)} dataflows, {len(pes)} pes, {len(bandwidths_bytes_per_s)} bandwidths_bytes_per_s"
            )
        self._fixed: list[tuple[Any, ...]] = [
            tuple(one_of("dataflows", dataflow, DATAFLOWS) for dataflow in dataflows),
            tuple(whole("pes", count) for count in pes),
            tuple(positive("bandwidths_bytes_per_s", bandwidth) for bandwidth in bandwidths_bytes_per_s),
        ]
        self._decisions = _decisions(searched(search, SEARCHABLE), len(dataflows))
        self._max_pes = whole("max_pes", max_pes)
        self._max_bandwidth = positive("max_bandwidth_bytes_per_s", max_bandwidth_bytes_per_s)
        self._limit_s = None if latency_limit_s is None else positive("latency_limit_s", latency_limit_s)
        self._images = whole("images", images)
        self._clock_hz = positive("clock_hz", clock_hz)
        self._dram_bandwidth = positive("dram_bandwidth_bytes_per_s", dram_bandwidth_bytes_per_s)
        self._word_bits = whole("word_bits", word_bits)
        mac_j = positive("mac_energy_j", mac_energy_j)
        self._mac_j = mac_j * (1 + 3 * not_negative("register_energy_ratio", register_energy_ratio))
        self._buffer_j = mac_j * not_negative("buffer_energy_ratio", buffer_energy_ratio)
        self._dram_j = mac_j * not_negative("dram_energy_ratio", dram_energy_ratio)
        self._pe_mm2 = not_negative("pe_area_mm2", pe_area_mm2)
        self._noc_mm2 = not_negative("noc_area_mm2_per_byte_per_s", noc_area_mm2_per_byte_per_s)

    def space(self) -> tuple[Decision, ...]:
        """`sub1.dataflow`, `sub1.pes`, `sub1.bandwidth_bytes_per_s`, ... as far as they are searched."""
        return self._decisions

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Elements and bandwidth of all sub-accelerators together."""
        check_designs(self._decisions, designs)
        pes, bandwidth = self._sums(designs)
        return {
            "pes": ResourceUse(used=pes, available=float(self._max_pes)),
            "bandwidth_bytes_per_s": ResourceUse(used=bandwidth, available=self._max_bandwidth),
        }

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency, energy and area; the label says what limits a layer on its sub-accelerator: `compute`, `noc` or `dram`.

        Raises:
            BadInput: a layer is neither convolution nor linear, nor one of those left out; or a design is none of the space.
        """
        check_designs(self._decisions, designs, len(workloads))
        check_kinds("asic", workloads, (*KINDS, *UNWEIGHTED))
        latency_N, energy_N = np.empty(len(workloads)), np.empty(len(workloads))
        latency_L, energy_L = np.empty(len(workloads.kind)), np.empty(len(workloads.kind))
        codes_L = np.empty(len(workloads.kind), dtype=np.int64)
        for networks, layers, part in _chunks(workloads):
            own = {name: values if len(values) == 1 else values[networks] for name, values in designs.items()}
            mapped = self._map(part, own)
            latency_N[networks], energy_N[networks] = mapped[0], mapped[1]
            latency_L[layers], energy_L[layers], codes_L[layers] = mapped[2], mapped[3], mapped[4]
        pes, bandwidth = self._sums(designs)
        area_N = np.broadcast_to(pes * self._pe_mm2 + bandwidth * self._noc_mm2, len(workloads)).copy()
        return {
            "latency_s": Estimates(values=latency_N, source="analytic", layers=latency_L, layer_bottlenecks=LABELS[codes_L]),
            "energy_j": Estimates(values=energy_N, source="analytic", layers=energy_L),
            "area_mm2": Estimates(values=area_N, source="analytic"),
        }

    def _value(self, designs: Designs, what: int, index: int) -> NDArray[Any]:
        """`(N,)` or `(1,)` dataflow, elements or bandwidth of a sub-accelerator."""
        found = designs.get(_decision_name(what, index))
        return np.array([self._fixed[what][index]]) if found is None else np.asarray(found)

    def _sums(self, designs: Designs) -> tuple[Floats, Floats]:
        """`(N,)` or `(1,)` elements and bandwidth of all sub-accelerators."""
        subs = range(len(self._fixed[0]))
        pes, bandwidth = (np.asarray(sum(self._value(designs, what, index) for index in subs), dtype=np.float64) for what in (1, 2))
        return pes, bandwidth

    def _map(self, workloads: WorkloadBatch, designs: Designs) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.int64]]:
        """Latency and energy by network, then latency, energy and label by layer."""
        shapes, words = layer_shapes(workloads), _word_shares(workloads, self._word_bits)
        subs = [self._on(index, workloads, shapes, words, designs) for index in range(len(self._fixed[0]))]
        counts_N = np.diff(workloads.offsets)
        rows_L = np.repeat(np.arange(len(workloads)), counts_N)
        places_L = np.arange(len(rows_L)) - np.repeat(workloads.offsets[:-1], counts_N)
        padded = (len(workloads), int(counts_N.max()), len(subs))
        times_NLS, energies_NLS = np.zeros(padded), np.zeros(padded)
        for index, sub in enumerate(subs):
            times_NLS[rows_L, places_L, index], energies_NLS[rows_L, places_L, index] = sub.times, sub.energies
        mapping = map_layers(times_NLS, energies_NLS, images=self._images, limit_s=self._limit_s)
        assigned_L = mapping.assigned[rows_L, places_L]
        latency_L, energy_L, labels_L = (
            np.choose(assigned_L, [getattr(sub, name) for sub in subs]) for name in ("times", "energies", "labels")
        )
        return mapping.makespan_s, mapping.energy_j, latency_L, energy_L, labels_L

    def _on(self, index: int, workloads: WorkloadBatch, shapes: LayerShapes, words: tuple[Floats, Floats], designs: Designs) -> _Costs:
        """Time, energy and label of every layer on one sub-accelerator."""
        dataflow_N, pes_N, bandwidth_N = (self._value(designs, what, index) for what in range(len(SEARCHABLE)))
        pes_L = by_layer(pes_N.astype(np.float64), workloads)
        parts = {name: COSTS[name](shapes, pes_L) for name in DATAFLOWS if np.any(dataflow_N == name)}
        codes_L = by_layer(np.select([dataflow_N == name for name in parts], list(range(len(parts)))), workloads)
        cycles_L, weights_L, activations_L = (
            _chosen(codes_L, [getattr(part, item) for part in parts.values()]) for item in ("cycles", "weight_words", "activation_words")
        )
        weight_share_L, activation_share_L = words
        buffer_words_L = weights_L * weight_share_L + activations_L * activation_share_L
        dram_words_L = shapes.weights * weight_share_L + (shapes.inputs + shapes.outputs) * activation_share_L
        word_bytes = self._word_bits / 8
        compute_L = np.where(shapes.macs > 0, cycles_L / self._clock_hz, 0.0)
        noc_L = buffer_words_L * word_bytes / by_layer(bandwidth_N.astype(np.float64), workloads)
        dram_L = dram_words_L * word_bytes / self._dram_bandwidth
        times_L = np.maximum(np.maximum(compute_L, noc_L), dram_L)
        labels_L = np.where(compute_L >= times_L, 0, np.where(noc_L >= times_L, 1, 2))
        return _Costs(
            times=times_L,
            energies=shapes.macs * self._mac_j + buffer_words_L * self._buffer_j + dram_words_L * self._dram_j,
            labels=np.where(times_L > 0, labels_L, 3),
        )


def _decision_name(what: int, index: int) -> str:
    return f"sub{index + 1}.{('dataflow', 'pes', 'bandwidth_bytes_per_s')[what]}"


def _decisions(search: tuple[str, ...], num_subs: int) -> tuple[Decision, ...]:
    choices: tuple[tuple[Any, ...], ...] = (DATAFLOWS, PE_CHOICES, BANDWIDTH_CHOICES)
    return tuple(
        Decision(name=_decision_name(what, index), choices=choices[what], ordinal=what > 0)
        for index in range(num_subs)
        for what, option in enumerate(SEARCHABLE)
        if option in search
    )


def _chosen(codes_L: NDArray[np.int64], values: list[Floats]) -> Floats:
    """Each layer's value on its own dataflow."""
    chosen_L = values[0]
    for code, values_L in enumerate(values[1:], start=1):
        chosen_L = np.where(codes_L == code, values_L, chosen_L)
    return chosen_L


def _word_shares(workloads: WorkloadBatch, word_bits: int) -> tuple[Floats, Floats]:
    """Words that a weight and an activation of each layer fill, at most 1."""
    return np.minimum(workloads.weight_bits / word_bits, 1.0), np.minimum(workloads.activation_bits / word_bits, 1.0)


def _chunks(workloads: WorkloadBatch) -> Iterator[tuple[slice, slice, WorkloadBatch]]:
    """Networks, their layers, and both as a batch of their own."""
    for start in range(0, len(workloads), CHUNK):
        stop = min(start + CHUNK, len(workloads))
        layers = slice(int(workloads.offsets[start]), int(workloads.offsets[stop]))
        columns = {name: getattr(workloads, name)[layers] for name in ("kind", *NUMERIC_FIELDS)}
        yield slice(start, stop), layers, WorkloadBatch(**columns, offsets=workloads.offsets[start : stop + 1] - workloads.offsets[start])
