"""Put a digital network on analog tiles, and what its training needs beside the optimiser."""

from copy import deepcopy
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from paretune.core.errors import BadInput
from paretune.hardware.analog.drop_ins import DROP_INS
from paretune.hardware.analog.layers import AnalogLayer
from paretune.hardware.analog.noise import OutputNoise
from paretune.hardware.analog.presets import AnalogPreset
from paretune.hardware.analog.training import HardwareAwareTraining
from paretune.networks.evaluation import evaluating

UNKNOWN = (nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Bilinear, nn.RNNBase)
"""Layers whose weights would lie on tiles too, were there a drop-in for them: refused, not silently left digital."""


@runtime_checkable
class OnTiles(Protocol):
    """A module on tiles, whatever simulates them."""

    def after_step(self) -> None:
        """Clip and remap its weights."""
        ...


@runtime_checkable
class DrawsItsOwn(Protocol):
    """A module with noise of its own."""

    def reseed(self, *parts: int | str) -> None:
        """Start it at a named place."""
        ...


def to_analog(
    network: nn.Module,
    preset: AnalogPreset,
    *,
    options: HardwareAwareTraining | None = None,
    seed: int = 0,
    pooled_noise: bool = True,
) -> nn.Module:
    """A copy of a network whose convolutions and linear layers lie on analog tiles.

    Train it as any network, with `after_each_step(network, optimizer)` beside its optimiser; or give it ranges with `calibrate`.

    Args:
        network: digital, trained or not; stays as it is. Batch norm, biases, attention products and all else stay digital.
        preset: the target.
        options: of hardware-aware training; the published recipe where None.
        seed: of noise of weights and outputs in training.
        pooled_noise: see `noise`.

    Raises:
        BadInput: there is nothing to put on tiles, a layer does not fit, or a layer computes what tiles cannot.
    """
    options, noise = options or HardwareAwareTraining(), OutputNoise(seed=seed, pooled=pooled_noise)
    analog = deepcopy(network)
    found = 0
    replaced: dict[nn.Module, nn.Module] = {}
    for name, module in list(analog.named_modules(remove_duplicate=False)):
        if isinstance(module, UNKNOWN):
            raise BadInput(
                f"layer '{name}': analog tiles know Conv1d, Conv2d and Linear; got {type(module).__name__}. Write it as one of these"
            )
        if type(module) not in DROP_INS:
            continue
        if module not in replaced:
            replaced[module] = DROP_INS[type(module)].of(module, preset, options, noise, name=name)
        if not name:
            return replaced[module].train(module.training)
        owner, _, attribute = name.rpartition(".")
        setattr(analog.get_submodule(owner), attribute, replaced[module].train(module.training))
        found += 1
    if not found:
        raise BadInput("network: has no convolution or nn.Linear to put on analog tiles")
    return analog


def put_on(network: nn.Module, preset: AnalogPreset) -> nn.Module:
    """A copy of an analog network on another target; on its own it is the same.

    Input ranges stay; where the new tiles split the rows of a layer differently, all splits get the widest.

    Raises:
        BadInput: a layer does not fit the new tiles.
    """
    moved = deepcopy(network)
    for name, layer in analog_layers(moved).items():
        if layer.preset == preset:
            continue
        ranges, seen = layer.input_ranges.data, layer.range_batches_seen
        layer.lay_out(layer.tiles(preset, name), preset, layer.training_options, layer.noise)
        layer.input_ranges.data.copy_(ranges if ranges.shape == layer.input_ranges.shape else ranges.max())
        layer.range_batches_seen.copy_(seen)
    return moved


def to_digital(network: nn.Module) -> nn.Module:
    """A copy of a network in which every layer on tiles is the plain torch layer that it stood in for, with its trained weights."""
    digital = deepcopy(network)
    replaced: dict[nn.Module, nn.Module] = {}
    for name, module in list(digital.named_modules(remove_duplicate=False)):
        if not isinstance(module, AnalogLayer):
            continue
        if module not in replaced:
            replaced[module] = module.plain().train(module.training)
        if not name:
            return replaced[module]
        owner, _, attribute = name.rpartition(".")
        setattr(digital.get_submodule(owner), attribute, replaced[module])
    return digital


def analog_layers(network: nn.Module) -> dict[str, AnalogLayer]:
    """Its layers on tiles, by name, in the order of its modules."""
    return {name: module for name, module in network.named_modules() if isinstance(module, AnalogLayer)}


def after_each_step(network: nn.Module, optimizer: Optimizer) -> None:
    """Clip and remap the weights after every step that the optimiser takes from now on."""
    on_tiles = [module for module in network.modules() if isinstance(module, OnTiles)]

    def clip_and_remap(*_: object) -> None:
        for module in on_tiles:
            module.after_step()

    optimizer.register_step_post_hook(clip_and_remap)


def reseed(network: nn.Module, *parts: int | str) -> None:
    """Start the network's noise at a named place, for example ("epoch", 3): an interrupted training then goes on with the same noise."""
    for source in {id(layer.noise): layer.noise for layer in analog_layers(network).values()}.values():
        source.reseed(*parts)
    for module in network.modules():
        if isinstance(module, DrawsItsOwn):
            module.reseed(*parts)


def calibrate(network: nn.Module, images: Tensor, *, deviations: float = 3.0, batch: int = 256) -> None:
    """Set the input ranges of an analog network from images: some standard deviations of each layer's inputs.

    For networks trained digitally; hardware-aware training learns its ranges.

    Args:
        network: from `to_analog`.
        images: `(num_images, ...)`, not those it is judged on.
        deviations: range in standard deviations of the inputs.
        batch: images at once.

    Raises:
        BadInput: a layer saw only equal inputs.
    """
    layers = analog_layers(network)
    told: dict[str, list[Tensor]] = {name: [] for name in layers}

    def note(name: str, layer: AnalogLayer, inputs: Tensor) -> None:
        told[name].append(torch.stack([layer.split_inputs(inputs, split).float().std() for split in range(len(layer.tiling.splits))]))

    def listener(name: str) -> object:
        return lambda layer, inputs: note(name, layer, inputs[0])

    handles = [layer.register_forward_pre_hook(listener(name)) for name, layer in layers.items()]  # type: ignore[arg-type]
    try:
        with evaluating(network):
            for part in torch.split(images, batch):
                network(part)
    finally:
        for handle in handles:
            handle.remove()
    for name, layer in layers.items():
        if not told[name]:
            continue
        ranges = deviations * torch.stack(told[name]).mean(dim=0)
        if not bool((ranges > 0).all()):
            raise BadInput(f"layer '{name}': all its inputs are equal over the {len(images)} images; give others to calibrate with")
        layer.input_ranges.data.copy_(ranges)
        layer.range_batches_seen.fill_(max(layer.training_options.range_batches, 1))
