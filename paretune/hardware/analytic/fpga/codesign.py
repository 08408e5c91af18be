"""Accelerators of Codesign-NAS as a cost model: latency of a network on one or two convolution engines, area, performance per area.

Legend: N networks or pairs of network and design, L layers of all of them, T layers of the longest network, E engines.

Source: after Abdelfattah et al., Best of Both Worlds: AutoML Codesign of a CNN and its Hardware Accelerator, DAC 2020.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.errors import BadInput
from paretune.core.genotype import Choice, Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import positive, whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.aggregate import NO_TASK, list_schedule, sequence_latency
from paretune.hardware.analytic.design_options import design_values, floats_by_layer, searched_decisions
from paretune.hardware.analytic.fpga.codesign_space import (
    CHOICES,
    DesignValues,
    Floats,
    LogicCosts,
    buffer_words,
    clb_equivalents,
    engine_lanes,
    performance_per_area,
    resources,
    silicon_area_mm2,
)
from paretune.hardware.analytic.layers import check_kinds

FREE_KINDS = (Kind.ACTIVATION, Kind.ADD)
KNOWN_KINDS = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR, Kind.POOL, *FREE_KINDS)
SPATIAL, POINTWISE, POOLING, NOWHERE = range(4)
"""Engines: kernels above 1x1 (or all), 1x1 where it is split off, pooling; layers that cost nothing run nowhere."""
LABELS = np.array(["compute", "memory", "host", ""])
NUM_PER_BLOCK = 1 << 21
"""Durations that are scheduled at once, so that memory does not grow with the population."""


class CodesignFpga:
    """FPGA accelerator of the Codesign-NAS space (8,640 designs): latency, area, performance per area.

    In a cycle an engine computes one tap of one input channel for `filter_parallelism` outputs at its share of `pixel_parallelism`
    positions. With `conv_engine_ratio` below 1 the positions are split between an engine for 1x1 kernels and one for all others; they
    run side by side where the network has branches (`WorkloadBatch.predecessors`), by a greedy list schedule.

    A layer takes as long as its computation or its traffic, whichever is longer (label `compute` or `memory`): inputs are read again for
    each group of outputs where they do not fit their buffer, weights for each block of outputs where theirs do not. Without a pool engine
    the host pools (label `host`). Activations and additions are free; engines side by side do not slow each other's traffic.

    Departs: latencies come from this closed form, not from a table of measured operations, which is not public; so do areas (`LogicCosts`).

    Args:
        filter_parallelism: output channels at once.
        pixel_parallelism: positions at once, of all engines.
        input_buffer_depth: words for each position.
        weight_buffer_depth: words for each output channel.
        output_buffer_depth: words for each output channel.
        memory_interface_bits: bits that move to or from memory in a cycle.
        pool_engine: whether pooling has an engine.
        conv_engine_ratio: share of the positions for kernels above 1x1; 1 for one engine that runs all.
        clock_hz: of the accelerator.
        host_ops_per_s: elements a second that the host pools.
        word_bits: of weights and activations; wider ones are computed in words.
        base_clbs: logic blocks of control and interfaces.
        clbs_per_mac: logic blocks of a multiplier's pipeline.
        clbs_per_interface_bit: logic blocks of a bit of the memory interface.
        second_engine_clbs: logic blocks of a second convolution engine's control.
        pool_engine_clbs: logic blocks of the pool engine.
        device_clb_equivalents: area of the device, in logic blocks.
        device_dsps: on the device.
        device_block_rams: memories of 36 kbit on the device.
        search: names of options that candidates decide: the eight first ones.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(
            name="latency_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="time of one batch on the FPGA accelerator"
        ),
        Metric(
            name="area_mm2",
            unit="mm2",
            direction=Direction.MIN,
            lower=0,
            free=True,
            description="silicon area of the accelerator on the FPGA",
        ),
        Metric(
            name="performance_per_area",
            unit="",
            direction=Direction.MAX,
            lower=0,
            free=True,
            description="batches a second and cm2 of accelerator",
        ),
    )

    def __init__(
        self,
        *,
        filter_parallelism: int = 16,
        pixel_parallelism: int = 32,
        input_buffer_depth: int = 4096,
        weight_buffer_depth: int = 2048,
        output_buffer_depth: int = 2048,
        memory_interface_bits: int = 512,
        pool_engine: bool = True,
        conv_engine_ratio: float = 1.0,
        clock_hz: float = 200e6,
        host_ops_per_s: float = 1e9,
        word_bits: Literal[8, 16] = 16,
        base_clbs: int = 8000,
        clbs_per_mac: int = 16,
        clbs_per_interface_bit: int = 4,
        second_engine_clbs: int = 2000,
        pool_engine_clbs: int = 1500,
        device_clb_equivalents: int = 64_922,
        device_dsps: int = 2520,
        device_block_rams: int = 912,
        search: tuple[str, ...] = (),
    ) -> None:
        if word_bits not in (8, 16):
            raise BadInput(f"word_bits: must be 8 or 16; got {word_bits!r}")
        if not isinstance(pool_engine, bool):
            raise BadInput(f"pool_engine: must be true or false; got {pool_engine!r}")
        if positive("conv_engine_ratio", conv_engine_ratio) > 1:
            raise BadInput(f"conv_engine_ratio: must be at most 1; got {conv_engine_ratio}")
        if pixel_parallelism == 1 and conv_engine_ratio < 1:
            raise BadInput("pixel_parallelism: must be at least 2 where conv_engine_ratio splits it; got 1")
        self._options: dict[str, Choice] = {
            "filter_parallelism": whole("filter_parallelism", filter_parallelism),
            "pixel_parallelism": whole("pixel_parallelism", pixel_parallelism),
            "input_buffer_depth": whole("input_buffer_depth", input_buffer_depth),
            "weight_buffer_depth": whole("weight_buffer_depth", weight_buffer_depth),
            "output_buffer_depth": whole("output_buffer_depth", output_buffer_depth),
            "memory_interface_bits": whole("memory_interface_bits", memory_interface_bits),
            "pool_engine": pool_engine,
            "conv_engine_ratio": float(conv_engine_ratio),
        }
        self._clock_hz = positive("clock_hz", clock_hz)
        self._host_ops_per_s = positive("host_ops_per_s", host_ops_per_s)
        self._logic = LogicCosts(
            base_clbs=whole("base_clbs", base_clbs, minimum=0),
            clbs_per_mac=whole("clbs_per_mac", clbs_per_mac, minimum=0),
            clbs_per_interface_bit=whole("clbs_per_interface_bit", clbs_per_interface_bit, minimum=0),
            second_engine_clbs=whole("second_engine_clbs", second_engine_clbs, minimum=0),
            pool_engine_clbs=whole("pool_engine_clbs", pool_engine_clbs, minimum=0),
            word_bits=word_bits,
        )
        self._available = {
            "clb_equivalents": whole("device_clb_equivalents", device_clb_equivalents),
            "dsps": whole("device_dsps", device_dsps),
            "block_rams": whole("device_block_rams", device_block_rams),
        }
        self._space = searched_decisions(search, CHOICES)

    def space(self) -> tuple[Decision, ...]:
        """The options named in `search`."""
        return self._space

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """Area in logic blocks, DSPs and block memories."""
        parts = resources(design_values(self._options, self._space, designs), self._logic)
        used = {**parts, "clb_equivalents": clb_equivalents(parts["clbs"], parts["block_rams"], parts["dsps"])}
        return {name: ResourceUse(used=used[name], available=available) for name, available in self._available.items()}

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency, area and performance per area of every network on its design, with times and labels of layers."""
        check_kinds("codesign_fpga", workloads, KNOWN_KINDS)
        values = design_values(self._options, self._space, designs)
        engine_L = _engines(workloads, values)
        times_L, labels_L = self._times(workloads, values, engine_L)
        latency_N = scheduled_latency(workloads, times_L, engine_L)
        area_N = np.broadcast_to(silicon_area_mm2(self.check(designs)["clb_equivalents"].used), len(workloads))
        # A network of free layers alone takes no time: as much as one cycle, so that the quotient stays finite.
        ratio_N = performance_per_area(np.maximum(latency_N, 1 / self._clock_hz), area_N)
        return {
            "latency_s": Estimates(values=latency_N, source="analytic", layers=times_L, layer_bottlenecks=LABELS[labels_L]),
            "area_mm2": Estimates(values=area_N.copy(), source="analytic"),
            "performance_per_area": Estimates(values=ratio_N, source="analytic"),
        }

    def _times(self, workloads: WorkloadBatch, values: DesignValues, engine_L: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
        """`(L,)` seconds of each layer on its engine, and the index of its label."""
        compute_L = _compute_cycles(workloads, values, engine_L)
        memory_L = self._traffic_bits(workloads, values) / floats_by_layer(values["memory_interface_bits"], workloads)
        window_L = workloads.output_elements_L * workloads.kernel**2
        on_host_L = (engine_L == POOLING) & ~floats_by_layer(values["pool_engine"], workloads).astype(np.bool_)
        times_L = np.where(on_host_L, window_L / self._host_ops_per_s, np.maximum(compute_L, memory_L) / self._clock_hz)
        labels_L = np.where(engine_L == NOWHERE, 3, np.where(on_host_L, 2, compute_L < memory_L))
        return np.where(engine_L == NOWHERE, 0.0, times_L), labels_L

    def _traffic_bits(self, workloads: WorkloadBatch, values: DesignValues) -> Floats:
        """`(L,)` bits that move between memory and buffers."""
        input_words, weight_words, output_words = (floats_by_layer(words, workloads) for words in buffer_words(values))
        filters = floats_by_layer(values["filter_parallelism"], workloads)
        groups_L, image_L = workloads.groups, workloads.batch
        weights_L = workloads.weights_L
        own_weights_L = weights_L / np.maximum(workloads.out_channels, 1) * filters
        positions_L = workloads.out_height * workloads.out_width
        input_L, output_L = workloads.input_elements_L / image_L, workloads.output_elements_L / image_L
        input_reads_L = np.where(
            (input_L / groups_L <= input_words) | (weights_L == 0), 1, np.ceil(workloads.out_channels / groups_L / filters)
        )
        weight_reads_L = np.where(own_weights_L <= weight_words, 1, np.ceil(positions_L * filters / output_words))
        activation_bits_L = np.minimum(workloads.activation_bits, self._logic.word_bits)
        weight_bits_L = np.minimum(workloads.weight_bits, self._logic.word_bits)
        activations_L = (input_L * input_reads_L + output_L) * activation_bits_L
        return np.asarray((activations_L + weights_L * weight_reads_L * weight_bits_L) * image_L)


def _engines(workloads: WorkloadBatch, values: DesignValues) -> NDArray[np.int64]:
    """`(L,)` where each layer runs."""
    split_L = floats_by_layer(values["conv_engine_ratio"], workloads) < 1
    engine_L = np.where((workloads.kernel == 1) & split_L, POINTWISE, SPATIAL)
    engine_L = np.where(workloads.kind == Kind.POOL, POOLING, engine_L)
    return np.where(np.isin(workloads.kind, FREE_KINDS), NOWHERE, engine_L)


def _compute_cycles(workloads: WorkloadBatch, values: DesignValues, engine_L: NDArray[np.int64]) -> Floats:
    """`(L,)` cycles of computation; the pool engine is as wide as one engine's filters, one position and tap in a cycle."""
    spatial, pointwise = (floats_by_layer(lanes, workloads) for lanes in engine_lanes(values))
    lanes_L = np.where(engine_L == POINTWISE, np.maximum(pointwise, 1), spatial)
    lanes_L = np.where(engine_L == POOLING, 1, lanes_L)
    filters = floats_by_layer(values["filter_parallelism"], workloads)
    # All channels of a depthwise layer or a pool are computed side by side; groups of other convolutions come one after another.
    alone_L = np.isin(workloads.kind, (Kind.DEPTHWISE, Kind.POOL))
    groups_L = np.where(alone_L, 1, workloads.groups)
    inputs_L = np.where(alone_L, 1, workloads.in_channels / workloads.groups)
    taps_L = np.where(workloads.taps > 0, workloads.taps, workloads.kernel**2)
    blocks_L = np.ceil(workloads.out_channels / groups_L / filters) * np.ceil(workloads.out_height * workloads.out_width / lanes_L)
    return np.asarray(blocks_L * inputs_L * taps_L * groups_L * workloads.batch)


