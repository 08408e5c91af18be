"""Mistakes that reading a spec shows and mistakes that building it shows are told together, and none that follows from another."""

from pathlib import Path

import pytest

from paretune.core.errors import SpecError
from paretune.platform.spec import load_text, template
from paretune.platform.study.api import read_spec
from paretune.platform.study.plan import build_plan

BASE = template()


def problems_of(folder: Path, *changes: tuple[str, str]) -> dict[str, str]:
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "study.yaml").write_text(text)
    with pytest.raises(SpecError) as refused:
        read_spec(folder / "study.yaml")
    lines = [problem.line for problem in refused.value.problems]
    assert lines == sorted(lines)
    return {problem.path: problem.message for problem in refused.value.problems}


UNMEASURED = ("host.latency_ms", "host.latncy_ms")
CROWDED = ("population: 16", "population: 100")

# (changes, paths of all mistakes)
TOGETHER = [
    ([("digits_conv}", "digits_conv, kernal: [3]}"), UNMEASURED, CROWDED], ["objectives[1].metric", "space.kernal"]),
    ([("epochs: ", "epochz: "), UNMEASURED, CROWDED], ["objectives[1].metric", "searcher.population", "training.epochz"]),
    ([("goal: max", "goal: up"), UNMEASURED], ["objectives[0].goal"]),
    ([("version: 1", "version: x"), UNMEASURED, CROWDED], ["objectives[1].metric", "searcher.population", "version"]),
    ([("trials: 64", "trials: many"), UNMEASURED, CROWDED], ["budget.trials", "objectives[1].metric"]),
    ([("tracking:", "tracing:"), ("digits_conv}", "digits_conv, kernels: [4]}")], ["space.kernels", "tracing"]),
    ([("max: 60000", "mux: 60000"), CROWDED], ["constraints[0].mux", "searcher.population"]),
    ([("seed: 1 ", "seed: x "), CROWDED], ["searcher.population", "seed"]),
    ([("training: {epochs: 5}", "training: {}"), CROWDED], ["searcher.population", "training.epochs"]),
    (
        [("goal: min", "goal: up"), ("reference: 0.2", "reference: many"), ("digits_conv}", "digits_conv, kernels: [4]}")],
        ["objectives[1].goal", "objectives[1].reference", "space.kernels"],
    ),
    # What depends on the broken section is not judged: the metrics of another task, of hardware that is not there.
    ([("name: digits}", "name: digitz}"), UNMEASURED, CROWDED], ["task.name"]),
    ([("kind: host", "kind: hosd"), UNMEASURED], ["hardware.host.kind"]),
    ([("hardware:", "hardwares:")], ["hardwares"]),
    ([("hardware:", "devices:"), ("digits_conv}", "digits_conv, kernels: [4]}")], ["devices", "space.kernels"]),
]


@pytest.mark.parametrize(("changes", "paths"), TOGETHER, ids=["-".join(paths) for _, paths in TOGETHER])
def test_mistakes_of_both_kinds_come_together(tmp_path: Path, changes: list[tuple[str, str]], paths: list[str]) -> None:
    assert sorted(problems_of(tmp_path, *changes)) == paths


def test_what_is_read_alone_tells_only_what_reading_shows() -> None:
    with pytest.raises(SpecError) as refused:
        load_text(BASE.replace("version: 1", "version: x").replace("latency_ms", "latncy_ms"), file="study.yaml")
    assert [problem.path for problem in refused.value.problems] == ["version"]


def test_a_searcher_is_tried_although_the_table_has_mistakes(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("op0,valid\n1,50\n1,60\n")
    (tmp_path / "study.yaml").write_text(
        f"""\
version: 1
name: looked-up
seed: 1
task: {{name: table, file: {tmp_path / "table.csv"}, metrics: {{accuracy: {{column: valid, goal: max}}}}}}
space: {{name: nasbench_macro}}
objectives: [{{metric: accuracy, goal: max, reference: 0}}]
searcher: {{name: nsga2, population: 1}}
budget: {{trials: 10}}
training: {{epochs: 1}}
"""
    )
    with pytest.raises(SpecError) as refused:
        build_plan(read_spec(tmp_path / "study.yaml"))
    paths = {problem.path for problem in refused.value.problems}
    assert "searcher.population" in paths
    assert any(path.startswith("task") for path in paths)
