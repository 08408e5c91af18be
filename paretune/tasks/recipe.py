"""How a network is trained: the numbers of a recipe, without torch."""

import math
from dataclasses import dataclass

from paretune.core.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Stochastic gradient descent with Nesterov momentum, a linear warm-up and a cosine decay to zero."""

    batch_size: int
    learning_rate: float
    """Peak, reached at the end of the warm-up."""
    momentum: float
    weight_decay: float
    label_smoothing: float
    """Probability that is spread over all classes."""
    warmup: float
    """Part of all steps, 0 to 1, in which the learning rate rises."""
    explosion: float = 50.0
    """A training loss this many times that of guessing (log of the number of classes) counts as diverged."""

    def __post_init__(self) -> None:
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 2:
            raise BadInput(f"batch_size: must be a whole number of at least 2 (batch norm needs two images); got {self.batch_size!r}")
        for name, value, lower, upper in (
            ("learning_rate", self.learning_rate, 0.0, math.inf),
            ("momentum", self.momentum, 0.0, 1.0),
            ("weight_decay", self.weight_decay, 0.0, math.inf),
            ("label_smoothing", self.label_smoothing, 0.0, 1.0),
            ("warmup", self.warmup, 0.0, 1.0),
        ):
            if not (math.isfinite(value) and lower <= value <= upper):
                raise BadInput(f"{name}: must be a finite number from {lower:g} to {upper:g}; got {value!r}")

    def learning_rate_at(self, step: int, num_steps: int) -> float:
        """Learning rate of step number `step`, from 0, of `num_steps`."""
        warmup_steps = self.warmup * num_steps
        if step < warmup_steps:
            return self.learning_rate * min(1.0, (step + 1) / warmup_steps)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (step - warmup_steps) / (num_steps - warmup_steps)))
