"""Studies whose results are looked up: plan, mistakes with places, a whole run on Ray, the shipped specs."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import paretune
from paretune.core.errors import BadInput, SpecChanged, SpecError
from paretune.core.genotype import named
from paretune.platform.execution.cluster import prepare_environment, ray_cluster
from paretune.platform.spec.load import load_spec, load_text, spec_from_mapping
from paretune.platform.study.export import export_candidate
from paretune.platform.study.phases import job_factory
from paretune.platform.study.plan import build_plan
from paretune.spaces.nasbench_macro import NasBenchMacro

prepare_environment()
ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "studies" / "tables").glob("*.yaml"))

SPEC = """\
version: 1
name: looked-up
seed: 1
task:
  name: table
  file: "{file}"
  metrics:
    accuracy: {{column: {{"2": quick, "9": slow}}, test: [test_0, test_1], unit: "%", goal: max}}
    phone.latency_ms: {{column: latency, goal: min}}
space: {{name: nasbench_macro}}
objectives:
  - {{metric: accuracy, goal: max, reference: 0.2}}
  - {{metric: phone.latency_ms, goal: min, reference: 50}}
constraints:
  - {{metric: parameters, max: 3e6}}
searcher: {{name: nsga2, population: 6}}
budget: {{trials: 12}}
training: {{epochs: 2}}
final: {{epochs: 9, seeds: 2}}
run: {{workers: 1}}
tracking: {{uri: none}}
storage: "{storage}"
"""


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    with ray_cluster(address=None, num_cpus=2):
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 6,561 architectures of NAS-Bench-Macro with made-up results."""
    space = NasBenchMacro(input_shape=(3, 32, 32), num_classes=10)
    genotypes = space.from_index(np.arange(space.size))
    depth = (genotypes > 0).sum(axis=1)
    quick = 30.0 + 5.0 * depth + genotypes.sum(axis=1)
    columns = {decision.name: genotypes[:, index] for index, decision in enumerate(space.decisions)}
    results = {"quick": quick, "slow": quick + 5, "test_0": quick + 1, "test_1": quick + 2, "latency": 4.0 * depth + 0.01 * quick}
    path = tmp_path_factory.mktemp("tables") / "results.parquet"
    pyarrow.parquet.write_table(pyarrow.table({**columns, **results}), path)
    return path


def text(table: Path, storage: Path | str = "runs") -> str:
    return SPEC.format(file=table, storage=storage)


def problems_of(spec: str) -> dict[str, tuple[int, str]]:
    """Path -> (line, message)."""
    with pytest.raises(SpecError) as caught:
        build_plan(load_text(spec, file="study.yaml"))
    return {problem.path: (problem.line, problem.message) for problem in caught.value.problems}


def test_plan_knows_the_metrics_of_the_table_beside_the_free_costs(table: Path) -> None:
    plan = build_plan(load_text(text(table), file="study.yaml"))
    assert {"accuracy", "phone.latency_s", "parameters", "macs", "peak_memory_bytes"} == set(plan.metrics)
    assert plan.metrics["accuracy"].source == "looked up in results.parquet"
    assert plan.space.size == 6_561
    assert plan.evaluation.num_final_seeds == 2
    assert plan.notes == ()


def test_more_seeds_than_runs_are_told_and_not_repeated(table: Path) -> None:
    plan = build_plan(load_text(text(table).replace("seeds: 2", "seeds: 5"), file="study.yaml"))
    assert plan.evaluation.num_final_seeds == 2
    assert plan.notes == ("final.seeds: 5, but the table has 2 runs of each architecture to report; each is looked up once",)


def test_table_of_some_architectures_cuts_the_space_down(table: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(table).slice(0, 2_000), part)
    told = problems_of(text(part))["task"]
    assert told[0] == 4
    assert told[1].startswith("part.parquet has 2,000 of the 6,561 architectures of the space, not op0=")
    assert told[1].endswith(" for one. Write missing: skip to search only those")
    plan = build_plan(load_text(text(part).replace("  metrics:", "  missing: skip\n  metrics:"), file="study.yaml"))
    assert plan.space.size == 2_000
    assert "has 2,000 of the space's 6,561 architectures; only those are searched" in plan.notes[0]
    asked = plan.make_searcher().ask(50)
    assert plan.space.valid(asked).all()


