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


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalogTrainingHooks:
    """`core.accuracy_devices.TrainingHooks` for an analog target; the noise's place is the only state that no state dict holds."""

    preset: AnalogPreset
    options: HardwareAwareTraining

    @property
    def identity(self) -> Mapping[str, Any]:
        """Target and options."""
        return {"engine": "paretune", "preset": preset_facts(self.preset), "training": training_facts(self.options)}

    def prepare(self, network: "nn.Module", *, seed: int) -> "nn.Module":
        """The network on tiles; `seed` decides the noise."""
        from paretune.hardware.analog.conversion import to_analog  # torch takes a second to import; `paretune validate` does without

        return to_analog(network, self.preset, options=self.options, seed=seed)

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

    def prepare(self, network: "nn.Module", *, seed: int) -> "nn.Module":
        """The network on the kit's tiles; `seed` decides the noise."""
        found: nn.Module = kit_module("kit").to_kit(network, self.preset, options=self.options, seed=seed, tiles=self.tiles)
        return found

    def reseed(self, network: "nn.Module", *place: int | str) -> None:
        """Start the noise at a named place."""
        _kit_network(network).reseed(*place)

    def after_step(self, network: "nn.Module") -> None:
        """Clip and remap the weights."""
        _kit_network(network).after_step()


def _kit_network(network: Any) -> Any:
    return network
