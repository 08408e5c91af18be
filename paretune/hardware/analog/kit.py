"""The IBM analog hardware acceleration kit (aihwkit) as an engine: convert, train and evaluate as here, through the kit.

Also our oracle: both engines programme the same weights on the same tiles with the same input ranges, and differ in nothing but what draws
and multiplies.

Departs: the kit's own loop takes a programmed weight for a single cell from then on; see docs/analog.md for what that changes.
"""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from paretune.core.errors import BadInput
from paretune.core.option_checks import whole
from paretune.hardware.analog.conversion import analog_layers, calibrate, put_on, to_analog
from paretune.hardware.analog.drift_report import DriftReport, Floats, StopRule
from paretune.hardware.analog.evaluator import one_thread, run_programmings
from paretune.hardware.analog.kit_config import Tiles, check_tiles, install_line, kit_problem, require_kit, rpu_config
from paretune.hardware.analog.kit_network import KitNetwork, from_kit, own_noise, to_kit
from paretune.hardware.analog.presets import IDEAL, AnalogPreset
from paretune.hardware.analog.times import TIMES_S
from paretune.networks.evaluation import evaluating

__all__ = ["KitEvaluator", "KitNetwork", "evaluate_with_kit", "from_kit", "install_line", "kit_problem", "rpu_config", "to_kit"]


class KitEvaluator:
    """A network on the kit's tiles before some images, to be programmed as often as wanted.

    Every programming is fresh: the kit programs by itself at the first drift only, and drifts the same weights ever after.

    Args:
        network: digital, from `to_analog`, or from `to_kit`; stays as it is.
        preset: the target; one that trained through the kit can only be evaluated on its own.
        images: `(num_images, ...)` on the device where it shall run.
        labels: `(num_images,)` classes.
        times_s: after programming, ascending.
        seed: of all variates.
        calibration: images that set the input ranges of a network that has none yet, as `conversion.calibrate` does.
        batch: images at once.
        tiles: see `kit_config.Tiles`; those of a network from `to_kit` stay.
        deterministic: refuse what cannot be repeated.

    Raises:
        BadInput: as `to_kit`; the times have no model or do not ascend, images and labels do not fit, or ranges are missing.
    """

    def __init__(
        self,
        network: nn.Module,
        preset: AnalogPreset,
        images: Tensor,
        labels: Tensor,
        *,
        times_s: Sequence[float] = TIMES_S,
        seed: int,
        calibration: Tensor | None = None,
        batch: int = 256,
        tiles: Tiles = "torch",
        deterministic: bool = False,
    ) -> None:
        require_kit()
        check_tiles(tiles, deterministic=deterministic)
        self.times_s = tuple(float(time_s) for time_s in times_s)
        preset.check_times(self.times_s)
        whole("batch", batch, minimum=1)
        if len(images) != len(labels) or not len(images):
            raise BadInput(f"images, labels: must be as many, and some; got {len(images)} and {len(labels)}")
        self.preset, self.at_once, self._seed = preset, 1, seed
        self._batches = list(zip(torch.split(images, batch), torch.split(labels, batch), strict=True))
        self.num_images = len(images)
        self.comparison = (self.times_s, seed, len(images), float(images.double().sum()), int(labels.sum()))
        with one_thread():
            digital, self._network = _on_kit(network, preset, calibration, seed, tiles)
            with evaluating(digital):
                self._digital_logits = [digital(part) for part, _ in self._batches]

    @property
    def digital_accuracy(self) -> float:
        """Of the same network without an analog target."""
        pairs = zip(self._digital_logits, self._batches, strict=True)
        return sum(int((logits.argmax(1) == labels).sum()) for logits, (_, labels) in pairs) / self.num_images

    def programmings(self, first: int, count: int) -> tuple[Floats, Floats]:
        """Accuracies and logit errors, `(count, T)` each, of the programmings numbered from `first`."""
        from aihwkit.inference.utils import drift_analog_weights, program_analog_weights

        kit, device = self._network.network, self._batches[0][0].device
        accuracies_RT, errors_RT = (np.empty((count, len(self.times_s))) for _ in range(2))
        with one_thread(), evaluating(self._network):
            for number in range(count):
                with own_noise(device, self._seed, first + number, "cells"):
                    program_analog_weights(kit, None)
                    for column, time_s in enumerate(self.times_s):
                        drift_analog_weights(kit, time_s)
                        accuracies_RT[number, column], errors_RT[number, column] = self._run(first + number, time_s)
        return accuracies_RT, errors_RT

    def _run(self, repeat: int, time_s: float) -> tuple[float, float]:
        """Accuracy and logit error of the weights that are set."""
        self._network.reseed(repeat, repr(time_s))
        right, squares, outputs = 0, 0.0, 0
        for (images, labels), digital in zip(self._batches, self._digital_logits, strict=True):
            logits = self._network(images)
            right += int((logits.argmax(1) == labels).sum())
            squares += float((logits - digital).double().square().sum())
            outputs += digital.numel()
        return right / self.num_images, (squares / outputs) ** 0.5


