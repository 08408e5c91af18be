"""The FPGA accelerator of HotNAS as a cost model: one tiled engine for convolutions, one for depthwise ones, three ports.

Legend: N networks or pairs of network and design, L layers of all of them.

Source: Jiang et al., HotNAS, CODES+ISSS 2020, and its released code.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.errors import BadInput
from paretune.core.genotype import Choice, Decision
from paretune.core.metrics import Direction, Metric
from paretune.core.option_checks import positive, whole
from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.aggregate import sequence_latency
from paretune.hardware.analytic.design_options import design_values, floats_by_layer, searched_decisions
from paretune.hardware.analytic.fpga.tiling import FREE, LABELS, TiledLayers, Tiling, corrected_times, published_times
from paretune.hardware.analytic.layers import check_kinds, layer_title

Variant = Literal["corrected", "hotnas2020", "hotnas2020_log"]

CHOICES: Mapping[str, tuple[Choice, ...]] = {
    # HotNAS' design space exploration; its input channels follow as 2520 / output channels and are extended downwards, for the block
    # memory does not hold the weight buffers of engines that fill the DSPs.
    "output_channel_tile": (10, 40, 70, 100, 130, 160, 190, 220),
    "input_channel_tile": (4, 8, 11, 13, 15, 19, 25, 36, 63, 252),
    "row_tile": (32, 64, 256),
    "column_tile": (32, 64, 256),
    "weight_port_words": (2, 6, 10, 14, 18),
    "input_port_words": (2, 6, 10, 14, 18),
    "output_port_words": (2, 6, 10, 14, 18),
    # Around the depthwise engines of its results (576 to 832 channels for mobile networks) and smaller ones.
    "depthwise_channel_tile": (32, 64, 128, 192, 320, 448, 576, 704, 832),
}
"""What `search` may name, and the choices of each."""

BLOCK_RAM_BITS = 18_000
"""Of one block memory, as HotNAS counts."""
DSPS_PER_MAC = {16: 1, 32: 5}
"""Word -> DSPs of a multiplier and adder (HotNAS: fixed point of 16 bits, floating point of 32)."""
ALL_DSPS = 0
"""`input_channel_tile` of an engine as wide as the DSPs allow."""
FREE_KINDS = (Kind.POOL, Kind.ACTIVATION, Kind.ADD)
KNOWN_KINDS = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR, *FREE_KINDS)


class TiledEngine:
    """FPGA accelerator with a tiled convolution engine (HotNAS): latency, bottleneck of each layer, DSPs, ports and block memory.

    A layer's label says what limits it: O storing outputs, I loading inputs, W loading weights, C computing. Pooling, activations and
    additions are free, as in the paper. Layers are computed one after another. Fewer weight bits speed up the weight port, pattern
    pruning (`taps`) the computation, fewer channels whatever loses a tile.

    Departs: `corrected`, the default, has the right input tile, does not divide outputs by the stride again, counts linear layers (1x1
    convolutions of one position), narrow activations, existing channels only, and holds designs to the block memory. `hotnas2020` is
    the released code with its quirks: it leaves linear layers and the block memory out. `hotnas2020_log` is its earlier form.

    Args:
        variant: `corrected`, `hotnas2020` or `hotnas2020_log`.
        output_channel_tile: Tm, output channels computed at once.
        input_channel_tile: Tn, input channels computed at once; 0 for as many as the DSPs allow.
        row_tile: Tr, rows of an output tile.
        column_tile: Tc, columns of an output tile.
        largest_kernel: Tk, kernel that the weight buffers hold.
        weight_port_words: words of weights loaded in a cycle.
        input_port_words: words of inputs loaded in a cycle.
        output_port_words: words of outputs stored in a cycle.
        depthwise_channel_tile: channels that the depthwise engine computes at once; 0 for none.
        word_bits: 16 (fixed point) or 32 (floating point). Layers with wider weights or activations are computed in words.
        clock_hz: of the engine.
        dsps: on the device.
        block_rams: memories of 18 kbit on the device.
        port_bits: of all ports together.
        search: names of options that candidates decide; `CHOICES` has their choices.

    Raises:
        BadInput: an option cannot be used.
    """

    metrics = (
        Metric(
            name="latency_s", unit="s", direction=Direction.MIN, lower=0, free=True, description="time of one batch on the FPGA accelerator"
        ),
    )

    def __init__(
        self,
        *,
        variant: Variant = "corrected",
        output_channel_tile: int = 64,
        input_channel_tile: int = 16,
        row_tile: int = 32,
        column_tile: int = 32,
        largest_kernel: int = 7,
        weight_port_words: int = 10,
        input_port_words: int = 10,
        output_port_words: int = 10,
        depthwise_channel_tile: int = 64,
        word_bits: Literal[16, 32] = 16,
        clock_hz: float = 200e6,
        dsps: int = 2520,
        block_rams: int = 1824,
        port_bits: int = 512,
        search: tuple[str, ...] = (),
    ) -> None:
        if variant not in get_args(Variant):
            raise BadInput(f"variant: must be one of {', '.join(get_args(Variant))}; got {variant!r}")
        if word_bits not in DSPS_PER_MAC:
            raise BadInput(f"word_bits: must be 16 or 32; got {word_bits!r}")
        self._options = {
            "output_channel_tile": whole("output_channel_tile", output_channel_tile),
            "input_channel_tile": whole("input_channel_tile", input_channel_tile, minimum=ALL_DSPS),
            "row_tile": whole("row_tile", row_tile),
            "column_tile": whole("column_tile", column_tile),
            "weight_port_words": whole("weight_port_words", weight_port_words),
            "input_port_words": whole("input_port_words", input_port_words),
            "output_port_words": whole("output_port_words", output_port_words),
            "depthwise_channel_tile": whole("depthwise_channel_tile", depthwise_channel_tile, minimum=0),
        }
        self._variant, self._word_bits = variant, word_bits
        self._largest_kernel = whole("largest_kernel", largest_kernel)
        self._clock_hz = positive("clock_hz", clock_hz)
        self._dsps, self._block_rams = whole("dsps", dsps), whole("block_rams", block_rams)
        self._port_bits = whole("port_bits", port_bits)
        self._space = searched_decisions(search, CHOICES)

    def space(self) -> tuple[Decision, ...]:
        """The options named in `search`."""
        return self._space

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:
        """DSPs, bits of the ports and block memories; the last only in the corrected variant, the released code has no such check."""
        values = self._values(designs)
        per_mac, word = DSPS_PER_MAC[self._word_bits], self._word_bits
        tm, tn, depthwise = values["output_channel_tile"], values["input_channel_tile"], values["depthwise_channel_tile"]
        ports = sum(values[name] for name in ("weight_port_words", "input_port_words", "output_port_words"))
        uses = {
            "dsps": ResourceUse(used=np.asarray(per_mac * (tm * tn + depthwise), dtype=np.float64), available=self._dsps),
            "port_bits": ResourceUse(used=np.asarray(word * ports, dtype=np.float64), available=self._port_bits),
        }
        if self._variant == "corrected":
            uses["block_rams"] = ResourceUse(used=self.block_rams(designs), available=self._block_rams)
        return uses

    def block_rams(self, designs: Designs) -> NDArray[np.float64]:
        """`(N,)` or `(1,)` block memories: double-buffered tiles of inputs and outputs, and weights, of both engines.

        Source: HotNAS' released code, which computes them and does not check them.
        """
        values = self._values(designs)
        tm, tn, depthwise = values["output_channel_tile"], values["input_channel_tile"], values["depthwise_channel_tile"]
        tile = np.ceil(values["row_tile"] * values["column_tile"] * self._word_bits / BLOCK_RAM_BITS)
        kernel_bits = self._largest_kernel**2 * self._word_bits
        kernel = np.ceil(4 * kernel_bits / BLOCK_RAM_BITS) if self._word_bits == 16 else 2 * np.ceil(kernel_bits / BLOCK_RAM_BITS)
        return np.asarray(2 * (tm + tn + 2 * depthwise) * tile + (tm * tn + depthwise) * kernel, dtype=np.float64)

    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        """Latency of every network on its design, with the parts and labels (O, I, W, C) of its layers."""
        cycles_L, labels_L = self._cycles(workloads, self._values(designs))
        layers_L = cycles_L / self._clock_hz
        latency_N = sequence_latency(cycles_L, workloads.offsets) / self._clock_hz
        return {"latency_s": Estimates(values=latency_N, source="analytic", layers=layers_L, layer_bottlenecks=LABELS[labels_L])}

    def _values(self, designs: Designs) -> dict[str, NDArray[np.int64]]:
        """Values of every option, with the input channels that fill the DSPs where that is asked for."""
        values = design_values(self._options, self._space, designs)
        if "input_channel_tile" not in designs and self._options["input_channel_tile"] == ALL_DSPS:
            left = self._dsps // DSPS_PER_MAC[self._word_bits] - values["depthwise_channel_tile"]
            values["input_channel_tile"] = np.maximum(left // values["output_channel_tile"], 1)
        return values

    def _cycles(self, workloads: WorkloadBatch, values: Mapping[str, NDArray[np.int64]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        check_kinds("fpga", workloads, KNOWN_KINDS)
        published = self._variant != "corrected"
        free_L = np.isin(workloads.kind, (*FREE_KINDS, Kind.LINEAR) if published else FREE_KINDS)
        is_depthwise_L = workloads.kind == Kind.DEPTHWISE
        self._refuse_unfit(workloads, free_L, is_depthwise_L)
        layers = _as_tiled(workloads, is_depthwise_L)
        tiling = self._tiling(workloads, values, is_depthwise_L)
        if published:
            times = published_times(layers, tiling, is_depthwise_L, as_logged=self._variant == "hotnas2020_log")
        else:
            times = corrected_times(layers, tiling, is_depthwise_L)
        cycles_L, labels_L = times.cycles()
        return np.where(free_L, 0.0, cycles_L), np.where(free_L, FREE, labels_L)

    def _refuse_unfit(self, workloads: WorkloadBatch, free_L: NDArray[np.bool_], is_depthwise_L: NDArray[np.bool_]) -> None:
        searched = "depthwise_channel_tile" in [decision.name for decision in self._space]
        if self._options["depthwise_channel_tile"] == 0 and not searched and is_depthwise_L.any():
            title = layer_title(workloads, int(is_depthwise_L.argmax()))
            raise BadInput(f"depthwise_channel_tile: must be above 0, for there is a {title}; got 0, no depthwise engine")
        too_large_L = ~free_L & (workloads.kernel > self._largest_kernel)
        if too_large_L.any():
            layer = int(too_large_L.argmax())
            raise BadInput(
                f"largest_kernel: must be at least the {int(workloads.kernel[layer])} of {layer_title(workloads, layer)}; "
                f"got {self._largest_kernel}"
            )

    def _tiling(self, workloads: WorkloadBatch, values: Mapping[str, NDArray[np.int64]], is_depthwise_L: NDArray[np.bool_]) -> Tiling:
        wide = {name: floats_by_layer(column, workloads) for name, column in values.items()}
        word, corrected = self._word_bits, self._variant == "corrected"
        depthwise_L = wide["depthwise_channel_tile"]
        weight_bits_L = np.minimum(workloads.weight_bits, word)
        activation_bits_L = np.minimum(workloads.activation_bits, word) if corrected else np.array([word])
        return Tiling(
            output_channels=np.where(is_depthwise_L, depthwise_L, wide["output_channel_tile"]),
            input_channels=np.where(is_depthwise_L, depthwise_L, wide["input_channel_tile"]),
            rows=wide["row_tile"],
            columns=wide["column_tile"],
            weights_per_cycle=np.floor(wide["weight_port_words"] * word / weight_bits_L),
            inputs_per_cycle=np.floor(wide["input_port_words"] * word / activation_bits_L),
            outputs_per_cycle=np.floor(wide["output_port_words"] * word / activation_bits_L),
        )


def _as_tiled(workloads: WorkloadBatch, is_depthwise_L: NDArray[np.bool_]) -> TiledLayers:
    """Layers of a workload; the groups of a convolution run one after another, depthwise ones are one layer of the depthwise engine."""
    groups_L = np.where(is_depthwise_L, 1.0, workloads.groups)
    return TiledLayers(
        out_channels=workloads.out_channels / groups_L,
        in_channels=workloads.in_channels / groups_L,
        out_height=workloads.out_height.astype(np.float64),
        out_width=workloads.out_width.astype(np.float64),
        kernel=workloads.kernel.astype(np.float64),
        stride=workloads.stride.astype(np.float64),
        padding=workloads.padding.astype(np.float64),
        taps=np.where(workloads.taps > 0, workloads.taps, workloads.kernel**2).astype(np.float64),
        repeats=(workloads.batch * groups_L).astype(np.float64),
    )
