"""Computed targets in a spec: their metrics, designs and limits in the plan; every mistake with its place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.core.errors import SpecChanged, SpecError
from paretune.core.genotype import named
from paretune.hardware import HARDWARE
from paretune.platform.cli.show import show_study
from paretune.platform.report import write_report
from paretune.platform.spec.compare import spec_changes
from paretune.platform.spec.load import LoadedSpec, load_spec, load_text
from paretune.platform.spec.model import StudySpec
from paretune.platform.study.api import recorded_spec, resume
from paretune.platform.study.creation import SpecSource, create_study
from paretune.platform.study.phases import job_factory, protocol_digest
from paretune.platform.study.plan import Plan, build_plan
from paretune.platform.study.study import read_history

SPEC = """\
version: 1
name: computed
seed: 1
task: {name: digits}
space: {name: digits_conv}
hardware:
  toy: {target: ./toy.yaml}
  fixed: {kind: made_up, lanes: 16}
objectives:
  - {metric: accuracy, goal: max, reference: 0.5}
  - {metric: toy.latency_us, goal: min, reference: 2000}
constraints:
  - {metric: fixed.energy_uj, max: 2}
searcher: {name: random}
budget: {trials: 8}
training: {epochs: 1}
run: {workers: 1}
tracking: {uri: none}
"""
TOY = """\
kind: made_up
description: a toy
options:
  clock_hz: {value: 200e6, source: "its data sheet"}
  multipliers: {value: 32, source: "its data sheet"}
  search: [lanes, memory]
