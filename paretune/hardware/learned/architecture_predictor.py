"""Hardware whose costs were learned from measured networks of one search space: `paretune hardware fit` writes the file.

Legend: N architectures.
"""

from collections.abc import Mapping
from pathlib import Path

from paretune.core.costs import Designs, Estimates, ResourceUse
from paretune.core.environment import resolve_env
from paretune.core.genotype import Decision, Genotypes
from paretune.core.metrics import Direction, Metric, unit_of
from paretune.core.protocols import SearchSpace
from paretune.predictors.architecture_costs import FittedCosts, read_costs


class ArchitecturePredictor:
    """Costs predicted from the architecture, with their deviation, by a predictor fitted on one search space.

    Args:
        file: what `paretune hardware fit` wrote.

    Raises:
        BadInput: the file cannot be read.
    """

    def __init__(self, *, file: str) -> None:
        self._learned = read_costs(Path(resolve_env(file)).expanduser())
        self._fitted: tuple[SearchSpace, FittedCosts] | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What was measured."""
        return tuple(
            Metric(
                name=name,
                unit=unit_of(name),
                direction=Direction.MIN,
                lower=0,
                description=f"predicted from {len(self._learned.genotypes)} measured networks of {self._learned.space}",
            )
            for name in self._learned.costs
        )

    def space(self) -> tuple[Decision, ...]:
        """No decisions: the hardware is what was measured."""
        return ()

    def check(self, designs: Designs) -> Mapping[str, ResourceUse]:  # noqa: ARG002 -- the protocol's
        """No resources."""
        return {}

    def estimate_architectures(
        self,
        space: SearchSpace,
        genotypes_ND: Genotypes,
        designs: Designs,  # noqa: ARG002 -- the protocol's
    ) -> Mapping[str, Estimates]:
        """Each metric of every architecture, with its standard deviation.

        Raises:
            BadInput: the space is not the one that was measured.
        """
        if self._fitted is None or self._fitted[0] is not space:
            self._fitted = space, self._learned.fitted(space)
        canonical_ND, estimates = space.canonical(genotypes_ND), {}
        for name in self._learned.costs:
            found = self._fitted[1].predict(name, canonical_ND)
            estimates[name] = Estimates(values=found.mean, source="predicted", deviation=found.deviation)
        return estimates
