"""What programming makes of the weights of a network, layer by layer: how far they are off, and how much drift compensation gives back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from paretune.hardware.analog.conversion import analog_layers, put_on, to_analog
from paretune.hardware.analog.layers import AnalogLayer
from paretune.hardware.analog.presets import AnalogPreset
from paretune.hardware.analog.programming import Cells


def weight_statistics(
    network: nn.Module, preset: AnalogPreset, times_s: Sequence[float], *, programmings: int, seed: int
) -> list[dict[str, Any]]:
    """One record of JSON values for each layer on tiles, in the order of the network.

    Errors are those of compensated weights, relative to the largest weight of a tile, over all weights and programmings: the very ones
    that the network was judged with.

    Args:
        network: digital, or from `to_analog`.
        preset: the target.
        times_s: after programming, ascending.
        programmings: how many.
        seed: of all variates.
    """
    learned = bool(analog_layers(network))
    analog = (put_on if learned else to_analog)(network, preset)
    records = []
    with torch.inference_mode():
        for name, layer in analog_layers(analog).items():
            record: dict[str, Any] = {"layer": name, **_on_tiles(layer)}
            if learned and not layer.exact:
                record["input_ranges"] = [float(value) for value in layer.input_ranges]
            if preset.device is not None:
                cells = Cells(layer, preset.device, name=name, repeats=range(programmings), seed=seed)
                record["programmed"] = [_programmed(cells, time_s) for time_s in times_s]
            records.append(record)
    return records


def _on_tiles(layer: AnalogLayer) -> dict[str, Any]:
    """How a layer lies on tiles, and the weight that is the largest conductance of each."""
    tiling = layer.tiling
    return {
        "tiles": tiling.tiles,
        "rows": [[split.start, split.stop] for split in tiling.splits],
        "columns": [list(block) for block in tiling.blocks],
        "largest_weights": [[float(scales_N[start:stop].max()) for start, stop in tiling.blocks] for scales_N in layer.scales],
    }


def _programmed(cells: Cells, time_s: float) -> dict[str, float]:
    """Weights at one time, over all programmings."""
    errors_VNK, (_, gains_VAN) = cells.errors(time_s).double(), cells.read(time_s)
    return {
        "time_s": float(time_s),
        "mean_error": float(errors_VNK.mean()),
        "deviation": float(errors_VNK.std(correction=0)),
        "mean_gain": float(gains_VAN.double().mean()),
    }
