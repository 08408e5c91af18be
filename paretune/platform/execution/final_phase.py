"""The final training: every member of the front again, longer, with fresh seeds, then tested once on held-out data."""

from collections.abc import Sequence

from paretune.platform.execution.phase import Done, Phase, PhaseContext, Wait
from paretune.platform.record.history import Record
from paretune.platform.record.jobs import Job, JobFactory, Purpose


class FinalPhase(Phase):
    """Retrains the front of a finished search.

    Args:
        context: the study's history, ledger and clock.
        front: the members, fixed before the first final training, so that their results cannot change the choice.
        factory: makes the jobs.
        num_seeds: fresh seeds for each member.
    """

    purpose = Purpose.FINAL

    def __init__(self, context: PhaseContext, *, front: Sequence[Record], factory: JobFactory, num_seeds: int) -> None:
        finals = [record for record in context.history.records.values() if record.job.purpose is Purpose.FINAL]
        pending = [record for record in finals if record.evaluation is None]
        super().__init__(context, pending=pending, num_ended=len(finals) - len(pending))
        known = {record.job.id for record in finals}
        jobs = [
            factory.final(
                ask_index=record.job.ask_index, genotype=record.job.genotype, choices=dict(record.job.choices), seed_index=seed_index
            )
            for seed_index in range(num_seeds)
            for record in front
        ]
        self.num_jobs = len(jobs)
        self._new = [job for job in reversed(jobs) if job.id not in known]

    def _new_job(self) -> Job | Wait | Done:
        if not self._new:
            return Done(f"{self.num_jobs:,} final trainings done")
        job = self._new.pop()
        self.context.defer(("asked", {"job": job.as_json()}))
        return job
