"""The last lines of every benchmark: one `goal NAME: VALUE (goal BOUND) ok|short` for each goal, and the exit code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A measured figure and the bound it is held to."""

    name: str
    """With its unit, for example `ask_ms_at_10000`."""
    value: float
    """What was measured."""
    sense: Literal["<=", ">="]
    """On which side of the bound the value has to be."""
    bound: float
    """What was promised."""

    @property
    def met(self) -> bool:
        """Whether the value keeps the bound; NaN does not."""
        return self.value <= self.bound if self.sense == "<=" else self.value >= self.bound

    def __str__(self) -> str:
        return f"goal {self.name}: {self.value:.4g} (goal {self.sense} {self.bound:g}) {'ok' if self.met else 'short'}"


def report_goals(goals: Sequence[Goal]) -> int:
    """Print a line for each goal; 0 where all are met, else 1, for `sys.exit`."""
    for goal in goals:
        print(goal)
    return 0 if all(goal.met for goal in goals) else 1
