"""Evaluates candidates by looking them up in a table: no training, no devices, no torch."""

from collections.abc import Mapping
from pathlib import Path

from paretune.core.genotype import as_genotypes
from paretune.core.metrics import Metric, checked_metrics
from paretune.core.protocols import SearchSpace
from paretune.core.trial import Outcome
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.evaluator import TEST_PREFIX, free_costs
from paretune.platform.execution.worker import discard_workspace
from paretune.platform.record.jobs import Evaluation, Job, Purpose
from paretune.tasks.table import Table


class TableEvaluator:
    """Looks up what a search may see; for a final job also the test, of the repeated run that its seed index names.

    Where the table does not have the epochs of a job, the most epochs below them count.

    Args:
        table: the results.
        space: its free costs are computed, not looked up.
        produced: every metric a search evaluation must contain.
    """

    def __init__(self, *, table: Table, space: SearchSpace, produced: Mapping[str, Metric]) -> None:
        self._table, self._space, self._produced = table, space, dict(produced)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every evaluation contains."""
        return tuple(self._produced.values())

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:  # noqa: ARG002 - the protocol's
        """Look one candidate up."""
        genotypes_ND = as_genotypes([job.genotype], len(job.genotype))
        found = self._table.lookup(genotypes_ND, epochs=job.epochs, at_most=True)
        raw = {**{name: float(values[0]) for name, values in found.items()}, **free_costs(self._space, FreeCosts(), job.genotype)}
        metrics = checked_metrics(raw, self._produced, producer="the table")
        if job.purpose is Purpose.FINAL:
            tested = self._table.look_up_test(genotypes_ND, epochs=job.epochs, run=job.seed_index)
            metrics |= {f"{TEST_PREFIX}{name}": float(values[0]) for name, values in tested.items()}
        return Evaluation(outcome=Outcome.OK, metrics=metrics)

    def release(self, job: Job, workspace: Path) -> None:  # noqa: ARG002 - the protocol's
        """Nothing is kept."""
        discard_workspace(workspace)