def scheduled_latency(workloads: WorkloadBatch, times_L: Floats, engine_L: NDArray[np.int64]) -> Floats:
    """`(N,)` time of networks whose layers run on the engines given, as soon as what they read is there.

    A chain of layers takes the sum of their times; branches run side by side where engines differ.
    """
    if workloads.predecessors is None:
        return sequence_latency(times_L, workloads.offsets)
    num_N = np.diff(workloads.offsets)
    longest, num_engines = int(num_N.max()), NOWHERE + 1
    step = max(NUM_PER_BLOCK // (longest * num_engines), 1)
    parts = []
    for first in range(0, len(workloads), step):
        own_N = num_N[first : first + step]
        layers = slice(int(workloads.offsets[first]), int(workloads.offsets[min(first + step, len(workloads))]))
        row_L = np.repeat(np.arange(len(own_N)), own_N)
        place_L = np.arange(len(row_L)) - np.repeat(np.cumsum(own_N) - own_N, own_N)
        # Networks shorter than the longest are filled up with tasks that need nothing, take nothing and run nowhere.
        durations_NTE = np.full((len(own_N), longest, num_engines), np.inf)
        durations_NTE[:, :, NOWHERE] = 0.0
        durations_NTE[row_L, place_L, NOWHERE] = np.inf
        durations_NTE[row_L, place_L, engine_L[layers]] = times_L[layers]
        predecessors_NTK = np.full((len(own_N), longest, workloads.predecessors.shape[1]), NO_TASK)
        predecessors_NTK[row_L, place_L] = workloads.predecessors[layers]
        parts.append(list_schedule(durations_NTE, predecessors_NTK).makespan)
    return np.concatenate(parts)
