"""What a plan means for its phases: the identity of results, the jobs, the search."""

from paretune.core.accuracy_devices import RacingHardware
from paretune.core.canonical import fingerprint
from paretune.platform.execution.fidelity_phase import FidelityPhase
from paretune.platform.execution.forecast import CurveForecast
from paretune.platform.execution.phase import PhaseContext
from paretune.platform.execution.racing import RivalFront
from paretune.platform.execution.search_phase import PATIENCE_S, Budget, SearchPhase
from paretune.platform.record.jobs import JobFactory
from paretune.platform.spec.compare import ROADS
from paretune.platform.study.plan import Plan


def protocol_digest(plan: Plan) -> str:
    """Digest of everything beside the architecture that decides a result; part of every job's id."""
    spec = plan.spec.model_dump(mode="json")
    hardware = {
        name: {"kind": target["kind"], "options": {option: value for option, value in target["options"].items() if option not in ROADS}}
        for name, target in spec["hardware"].items()
    }
    # Only where it is said, so that studies of earlier versions keep their digest.
    training = {"training": {**spec["training"], "epochs": None}} if plan.spec.training.hardware_aware else {}
    return fingerprint({"task": spec["task"], "space": spec["space"], "hardware": hardware, "data": plan.task.digest(), **training})


def job_factory(plan: Plan) -> JobFactory:
    """Makes the jobs of a study."""
    spec = plan.spec
    return JobFactory(
        study_seed=spec.seed,
        protocol=protocol_digest(plan),
        search_epochs=spec.training.epochs,
        final_epochs=spec.final.epochs if spec.final else spec.training.epochs,
        hardware=frozenset(plan.costs.hardware_decisions),
        rungs=plan.ladder.epochs if plan.ladder else (),
    )


def search_phase(plan: Plan, context: PhaseContext) -> SearchPhase:
    """The search of a study, with rungs where its spec asks for them."""
    spec = plan.spec
    budget = Budget(trials=spec.budget.trials, time_s=spec.budget.time_s)
    searcher, factory = plan.make_searcher(), job_factory(plan)
    races = any(isinstance(device, RacingHardware) and device.racing for device in plan.devices.values())
    rivals = RivalFront(plan.problem, spec.run.mode, searcher.tells_before) if races else None
    if spec.fidelity is None or plan.ladder is None:
        return SearchPhase(
            context,
            searcher=searcher,
            space=plan.space,
            mode=spec.run.mode,
            budget=budget,
            factory=factory,
            screen=plan.free,
            patience_s=PATIENCE_S,
            rivals=rivals,
        )
    forecast = CurveForecast(problem=plan.problem, metrics=plan.metrics, num_epochs=plan.ladder.max_epochs)
    return FidelityPhase(
        context,
        searcher=searcher,
        space=plan.space,
        mode=spec.run.mode,
        budget=budget,
        factory=factory,
        screen=plan.free,
        ladder=plan.ladder,
        cohort=spec.fidelity.cohort,
        forecast=forecast if spec.fidelity.extrapolate else None,
        patience_s=PATIENCE_S,
        rivals=rivals,
    )
