"""A small complete search with known results, on the real ledger, for tests and benchmarks of what lies around the training."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from paretune.core.canonical import canonical_json
from paretune.core.metrics import Direction, Metric
from paretune.core.objectives import Constraint, Objective, Problem
from paretune.core.protocols import Searcher, SearchSpace
from paretune.hardware.free import FreeCosts
from paretune.platform.execution.candidate_costs import CandidateCosts, ComputedTarget
from paretune.platform.execution.fidelity_phase import FidelityPhase
from paretune.platform.execution.phase import Done, PhaseContext
from paretune.platform.execution.racing import RivalFront
from paretune.platform.execution.search_phase import Budget, SearchPhase
from paretune.platform.execution.worker import Worker, WorkerLimits, recall
from paretune.platform.record.header import Header
from paretune.platform.record.history import History
from paretune.platform.record.jobs import Evaluation, Evaluator, Job, JobFactory
from paretune.platform.record.ledger import Ledger, read_events
from paretune.searchers.rungs import Ladder
from paretune.testing.evaluators import FormulaEvaluator

MAX_PARAMETERS = 60_000.0

PROBLEM = Problem(
    objectives=(
        Objective(metric="accuracy", direction=Direction.MAX, reference=0.5),
        Objective(metric="host.latency_s", direction=Direction.MIN, reference=1e-4),
    ),
    constraints=(Constraint(metric="parameters", upper=MAX_PARAMETERS),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormulaStudy:
    """An open search whose candidates are evaluated by `FormulaEvaluator`, or by another one; close the ledger when done."""

    folder: Path
    ledger: Ledger
    history: History
    phase: SearchPhase
    evaluator: Evaluator

    def front_json(self) -> str:
        """The front as canonical JSON, for byte-wise comparison."""
        return front_json(self.history)


def produced_metrics() -> dict[str, Metric]:
    """What `FormulaEvaluator` reports."""
    measured = (
        Metric(name="accuracy", unit="", direction=Direction.MAX, lower=0.0, upper=1.0),
        Metric(name="host.latency_s", unit="s", direction=Direction.MIN, lower=0.0),
    )
    return {metric.name: metric for metric in (*measured, *FreeCosts().metrics)}


def open_formula_study(
    folder: Path,
    *,
    space: SearchSpace,
    make_searcher: Callable[[SearchSpace, Problem], Searcher],
    trials: int,
    mode: Literal["sync", "async"] = "sync",
    seed: int = 1,
    work_s: float = 0.0,
    problem: Problem = PROBLEM,
    retries: int = 2,
    ladder: Ladder | None = None,
    targets: Mapping[str, ComputedTarget] | None = None,
    patience_s: float | None = None,
    racing: bool = False,
) -> FormulaStudy:
    """Create the study in `folder`, or open it where its ledger is there already; with a ladder it is a search by rungs.

    Its hardware is `targets`, beside a made-up host. With `patience_s` the searcher thinks in a thread of its own, with `racing` jobs
    carry their rivals.
    """
    costs = CandidateCosts(space, targets or {})
    problem = replace(problem, constraints=(*problem.constraints, *costs.constraints))
    produced = {**produced_metrics(), **costs.metrics}
    if (folder / "ledger.db").exists():
        ledger = Ledger.open(folder)
    else:
        header = Header(
            name=folder.name,
            spec={},
            spec_text="",
            decisions=costs.space.decisions,
            problem=problem,
            metrics=produced,
            protocol="formula",
            provenance={},
        )
        ledger = Ledger.create(folder, header.as_json())
    history = History.fold(read_events(folder), details=False)
    start_s = time.monotonic() - history.elapsed_s
    context = PhaseContext(
        history=history,
        journal=ledger,
        recall=lambda job_id: recall(folder, job_id),
        clock=lambda: time.monotonic() - start_s,
        retries=retries,
    )

    epochs, rungs = (ladder.max_epochs, ladder.epochs) if ladder else (1, ())
    hardware = frozenset(costs.hardware_decisions)
    searcher = make_searcher(costs.space, problem)
    common: dict[str, Any] = {
        "searcher": searcher,
        "space": costs.space,
        "mode": mode,
        "budget": Budget(trials=trials, time_s=None),
        "factory": JobFactory(
            study_seed=seed, protocol="formula", search_epochs=epochs, final_epochs=epochs, rungs=rungs, hardware=hardware
        ),
        "screen": costs.values,
        "patience_s": patience_s,
        "rivals": RivalFront(problem, mode, searcher.tells_before) if racing else None,
    }
    phase = FidelityPhase(context, ladder=ladder, **common) if ladder else SearchPhase(context, **common)
    evaluator = FormulaEvaluator(space=space, produced=produced, work_s=work_s, targets=targets)
    return FormulaStudy(folder=folder, ledger=ledger, history=history, phase=phase, evaluator=evaluator)


def front_json(history: History) -> str:
    """The front of a history as canonical JSON: ask index, genotype and metrics of each member."""
    members = [[record.job.ask_index, list(record.job.genotype), dict(record.metrics)] for record in history.front()]
    return canonical_json(members)


def evaluate_in_any_order(study: FormulaStudy, rng: random.Random, *, in_flight: int, results: int | None = None) -> bool:
    """Evaluate candidates in this process and drop the study, as if its driver had been killed; whether the search ended.

    Args:
        study: it is closed afterwards.
        rng: decides which of the candidates in flight ends next.
        in_flight: candidates at a time.
        results: how many to evaluate; None for all.
    """
    worker = Worker(study.evaluator, study.folder.absolute(), WorkerLimits())
    jobs: list[Job] = []
    num_ended = 0
    step = study.phase.next_job()
    while num_ended != results and not isinstance(step, Done):
        if isinstance(step, Job):
            jobs.append(step)
        if not isinstance(step, Job) or len(jobs) == in_flight:
            job = jobs.pop(rng.randrange(len(jobs)))
            found = worker.run(job)
            assert isinstance(found, Evaluation), "an evaluator in stages needs stations"
            study.phase.finished(job.id, found)
            num_ended += 1
        step = study.phase.next_job()
    study.ledger.close()
    return isinstance(step, Done)
