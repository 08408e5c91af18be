"""Checks of options that several measuring devices share: every mistake at once, each at the option it concerns."""

import math
from collections.abc import Mapping

from paretune.core.errors import BadOptions


class OptionChecks:
    """Gathers what is wrong with the options of a device."""

    def __init__(self) -> None:
        self._problems: list[tuple[tuple[str | int, ...], str]] = []

    def add(self, option: str, message: str) -> None:
        """Note one mistake."""
        self._problems.append(((option,), message))

    def one_of(self, option: str, value: str, allowed: tuple[str, ...]) -> None:
        """A word out of a few."""
        if value not in allowed:
            self.add(option, f"must be one of {', '.join(allowed)}; got {value!r}")

    def whole(self, minimum: int, counts: Mapping[str, int]) -> None:
        """Whole numbers of at least `minimum`."""
        for option, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < minimum:
                self.add(option, f"must be a whole number of at least {minimum}; got {count!r}")

    def positive(self, values: Mapping[str, float | None]) -> None:
        """Finite numbers above 0; None is not checked."""
        for option, value in values.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                self.add(option, f"must be above 0; got {value!r}")

    def ordered(self, low_option: str, low: float, high_option: str, high: float) -> None:
        """One option is at most the other."""
        if low > high:
            self.add(low_option, f"must be at most {high_option} ({high}); got {low}")

    def done(self) -> None:
        """Raise what was found.

        Raises:
            BadOptions: there was at least one mistake.
        """
        if self._problems:
            raise BadOptions(self._problems)
