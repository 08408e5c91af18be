"""Accuracy under drift: program a network several times, let each drift, read it at several times, and run the images.

Every programming is fresh. Variates depend on the seed, the number of the programming, and the name and shape of a layer alone: the
same for every candidate (common random numbers), whatever ran before, and however many programmings run at once. One torch thread runs,
since sums over several are split, and rounded, differently on every machine.

Legend: R programmings, T times, V programmings at once, B images at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from paretune.core.errors import BadInput
from paretune.core.option_checks import whole
from paretune.core.rng import derive_seed
from paretune.hardware.analog.conversion import analog_layers, calibrate, put_on, to_analog
from paretune.hardware.analog.drift_report import DriftReport, Floats, StopRule
from paretune.hardware.analog.layout import Layout, layout_of
from paretune.hardware.analog.noise import BatchPart, OutputNoise
from paretune.hardware.analog.norm_folding import fold_norms
from paretune.hardware.analog.presets import IDEAL, AnalogPreset
from paretune.hardware.analog.programming import Cells, ProgrammedWeights
from paretune.hardware.analog.times import TIMES_S
from paretune.networks.evaluation import evaluating

AT_ONCE_ON_GPU = 8


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread, then as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Programmable(Protocol):
    """A network on an analog target before some images, whatever simulates it."""

    preset: AnalogPreset
    times_s: tuple[float, ...]
    at_once: int
    num_images: int

    @property
    def digital_accuracy(self) -> float:
        """Of the same network without an analog target."""
        ...

    def programmings(self, first: int, count: int) -> tuple[Floats, Floats]:
        """Accuracies and logit errors, `(count, T)` each, of the programmings numbered from `first`."""
        ...


class DriftEvaluator:
    """A network on an analog target before some images, to be programmed as often as wanted.

    Args:
        network: digital, or from `to_analog`; stays as it is.
        preset: the target; an analog network's own, or another to move it to.
        images: `(num_images, ...)` on the device where it shall run.
        labels: `(num_images,)` classes.
        times_s: after programming, ascending.
        seed: of all variates; candidates with the same one are compared on the same noise.
        calibration: images that set the input ranges of a network that has none yet.
        batch: images at once.
        at_once: programmings at once; None is 1 on the CPU, where more are slower, and some on a GPU.
        pooled_noise: output noise from a pool (see `noise`).

    Raises:
        BadInput: the times have no model or do not ascend, images and labels do not fit, ranges are missing, or a layer does not fit.
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
        at_once: int | None = None,
        pooled_noise: bool = True,
    ) -> None:
        self.times_s = tuple(float(time_s) for time_s in times_s)
        preset.check_times(self.times_s)
        whole("batch", batch, minimum=1)
        if len(images) != len(labels) or not len(images):
            raise BadInput(f"images, labels: must be as many, and some; got {len(images)} and {len(labels)}")
        self.at_once = (AT_ONCE_ON_GPU if images.is_cuda else 1) if at_once is None else at_once
        whole("at_once", self.at_once, minimum=1)
        self.preset, self._seed = preset, seed
        self._batches = list(zip(torch.split(images, batch), torch.split(labels, batch), strict=True))
        self.num_images = len(images)
        self.comparison = (self.times_s, seed, len(images), float(images.double().sum()), int(labels.sum()))
        """Equal for candidates that are judged on the same times, variates and (by their sums) images."""
        with one_thread():
            self._network = self._on_target(network, preset, calibration)
            self._layers = analog_layers(self._network)
            noise = OutputNoise(seed=derive_seed(seed, "outputs"), pooled=pooled_noise)
            for layer in self._layers.values():
                layer.noise = noise
            self._noise = noise
            digital = put_on(network, IDEAL) if analog_layers(network) else deepcopy(network)
            with evaluating(digital):
                self._digital_logits = [digital(images) for images, _ in self._batches]
            self._layout = Layout(channels_last=False, images=batch)
            # Several programmings are grouped convolutions, which are no faster so; what is exact has to be what the network is.
            if self.at_once == 1 and not images.is_cuda and preset.device is not None:
                self._layout = layout_of(digital, self._batches[0][0], self._digital_logits[0])
            self._folds = {} if preset.exact_products else fold_norms(self._network)

    @property
    def digital_accuracy(self) -> float:
        """Of the same network without an analog target."""
        right = sum(
            int((logits.argmax(1) == labels).sum()) for logits, (_, labels) in zip(self._digital_logits, self._batches, strict=True)
        )
        return right / self.num_images

    def programmings(self, first: int, count: int) -> tuple[Floats, Floats]:
        """Accuracies and logit errors, `(count, T)` each, of the programmings numbered from `first`."""
        accuracies_RT, errors_RT = (np.empty((count, len(self.times_s))) for _ in range(2))
        with one_thread(), evaluating(self._network):
            for start in range(0, count, self.at_once):
                stop = min(start + self.at_once, count)
                repeats = range(first + start, first + stop)
                cells = self._program(repeats)
                for number, time_s in enumerate(self.times_s):
                    for name, layer in self._layers.items():
                        layer.programmed = self._programmed(cells, name, time_s)
                    accuracies_RT[start:stop, number], errors_RT[start:stop, number] = self._run(repeats, time_s)
        for layer in self._layers.values():
            layer.programmed = None
        return accuracies_RT, errors_RT

    @staticmethod
    def _on_target(network: nn.Module, preset: AnalogPreset, calibration: Tensor | None) -> nn.Module:
        """A copy in evaluation mode."""
        analog = (put_on if analog_layers(network) else to_analog)(network, preset).eval()
        unset = [name for name, layer in analog_layers(analog).items() if not layer.exact and not layer.range_batches_seen]
        if unset and calibration is None:
            raise BadInput(
                f"calibration: images must be given to set the input ranges of {', '.join(unset)}, from the training data; "
                "hardware-aware training learns them"
            )
        if unset:
            assert calibration is not None
            calibrate(analog, calibration)
        return analog

    def _program(self, repeats: Sequence[int]) -> dict[str, Cells]:
        """The cells of every layer; none where weights are exact and so are products."""
        device = self.preset.device
        if device is None:
            return {}
        return {name: Cells(layer, device, name=name, repeats=repeats, seed=self._seed) for name, layer in self._layers.items()}

    def _programmed(self, cells: dict[str, Cells], name: str, time_s: float) -> ProgrammedWeights | None:
        """What a layer multiplies with."""
        if name not in cells:
            return None
        return cells[name].at(time_s, fold=self._folds.get(name), channels_last=self._layout.channels_last)

    def _run(self, repeats: Sequence[int], time_s: float) -> tuple[Floats, Floats]:
        """`(V,)` accuracies and logit errors of the weights that are set."""
        right_V, squares_V, outputs = np.zeros(len(repeats)), np.zeros(len(repeats)), 0
        for number, ((images, labels), digital) in enumerate(zip(self._batches, self._digital_logits, strict=True)):
            logits_V = self._logits(images, [(repeat, repr(time_s), number) for repeat in repeats])
            right_V += (logits_V.argmax(2) == labels).sum(1).cpu().numpy()
            squares_V += (logits_V - digital.view(len(images), -1)).double().square().sum((1, 2)).cpu().numpy()
            outputs += digital.numel()
        return right_V / self.num_images, np.sqrt(squares_V / outputs)

    def _logits(self, images: Tensor, places: Sequence[tuple[int | str, ...]]) -> Tensor:
        """`(V, B, ...)` outputs for a batch, flat for each image, with the noise of each place."""
        found, first, count = [], 0, len(places)
        for part in self._layout.parts(images):
            self._noise.reseed_each(places, part=BatchPart(first=first, count=len(part), of=len(images)))
            logits = self._network(part if count == 1 else part.repeat(count, *[1] * (part.dim() - 1)))
            found.append(logits.view(count, len(part), -1))
            first += len(part)
        return torch.cat(found, dim=1)