MISTAKES = [
    ("column: latency,", "column: latencies,", "task.metrics.phone.latency_ms.column", "Did you mean 'latency'?"),
    ('"2": quick', '"2": quik', "task.metrics.accuracy.column.2", "Did you mean 'quick'?"),
    ('unit: "%"', "unit: mj", "task.metrics.accuracy.unit", "is a pure number"),
    ("epochs: 2}", "epochs: 3}", "training.epochs", "results after 2 or 9 epochs, not after 3"),
    (", test: [test_0, test_1]", "", "final", "no metric of the table has a test"),
    ("objectives:", "hardware: {host: {kind: host}}\nobjectives:", "hardware.host", "measures nothing; remove this target"),
    ("phone.latency_ms: {", "macs: {", "task.metrics.macs", "computed from the architecture already"),
    ("metric: phone.latency_ms", "metric: phone.latncy_ms", "objectives[1].metric", "Did you mean 'phone.latency_ms'?"),
    ("  metrics:", "  duplicates: avarage\n  metrics:", "task.duplicates", "unknown value 'avarage'"),
    ("  metrics:", "  fil: x\n  metrics:", "task.fil", "Did you mean 'file'?"),
    ('file: "', 'file: "${HOME}', "task.file", "is written ${env:NAME}"),
]


@pytest.mark.parametrize(("old", "new", "path", "words"), MISTAKES, ids=[f"{path}-{words[:12]}" for _, _, path, words in MISTAKES])
def test_mistakes_have_their_place_in_the_spec(table: Path, old: str, new: str, path: str, words: str) -> None:
    spec = text(table)
    assert old in spec
    changed = spec.replace(old, new, 1)
    problems = problems_of(changed)
    assert path in problems, problems
    line, message = problems[path]
    assert words in message
    anchor = "final:" if path == "final" else old  # what is missing in one section may show in another
    assert abs(line - spec[: spec.index(anchor)].count("\n") - 1) <= 1


def with_rungs(table: Path, fidelity: str) -> str:
    return text(table).replace("training: {epochs: 2}", f"training: {{epochs: 9}}\nfidelity: {fidelity}")


def test_rungs_see_the_epochs_that_the_table_has(table: Path) -> None:
    assert build_plan(load_text(with_rungs(table, "{min_epochs: 2, eta: 4}"), file="study.yaml")).notes == ()  # rungs 2 and 9
    plan = build_plan(load_text(with_rungs(table, "{min_epochs: 2, eta: 2}"), file="study.yaml"))
    assert plan.notes == ("fidelity: the table has results after 2 or 9 epochs; the rung after 4 epochs sees those after 2",)


def test_rungs_below_what_the_table_has_are_refused(table: Path) -> None:
    line, message = problems_of(with_rungs(table, "{min_epochs: 1, eta: 3}"))["fidelity.min_epochs"]
    assert (line, message) == (19, "the table has results after 2 or 9 epochs, none for a rung after 1; at least 2")


def test_a_table_without_epochs_has_no_rungs(table: Path) -> None:
    flat = with_rungs(table, "{min_epochs: 2, eta: 4}").replace('{"2": quick, "9": slow}', "quick")
    assert "one result of each architecture, the same at every rung; leave fidelity out" in problems_of(flat)["fidelity"][1]


def test_several_mistakes_come_at_once(table: Path) -> None:
    spec = text(table).replace("column: latency,", "column: latencies,").replace("quick", "quik").replace("test_0", "tset_0")
    accuracy = "task.metrics.accuracy"
    assert set(problems_of(spec)) == {"task.metrics.phone.latency_ms.column", f"{accuracy}.column.2", f"{accuracy}.test[0]"}


