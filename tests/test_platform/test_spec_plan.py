"""A plan: the objects of a study, and mistakes that only show when the plugins are asked."""

from pathlib import Path

import numpy as np
import pytest

from paretune.core.errors import SpecError
from paretune.platform.spec import LoadedSpec, load_spec, load_text, template
from paretune.platform.study.plan import build_plan

BASE = template()
SHIPPED = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))
"""Those on tables have tests of their own."""


def loaded(*changes: tuple[str, str]) -> LoadedSpec:
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return load_text(text, file="study.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_every_study_that_comes_with_paretune_is_valid(path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "PARETUNE_DATA" in path.read_text():
        monkeypatch.setenv("PARETUNE_DATA", str(request.getfixturevalue("data_folder")))
    plan = build_plan(load_spec(path))
    assert not [note for note in plan.notes if "for the record only" in note]  # each target of an example decides something


def test_plan_holds_what_the_spec_names() -> None:
    plan = build_plan(loaded())
    assert [(item.metric, item.reference) for item in plan.problem.objectives] == [
        ("accuracy", 0.9),
        ("host.latency_s", pytest.approx(2e-4)),
    ]
    assert plan.problem.constraints[0].metric == "parameters"
    assert plan.problem.constraints[0].upper == 60000
    assert {"accuracy", "parameters", "macs", "peak_memory_bytes", "host.latency_s"} <= set(plan.metrics)
    assert plan.metrics["host.latency_s"].name == "host.latency_s"
    assert plan.space.size > 1_000_000
    assert plan.notes == ()
    first, again = plan.make_searcher(), plan.make_searcher()
    assert np.array_equal(first.ask(5), again.ask(5))


# (row of the catalogue, text, replacement, path, words). The mistake is on the line of the replacement.
MISTAKES = [
    (
        "43",
        "host.latency_ms",
        "host.latncy_ms",
        "objectives[1].metric",
        ("nothing measures 'host.latncy_ms'", "Did you mean 'host.latency_ms'?", "Measured:"),
    ),
    (
        "43 free",
        "metric: parameters",
        "metric: params",
        "constraints[0].metric",
        ("nothing measures 'params'", "Measured: accuracy, parameters, macs"),
    ),
    ("43 no target", "host.latency_ms", "latency_ms", "objectives[1].metric", ("Did you mean 'host.latency_ms'?",)),
    ("44", "host.latency_ms", "hots.latency_ms", "objectives[1].metric", ("'hots' is not in hardware (host). Did you mean 'host'?",)),
    (
        "46",
        "parameters, max: 60000",
        "accuracy, min: 1.2",
        "constraints[0].min",
        ("accuracy >= 1.2 can never be met (accuracy is 0 to 1)",),
    ),
    ("46 below", "max: 60000", "max: -5", "constraints[0].max", ("parameters <= -5 can never be met (parameters is at least 0)",)),
    ("47", "parameters, max: 60000", "accuracy, min: 92", "constraints[0].min", ("92 is outside 0 to 1. Did you mean 0.92?",)),
    ("47 reference", "reference: 0.9", "reference: 80", "objectives[0].reference", ("80 is outside 0 to 1. Did you mean 0.8?",)),
    ("49 best", "reference: 0.9", "reference: 1.0", "objectives[0].reference", ("nothing can be better than 100.00 %",)),
    (
        "49 limit",
        "parameters, max: 60000",
        "host.latency_ms, max: 5",
        "objectives[1].reference",
        ("200 µs is better than constraints[0] (5 ms)",),
    ),
    ("50", "digits_conv}", "digits_conv, widths: []}", "space.widths", ("needs at least one value",)),
    ("51", "digits_conv}", "digits_conv, kernels: [3, 3, 5]}", "space.kernels", ("3 is listed twice",)),
    ("55 even", "digits_conv}", "digits_conv, kernels: [3, 4]}", "space.kernels", ("4 is even",)),
    ("55 zero", "digits_conv}", "digits_conv, strides: [0, 2]}", "space.strides", ("at least 1",)),
    ("55 stride", "digits_conv}", "digits_conv, strides: [4]}", "space.strides", ("reduce the map by 64",)),
    ("57", "max: 60000", "max: 10", "constraints[0]", ("none of 1,000 sampled architectures has parameters <= 10 (smallest: ",)),
    ("58", "population: 16", "population: 100", "searcher.population", ("population 100 needs at least 100 trials; budget.trials is 64",)),
    ("32 option", "population: 16", "population: 1", "searcher.population", ("must be at least 2 (got 1)",)),
    ("34", "population: 16", "mutation: 90", "searcher.mutation", ("must be between 0 and 1 (got 90.0). Did you mean 0.9?",)),
]


@pytest.mark.parametrize(("row", "old", "new", "path", "words"), MISTAKES, ids=[row for row, *_ in MISTAKES])
def test_mistake_that_the_plugins_show_is_told_at_its_field(row: str, old: str, new: str, path: str, words: tuple[str, ...]) -> None:
    spec = loaded((old, new))
    with pytest.raises(SpecError) as refused:
        build_plan(spec)
    problems = [problem for problem in refused.value.problems if problem.path == path]
    assert problems, str(refused.value)
    assert new in spec.text.splitlines()[problems[0].line - 1] or row == "49 limit"
    for word in words:
        assert word in problems[0].message, str(refused.value)
    assert len(refused.value.problems) == 1, str(refused.value)


@pytest.mark.parametrize("searcher", ["nsga2", "lemonade, initial: 90", "auto", "rl_controller, batch: 64"])
def test_a_budget_that_is_spent_before_anything_is_learned_is_noted(searcher: str) -> None:
    trials = 64 if ":" in searcher else 8
    few = build_plan(loaded(("name: nsga2, population: 16", f"name: {searcher}"), ("trials: 64", f"trials: {trials}")))
    assert f"searcher: with {trials} trials all candidates are drawn at random, before the first result is looked at" in few.notes


@pytest.mark.parametrize("searcher", ["random", "nsga2", "predictor_guided, initial: 20, batch: 70", "regularized_evolution"])
def test_a_searcher_that_learns_or_never_does_is_not_noted(searcher: str) -> None:
    plan = build_plan(loaded(("name: nsga2, population: 16", f"name: {searcher}")))
    assert not [note for note in plan.notes if "at random" in note]


def test_several_mistakes_of_plugins_are_told_at_once() -> None:
    spec = loaded(
        ("digits_conv}", "digits_conv, kernels: [4]}"), ("host.latency_ms", "host.latncy_ms"), ("population: 16", "population: 100")
    )
    with pytest.raises(SpecError) as refused:
        build_plan(spec)
    assert [problem.path for problem in refused.value.problems] == ["space.kernels", "objectives[1].metric", "searcher.population"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "digits_conv}",
            "digits_conv, stages: 1, widths: [8], depths: [1], stem_widths: [8]}",
            "space has 12 architectures, budget.trials is 64; all 12",
        ),
        ("  host: {", "  spare: {kind: host}\n  host: {", "hardware.spare: no objective or constraint uses it"),
        ("host.latency_ms, goal: min, reference: 0.2", "macs, goal: max, reference: 5", "smaller is usually better for macs"),
    ],
)
def test_what_is_odd_but_allowed_becomes_a_note(old: str, new: str, words: str) -> None:
    assert any(words in note for note in build_plan(loaded((old, new))).notes)


def test_quantity_with_a_far_larger_unit_becomes_a_note() -> None:
    notes = loaded(("reference: 0.2", "reference: 20s")).notes
    assert notes == ("objectives[1].reference: 20s is 20,000 ms. Write 20ms if that is meant",)


def test_thorough_plan_builds_the_sampled_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = loaded(("digits_conv}", "digits_conv, stages: 1}"))
    plan = build_plan(spec, thorough=True)

    def refuse(self: object, genotype: object) -> object:
        raise ValueError("no such layer")

    monkeypatch.setattr(type(plan.space), "build", refuse)
    with pytest.raises(SpecError, match=r"study.yaml:10:\d+: space: a member of the space cannot be built: no such layer"):
        build_plan(spec, thorough=True)
    assert build_plan(spec).space.size == plan.space.size


def test_the_default_searcher_is_given_what_is_known_and_asks_for_designs_that_fit() -> None:
    plan = build_plan(load_spec(next(path for path in SHIPPED if path.stem == "digits-fpga")))
    found = plan.free(plan.make_searcher().ask(20))
    assert found["zcu102.excess"].tolist() == [0.0] * 20  # of random designs 2 % fit
    assert (found["parameters"] <= 30_000).all()