"""


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HARDWARE._builtins, "made_up", "paretune.testing.accelerator:MadeUpAccelerator")


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., LoadedSpec]:
    """Loads the spec, with replacements of text in it and in the target file."""

    def loaded(*changes: tuple[str, str], toy: tuple[str, str] | None = None) -> LoadedSpec:
        text, target = SPEC, TOY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "toy.yaml").write_text(target.replace(*toy) if toy else target)
        (tmp_path / "study.yaml").write_text(text)
        return load_spec(tmp_path / "study.yaml")

    return loaded


def problems(load: Callable[..., LoadedSpec], *changes: tuple[str, str], toy: tuple[str, str] | None = None) -> dict[str, tuple[int, str]]:
    """Path -> (line, message)."""
    with pytest.raises(SpecError) as caught:
        build_plan(load(*changes, toy=toy))
    return {problem.path: (problem.line, problem.message) for problem in caught.value.problems}


def sampled(plan: Plan, count: int = 50) -> Any:
    return plan.make_searcher().ask(count)


def test_target_file_gives_the_options_and_the_spec_overrides_them(load: Callable[..., LoadedSpec]) -> None:
    spec = load(("./toy.yaml}", "./toy.yaml, multipliers: 16}")).spec.hardware["toy"]
    assert (spec.kind, spec.target) == ("made_up", "./toy.yaml")
    assert (spec.options["clock_hz"], spec.options["multipliers"], spec.options["search"]) == (2e8, 16, ["lanes", "memory"])
    assert spec.origin["sources"] == {"clock_hz": "its data sheet"}  # the other number is the spec's now
    assert Path(spec.origin["file"]).is_file()
    assert load().spec.hardware["fixed"].target is None


def test_stored_spec_is_read_back_without_the_file(load: Callable[..., LoadedSpec], tmp_path: Path) -> None:
    spec = load().spec
    (tmp_path / "toy.yaml").unlink()
    assert StudySpec.model_validate(spec.model_dump(mode="json"), by_name=True, by_alias=False) == spec


def test_metrics_of_models_are_free_and_say_where_they_are_from(load: Callable[..., LoadedSpec]) -> None:
    plan = build_plan(load())
    for name in ("toy.latency_s", "toy.energy_j", "toy.excess", "fixed.latency_s", "fixed.energy_j", "fixed.excess"):
        assert plan.metrics[name].free
        assert plan.metrics[name].name == name
    assert plan.metrics["toy.latency_s"].source == "computed from the layers before training, made_up model of ./toy.yaml"
    assert plan.metrics["fixed.latency_s"].source == "computed from the layers before training, made_up model"
    assert not plan.metrics["accuracy"].free
    assert plan.devices == {}


def test_hardware_decisions_join_those_of_the_network(load: Callable[..., LoadedSpec]) -> None:
    plan = build_plan(load())
    names = [decision.name for decision in plan.space.decisions]
    assert names[-2:] == ["toy.lanes", "toy.memory"]
    assert plan.space.size == plan.costs.network.size * 4 * 2
    assert plan.costs.hardware_decisions == ("toy.lanes", "toy.memory")


def test_costs_are_those_of_the_design_of_each_candidate(load: Callable[..., LoadedSpec]) -> None:
    plan = build_plan(load())
    genotypes_ND = np.repeat(sampled(plan, 1), 4, axis=0)
    lanes = [decision.name for decision in plan.space.decisions].index("toy.lanes")
    genotypes_ND[:, lanes] = np.arange(4)
    values = plan.free(genotypes_ND)
    assert np.all(np.diff(values["toy.latency_s"]) <= 0), "more lanes are never slower"
    assert values["toy.latency_s"][0] > values["toy.latency_s"][3]
    assert len(set(values["fixed.latency_s"])) == 1
    # 2 inputs at once: 4, 8, 16 or 32 lanes use 8, 16, 32 or 64 of 32 multipliers.
    assert values["toy.excess"].tolist() == [0, 0, 0, 1]
    assert values["fixed.excess"].tolist() == [0, 0, 0, 0]
    assert values["macs"].shape == (4,)


def test_design_that_does_not_fit_is_infeasible_by_its_excess(load: Callable[..., LoadedSpec]) -> None:
    plan = build_plan(load())
    assert [(item.metric, item.upper) for item in plan.problem.constraints][1:] == [("toy.excess", 0), ("fixed.excess", 0)]
    genotypes_ND = sampled(plan)
    values = plan.free(genotypes_ND)
    for index in range(len(genotypes_ND)):
        metrics = {name: float(column[index]) for name, column in values.items()}
        limit = max(0, metrics["fixed.energy_j"] / 2e-6 - 1)
        assert plan.problem.known_violation(metrics) == pytest.approx(metrics["toy.excess"] + limit)


def test_derived_metric_of_computed_ones_is_free(load: Callable[..., LoadedSpec]) -> None:
    derived = "derived:\n  product: {kind: ratio, numerator: toy.energy_uj, denominator: fixed.energy_uj}\nobjectives:"
    plan = build_plan(load(("objectives:", derived)))
    assert plan.metrics["product"].free
    assert plan.free(sampled(plan, 3))["product"] == pytest.approx([1, 1, 1])


def test_searcher_gets_the_computed_metrics(load: Callable[..., LoadedSpec]) -> None:
    plan = build_plan(load(("name: random", "name: lemonade")))
    searcher: Any = plan.make_searcher()
    assert {"toy.latency_s", "toy.excess", "parameters"} <= set(searcher._costs(sampled(plan, 3)))


def test_same_network_on_other_designs_is_another_candidate_trained_from_the_same_seed(load: Callable[..., LoadedSpec]) -> None:
    plan = build_plan(load())
    first, second = np.repeat(sampled(plan, 1), 2, axis=0)
    second[-1] = 1 - second[-1]
    jobs = [
        job_factory(plan).search(ask_index=0, genotype=tuple(row.tolist()), choices=named(plan.space.decisions, row))
        for row in (first, second)
    ]
    assert jobs[0].id != jobs[1].id
    assert jobs[0].seed == jobs[1].seed
    other = first.copy()
    other[0] = 1 - other[0]
    job = job_factory(plan).search(ask_index=0, genotype=tuple(other.tolist()), choices=named(plan.space.decisions, other))
    assert job.seed != jobs[0].seed


def test_changed_number_in_a_target_file_is_a_changed_spec(load: Callable[..., LoadedSpec]) -> None:
    before, after = load(), load(toy=("200e6", "100e6"))
    (change,) = spec_changes(before.spec, after.spec)
    assert (change.path, change.old, change.new, change.allowed) == ("hardware.toy.clock_hz", "200000000.0", "100000000.0", False)
    assert protocol_digest(build_plan(before)) != protocol_digest(build_plan(after))
    other_words = load(toy=("a toy", "the same toy"))
    assert spec_changes(before.spec, other_words.spec) == []
    assert protocol_digest(build_plan(before)) == protocol_digest(build_plan(other_words))


def created(load: Callable[..., LoadedSpec], tmp_path: Path) -> Path:
    """The folder of a study that was created and not run yet."""
    loaded = load(("workers: 1}", f'workers: 1}}\nstorage: "{tmp_path}/runs"'))
    return create_study(build_plan(loaded), SpecSource(text=loaded.text, overrides={}))


def test_study_needs_no_target_file_to_be_shown(
    load: Callable[..., LoadedSpec], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = created(load, tmp_path)
    (tmp_path / "toy.yaml").unlink()
    monkeypatch.chdir("/")
    show_study(folder, as_json=False)
    assert "study computed" in capsys.readouterr().out
    assert "toy.latency" in write_report(folder).read_text()
    recorded = recorded_spec(read_history(folder).header)
    assert recorded.spec.hardware["toy"].options["clock_hz"] == 2e8
    assert protocol_digest(build_plan(recorded)) == read_history(folder).header.protocol


@pytest.mark.parametrize("with_spec", [False, True], ids=["as recorded", "with the spec file"])
def test_resume_is_refused_where_a_number_of_the_target_changed(
    load: Callable[..., LoadedSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_spec: bool
) -> None:
    folder = created(load, tmp_path)
    (tmp_path / "toy.yaml").write_text(TOY.replace("value: 32", "value: 64"))
    monkeypatch.chdir("/")  # the target is found beside the spec, wherever the study goes on from
    with pytest.raises(SpecChanged, match=r"hardware\.toy\.multipliers +was 32 +now 64 +not allowed: changes what is measured"):
        resume(folder, spec=tmp_path / "study.yaml" if with_spec else None)


MISTAKES = [
    ("unknown target", ("./toy.yaml", "hosst"), None, "hardware.toy.target", 7, "Did you mean 'host'?"),
    ("no such file", ("./toy.yaml", "./toi.yaml"), None, "hardware.toy.target", 7, "no such target file"),
    ("nothing", ("./toy.yaml", ""), None, "hardware.toy.target", 7, "is empty; give the name of a target"),
    ("a list", ("./toy.yaml", "[a, b]"), None, "hardware.toy.target", 7, "got a list"),
    ("kind too", ("{target", "{kind: host, target"), None, "hardware.toy.kind", 7, "stands in the file of the target"),
    ("misspelt", ("{target", "{taget"), None, "hardware.toy.taget", 7, "Did you mean 'target'?"),
    ("unknown option", ("./toy.yaml", "./toy.yaml, lans: 3"), None, "hardware.toy.lans", 7, "of made_up. Did you mean 'lanes'?"),
    ("wrong type", ("./toy.yaml", "./toy.yaml, lanes: many"), None, "hardware.toy.lanes", 7, "expected a whole number"),
    ("override out of range", ("./toy.yaml", "./toy.yaml, clock_hz: -1"), None, "hardware.toy.clock_hz", 7, "must be above 0; got -1"),
    ("no source", None, (', source: "its data sheet"}\n  mult', "}\n  mult"), "hardware.toy.target", 7, "clock_hz.source: is missing"),
    ("file out of range", None, ("200e6", "-1"), "hardware.toy", 7, "clock_hz: must be above 0; got -1.0 (in target './toy.yaml')"),
    ("no such choice", None, ("[lanes, memory]", "[lane]"), "hardware.toy", 7, "search: lane cannot be searched; choose from lanes"),
    ("no target", ("toy.latency_us", "latency_us"), None, "objectives[1].metric", 11, "Did you mean 'toy.latency_us'?"),
    ("no unit", ("toy.latency_us", "toy.latency"), None, "objectives[1].metric", 11, "Did you mean 'toy.latency_s'?"),
    ("other target", ("toy.latency_us", "tiy.latency_us"), None, "objectives[1].metric", 11, "'tiy' is not in hardware (toy, fixed)"),
    ("no layers", ("space: {name: digits_conv}", "space: {name: transformer}"), None, "hardware.toy", 7, "layer1.attention' is of kind"),
    ("never fits", None, ("value: 32", "value: 7"), "hardware.toy", 7, "sampled designs fits; the nearest exceeds the resources by 14.3 %"),
    ("fixed never fits", ("lanes: 16", "lanes: 64"), None, "hardware.fixed", 8, "does not fit: it exceeds the resources by 100 %"),
    ("limit never met", ("max: 2}", "max: 1e-9}"), None, "constraints[0]", 13, "has fixed.energy_j <="),
]  # fmt: skip


@pytest.mark.parametrize(("change", "toy", "path", "line", "words"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_mistake_has_its_place(
    load: Callable[..., LoadedSpec], change: tuple[str, str] | None, toy: tuple[str, str] | None, path: str, line: int, words: str
) -> None:
    found = problems(load, *([change] if change else []), toy=toy)
    assert path in found, found
    assert found[path][0] == line
    assert words in found[path][1]
    assert len(found) <= 2, found


def test_all_mistakes_of_a_target_file_come_at_once(load: Callable[..., LoadedSpec]) -> None:
    changed = ("kind: made_up\ndescription: a toy\noptions:", "kind: made_up\noptions:\n  lanes: 3")
    message = problems(load, ("max: 2}", "mix: 2}"), toy=changed)["hardware.toy.target"][1]
    assert "description: is missing" in message
    assert "options.lanes: a number needs its source" in message


class Neither:
    """Neither measures nor computes."""


def test_plugin_that_is_neither_device_nor_model_is_refused(load: Callable[..., LoadedSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HARDWARE._builtins, "neither", f"{__name__}:Neither")
    found = problems(load, ("fixed: {kind: made_up, lanes: 16}", "fixed: {kind: neither}"))
    assert found["hardware.fixed"] == (
        8,
        "'neither' is neither a device (measure, judge) nor a cost model (metrics, space, check, estimate)",
    )


def test_table_of_results_goes_with_computed_targets_and_not_with_devices(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    from paretune.spaces.nasbench_macro import NasBenchMacro

    space = NasBenchMacro(input_shape=(3, 32, 32), num_classes=10)
    genotypes_ND = space.from_index(np.arange(space.size))
    columns = {decision.name: genotypes_ND[:, index] for index, decision in enumerate(space.decisions)}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "top1": 50.0 + genotypes_ND.sum(axis=1)}), tmp_path / "results.parquet")
    text = SPEC.replace("{target: ./toy.yaml}", "{kind: made_up, search: [lanes]}").replace("digits_conv", "nasbench_macro")
    text = text.replace("max: 2}", "max: 2e6}")
    task = f'{{name: table, file: "{tmp_path}/results.parquet", metrics: {{accuracy: {{column: top1, unit: "%", goal: max}}}}}}'
    text = text.replace("{name: digits}", task)
    plan = build_plan(load_text(text, file="study.yaml"))
    assert plan.space.size == 6_561 * 4
    evaluator = plan.make_evaluator(())
    row = sampled(plan, 1)[0]
    job = job_factory(plan).search(ask_index=0, genotype=tuple(row.tolist()), choices=named(plan.space.decisions, row))
    found = evaluator.evaluate(job, tmp_path)
    assert found.metrics["accuracy"] == pytest.approx(0.5 + row[:-1].sum() / 100)
    assert found.metrics["toy.latency_s"] == plan.free(row[np.newaxis])["toy.latency_s"][0]
    assert set(found.details["computed"]) == {"toy", "fixed"}
    with pytest.raises(SpecError, match=r"hardware.toy: task 'table' looks results up and measures nothing"):
        build_plan(load_text(text.replace("{kind: made_up, search: [lanes]}", "{kind: host}"), file="study.yaml"))
