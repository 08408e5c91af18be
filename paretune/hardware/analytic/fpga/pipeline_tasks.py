"""Layers of a pipeline as tasks of one tile: the DSPs and tiles of their engines, and when the next layer can start, after FNAS.

Legend: N networks or pairs of network and design, L layers of all of them, J layers with an engine, W ways to tile channels.

Source: after Jiang et al., Accuracy vs. Efficiency: Achieving Both through FPGA-Implementation Aware NAS (FNAS), DAC 2019.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analytic.design_options import floats_by_layer
from paretune.hardware.analytic.layers import Floats

ENGINE_KINDS = (Kind.CONV, Kind.DEPTHWISE, Kind.LINEAR)
HALVINGS = 2.0 ** np.arange(11)
"""Tiles of output channels that are tried for an engine, whatever divides the rest between input channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLayers:
    """Layers that have an engine, without the others; fields are `(J,)` unless they say otherwise."""

    index: NDArray[np.int64]
    """Place among all layers."""
    networks: NDArray[np.bool_]
    """`(N,)` which networks have such a layer."""
    offsets: NDArray[np.int64]
    """Of those networks."""
    is_depthwise: NDArray[np.bool_]
    reuses_input: NDArray[np.bool_]
    """Whether it keeps its input tile instead of its output tile."""
    macs: Floats
    taps: Floats
    kernel: Floats
    stride: Floats
    padding: Floats
    out_channels: Floats
    """Of one group."""
    in_channels: Floats
    """Of one group."""
    groups: Floats
    """1 where it is depthwise."""
    batch: Floats
    out_height: Floats
    out_width: Floats
    in_height: Floats
    in_width: Floats
    rows: Floats
    """Of a tile, not more than there are."""
    columns: Floats
    """Of a tile, not more than there are."""


def engine_layers(workloads: WorkloadBatch, values: Mapping[str, NDArray[np.generic]]) -> EngineLayers:
    """The layers that need an engine, with the tiles and the reuse that `values` (`row_tile`, `column_tile`, `first_reuse`) give them."""
    has_L = np.isin(workloads.kind, ENGINE_KINDS)
    num_N = np.add.reduceat(has_L.astype(np.int64), workloads.offsets[:-1])
    offsets = np.concatenate([[0], np.cumsum(num_N[num_N > 0])])
    index_J = np.flatnonzero(has_L)

    def column(name: str) -> Floats:
        return np.asarray(getattr(workloads, name)[index_J], dtype=np.float64)

    def tile(name: str) -> Floats:
        of_layers = floats_by_layer(values[name], workloads)
        return of_layers if len(of_layers) == 1 else of_layers[index_J]

    is_depthwise_J = workloads.kind[index_J] == Kind.DEPTHWISE
    groups_J = np.where(is_depthwise_J, 1.0, column("groups"))
    kernel_J, stride_J, padding_J = column("kernel"), column("stride"), column("padding")
    height_J, width_J = column("out_height"), column("out_width")
    usual_height_J = np.maximum((height_J - 1) * stride_J + kernel_J - 2 * padding_J, 1)
    usual_width_J = np.maximum((width_J - 1) * stride_J + kernel_J - 2 * padding_J, 1)
    first_input = floats_by_layer(np.asarray(values["first_reuse"] == "input"), workloads).astype(np.bool_)
    position_J = np.arange(len(index_J)) - np.repeat(offsets[:-1], np.diff(offsets))
    return EngineLayers(
        index=index_J,
        networks=num_N > 0,
        offsets=offsets,
        is_depthwise=is_depthwise_J,
        reuses_input=(position_J % 2 == 1) ^ (first_input if len(first_input) == 1 else first_input[index_J]),
        macs=np.asarray(workloads.macs_L[index_J], dtype=np.float64),
        taps=np.where(column("taps") > 0, column("taps"), kernel_J**2),
        kernel=kernel_J,
        stride=stride_J,
        padding=padding_J,
        out_channels=column("out_channels") / groups_J,
        in_channels=column("in_channels") / groups_J,
        groups=groups_J,
        batch=column("batch"),
        out_height=height_J,
        out_width=width_J,
        in_height=np.where(column("in_height") > 0, column("in_height"), usual_height_J),
        in_width=np.where(column("in_width") > 0, column("in_width"), usual_width_J),
        rows=np.minimum(tile("row_tile"), height_J),
        columns=np.minimum(tile("column_tile"), width_J),
    )