def evaluate(
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
    pooled_noise: bool = True,
    race: StopRule | None = None,
) -> DriftReport:
    """Accuracy of a network at times after programming, over programmings.

    Args:
        network: see `DriftEvaluator`, as all that is not named here.
        preset: the target.
        images: it is judged on.
        labels: of the images.
        times_s: after programming, ascending.
        programmings: how many.
        seed: of all variates.
        calibration: images that set ranges.
        batch: images at once.
        at_once: programmings at once.
        pooled_noise: output noise from a pool.
        race: stops earlier: a `Race`, when a rival is surely beaten or surely not.

    Raises:
        BadInput: as `DriftEvaluator`, or the race is at a time that is not evaluated.
    """
    whole("programmings", programmings, minimum=1)
    evaluator = DriftEvaluator(
        network,
        preset,
        images,
        labels,
        times_s=times_s,
        seed=seed,
        calibration=calibration,
        batch=batch,
        at_once=at_once,
        pooled_noise=pooled_noise,
    )
    return run_programmings(evaluator, programmings, race)


def run_programmings(evaluator: Programmable, programmings: int, race: StopRule | None = None) -> DriftReport:
    """Programmings of an evaluator until all ran or a race is decided.

    Raises:
        BadInput: the race is at a time that is not evaluated.
    """
    if race is not None:
        race.check(evaluator.times_s)
    step = programmings if race is None else evaluator.at_once
    report = DriftReport(
        preset=evaluator.preset.name,
        times_s=evaluator.times_s,
        accuracies=np.empty((0, len(evaluator.times_s))),
        logit_errors=np.empty((0, len(evaluator.times_s))),
        digital_accuracy=evaluator.digital_accuracy,
        num_images=evaluator.num_images,
        planned=programmings,
    )
    for first in range(0, programmings, step):
        accuracies_RT, errors_RT = evaluator.programmings(first, min(step, programmings - first))
        accuracies_RT, errors_RT = np.concatenate([report.accuracies, accuracies_RT]), np.concatenate([report.logit_errors, errors_RT])
        report = replace(report, accuracies=accuracies_RT, logit_errors=errors_RT)
        if race is not None and race.decided(report):
            break
    return report
