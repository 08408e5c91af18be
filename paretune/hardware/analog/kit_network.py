"""A network on the tiles of the IBM analog hardware acceleration kit, which behaves as any torch module.

The kit draws from torch's global generator. Here each forward draws from a place of its own, by counter, and leaves the global generator as
it was: equal seeds give equal noise whatever runs beside it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from paretune.core.errors import BadInput
from paretune.core.rng import derive_seed
from paretune.hardware.analog.conversion import analog_layers, to_analog, to_digital
from paretune.hardware.analog.kit_config import Tiles, check_tiles, require_kit, rpu_config
from paretune.hardware.analog.layers import AnalogLayer
from paretune.hardware.analog.presets import AnalogPreset
from paretune.hardware.analog.training import HardwareAwareTraining

SCALES = "mapping_scales"
"""Of a tile, which the kit keeps outside of its parameters and buffers."""


class KitNetwork(nn.Module):
    """A network that the kit converted.

    Its state consists of tensors only (the kit's own also has its configuration); load it into a network that was made alike.

    Args:
        network: as the kit converted it.
        preset: what its tiles simulate; None where they are updated in place (see `kit_training`).
        seed: of its noise; C++ tiles do not heed it.
    """

    def __init__(self, network: nn.Module, *, preset: AnalogPreset | None, seed: int) -> None:
        super().__init__()
        self.network, self.preset = network, preset
        self._seed, self._place, self._draws = seed, (), 0

    _place: tuple[int | str, ...]

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs through the kit's tiles."""
        self._draws += 1
        with own_noise(inputs.device, self._seed, *self._place, self._draws):
            outputs: Tensor = self.network(inputs)
        return outputs

    def reseed(self, *parts: int | str) -> None:
        """Start the noise at a named place, for example ("epoch", 3)."""
        self._place, self._draws = parts, 0

    def after_step(self) -> None:
        """Clip and remap, as the kit's optimisers do after each step."""
        for _, tile in self.tiles():
            tile.post_update_step()

    def tiles(self) -> list[tuple[str, Any]]:
        """The kit's tiles by name."""
        from aihwkit.simulator.tiles.module import TileModule

        return [(name, module) for name, module in self.network.named_modules() if isinstance(module, TileModule)]

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:  # type: ignore[override]  # tensors only
        """Weights, buffers, input ranges and scales by name.

        Raises:
            BadInput: weights are trained in memory: to set the kit's devices is to write them, which they do not survive unchanged.
        """
        from aihwkit.optim.context import AnalogContext

        if self.preset is None:
            raise BadInput("network: is trained in memory, where the state of devices cannot be put back; keep what from_kit reads")
        found: dict[str, Tensor] = {name: value for name, value in self.network.named_parameters() if type(value) is not AnalogContext}
        found |= dict(self.network.named_buffers())
        found |= {f"{name}.{SCALES}": tile.get_mapping_scales() for name, tile in self.tiles() if tile.get_mapping_scales() is not None}
        return {prefix + name: value if keep_vars else value.detach() for name, value in found.items()}

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> None:
        """Take on the state of a network that was made alike.

        Raises:
            BadInput: names or shapes differ, or `assign` is asked for.
        """
        own, tiles = self.state_dict(keep_vars=True), dict(self.tiles())
        if assign or (strict and set(own) != set(state_dict)):
            raise BadInput(f"state_dict: must be of a network that was made alike; differing: {sorted(set(own) ^ set(state_dict))}")
        with torch.no_grad():
            for name in own.keys() & state_dict.keys():
                owner, _, attribute = name.rpartition(".")
                if attribute == SCALES:
                    tiles[owner].set_scales(state_dict[name].clone())
                elif own[name].shape != state_dict[name].shape:
                    raise BadInput(f"state_dict: '{name}' must have shape {tuple(own[name].shape)}; got {tuple(state_dict[name].shape)}")
                else:
                    own[name].copy_(state_dict[name])


@contextmanager
def own_noise(device: torch.device, *parts: int | str) -> Iterator[None]:
    """Torch's generators of the CPU and a device, seeded by named parts; afterwards as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(*parts))
        yield


def to_kit(
    network: nn.Module,
    preset: AnalogPreset,
    *,
    seed: int,
    options: HardwareAwareTraining | None = None,
    tiles: Tiles = "torch",
    deterministic: bool = False,
) -> nn.Module:
    """A copy of a network on the kit's tiles, to be trained there with `conversion.after_each_step` beside any optimiser.

    Args:
        network: digital, or from `to_analog`, whose scales, ranges and options it then keeps; stays as it is.
        preset: the target.
        seed: of noise of weights and outputs; C++ tiles do not heed it.
        options: of hardware-aware training; the network's, or the published recipe, where None.
        tiles: see `kit_config.Tiles`.
        deterministic: refuse what cannot be repeated.

    Raises:
        BadInput: the kit cannot be used, or has no counterpart for the preset or a layer.
    """
    require_kit()
    check_tiles(tiles, deterministic=deterministic)
    ours = network if analog_layers(network) else to_analog(network, preset, options=options)
    layers = analog_layers(ours)
    first = next(iter(layers.values()))
    if first.preset != preset:
        raise BadInput(f"preset: the network lies on '{first.preset.name}'; move it with put_on first; got '{preset.name}'")
    check_layers(ours, tiles=tiles, rows=preset.rows, columns=preset.columns)
    config = rpu_config(preset, options=options or first.training_options, tiles=tiles)
    found = convert(to_digital(ours), config, preset=preset, seed=seed)
    kit_layers = dict(found.network.named_modules())
    for name, layer in layers.items():
        _set_tiles(layer, kit_layers[name].analog_module)
    return found.train(network.training)


def from_kit(network: nn.Module) -> nn.Module:
    """The digital network of one on the kit's tiles: weights as they are read without noise.

    Raises:
        BadInput: it is not from `to_kit` or `to_in_memory`.
    """
    if not isinstance(network, KitNetwork):
        raise BadInput(f"network: must be on the kit's tiles; got {type(network).__name__}")
    from aihwkit.nn.conversion import convert_to_digital

    digital: nn.Module = convert_to_digital(network.network)
    return digital.train(network.training)


def convert(network: nn.Module, config: Any, *, preset: AnalogPreset | None, seed: int) -> KitNetwork:
    """A digital network as the kit converts it; torch's global generator stays as it is."""
    from aihwkit.nn.conversion import convert_to_analog

    device = next(network.parameters()).device
    with own_noise(device, seed, "conversion"):
        return KitNetwork(convert_to_analog(network, config), preset=preset, seed=seed)


def check_layers(network: nn.Module, *, tiles: Tiles, rows: int, columns: int) -> None:
    """Refuse what the kit cannot convert, or would convert to something else.

    Raises:
        BadInput: with every layer that it is true of.
    """
    problems: list[str] = []
    names: dict[int, str] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            continue
        if names.setdefault(id(module), name) != name:
            problems.append(f"layer '{name}': is also '{names[id(module)]}'; the kit would make two of it")
            continue
        problems += [f"layer '{name}': {problem}" for problem in _layer_problems(module, tiles, rows, columns)]
    if problems:
        raise BadInput("engine: the kit cannot run " + "; ".join(problems) + ". Take the paretune engine, or change the network")


def _layer_problems(layer: nn.Module, tiles: Tiles, rows: int, columns: int) -> list[str]:
    """What the kit lacks for a layer."""
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return []
    found = []
    if layer.groups != 1:
        found.append(f"has {layer.groups} groups, the kit knows convolutions of one only")
    if layer.padding_mode != "zeros":
        found.append(f"pads with {layer.padding_mode}, the kit with zeros only")
    if isinstance(layer.padding, str):
        found.append(f"pads by name ({layer.padding}), the kit needs numbers")
    if not isinstance(layer, nn.Conv1d):
        return found
    if tiles == "torch" or layer.weight[0].numel() > rows or len(layer.weight) > columns:
        found.append("is a Conv1d, which the kit has on single C++ tiles only")
    if layer.dilation != (1,):
        found.append("is a Conv1d with dilation, which the kit lacks")
    return found


def _set_tiles(layer: AnalogLayer, module: Any) -> None:
    """Weights, scales and input ranges of a layer on the kit's tiles, which lie as ours."""
    from aihwkit.simulator.tiles.array import TileModuleArray

    rows = module.array if isinstance(module, TileModuleArray) else [[module]]
    flat = layer.weight.detach().flatten(1)
    for number, (split, tiles) in enumerate(zip(layer.tiling.splits, rows, strict=True)):
        for (start, stop), tile in zip(layer.tiling.blocks, tiles, strict=True):
            scales = layer.scales[number, start:stop]
            tile.set_weights(flat[start:stop, split.start : split.stop] / scales[:, None], None, apply_weight_scaling=False)
            tile.set_scales(scales.clone())
            if tile.input_range is not None:
                tile.set_input_range(float(layer.input_ranges.detach()[number]))
                tile.input_range_update_idx.data.fill_(int(layer.range_batches_seen))
