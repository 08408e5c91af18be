"""The spec's fidelity section and the proxies of a task: what they become, and what is refused where."""

from pathlib import Path

import pytest

from paretune.core.errors import SpecError
from paretune.core.genotype import named
from paretune.core.protocols import Fidelity, ScoringTask
from paretune.platform.execution.proxy_scores import ProxyScores
from paretune.platform.spec import load_text
from paretune.platform.spec.compare import spec_changes
from paretune.platform.spec.model import StudySpec
from paretune.platform.study.phases import job_factory
from paretune.platform.study.plan import Plan, build_plan

TEXT = (Path(__file__).parents[2] / "studies" / "digits-rungs.yaml").read_text()


def plan_of(*changes: tuple[str, str]) -> Plan:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return build_plan(load_text(text, file="study.yaml"))


def test_the_example_has_rungs_and_proxies() -> None:
    plan = plan_of()
    assert plan.ladder is not None
    assert plan.ladder.epochs == (5, 10)
    assert {"proxy.synflow", "proxy.naswot", "proxy.jacob_cov"} <= set(plan.metrics)
    assert job_factory(plan).rungs == (5, 10)


def test_without_the_section_there_are_no_rungs() -> None:
    plan = plan_of(("fidelity:\n", "fidelity: null\n"), *((f"  {field}:", "#") for field in ("min_epochs", "eta", "cohort", "extrapolate")))
    assert plan.ladder is None
    assert job_factory(plan).rungs == ()


def test_features_get_the_scores_that_a_candidate_has_when_it_is_evaluated() -> None:
    guided = ("searcher: {name: nsga2, population: 24}", "searcher: {name: predictor_guided, features: [macs, proxy.synflow]}")
    plan = plan_of(guided)
    searcher = plan.make_searcher()
    row = searcher.ask(1)
    genotype = tuple(int(gene) for gene in row[0])
    assert isinstance(plan.task, ScoringTask)
    scores = ProxyScores(plan.task, plan.space, study_seed=plan.spec.seed)(row)
    job = job_factory(plan).search(ask_index=0, genotype=genotype, choices=named(plan.space.decisions, genotype), rung=1)
    _, result = plan.task.train(lambda: plan.space.build(genotype), seed=job.seed, fidelity=Fidelity(epochs=1))
    assert {name: values[0] for name, values in scores.items()} == {name: result.metrics[name] for name in scores}
    assert set(scores) == {"proxy.synflow", "proxy.naswot", "proxy.jacob_cov"}


def guided_by(features: str) -> tuple[str, str]:
    return "searcher: {name: nsga2, population: 24}", f"searcher: {{name: predictor_guided, features: {features}}}"


# (text, replacement, field, words)
MISTAKES = [
    (*guided_by("[proxy.synflw]"), "searcher.features[0]", "Did you mean 'proxy.synflow'?"),
    (*guided_by("[macs, accuracy]"), "searcher.features[1]", "'accuracy' is not known before a candidate is trained"),
    (*guided_by("[macs, macs]"), "searcher.features", "each may be named once"),
    (*guided_by("[macs], scored: 0"), "searcher.scored", "must be at least 1"),
    ("min_epochs: 5 ", "min_epochs: 6 ", "fidelity.min_epochs", "leaves no second rung above 6 with eta 2; at most 5 are possible"),
    ("training: {epochs: 10}", "training: {epochs: 1}", "fidelity.eta", "a full training of 1 epoch leaves no second rung"),
    ("eta: 2 ", "eta: 1 ", "fidelity.eta", "must be at least 2"),
    ("cohort: auto", "cohort: 1", "fidelity.cohort", "must be at least 2"),
    ("cohort: auto", "cohort: many", "fidelity.cohort", "expected auto or a number"),
    ("extrapolate: false", "extrapolate: no", "fidelity.extrapolate", "write false"),
    ("min_epochs: 5 ", "min_epoch: 5 ", "fidelity.min_epoch", "Did you mean 'min_epochs'?"),
    ("naswot", "naswott", "task.proxies[1]", "unknown value 'naswott'"),
    ("metric: parameters", "metric: proxy.naswat", "constraints[0].metric", "Did you mean 'proxy.naswot'?"),
]


@pytest.mark.parametrize(("old", "new", "path", "words"), MISTAKES)
def test_mistakes_are_told_at_their_place(old: str, new: str, path: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of((old, new))
    assert [problem.path for problem in caught.value.problems] == [path]
    problem = caught.value.problems[0]
    assert words in problem.message
    assert problem.line == TEXT[: TEXT.index(old)].count("\n") + 1 or "training" in old


def test_a_resume_with_other_rungs_is_refused() -> None:
    before = plan_of().spec
    after = plan_of(("min_epochs: 5 ", "min_epochs: 4 ")).spec
    assert [(change.path, change.allowed) for change in spec_changes(before, after)] == [("fidelity.min_epochs", False)]
    assert StudySpec.model_validate(before.model_dump(mode="json")) == before
