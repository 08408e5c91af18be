"""The IBM analog hardware acceleration kit (aihwkit): whether it can be used, and a preset as its RPU configuration.

This is the only place that turns one into the other. Presets run through the kit's own models of cells, not through ours, so the two can
be held against each other; what the kit has no model for is refused.

Source: Rasch et al., A flexible and fast PyTorch toolkit for simulating training and inference on analog crossbar arrays, AICAS 2021.
"""

import sys
from functools import cache
from importlib import import_module
from typing import Any, Literal

from paretune.core.errors import BadInput
from paretune.hardware.analog.devices import DriftingCell, RelaxingCell, VaryingCell
from paretune.hardware.analog.presets import HERMES, MICROSIEMENS, PCM, AnalogPreset
from paretune.hardware.analog.training import HardwareAwareTraining

Tiles = Literal["torch", "cpp"]
"""The kit's tiles: in torch with autograd, or in C++ with a few more effects."""


def install_line() -> str:
    """The command that installs the kit for the Python that runs; its wheels are tied to torch's binary interface."""
    if sys.version_info < (3, 12):
        return 'python -m pip install "aihwkit==1.1.*" "torch>=2.10,<2.13"'
    return 'python -m pip install "aihwkit>=1.2" "torch>=2.15"'


@cache
def kit_problem() -> str | None:
    """Why the kit cannot be used, with the command that mends it; None where it can."""
    try:
        for name in ("nn", "optim", "simulator.configs"):
            import_module(f"aihwkit.{name}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "aihwkit":
            return f"aihwkit is not installed; everything but the aihwkit engine works without it. Install it: {install_line()}"
        return f"aihwkit is installed, but misses {error.name}. Install both: {install_line()}"
    except (ImportError, OSError, AttributeError) as error:
        return f"aihwkit is installed, but does not fit torch ({error}). Install a pair that fits: {install_line()}"
    return None


def require_kit() -> None:
    """Go on only where the kit can be used.

    Raises:
        BadInput: it cannot, with the command that mends it.
    """
    problem = kit_problem()
    if problem is not None:
        raise BadInput(f"engine: {problem}")


def check_tiles(tiles: str, *, deterministic: bool) -> None:
    """Refuse unknown tiles, and those whose results cannot be repeated where they must.

    Raises:
        BadInput: with the reason.
    """
    if tiles not in ("torch", "cpp"):
        raise BadInput(f"tiles: must be one of torch, cpp; got {tiles!r}")
    if tiles == "cpp" and deterministic:
        raise BadInput(
            "tiles: the kit's C++ tiles draw their noise from generators that the clock seeds and no option reaches, so no result can be "
            "repeated; take tiles: torch, or deterministic: false"
        )


def rpu_config(preset: AnalogPreset, *, options: HardwareAwareTraining | None = None, tiles: Tiles = "torch") -> Any:
    """A preset as `TorchInferenceRPUConfig`, or `InferenceRPUConfig` for C++ tiles.

    Weights are scaled to the largest of each tile (without that the kit's noise would be relative to a weight of 1), inputs by ranges
    of each tile, biases stay digital.

    Args:
        preset: the target.
        options: of hardware-aware training; the published recipe where None.
        tiles: see `Tiles`.

    Raises:
        BadInput: the kit cannot be used, or has no counterpart for the preset.
    """
    require_kit()
    check_tiles(tiles, deterministic=False)
    from aihwkit.simulator.configs import InferenceRPUConfig, TorchInferenceRPUConfig

    if preset.dac_bits is None and not preset.exact_products:
        raise BadInput(f"dac_bits: preset '{preset.name}' converts no inputs, but outputs; the kit has no such tile: it clips all inputs")
    options = options or HardwareAwareTraining()
    config = TorchInferenceRPUConfig() if tiles == "torch" else InferenceRPUConfig()
    config.noise_model = _noise_model(preset)
    config.drift_compensation = _compensation(preset)
    _set_forward(config.forward, preset)
    config.mapping.max_input_size, config.mapping.max_output_size = preset.rows, preset.columns
    config.mapping.weight_scaling_omega = 1.0
    config.mapping.weight_scaling_columnwise = options.remap == "channel"
    _set_ranges(config.pre_post.input_range, preset, options)
    _set_training(config, options)
    return config


def _micro(siemens: float) -> float:
    """Microsiemens; rounded, since the kit refuses conductances a bit above those of its fits."""
    return round(siemens / MICROSIEMENS, 9)


def _set_forward(forward: Any, preset: AnalogPreset) -> None:
    """Converters and noise of outputs."""
    from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType

    forward.is_perfect = preset.exact_products
    forward.bound_management, forward.noise_management = BoundManagementType.NONE, NoiseManagementType.NONE
    forward.inp_res = -1.0 if preset.dac_levels is None else 1 / (2 * preset.dac_levels)
    forward.out_res = -1.0 if preset.adc_levels is None else 1 / (2 * preset.adc_levels)
    forward.inp_bound, forward.out_bound = 1.0, 0.0 if preset.adc_levels is None else preset.output_bound
    forward.out_noise = preset.output_noise


def _set_ranges(ranges: Any, preset: AnalogPreset, options: HardwareAwareTraining) -> None:
    """Input ranges and how they are learned."""
    ranges.enable = preset.dac_levels is not None
    ranges.learn_input_range = options.learn_ranges
    ranges.init_value, ranges.init_from_data = options.initial_range, options.range_batches
    ranges.init_std_alpha = options.range_deviations
    ranges.decay, ranges.input_min_percentage = options.range_decay, options.range_unclipped


def _set_training(config: Any, options: HardwareAwareTraining) -> None:
    """Noise on weights, clipping and remapping."""
    from aihwkit.simulator.parameters.enums import WeightClipType, WeightModifierType, WeightRemapType

    if options.weight_noise > 0:
        config.modifier.type, config.modifier.std_dev = WeightModifierType.ADD_NORMAL, options.weight_noise
    if options.clip == "gaussian":
        config.clip.type, config.clip.sigma = WeightClipType.LAYER_GAUSSIAN, options.clip_deviations
    elif options.clip == "fixed":
        config.clip.type, config.clip.fixed_value = WeightClipType.FIXED_VALUE, options.clip_value
    if options.remap != "none":
        by_layer = options.remap == "layer"
        config.remap.type = WeightRemapType.LAYERWISE_SYMMETRIC if by_layer else WeightRemapType.CHANNELWISE_SYMMETRIC


def _compensation(preset: AnalogPreset) -> Any:
    """The kit's drift compensation."""
    from aihwkit.inference.compensation.drift import GlobalDriftCompensation, PerColumnDriftCompensation

    return {"global": GlobalDriftCompensation, "column": PerColumnDriftCompensation, "none": lambda: None}[preset.compensation]()


def _noise_model(preset: AnalogPreset) -> Any:
    """The kit's model of the preset's cells.

    Raises:
        BadInput: it has none.
    """
    from aihwkit.inference.converter.conductance import SinglePairConductanceConverter
    from aihwkit.inference.noise.pcm import PCMLikeNoiseModel
    from aihwkit.inference.noise.reram import ReRamWan2022NoiseModel

    match preset.device:
        case None:
            return PCMLikeNoiseModel(prog_noise_scale=0.0, read_noise_scale=0.0, drift_scale=0.0)
        case DriftingCell() as cell:
            return _drifting(preset, cell)
        case RelaxingCell() as cell:
            polynomials = {time_s: [_micro(value) for value in values] for time_s, values in cell.deviations_siemens}
            return ReRamWan2022NoiseModel(polynomials, g_max=_micro(cell.g_max_siemens), noise_scale=cell.scale)
        case VaryingCell() as cell:
            # Its programming noise is a polynomial of the conductance: a line through zero; nothing drifts or is read with noise.
            largest, least = _micro(cell.g_max_siemens), _micro(cell.g_min_siemens)
            converter = SinglePairConductanceConverter(g_max=largest, g_min=least)
            noise = [0.0, cell.variation * largest]
            return PCMLikeNoiseModel(prog_coeff=noise, g_converter=converter, read_noise_scale=0.0, drift_scale=0.0)
        case other:
            raise BadInput(
                f"engine: preset '{preset.name}' has cells of {type(other).__name__}, for which the kit has no model; evaluate it with the "
                "paretune engine"
            )


def _curves(cell: object) -> object:
    """What the kit's models of phase change have built in."""
    return (cell.drift_mean, cell.drift_deviation, cell.read) if isinstance(cell, DriftingCell) else None


def _drifting(preset: AnalogPreset, cell: DriftingCell) -> Any:
    """One of the kit's two models of phase change, whose curves of drift and reading cannot be set.

    Raises:
        BadInput: the cell has other curves.
    """
    from aihwkit.inference.noise.hermes import HermesNoiseModel
    from aihwkit.inference.noise.pcm import PCMLikeNoiseModel

    models = ((PCM.device, PCMLikeNoiseModel), (HERMES.device, HermesNoiseModel))
    kind = next((kind for known, kind in models if _curves(known) == _curves(cell)), None)
    if kind is None:
        raise BadInput(
            f"engine: the kit has no model for the cells of preset '{preset.name}': it lacks their drift_mean, drift_deviation and read "
            f"(it has those of {PCM.name} and {HERMES.name} built in); evaluate it with the paretune engine"
        )
    settings = {
        "prog_coeff": [_micro(value) for value in cell.programming_siemens],
        "g_max": _micro(cell.g_max_siemens),
        "t_read": cell.t_read_s,
        "t_0": cell.t0_s,
        "prog_noise_scale": cell.programming_scale,
        "read_noise_scale": cell.read_scale,
        "drift_scale": cell.drift_scale,
    }
    return kind(**settings, **({"num_devices": 1} if kind is HermesNoiseModel else {}))