def test_environment_is_resolved_where_the_file_is_opened_and_not_stored(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABLES", str(table.parent))
    loaded = load_text(text(Path("${env:TABLES}/results.parquet")), file="study.yaml")
    assert loaded.spec.task.options["file"] == "${env:TABLES}/results.parquet"
    assert build_plan(loaded).space.size == 6_561
    monkeypatch.delenv("TABLES")
    assert problems_of(loaded.text)["task.file"][1] == "environment variable TABLES is not set"


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_study_is_looked_up_recorded_and_resumed(table: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results.parquet"
    copy.write_bytes(table.read_bytes())
    file = tmp_path / "study.yaml"
    file.write_text(text(copy, tmp_path / "runs"))
    result = paretune.run(file)
    arrivals = result.history.arrivals()
    assert len(arrivals) == 12
    for record in arrivals:
        depth = sum(choice != "Identity" for choice in record.choices.values())
        quick = 30 + 5 * depth + sum(("Identity", "MB3_K3", "MB6_K5").index(str(choice)) for choice in record.choices.values())
        assert record.metrics["accuracy"] == pytest.approx(quick / 100)
        assert record.metrics["phone.latency_s"] == pytest.approx((4 * depth + 0.01 * quick) / 1000)
        assert record.metrics["parameters"] <= 3e6
    finals = result.history.finals()
    assert sorted(finals) == sorted(record.job.ask_index for record in result.history.front())
    for ask, records in finals.items():
        searched = next(record for record in arrivals if record.job.ask_index == ask).metrics["accuracy"]
        tests = {record.job.seed_index: record.metrics["test.accuracy"] for record in records}
        assert tests == {0: pytest.approx(searched + 0.01), 1: pytest.approx(searched + 0.02)}
        assert [record.metrics["accuracy"] for record in records] == pytest.approx([searched + 0.05] * 2)  # after 9 epochs
    assert result.networks == ()
    assert "looked up in results.parquet" in result.report.read_text()
    with pytest.raises(BadInput, match="trained no network"):
        export_candidate(result.folder, arrivals[0].job.ask_index, tmp_path / "network")

    more = paretune.resume(result.folder, overrides={"budget.trials": 16})
    assert len(more.history.arrivals()) == 16
    columns = pyarrow.parquet.read_table(copy)
    pyarrow.parquet.write_table(columns.set_column(columns.column_names.index("slow"), "slow", columns.column("quick")), copy)
    with pytest.raises(SpecChanged, match="its data set changed"):
        paretune.resume(result.folder, overrides={"budget.trials": 20})


def test_plan_of_a_table_needs_no_torch(table: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text(table))
    program = (
        "import sys; from paretune.platform.spec.load import load_spec; from paretune.platform.study.plan import build_plan; "
        f"build_plan(load_spec({str(file)!r})); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "False"


@pytest.mark.ray
def test_a_search_that_finds_nothing_within_the_limits_fails_and_says_how_far_it_was(table: Path, tmp_path: Path) -> None:
    """A limit on what the table holds cannot be checked beforehand: all twelve are looked up, and a script must see that none will do."""
    file = tmp_path / "study.yaml"
    file.write_text(text(table, storage=tmp_path / "runs").replace("metric: parameters, max: 3e6", "metric: phone.latency_ms, max: 1e-9"))
    done = subprocess.run([sys.executable, "-m", "paretune", "run", str(file)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert re.search(r"no candidate meets the limits; the closest, #\d+, has phone latency .+ \(at most .+\)", done.stdout)
    assert "final look-up: 0 of 0 done" in done.stderr


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_study_can_be_run(file: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARETUNE_DATA", str(data_folder))
    plan = build_plan(load_spec(file))
    evaluator = plan.make_evaluator(())
    for index, row in enumerate(plan.make_searcher().ask(5)):
        genotype = tuple(row.tolist())
        job = job_factory(plan).search(ask_index=index, genotype=genotype, choices=named(plan.space.decisions, genotype))
        metrics = evaluator.evaluate(job, tmp_path).metrics
        assert set(metrics) == set(plan.metrics)
        assert plan.problem.minimised(metrics).shape == (len(plan.problem.objectives),)


def test_mapping_from_python_says_the_same(table: Path) -> None:
    spec = {
        "version": 1,
        "name": "looked-up",
        "seed": 1,
        "task": {"name": "table", "file": table, "metrics": {"accuracy": {"column": "quick", "unit": "%", "goal": "max"}}},
        "space": {"name": "nasbench_macro"},
        "objectives": [{"metric": "accuracy", "goal": "max", "reference": 0.2}],
        "searcher": {"name": "random"},
        "budget": {"trials": 4},
        "training": {"epochs": 1},
    }
    assert build_plan(spec_from_mapping(spec)).metrics["accuracy"].upper == 1.0