def _on_kit(network: nn.Module, preset: AnalogPreset, calibration: Tensor | None, seed: int, tiles: Tiles) -> tuple[nn.Module, KitNetwork]:
    """The digital network, and a copy on the kit's tiles in evaluation mode.

    Raises:
        BadInput: it lies on another target, or ranges are missing.
    """
    if isinstance(network, KitNetwork):
        if network.preset != preset:
            known = "no target" if network.preset is None else f"'{network.preset.name}'"
            raise BadInput(f"preset: the network lies on {known}; take it off with from_kit first; got '{preset.name}'")
        return from_kit(network), deepcopy(network).eval()
    ours = (put_on if analog_layers(network) else to_analog)(network, preset).eval()
    unset = [name for name, layer in analog_layers(ours).items() if not layer.exact and not layer.range_batches_seen]
    if unset and calibration is None:
        raise BadInput(f"calibration: images must be given to set the input ranges of {', '.join(unset)}, from the training data")
    if unset:
        assert calibration is not None
        calibrate(ours, calibration)
    kit = to_kit(ours, preset, seed=seed, tiles=tiles).eval()
    assert isinstance(kit, KitNetwork)
    return put_on(ours, IDEAL), kit


def evaluate_with_kit(
    network: nn.Module,
    preset: AnalogPreset,
    images: Tensor,
    labels: Tensor,
    times_s: Sequence[float] = TIMES_S,
    programmings: int = 10,
    seed: int = 0,
    *,
    calibration: Tensor | None = None,
    batch: int = 256,
    at_once: int | None = None,
    pooled_noise: bool = True,  # noqa: ARG001 - both engines are called alike
    race: StopRule | None = None,
    tiles: Tiles = "torch",
    deterministic: bool = False,
) -> DriftReport:
    """As `evaluator.evaluate`, with the kit's cells, tiles and noise.

    Args:
        network: see `KitEvaluator`, as all that is not named here.
        preset: the target.
        images: it is judged on.
        labels: of the images.
        times_s: after programming, ascending.
        programmings: how many.
        seed: of all variates, which are not those of the other engine.
        calibration: images that set ranges.
        batch: images at once.
        at_once: None or 1: the kit holds one programming at a time.
        pooled_noise: without effect: the kit draws its noise afresh.
        race: stops earlier: a `Race`, when a rival is surely beaten or surely not.
        tiles: see `kit_config.Tiles`.
        deterministic: refuse what cannot be repeated.

    Raises:
        BadInput: as `KitEvaluator`, or the race is at a time that is not evaluated.
    """
    whole("programmings", programmings, minimum=1)
    if at_once not in (None, 1):
        raise BadInput(f"at_once: the kit holds one programming at a time; got {at_once!r}")
    evaluator = KitEvaluator(
        network,
        preset,
        images,
        labels,
        times_s=times_s,
        seed=seed,
        calibration=calibration,
        batch=batch,
        tiles=tiles,
        deterministic=deterministic,
    )
    return run_programmings(evaluator, programmings, race)
