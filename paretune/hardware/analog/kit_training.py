"""Training in memory through the IBM analog hardware acceleration kit: weights are conductances, and pulses on the devices are the steps.

In hardware-aware training a computer keeps the weights, and tiles are programmed once it is done. Here no such weights exist: forward,
backward and update all happen on the simulated tile, and a device takes steps of its own size, up and down differently, within its own
bounds. Biases, batch norm and all else stay digital.

Source: Gokmen & Vlasov, Acceleration of deep neural network training with resistive cross-point devices, Frontiers in Neuroscience 10,
2016; the kit's device presets cite theirs.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from paretune.core.errors import BadInput, UnknownName
from paretune.core.option_checks import not_negative, positive, whole
from paretune.core.rng import derive_seed
from paretune.hardware.analog.kit_config import check_tiles, require_kit
from paretune.hardware.analog.kit_network import KitNetwork, check_layers, convert, from_kit

logger = logging.getLogger(__name__)

IN_MEMORY_DEVICES = MappingProxyType(
    {
        "constant_step": "SingleRPUConfig",
        "idealized": "IdealizedPreset",
        "gokmen_vlasov": "GokmenVlasovPreset",
        "capacitor": "CapacitorPreset",
        "ecram": "EcRamPreset",
        "ecram_mo": "EcRamMOPreset",
        "reram_es": "ReRamESPreset",
        "reram_sb": "ReRamSBPreset",
        "pcm": "PCMPreset",
        "tiki_taka_ecram": "TikiTakaEcRamPreset",
        "mixed_precision_reram_sb": "MixedPrecisionReRamSBPreset",
    }
)
"""Devices and update schemes that can be asked for, and what the kit calls them; `constant_step` is that of its first example."""


def in_memory_config(device: str, *, weight_scaling: float = 0.0) -> Any:
    """The kit's configuration for training on a device.

    Args:
        device: of `IN_MEMORY_DEVICES`.
        weight_scaling: the largest weight of a tile is put at this share of the devices' range; 0 puts weights as they are.

    Raises:
        BadInput: the kit cannot be used.
        UnknownName: the device is not known; with the near ones.
    """
    require_kit()
    not_negative("weight_scaling", weight_scaling)
    if device not in IN_MEMORY_DEVICES:
        raise UnknownName("in-memory device", device, tuple(IN_MEMORY_DEVICES))
    from aihwkit.simulator import presets
    from aihwkit.simulator.configs import ConstantStepDevice, SingleRPUConfig

    constant = device == "constant_step"
    config = SingleRPUConfig(device=ConstantStepDevice()) if constant else getattr(presets, IN_MEMORY_DEVICES[device])()
    config.mapping.weight_scaling_omega = weight_scaling
    return config


def to_in_memory(network: nn.Module, *, device: str, seed: int, weight_scaling: float = 0.0, deterministic: bool = False) -> nn.Module:
    """A copy of a digital network whose convolutions and linear layers are trained in memory, with `in_memory_optimizer`.

    Args:
        network: digital; its weights are where the devices start.
        device: of `IN_MEMORY_DEVICES`.
        seed: of what torch draws; devices do not heed it.
        weight_scaling: see `in_memory_config`.
        deterministic: refuse, since devices cannot be repeated.

    Raises:
        BadInput: the kit cannot be used, has no counterpart for a layer, or results must be repeatable.
        UnknownName: the device is not known.
    """
    config = in_memory_config(device, weight_scaling=weight_scaling)
    check_tiles("cpp", deterministic=deterministic)
    check_layers(network, tiles="cpp", rows=config.mapping.max_input_size, columns=config.mapping.max_output_size)
    if not any(isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear) for module in network.modules()):
        raise BadInput("network: has no convolution or nn.Linear to train in memory")
    return convert(network, config, preset=None, seed=seed).train(network.training)


def in_memory_optimizer(network: nn.Module, *, learning_rate: float) -> Optimizer:
    """The kit's analog gradient descent: pulses on the devices, plain steps on all else.

    A schedule may set the rate of its groups. It has no momentum: on devices there is nowhere to keep it.

    Raises:
        BadInput: the network is not from `to_in_memory`, or the rate cannot be used.
    """
    if not isinstance(network, KitNetwork):
        raise BadInput(f"network: must be from to_in_memory; got {type(network).__name__}")
    positive("learning_rate", learning_rate)
    from aihwkit.optim import AnalogSGD

    optimizer = AnalogSGD(network.parameters(), lr=learning_rate)
    optimizer.regroup_param_groups(network)
    assert isinstance(optimizer, Optimizer)
    return optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemoryTraining:
    """What came of a training in memory."""

    network: nn.Module
    """On its tiles, where it may go on."""
    digital: nn.Module
    """A digital network with the weights that the devices hold: program other tiles with it, export it."""
    epoch_losses: tuple[float, ...]
    """Mean loss over the steps of each epoch."""


def train_in_memory(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    device: str = "ecram",
    epochs: int,
    learning_rate: float,
    batch: int = 10,
    seed: int = 0,
    weight_scaling: float = 0.0,
    deterministic: bool = False,
    on_epoch: Callable[[int, float], None] | None = None,
) -> InMemoryTraining:
    """Train a classifier in memory.

    The order of the images follows from the seed; what devices do cannot be repeated.

    Args:
        network: digital, or from `to_in_memory` to go on, where `device` and `weight_scaling` stay what they were.
        images: `(num_images, ...)`.
        labels: `(num_images,)` classes.
        device: of `IN_MEMORY_DEVICES`.
        epochs: passes over the images.
        learning_rate: of the devices and of all else.
        batch: images a step.
        seed: of the order and of what torch draws.
        weight_scaling: see `in_memory_config`.
        deterministic: see `to_in_memory`.
        on_epoch: called with the number of epochs done and the epoch's loss.

    Raises:
        BadInput: as `to_in_memory`, or images and labels do not fit.
    """
    whole("epochs", epochs, minimum=1)
    whole("batch", batch, minimum=1)
    if len(images) != len(labels) or not len(images):
        raise BadInput(f"images, labels: must be as many, and some; got {len(images)} and {len(labels)}")
    check_tiles("cpp", deterministic=deterministic)
    on_tiles = network
    if not isinstance(network, KitNetwork):
        on_tiles = to_in_memory(network, device=device, seed=seed, weight_scaling=weight_scaling)
    optimizer = in_memory_optimizer(on_tiles, learning_rate=learning_rate)
    losses = []
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
        losses.append(_run_epoch(on_tiles, optimizer, torch.split(images[order], batch), torch.split(labels[order], batch)))
        logger.info("in-memory epoch %d of %d: loss %.4f", epoch + 1, epochs, losses[-1])
        if on_epoch is not None:
            on_epoch(epoch + 1, losses[-1])
    return InMemoryTraining(network=on_tiles, digital=from_kit(on_tiles), epoch_losses=tuple(losses))


def _run_epoch(network: nn.Module, optimizer: Optimizer, images: tuple[Tensor, ...], labels: tuple[Tensor, ...]) -> float:
    """One pass over batches; gives the mean loss of a batch."""
    network.train()
    total = 0.0
    for inputs, truth in zip(images, labels, strict=True):
        optimizer.zero_grad()
        loss = cross_entropy(network(inputs), truth)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach())
    return total / len(images)
