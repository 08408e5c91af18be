"""What a loaded spec holds: inner values, a stored form that round-trips, the same spec from Python, overrides, comparison."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.core.errors import BadInput, SpecError
from paretune.platform.spec import StudySpec, load_spec, load_text, refuse_changes, resolve_env, spec_changes, spec_from_mapping, template
from paretune.platform.study.phases import protocol_digest
from paretune.platform.study.plan import build_plan

STUDIES = Path(__file__).parents[2] / "studies"
MAPPING = {
    "version": 1,
    "name": "digits",
    "seed": 1,
    "task": {"name": "digits"},
    "space": {"name": "digits_conv"},
    "hardware": {"host": {"kind": "host", "runtime": "onnxruntime"}},
    "objectives": [
        {"metric": "accuracy", "goal": "max", "reference": 0.9},
        {"metric": "host.latency_ms", "goal": "min", "reference": 0.2},
    ],
    "constraints": [{"metric": "parameters", "max": 60000}],
    "searcher": {"name": "nsga2", "population": 16},
    "budget": {"trials": 64, "time": "15m"},
    "training": {"epochs": 5},
    "final": {"epochs": 10, "seeds": 3},
    "run": {"trial_timeout": "2m"},
}


def test_spec_holds_si_values_and_the_users_names() -> None:
    spec = load_spec(STUDIES / "digits.yaml").spec
    assert (spec.objectives[1].metric, spec.objectives[1].shown_metric) == ("host.latency_s", "host.latency_ms")
    assert spec.objectives[1].reference == pytest.approx(2e-4)
    assert (spec.budget.time_s, spec.run.trial_timeout_s) == (900.0, 120.0)
    assert (spec.run.workers, spec.run.memory_bytes, spec.tracking.uri) == (None, None, "sqlite:///mlflow.db")
    assert spec.searcher.options["population"] == 16
    assert spec.hardware["host"].kind == "host"
    assert spec.hardware["host"].options["runtime"] == "onnxruntime"
    memory = load_text(template().replace("memory: auto", "memory: 1.5GiB"), file="a").spec
    assert memory.run.memory_bytes == 1_610_612_736  # 1.5 * 2**30


def test_template_is_the_shipped_study() -> None:
    assert (STUDIES / "digits.yaml").read_text() == template()


def test_stored_form_round_trips_and_is_canonical() -> None:
    spec = load_spec(STUDIES / "digits.yaml").spec
    stored = json.loads(json.dumps(spec.model_dump(mode="json")))
    assert StudySpec.model_validate(stored) == spec
    assert StudySpec.model_validate(stored).model_dump(mode="json") == stored
    with pytest.raises(SpecError):
        spec_from_mapping(stored)  # the stored form has other names: it is no spec that people write


def test_python_mapping_gives_the_spec_of_the_file_and_its_text_loads_again() -> None:
    loaded = spec_from_mapping(MAPPING)
    assert loaded.spec == load_spec(STUDIES / "digits.yaml").spec
    assert load_text(loaded.text, file="again.yaml").spec == loaded.spec


def test_python_mistakes_name_the_field_and_no_place() -> None:
    mapping = {**MAPPING, "budget": {"trials": "64"}, "training": {"epochs": {1, 2}}, "sercher": {}}
    with pytest.raises(SpecError) as refused:
        spec_from_mapping(mapping)
    rows = str(refused.value).splitlines()
    assert any(row.startswith("spec: budget.trials: got text '64'") for row in rows)
    assert any(row.startswith("spec: training.epochs: got a set") for row in rows)
    assert any(row.startswith("spec: sercher: unknown field. Did you mean 'searcher'?") for row in rows)
    endless: dict[str, object] = {}
    endless["name"] = endless
    with pytest.raises(SpecError, match="more than 64 levels"):
        spec_from_mapping(endless)
    with pytest.raises(SpecError, match="digits"):
        spec_from_mapping({**MAPPING, "seed": 10**400})


def test_missing_seed_is_drawn_and_told() -> None:
    text = template().replace("seed: 1 ", "#")
    loaded = load_text(text, file="study.yaml")
    assert any(f"drew {loaded.spec.seed}" in note for note in loaded.notes)
    assert load_text(text, file="study.yaml").spec.seed != loaded.spec.seed


def test_overrides_take_the_place_of_fields() -> None:
    path = STUDIES / "digits.yaml"
    loaded = load_spec(path, overrides={"budget.trials": "8", "objectives[1].reference": "500us", "final": None, "searcher.population": 4})
    assert loaded.spec.budget.trials == 8
    assert loaded.spec.objectives[1].reference == pytest.approx(5e-4)
    assert loaded.spec.final is None
    assert loaded.spec.searcher.options["population"] == 4
    assert load_spec(path, overrides={"task": "{name: digits}"}).spec == load_spec(path).spec
    for overrides, words in (
        ({"budget.trials": "'8'"}, "budget.trials: got text '8'"),
        ({"budget..trials": "8"}, "no field path"),
        ({"objectives[7].goal": "min"}, "no such place"),
        ({"budget.trails": "8"}, "Did you mean 'trials'?"),
        ({"budget.trials": "[1"}, "never closed"),
    ):
        with pytest.raises(SpecError, match=words.replace("[", "\\[").replace("?", "\\?")):
            load_spec(path, overrides=overrides)


def test_tracking_can_be_switched_off_and_secrets_stay_in_the_environment() -> None:
    off = load_text(template().replace('"sqlite:///mlflow.db"', "none"), file="a").spec
    assert off.tracking.uri is None
    assert StudySpec.model_validate(off.model_dump(mode="json")).tracking.uri is None
    uri = "http://me:${env:PARETUNE_TEST_TOKEN}@host:5000"
    spec = load_text(template().replace("sqlite:///mlflow.db", uri), file="a").spec
    assert spec.tracking.uri == uri
    assert resolve_env(uri, {"PARETUNE_TEST_TOKEN": "secret"}) == "http://me:secret@host:5000"
    with pytest.raises(BadInput, match=r"tracking\.uri: environment variable PARETUNE_TEST_TOKEN is not set"):
        resolve_env(uri, {})


# One change for each written field: (text, changed text, path, may a study go on with it).
CHANGES = [
    ("name: digits   ", "name: other   ", "name", False),
    ("seed: 1 ", "seed: 2 ", "seed", False),
    ("space: {name: digits_conv}", "space: {name: digits_conv, stages: 2}", "space.stages", False),
    ("runtime: onnxruntime", "runtime: torch", "hardware.host.runtime", False),
    ("reference: 0.9", "reference: 0.7", "objectives[0].reference", False),
    ("goal: min", "goal: max", "objectives[1].goal", False),
    ("max: 60000", "max: 50000", "constraints[0].max", False),
    ("population: 16", "population: 8", "searcher.population", False),
    ("name: nsga2, population: 16", "name: random", "searcher.name", False),
    ("trials: 64", "trials: 128", "budget.trials", True),
    ("time: 15m", "time: 1h", "budget.time", True),
    ("{epochs: 5}", "{epochs: 11}", "training.epochs", False),
    ("seeds: 3", "seeds: 5", "final.seeds", True),
    ("final: {epochs: 10, seeds: 3}", "", "final.epochs", True),
    ("mode: sync", "mode: async", "run.mode", False),
    ("workers: auto", "workers: 2", "run.workers", True),
    ("trial_timeout: 2m", "trial_timeout: 3m", "run.trial_timeout", True),
    ("retries: 2", "retries: 0", "run.retries", True),
    ("memory: auto", "memory: 2GiB", "run.memory", True),
    ("sqlite:///mlflow.db", "sqlite:///other.db", "tracking.uri", True),
    ("storage: runs", "storage: elsewhere", "storage", True),
]


@pytest.mark.parametrize(("old", "new", "path", "allowed"), CHANGES, ids=[path for _, _, path, _ in CHANGES])
def test_each_field_may_or_may_not_change_on_resume(old: str, new: str, path: str, allowed: bool) -> None:
    before = load_text(template(), file="study.yaml").spec
    after = load_text(template().replace(old, new, 1), file="study.yaml").spec
    assert spec_changes(before, before) == []
    changes = {change.path: change.allowed for change in spec_changes(before, after)}
    assert changes[path] is allowed
    assert all(change is allowed for change in changes.values())


@pytest.mark.parametrize(("option", "allowed"), [("addresses: ['127.0.0.1:7764']", True), ("wait_s: 5s", True), ("threads: 2", False)])
def test_a_resumed_study_may_reach_its_devices_by_another_way_only(option: str, allowed: bool) -> None:
    loaded = [
        load_text(template().replace("kind: host, runtime: onnxruntime", target), file="study.yaml")
        for target in ("kind: remote", f"kind: remote, {option}")
    ]
    changes = spec_changes(loaded[0].spec, loaded[1].spec)
    assert [(change.path, change.allowed) for change in changes] == [(f"hardware.host.{option.partition(':')[0]}", allowed)]
    digests = {protocol_digest(build_plan(item)) for item in loaded}
    assert len(digests) == (1 if allowed else 2)


def test_refused_change_shows_old_and_new_values_with_lines() -> None:
    before = load_text(template(), file="study.yaml").spec
    text = template().replace("max: 60000", "max: 50000").replace("time: 15m", "time: 1h30m").replace("reference: 0.2", "reference: 500us")
    loaded = load_text(text, file="study.yaml")
    error = refuse_changes("digits", spec_changes(before, loaded.spec), loaded)
    rows = str(error).splitlines()
    line = {key: next(n for n, row in enumerate(text.splitlines(), start=1) if key in row) for key in ("max: 50000", "reference: 500us")}
    assert rows[0] == "study 'digits' was started from another spec; not resumed."
    reference = next(row for row in rows if "reference" in row)
    assert reference.split("  ")[1].startswith(f"study.yaml:{line['reference: 500us']}:")
    assert "was 200 µs" in reference
    assert "now 500 µs" in reference
    budget = next(row for row in rows if "budget.time" in row)
    assert "was 15m" in budget
    assert "now 1h30m" in budget
    assert budget.endswith("allowed")
    assert f"Either undo lines {line['reference: 500us']}, {line['max: 50000']}" in str(error)
    assert error.exit_code == 2


def test_loading_a_spec_needs_neither_torch_nor_ray() -> None:
    program = (
        "import sys; from paretune.platform.spec import load_spec; load_spec(sys.argv[1]);"
        "print([name for name in ('torch', 'ray', 'mlflow', 'sklearn', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(STUDIES / "digits.yaml")], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
