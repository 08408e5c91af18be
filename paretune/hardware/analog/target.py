"""Analog tiles as hardware of a study: trained networks are programmed, drift, and are judged on the task's examples."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from paretune.core.accuracy_devices import LabelledExamples, TrainingHooks
from paretune.core.contest import Contest, Fate
from paretune.core.errors import BadInput, BadOptions, DeviceError
from paretune.core.metrics import Metric
from paretune.core.protocols import Measurement
from paretune.core.rng import stream
from paretune.core.workload import Kind, WorkloadBatch
from paretune.hardware.analog.early_stopping import MINIMUM, EarlyStopping
from paretune.hardware.analog.engines import Engine, Tiles, chosen_evaluate, kit_module, kit_problems
from paretune.hardware.analog.hooks import AnalogTrainingHooks, InMemoryHooks, KitTrainingHooks, off_kit
from paretune.hardware.analog.presets import AnalogPreset, preset, preset_facts
from paretune.hardware.analog.target_metrics import details_of, metrics_of, values_of
from paretune.hardware.analog.times import TIMES_S, time_name
from paretune.hardware.analog.training import HardwareAwareTraining

if TYPE_CHECKING:
    from torch import nn

    from paretune.hardware.analog.drift_report import DriftReport

PresetName: TypeAlias = Literal["hermes", "ideal", "pcm", "reram", "rram"]
UpdateDevice: TypeAlias = Literal[
    "constant_step",
    "idealized",
    "gokmen_vlasov",
    "capacitor",
    "ecram",
    "ecram_mo",
    "reram_es",
    "reram_sb",
    "pcm",
    "tiki_taka_ecram",
    "mixed_precision_reram_sb",
]


class Analog:
    """Accuracy of trained networks on analog tiles at times after programming, its spread over programmings, and how much drift costs.

    Args:
        preset: cells, converters, tiles and compensation; see docs/analog.md.
        times_s: after programming, ascending; None for 1 s, 1 h, 1 day and 30 days, or those for which the preset has a model.
        programmings: of each network, or at most where they race.
        images: validation examples that networks are judged on, the same for all of them; 0 for all there are.
        seed: of programming and noise, the same for all candidates.
        engine: `paretune`, or `aihwkit` for the IBM analog hardware acceleration kit, which must be installed.
        tiles: of aihwkit: `torch`, or `cpp`, whose noise no seed reaches.
        deterministic: refuse what cannot be repeated.
        update_device: that `training: {analog_update: true}` trains on, in memory.
        rows: inputs of a tile; None for the preset's, as all that follow.
        columns: outputs of a tile.
        dac_bits: resolution of inputs.
        adc_bits: resolution of outputs.
        output_noise: deviation of outputs before the ADC, relative to a full input on the largest weight.
        compensation: drift is divided out for each tile (`global`), for each of its columns, or not at all.
        weight_noise: of hardware-aware training, on weights, relative to the largest one of a tile.
        range_batches: of hardware-aware training, batches that the input ranges are first taken from.
        batch: images at once.
        racing: stop programming candidates of a search that surely miss a limit or are surely dominated; see docs/analog.md.
        racing_confidence: that a candidate is stopped rightly.

    Raises:
        BadOptions: options cannot be used, or aihwkit is missing.
    """

    def __init__(
        self,
        *,
        preset: PresetName = "hermes",
        times_s: tuple[float, ...] | None = None,
        programmings: int = 10,
        images: int = 0,
        seed: int = 0,
        engine: Engine = "paretune",
        tiles: Tiles = "torch",
        deterministic: bool = True,
        update_device: UpdateDevice = "ecram",
        rows: int | None = None,
        columns: int | None = None,
        dac_bits: int | None = None,
        adc_bits: int | None = None,
        output_noise: float | None = None,
        compensation: Literal["global", "column", "none"] | None = None,
        weight_noise: float = 0.06,
        range_batches: int = 100,
        batch: int = 256,
        racing: bool = False,
        racing_confidence: float = 0.9,
    ) -> None:
        varied: dict[str, Any] = {"rows": rows, "columns": columns, "dac_bits": dac_bits, "adc_bits": adc_bits}
        varied |= {"output_noise": output_noise, "compensation": compensation}
        problems: list[tuple[tuple[str | int, ...], str]] = []
        self.preset = _varied(preset, {name: value for name, value in varied.items() if value is not None}, problems)
        self.training = _training({"weight_noise": weight_noise, "range_batches": range_batches}, problems)
        self.times_s = _times(self.preset, times_s, problems)
        for name, value, minimum in (("programmings", programmings, 2), ("images", images, 0), ("seed", seed, 0), ("batch", batch, 1)):
            if isinstance(value, bool) or value < minimum:
                problems.append(((name,), f"must be a whole number of at least {minimum}; got {value!r}"))
        if not 0.5 < racing_confidence < 1:
            problems.append((("racing_confidence",), f"must be above 0.5 and below 1; got {racing_confidence!r}"))
        if racing and programmings <= MINIMUM:
            told = f"must be above {MINIMUM} to race: so many run before the first look; got {programmings!r}. Or leave racing out"
            problems.append((("programmings",), told))
        if engine == "aihwkit":
            problems += [((option,), told) for option, told in kit_problems(tiles, deterministic=deterministic)]
        if problems:
            raise BadOptions(problems)
        self._programmings, self._images, self._seed, self._batch = programmings, images, seed, batch
        self._racing, self._confidence = racing, racing_confidence
        self._engine, self._tiles, self._deterministic, self._update_device = engine, tiles, deterministic, update_device

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """`accuracy_1d` and `deviation_1d` for each time, `avm`, `digital_accuracy`; `programmings` where they race."""
        return metrics_of(self.preset, self.times_s, programmings=self._programmings, engine=self._engine, racing=self._racing)

    @property
    def racing(self) -> bool:
        """See `core.accuracy_devices.RacingHardware`."""
        return self._racing

    def check(self, workloads: WorkloadBatch) -> None:
        """Whether tiles hold a row of every kernel, and the groups of grouped convolutions.

        Raises:
            BadInput: they do not.
        """
        convolved = np.isin(workloads.kind, (Kind.CONV, Kind.DEPTHWISE))
        widest = int(workloads.kernel[convolved].max(initial=1))
        if widest > self.preset.rows:
            raise BadInput(f"rows: a tile must hold at least a row of the kernel ({widest}); got {self.preset.rows}")
        grouped = convolved & (workloads.groups > 1)
        inputs = workloads.in_channels[grouped] // workloads.groups[grouped] * workloads.kernel[grouped] ** 2
        outputs = workloads.out_channels[grouped] // workloads.groups[grouped]
        for name, needed, available in (("rows", inputs, self.preset.rows), ("columns", outputs, self.preset.columns)):
            if needed.max(initial=1) > available:
                raise BadInput(f"{name}: a tile must hold a group of a convolution ({needed.max()}), groups are not split; got {available}")

    def judge(self, network: "nn.Module", examples: LabelledExamples, *, calibration: NDArray[np.float32]) -> Measurement:
        """Program a network several times, let it drift and classify the examples.

        A network that was not trained for tiles gets its input ranges from `calibration`.

        Raises:
            DeviceError: the network cannot run.
            BadInput: a layer does not fit.
        """
        return self._judged(network, examples, calibration, None)

    def judge_against(
        self, network: "nn.Module", examples: LabelledExamples, *, calibration: NDArray[np.float32], contest: Contest
    ) -> Measurement:
        """As `judge`, with as many programmings as the contest needs: the first of those that `judge` runs.

        Raises:
            DeviceError: the network cannot run.
            BadInput: a layer does not fit.
        """
        return self._judged(network, examples, calibration, EarlyStopping(contest=contest, confidence=self._confidence))

    def _judged(
        self, network: "nn.Module", examples: LabelledExamples, calibration: NDArray[np.float32], rule: EarlyStopping | None
    ) -> Measurement:
        import torch

        chosen = _some_of(len(examples.labels), self._images)
        evaluate = chosen_evaluate(self._engine)
        of_kit: dict[str, Any] = {"tiles": self._tiles, "deterministic": self._deterministic} if self._engine == "aihwkit" else {}
        try:
            report: DriftReport = evaluate(
                network,
                self.preset,
                torch.tensor(examples.inputs[chosen]),
                torch.tensor(examples.labels[chosen]),
                self.times_s,
                self._programmings,
                self._seed,
                calibration=torch.tensor(calibration),
                batch=self._batch,
                race=rule,
                **of_kit,
            )
        except (BadInput, DeviceError):
            raise
        except Exception as error:  # somebody's network: it may raise what it likes
            raise DeviceError(f"{self.preset.name} cannot run the network on inputs {examples.inputs.shape[1:]}: {error}") from error
        values, details = values_of(report), {**details_of(report), "engine": self._engine, "seed": self._seed}
        if self._racing:
            values["programmings"] = float(report.programmings)
            stopped = rule is not None and report.programmings < report.planned
            details["racing"] = {
                "planned": report.planned,
                "fate": (rule.fate(report) if rule is not None and stopped else Fate.OPEN).value,
            }
        return Measurement(values=values, details=details)

    def export(self, network: "nn.Module") -> "tuple[nn.Module, Mapping[str, Any]]":
        """The digital network with its trained weights; the preset, and how programming changes the weights of each layer."""
        from paretune.hardware.analog.conversion import to_digital
        from paretune.hardware.analog.weight_statistics import weight_statistics

        network = off_kit(network)
        layers = weight_statistics(network, self.preset, self.times_s, programmings=self._programmings, seed=self._seed)
        facts = {"preset": preset_facts(self.preset), "programmings": self._programmings, "seed": self._seed, "layers": layers}
        return to_digital(network), facts

    def training_hooks(self, *, in_memory: bool) -> TrainingHooks:
        """Hardware-aware training for these tiles, or training on devices that aihwkit simulates.

        Raises:
            BadInput: aihwkit cannot be used, or results must be repeatable.
        """
        if in_memory:
            if told := kit_module("kit").kit_problem():
                raise BadInput(told)
            if self._deterministic:
                raise BadInput("devices draw from generators that no seed reaches; say deterministic: false at the target")
            return InMemoryHooks(device=self._update_device)
        if self._engine == "aihwkit":
            return KitTrainingHooks(preset=self.preset, options=self.training, tiles=self._tiles)
        return AnalogTrainingHooks(preset=self.preset, options=self.training)


def _varied(name: str, changes: Mapping[str, Any], problems: list[tuple[tuple[str | int, ...], str]]) -> AnalogPreset:
    """The preset with changes; those that it refuses are told and left out."""
    chosen = preset(name)
    for option, value in changes.items():
        try:
            chosen = replace(chosen, **{option: value})
        except BadInput as error:
            problems.append(((option,), str(error).removeprefix(f"{option}: ")))
    return chosen


def _training(options: Mapping[str, Any], problems: list[tuple[tuple[str | int, ...], str]]) -> HardwareAwareTraining:
    """Options of hardware-aware training; those that are refused are told and left out."""
    chosen = HardwareAwareTraining()
    for option, value in options.items():
        try:
            chosen = replace(chosen, **{option: value})
        except BadInput as error:
            problems.append(((option,), str(error).removeprefix(f"{option}: ")))
    return chosen


def _times(chosen: AnalogPreset, times_s: tuple[float, ...] | None, problems: list[tuple[tuple[str | int, ...], str]]) -> tuple[float, ...]:
    """The times; what is wrong with them is told at each."""
    if times_s is None:
        return chosen.valid_times_s or TIMES_S
    wrong = chosen.time_problems(times_s)
    if not wrong and len({time_name(time_s) for time_s in times_s}) < len(times_s):
        wrong = [(None, f"two of them are called the same; got {', '.join(map(time_name, times_s))}")]
    problems += [(("times_s",) if index is None else ("times_s", index), told) for index, told in wrong]
    return tuple(times_s)


def _some_of(count: int, limit: int) -> NDArray[np.intp]:
    """Indices of the examples that every candidate is judged on, ascending."""
    order = stream(0, index=0, purpose="analog.images").permutation(count)
    return np.sort(order[: limit or None])