def split_dsps(macs_J: Floats, offsets: NDArray[np.int64], dsps: int) -> Floats:
    """`(J,)` DSPs of each layer's engine: one, and the rest in proportion to MACs.

    Networks with more layers than there are DSPs get one for each layer, which is more than there are.
    """
    num_N = np.diff(offsets)
    share_J = macs_J / np.repeat(np.add.reduceat(macs_J, offsets[:-1]), num_N)
    return np.asarray(1 + np.floor(share_J * np.repeat(np.maximum(dsps - num_N, 0), num_N)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """The tile tasks of layers with an engine; every field is `(J,)`."""

    task: Floats
    """ET, cycles of a task: taps times positions of a tile."""
    output_steps: Floats
    """Tiles of output channels."""
    input_steps: Floats
    """Tiles of input channels."""
    row_steps: Floats
    """Tiles along the height."""
    column_steps: Floats
    """Tiles along the width."""
    repeats: Floats
    """Images times convolution groups."""

    @property
    def place(self) -> Floats:
        """Cycles for all channels of one tile's positions."""
        return self.task * self.output_steps * self.input_steps

    @property
    def cycles(self) -> Floats:
        """PT, cycles of the layer."""
        return self.place * self.row_steps * self.column_steps * self.repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTiles:
    """Channels that engines compute at once; every field is `(J,)`."""

    outputs: Floats
    """Tm."""
    inputs: Floats
    """Tn; as many as Tm where a layer is depthwise."""
    used: Floats
    """DSPs, Tm * Tn, or Tm where a layer is depthwise."""


def tile_tasks(layers: EngineLayers, dsps_J: Floats) -> tuple[Tasks, ChannelTiles]:
    """The fastest way to spend each engine's DSPs on output and input channels, of those that cut the outputs into 1, 2, 4, ... tiles."""
    tm_WJ = np.minimum(np.ceil(layers.out_channels / HALVINGS[:, None]), dsps_J)
    tn_WJ = np.where(layers.is_depthwise, 1.0, np.minimum(np.floor(dsps_J / tm_WJ), layers.in_channels))
    output_steps_WJ = np.ceil(layers.out_channels / tm_WJ)
    input_steps_WJ = np.where(layers.is_depthwise, 1.0, np.ceil(layers.in_channels / tn_WJ))
    best = (output_steps_WJ * input_steps_WJ).argmin(axis=0)[None]

    def chosen(columns_WJ: Floats) -> Floats:
        return np.asarray(np.take_along_axis(columns_WJ, best, axis=0)[0])

    tm_J, tn_J = chosen(tm_WJ), chosen(tn_WJ)
    tasks = Tasks(
        task=layers.taps * layers.rows * layers.columns,
        output_steps=chosen(output_steps_WJ),
        input_steps=chosen(input_steps_WJ),
        row_steps=np.ceil(layers.out_height / layers.rows),
        column_steps=np.ceil(layers.out_width / layers.columns),
        repeats=layers.groups * layers.batch,
    )
    return tasks, ChannelTiles(outputs=tm_J, inputs=np.where(layers.is_depthwise, tm_J, tn_J), used=tm_J * tn_J)


def start_gaps(layers: EngineLayers, tasks: Tasks, tiles: ChannelTiles) -> tuple[Floats, Floats]:
    """`(J,)` cycles from a layer's start to the next one's, and cycles that a layer still needs after its last input.

    A layer that reuses outputs finishes a tile of them every `task * input_steps`; one that reuses inputs finishes none before the
    last tile of inputs, and then one every `task`. Gaps of a network's last layer mean nothing.
    """
    after = np.minimum(np.arange(1, len(tasks.task) + 1), len(tasks.task) - 1)
    rows_J = np.clip((layers.rows - 1) * layers.stride + layers.kernel - layers.padding, 1, layers.in_height)
    columns_J = np.clip((layers.columns - 1) * layers.stride + layers.kernel - layers.padding, 1, layers.in_width)
    # What the next layer's first tile needs, as shares of its input: a pool between the two changes sizes, not shares.
    all_channels_J = layers.in_channels * layers.groups
    channels_J = np.ceil(layers.out_channels * layers.groups * tiles.inputs[after] / all_channels_J[after])
    own_rows_J = np.ceil(layers.out_height * rows_J[after] / layers.in_height[after])
    own_columns_J = np.ceil(layers.out_width * columns_J[after] / layers.in_width[after])
    groups_J = np.ceil(channels_J / layers.out_channels)
    channel_steps_J = np.minimum(np.ceil(channels_J / tiles.outputs), tasks.output_steps)
    row_steps_J, column_steps_J = np.ceil(own_rows_J / layers.rows), np.ceil(own_columns_J / layers.columns)
    last_J = np.where(
        layers.reuses_input,
        (tasks.input_steps - 1) * tasks.output_steps + channel_steps_J,
        tasks.input_steps * channel_steps_J,
    )
    places_J = (row_steps_J - 1) * tasks.column_steps + column_steps_J - 1
    places_J += (groups_J - 1) * tasks.row_steps * tasks.column_steps
    gaps_J = places_J * tasks.place + last_J * tasks.task
    tails_J = np.where(layers.reuses_input, tasks.output_steps, (tasks.output_steps - 1) * tasks.input_steps + 1) * tasks.task
    return np.asarray(gaps_J), np.asarray(tails_J)
