"""The `derived:` section: any reward as a problem for any searcher, checked like the rest of the spec."""

from pathlib import Path

import pytest

from paretune.core.errors import SpecError
from paretune.core.metrics import Metric
from paretune.core.trial import Outcome
from paretune.platform.execution.deriving import DerivingEvaluator
from paretune.platform.record.jobs import Evaluation, Job
from paretune.platform.spec import LoadedSpec, load_text, template
from paretune.platform.spec.model import StudySpec
from paretune.platform.study.plan import build_plan

REWARD = "reward: {kind: mnasnet, accuracy: accuracy, latency: host.latency_ms, target: 200us}"


def loaded(derived: str = REWARD, objective: str = "{metric: reward, goal: max, reference: 0.5}") -> LoadedSpec:
    text = template().replace("constraints:", f"derived:\n  {derived}\nconstraints:", 1)
    start = text.index("  - {metric: accuracy, goal")
    end = text.index("\n\n", start)
    return load_text(f"{text[:start]}  - {objective}{text[end:]}", file="study.yaml")


def problems(*specs: str) -> list[str]:
    with pytest.raises(SpecError) as refused:
        build_plan(loaded(*specs))
    assert all(problem.line for problem in refused.value.problems)
    return [f"{problem.path}: {problem.message}" for problem in refused.value.problems]


def test_a_reward_is_an_objective_in_si() -> None:
    plan = build_plan(loaded())
    (reward,) = plan.derived
    assert reward.settings == {"target": pytest.approx(2e-4), "alpha": -0.07, "beta": -0.07}
    assert plan.problem.objectives[0].metric == "reward"
    assert "reward" in plan.metrics
    assert "reward" not in plan.evaluated
    assert plan.notes == ()


def test_a_plain_number_has_the_unit_of_the_metric_it_belongs_to() -> None:
    assert build_plan(loaded(REWARD.replace("200us", "0.2"))).derived[0].settings["target"] == pytest.approx(2e-4)
    limits = "reward: {kind: feasible_first, objective: accuracy, costs: [host.latency_ms, peak_memory_kb], limits: [0.3, 1MB]}"
    assert build_plan(loaded(limits)).derived[0].settings["limits"] == pytest.approx((3e-4, 1e6))


def test_a_spec_with_derived_metrics_round_trips_through_its_stored_form() -> None:
    spec = loaded().spec
    assert StudySpec.model_validate(spec.model_dump(mode="json")) == spec


def test_free_metrics_derive_free_ones_that_screen_candidates() -> None:
    density = "density: {kind: ratio, numerator: macs, denominator: parameters}"
    plan = build_plan(loaded(density, "{metric: density, goal: max, reference: 1}"))
    assert plan.metrics["density"].free
    rows = plan.make_searcher().ask(3)
    values = plan.free(rows)
    assert values["density"].tolist() == pytest.approx((values["macs"] / values["parameters"]).tolist())


MISTAKES = [
    ("kind", REWARD.replace("mnasnet", "mnas_net"), "derived.reward.kind: unknown derived metric 'mnas_net'. Did you mean 'mnasnet'?"),
    ("option", REWARD.replace("target", "tagret"), "derived.reward.tagret: unknown field of mnasnet. Did you mean 'target'?"),
    ("missing", REWARD.replace(", target: 200us", ""), "derived.reward.target: is missing"),
    ("unit", REWARD.replace("200us", "3mJ"), "derived.reward.target: 3mJ is an energy; a value of host.latency_ms is a time"),
    ("no unit", REWARD.replace("host.latency_ms", "macs"), "derived.reward.target: 200us is a time; macs has no unit"),
    ("setting", REWARD.replace("200us", "-1"), "derived.reward.target: must be above 0"),
    ("no form", "reward: {numerator: accuracy}", "derived.reward.kind: is missing. Example: kind: ratio"),
    ("shape", "reward: ratio", "derived.reward: expected a mapping with kind, got 'ratio'. Write {kind: ratio}"),
]


@pytest.mark.parametrize(("text", "message"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_a_mistake_in_a_derived_metric_is_named_with_its_remedy(text: str, message: str) -> None:
    found = problems(text)
    assert found[0].startswith(message)
    assert len(found) == 1, found


NAMES = [
    ("metric", REWARD.replace("host.latency_ms", "host.latncy_ms"), "derived.reward.latency: nothing measures 'host.latncy_ms'."),
    ("target", REWARD.replace("host.latency", "hots.latency"), "derived.reward.latency: 'hots' is not in hardware (host)."),
    (
        "in a list",
        "reward: {kind: weighted_sum, metrics: [accuracy, macz], weights: [1, -1]}",
        "derived.reward.metrics[1]: nothing measures",
    ),
    ("taken", f"{REWARD}\n  macs: {{kind: ratio, numerator: accuracy, denominator: macs}}", "derived.macs: 'macs' is measured already"),
    ("unit", f"{REWARD}\n  x_ms: {{kind: ratio, numerator: accuracy, denominator: macs}}", "derived.x_ms: 'x_ms' ends like a unit"),
    (
        "order",
        "reward: {kind: ratio, numerator: later, denominator: macs}\n  later: {kind: ratio, numerator: accuracy, denominator: macs}",
        "derived.reward.numerator: 'later' is worked out later; write it before 'reward'",
    ),
]


@pytest.mark.parametrize(("text", "message"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_metrics_that_are_not_there_are_named_at_their_place(text: str, message: str) -> None:
    found = problems(text)
    assert found[0].startswith(message)
    assert len(found) == 1, found


def test_several_mistakes_are_told_at_once() -> None:
    both = f"{REWARD.replace('host.latency_ms', 'host.latncy_ms')}\n  other: {{kind: ratio, numerator: acuracy, denominator: macs}}"
    found = problems(both, "{metric: rewrad, goal: max, reference: 0.5}")
    assert [message.partition(": ")[0] for message in found] == [
        "objectives[0].metric",
        "derived.reward.latency",
        "derived.other.numerator",
    ] or [message.partition(": ")[0] for message in found] == ["derived.reward.latency", "derived.other.numerator", "objectives[0].metric"]


class _Fixed:
    """An evaluator with one answer."""

    metrics: tuple[Metric, ...] = ()

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation

    def evaluate(self, job: Job, workspace: Path) -> Evaluation:
        return self.evaluation

    def release(self, job: Job, workspace: Path) -> None: ...


def test_a_finished_candidate_carries_its_derived_metrics(tmp_path: Path) -> None:
    derived = build_plan(loaded()).derived
    job = Job(id="0", purpose="search", ask_index=0, genotype=(0,), choices={}, seed=0, seed_index=0, epochs=1)  # type: ignore[arg-type]
    good = Evaluation(outcome=Outcome.OK, metrics={"accuracy": 0.75, "host.latency_s": 4e-4})
    evaluator = DerivingEvaluator(_Fixed(good), derived)
    assert evaluator.evaluate(job, tmp_path).metrics["reward"] == pytest.approx(0.714478, abs=1e-6)
    assert [metric.name for metric in evaluator.metrics] == ["reward"]
    diverged = Evaluation(outcome=Outcome.DIVERGED, metrics={"macs": 5.0})
    assert DerivingEvaluator(_Fixed(diverged), derived).evaluate(job, tmp_path) == diverged
