"""Evaluates candidates by looking them up in a table: no training, no devices, no torch."""

from collections.abc import Mapping
from pathlib import Path

from paretune.core.genotype import as_genotypes
from paretune.core.metrics import Metric, checked_metrics
from paretune.core.trial import Outcome
from paretune.platform.execution.candidate_costs import CandidateCosts
from paretune.platform.execution.evaluator import TEST_PREFIX
from paretune.platform.execution.worker import discard_workspace
from paretune.platform.record.jobs import Evaluation, Job, Purpose
from paretune.tasks.table import Table


class TableEvaluator:
    """Looks up what a search may see; for a final job also the test, of the repeated run that its seed index names.

    Where the table does not have the epochs of a job, the most epochs below them count.

    Args:
        table: the results.
        costs: what candidates are and what they cost before anything runs; these are computed, not looked up.
        produced: every metric a search evaluation must contain.
    """

    def __init__(self, *, table: Table, costs: CandidateCosts, produced: Mapping[str, Metric]) -> None:
        self._table, self._costs, self._produced = table, costs, dict(produced)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What every evaluation contains."""
        return tuple(self._produced.values())

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:  # noqa: ARG002 - the protocol's
        """Look one candidate up."""
        networks_NW = self._costs.network_part(as_genotypes([job.genotype], len(job.genotype)))
        found = self._table.lookup(networks_NW, epochs=job.epochs, at_most=True)
        costs, computed = self._costs.of_candidate(job.genotype)
        raw = {**{name: float(values[0]) for name, values in found.items()}, **costs}
        metrics = checked_metrics(raw, self._produced, producer="the table")
        if job.purpose is Purpose.FINAL:
            tested = self._table.look_up_test(networks_NW, epochs=job.epochs, run=job.seed_index)
            metrics |= {f"{TEST_PREFIX}{name}": float(values[0]) for name, values in tested.items()}
        return Evaluation(outcome=Outcome.OK, metrics=metrics, details={"computed": computed} if computed else {})

    def release(self, job: Job, workspace: Path) -> None:  # noqa: ARG002 - the protocol's
        """Nothing is kept."""
        discard_workspace(workspace)
