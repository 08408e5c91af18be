"""Options of hardware-aware training: what is injected and learned while a network trains for an analog target."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from paretune.core.errors import BadInput
from paretune.core.option_checks import not_negative, one_of, positive, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareAwareTraining:
    """The recipe of Rasch et al., Nature Communications 14, 5282, 2023, as its defaults."""

    weight_noise: float = 0.06
    """Standard deviation of the noise on weights, anew each batch, relative to the largest weight that the tile holds."""
    clip: Literal["gaussian", "fixed", "none"] = "gaussian"
    """After each step weights of a layer are clipped to some deviations, to `clip_value` of the largest weight, or not."""
    clip_deviations: float = 2.5
    """For `gaussian`, of the weights of a tile."""
    clip_value: float = 1.0
    """For `fixed`, relative to the largest weight that the tile holds."""
    remap: Literal["layer", "channel", "none"] = "layer"
    """After each step the largest weight of a tile, or of each of its columns, becomes the largest conductance."""
    learn_ranges: bool = True
    """Whether input ranges are trained."""
    initial_range: float = 3.0
    """Of inputs, before any are seen."""
    range_batches: int = 100
    """Batches from whose standard deviation the range is first taken."""
    range_deviations: float = 3.0
    """Range at first, in standard deviations of inputs."""
    range_decay: float = 1e-3
    """Gradient that narrows the range, relative to it."""
    range_unclipped: float = 0.95
    """The range narrows while more than this share of inputs is within it."""

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            BadInput: one cannot be used.
        """
        not_negative("weight_noise", self.weight_noise)
        not_negative("range_decay", self.range_decay)
        for name in ("clip_deviations", "clip_value", "initial_range", "range_deviations"):
            positive(name, getattr(self, name))
        one_of("clip", self.clip, ("gaussian", "fixed", "none"))
        one_of("remap", self.remap, ("layer", "channel", "none"))
        whole("range_batches", self.range_batches, minimum=0)
        if not 0 <= self.range_unclipped <= 1:
            raise BadInput(f"range_unclipped: must be between 0 and 1; got {self.range_unclipped!r}")


def training_facts(options: HardwareAwareTraining) -> dict[str, Any]:
    """The options as JSON values."""
    return asdict(options)
