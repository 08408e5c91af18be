"""What hardware-aware training adds to a task's own recipe: layers on tiles, their noise from a named place, clipping and remapping.

Source: Rasch et al., Nature Communications 14, 5282, 2023.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paretune.hardware.analog.engines import Tiles, kit_module
from paretune.hardware.analog.presets import AnalogPreset, preset_facts
from paretune.hardware.analog.training import HardwareAwareTraining, training_facts

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


KIT_MODULES = "paretune.hardware.analog.kit"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalogTrainingHooks:
    """`core.accuracy_devices.TrainingHooks` for an analog target."""

    preset: AnalogPreset
    options: HardwareAwareTraining

    @property
    def identity(self) -> Mapping[str, Any]:
        """Target and options."""
        return {"engine": "paretune", "preset": preset_facts(self.preset), "training": training_facts(self.options)}

    @property
    def resumable(self) -> bool:
        """The noise's place apart, which `reseed` names."""
        return True

    def prepare(self, network: "nn.Module", *, seed: int) -> "nn.Module":
        """The network on tiles; `seed` decides the noise."""
        from paretune.hardware.analog.conversion import to_analog  # torch takes a second to import; `paretune validate` does without

        return to_analog(network, self.preset, options=self.options, seed=seed)

    def optimiser(self, network: "nn.Module", *, learning_rate: float) -> None:
        """The recipe's own."""

    def finish(self, network: "nn.Module") -> "nn.Module":
        """As it is: its state dict holds ranges and scales."""
        return network

    def rebuild(self, network: "nn.Module") -> "nn.Module":
        """On tiles; no noise is drawn before it is judged."""
        return self.prepare(network, seed=0)

    def reseed(self, network: "nn.Module", *place: int | str) -> None:
        """Start the noise at a named place."""
        from paretune.hardware.analog.conversion import reseed

        reseed(network, *place)

    def after_step(self, network: "nn.Module") -> None:
        """Clip and remap the weights."""
        from paretune.hardware.analog.conversion import analog_layers

        for layer in analog_layers(network).values():
            layer.after_step()


@dataclass(frozen=True, slots=True, kw_only=True)
class KitTrainingHooks:
    """The same through the IBM analog hardware acceleration kit."""

    preset: AnalogPreset
    options: HardwareAwareTraining
    tiles: Tiles

    @property
    def identity(self) -> Mapping[str, Any]:
        """Target, options and tiles."""
        facts = {"preset": preset_facts(self.preset), "training": training_facts(self.options)}
        return {"engine": "aihwkit", "tiles": self.tiles, **facts}

    @property
    def resumable(self) -> bool:
        """As with our own."""
        return True

    def prepare(self, network: "nn.Module", *, seed: int) -> "nn.Module":
        """The network on the kit's tiles; `seed` decides the noise."""
        found: nn.Module = kit_module("kit").to_kit(network, self.preset, options=self.options, seed=seed, tiles=self.tiles)
        return found

    def optimiser(self, network: "nn.Module", *, learning_rate: float) -> None:
        """The recipe's own."""

    def finish(self, network: "nn.Module") -> "nn.Module":
        """As it is: its state dict holds ranges and scales."""
        return network

    def rebuild(self, network: "nn.Module") -> "nn.Module":
        """On tiles; no noise is drawn before it is judged."""
        return self.prepare(network, seed=0)

    def reseed(self, network: "nn.Module", *place: int | str) -> None:
        """Start the noise at a named place."""
        _kit_network(network).reseed(*place)

    def after_step(self, network: "nn.Module") -> None:
        """Clip and remap the weights."""
        _kit_network(network).after_step()


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemoryHooks:
    """Training on the devices themselves, which the kit simulates: pulses are the steps, and momentum has nowhere to be kept.

    Source: Gokmen & Vlasov, Frontiers in Neuroscience 10, 2016.
    """

    device: str
    """Of `kit_training.IN_MEMORY_DEVICES`."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """The device."""
        return {"engine": "aihwkit", "in_memory": self.device}

    @property
    def resumable(self) -> bool:
        """The kit cannot put the state of devices back."""
        return False

    def prepare(self, network: "nn.Module", *, seed: int) -> "nn.Module":
        """The network on devices that start from its weights."""
        found: nn.Module = kit_module("kit_training").to_in_memory(network, device=self.device, seed=seed)
        return found

    def optimiser(self, network: "nn.Module", *, learning_rate: float) -> "Optimizer":
        """The kit's analog gradient descent."""
        found: Optimizer = kit_module("kit_training").in_memory_optimizer(network, learning_rate=learning_rate)
        return found

    def finish(self, network: "nn.Module") -> "nn.Module":
        """The digital network with the weights that the devices hold."""
        digital: nn.Module = kit_module("kit").from_kit(network)
        return digital

    def rebuild(self, network: "nn.Module") -> "nn.Module":
        """As it is."""
        return network

    def reseed(self, network: "nn.Module", *place: int | str) -> None:
        """What torch draws; devices do not heed it, and once it is finished nothing is drawn."""
        if type(network).__module__.startswith(KIT_MODULES):
            _kit_network(network).reseed(*place)

    def after_step(self, network: "nn.Module") -> None:
        """Nothing: the kit's optimiser does all."""


def off_kit(network: "nn.Module") -> "nn.Module":
    """A network on the kit's tiles as a digital one; any other as it is."""
    if not type(network).__module__.startswith(KIT_MODULES):  # spares an import of the kit
        return network
    digital: nn.Module = kit_module("kit").from_kit(network)
    return digital


def _kit_network(network: Any) -> Any:
    return network
