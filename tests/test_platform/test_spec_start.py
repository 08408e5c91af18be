"""`searcher.start`: candidates that a study begins with, written in the spec, in a file, or taken from another study's front."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paretune.core.errors import SpecError
from paretune.core.genotype import named
from paretune.core.protocols import SearchSpace
from paretune.core.trial import Outcome
from paretune.platform.record.jobs import Evaluation, Job
from paretune.platform.record.ledger import Ledger
from paretune.platform.record.summary import summary_json
from paretune.platform.spec import load_text, template
from paretune.platform.spec.checks import sample
from paretune.platform.spec.compare import spec_changes
from paretune.platform.study.api import read_spec, recorded_spec
from paretune.platform.study.creation import SpecSource, create_study
from paretune.platform.study.phases import job_factory
from paretune.platform.study.plan import Plan, build_plan
from paretune.platform.study.study import read_history

BASE = template().replace('uri: "sqlite:///mlflow.db"', "uri: none")


def with_start(start: str, text: str = BASE) -> str:
    return text.replace("searcher: {name: nsga2, population: 16}", f"searcher: {{name: nsga2, population: 16, start: {start}}}")


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return build_plan(load_text(BASE, file="study.yaml")).space


@pytest.fixture
def candidates(space: SearchSpace) -> list[dict[str, Any]]:
    """Three members by their decisions: the smallest, the largest and one between."""
    return [named(space.decisions, row) for row in sample(space, 4)[:3]]


def asked(plan: Plan, count: int) -> list[dict[str, Any]]:
    return [named(plan.space.decisions, row) for row in plan.make_searcher().ask(count)]


def problems(text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(SpecError) as caught:
        build_plan(load_text(text, file="study.yaml"))
    return [(problem.line, problem.path, problem.message) for problem in caught.value.problems]


def test_candidates_in_the_spec_are_asked_first_by_any_searcher(candidates: list[dict[str, Any]]) -> None:
    text = with_start(json.dumps(candidates))
    assert asked(build_plan(load_text(text, file="study.yaml")), 3) == candidates
    guided = text.replace("name: nsga2, population: 16", "name: auto")
    assert asked(build_plan(load_text(guided, file="study.yaml")), 3) == candidates


@pytest.mark.parametrize("form", ["yaml", "json", "shown"])
def test_a_file_of_candidates_lies_beside_the_spec(form: str, candidates: list[dict[str, Any]], tmp_path: Path) -> None:
    content: dict[str, Callable[[], str]] = {
        "yaml": lambda: "# by hand\n" + "".join(f"- {json.dumps(item)}\n" for item in candidates),
        "json": lambda: json.dumps(candidates),
        "shown": lambda: json.dumps({"name": "other", "front": [{"candidate": 7, "choices": item} for item in candidates]}),
    }
    file = "mine.yaml" if form == "yaml" else "mine.json"
    (tmp_path / file).write_text(content[form]())
    (tmp_path / "study.yaml").write_text(with_start(file))
    assert asked(build_plan(read_spec(tmp_path / "study.yaml")), 3) == candidates


def other_study(tmp_path: Path, candidates: list[dict[str, Any]]) -> Path:
    """A study of the same space of which the first and third candidate are the front."""
    text = (
        with_start(json.dumps(candidates))
        .replace("storage: runs", f"storage: {tmp_path / 'runs'}")
        .replace("name: digits  ", "name: other  ")
    )
    plan = build_plan(load_text(text, file="study.yaml"))
    folder = create_study(plan, SpecSource(text=text, overrides={}))
    values = [
        {"accuracy": 0.95, "host.latency_s": 1e-4},
        {"accuracy": 0.94, "host.latency_s": 1.5e-4},
        {"accuracy": 0.97, "host.latency_s": 1.6e-4},
    ]
    with Ledger.open(folder) as ledger:
        for index, (row, metrics) in enumerate(zip(plan.make_searcher().ask(3), values, strict=True)):
            job: Job = job_factory(plan).search(ask_index=index, genotype=tuple(row.tolist()), choices=candidates[index])
            evaluation = Evaluation(outcome=Outcome.OK, metrics={**metrics, "parameters": 100.0})
            ledger.append([("asked", {"job": job.as_json()}), ("started", {"id": job.id, "attempt": 1})])
            ledger.append([("finished", {"id": job.id, "evaluation": evaluation.as_json(), "elapsed_s": 1.0})])
    return folder


def test_the_front_of_another_study_is_taken_and_recorded(candidates: list[dict[str, Any]], tmp_path: Path) -> None:
    other = other_study(tmp_path, candidates)
    (tmp_path / "study.yaml").write_text(with_start("runs/other", BASE.replace("storage: runs", f"storage: {tmp_path / 'runs'}")))
    loaded = read_spec(tmp_path / "study.yaml")
    plan = build_plan(loaded)
    assert asked(plan, 2) == [candidates[2], candidates[0]]  # best accuracy first
    history = read_history(create_study(plan, SpecSource(text=loaded.text, overrides={})))
    assert history.header.num_start == 2
    for file in sorted(other.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    other.rmdir()
    again = recorded_spec(history.header)  # as a resume reads it
    assert spec_changes(loaded.spec, again.spec) == []
    assert asked(build_plan(again), 2) == [candidates[2], candidates[0]]
    # Only where a path leads has changed; then the candidates.
    direct = load_text(with_start(json.dumps([candidates[2]])).replace("storage: runs", f"storage: {tmp_path / 'runs'}"), file="study.yaml")
    assert [change.allowed for change in spec_changes(loaded.spec, direct.spec)] == [False] * len(candidates[0])


def test_the_record_says_which_members_of_the_front_were_given(candidates: list[dict[str, Any]], tmp_path: Path) -> None:
    history = read_history(other_study(tmp_path, candidates))
    assert [(item["candidate"], item["origin"]) for item in summary_json(history)["front"]] == [(2, "start"), (0, "start")]


def test_each_mistake_of_a_candidate_has_its_place_and_the_nearest_name(candidates: list[dict[str, Any]]) -> None:
    first, second, _ = candidates
    names = list(first)
    wrong = [{**first, "stem.widht": 8}, {**first, names[1]: 9999}, second, second, dict(list(second.items())[2:])]
    line = next(number for number, text in enumerate(BASE.splitlines(), 1) if text.startswith("searcher:"))
    found = problems(with_start(json.dumps(wrong)))
    assert [place for place, _, _ in found] == [line] * 4
    told = {path: message for _, path, message in found}
    assert set(told) == {"searcher.start[0].stem.widht", f"searcher.start[1].{names[1]}", "searcher.start[3]", "searcher.start[4]"}
    assert "no such decision. Did you mean 'stem." in told["searcher.start[0].stem.widht"]
    assert "9999 is not one of [" in told[f"searcher.start[1].{names[1]}"]
    assert told["searcher.start[3]"] == "is the same network as candidate 2; remove one"
    assert told["searcher.start[4]"].startswith(f"leaves open what matters: {names[0]} (one of ")


def test_more_candidates_than_trials_are_refused(candidates: list[dict[str, Any]]) -> None:
    text = with_start(json.dumps(candidates)).replace("trials: 64", "trials: 2").replace("population: 16", "population: 2")
    assert [(path, message) for _, path, message in problems(text)] == [
        ("searcher.start", "3 candidates to start from, but budget.trials is 2; raise it or start from fewer")
    ]


@pytest.mark.parametrize(
    ("start", "path", "words"),
    [
        ("nowhere.yaml", "searcher.start", "no such file"),
        ("[nowhere.yaml, {}]", "searcher.start[0]", "no such file"),
        ("{stem.width: 8}", "searcher.start", "in a list"),
        ("[[1, 2]]", "searcher.start[0]", "got a list"),
        ("['']", "searcher.start[0]", "is empty"),
        ("[{stem.width: [8]}]", "searcher.start[0].stem.width", "expected one choice, got a list"),
        ("[{stem.width: }]", "searcher.start[0].stem.width", "expected one choice, got nothing"),
    ],
)
def test_what_is_no_candidate_is_refused(start: str, path: str, words: str) -> None:
    found = problems(with_start(start))
    assert any(where == path and words in message for _, where, message in found), found


@pytest.mark.parametrize(
    ("content", "words"),
    [("{a: 1}", "expected a list of candidates"), ("[1, 2]", "expected a list of candidates"), ("[{", r"mine\.yaml:1:3: ")],
)
def test_a_file_that_holds_something_else_is_refused(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    (tmp_path / "study.yaml").write_text(with_start("mine.yaml"))
    with pytest.raises(SpecError, match=words):
        read_spec(tmp_path / "study.yaml")


def test_mistakes_of_a_file_name_the_file_and_the_candidate(candidates: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps([candidates[0], {**candidates[1], "nonsense": 1}]))
    (tmp_path / "study.yaml").write_text(with_start("mine.json"))
    with pytest.raises(SpecError, match=r"searcher\.start: candidate 1 of mine\.json: nonsense: the space has no such decision"):
        build_plan(read_spec(tmp_path / "study.yaml"))


def test_a_candidate_that_misses_a_limit_is_noted_not_refused(candidates: list[dict[str, Any]]) -> None:
    text = with_start(json.dumps(candidates)).replace("max: 60000", "max: 1000")
    plan = build_plan(load_text(text, file="study.yaml"))
    assert [note for note in plan.notes if "searcher.start: candidates" in note and "1" in note]
