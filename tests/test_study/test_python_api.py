"""Run and resume from Python: the same study as on the command line."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import paretune
from paretune.core.errors import BadInput, SpecChanged, SpecError
from paretune.platform.record.results import result_path

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def starts(witness: Path) -> Counter[str]:
    """How often each job was begun, as the workers saw it."""
    lines = [line for file in witness.iterdir() for line in file.read_text().splitlines()]
    return Counter(line.split()[1] for line in lines if line.startswith("start"))


def test_mapping_is_run_resumed_and_nothing_is_evaluated_twice(spec: dict[str, Any], formula: Callable[..., Any], tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    witness.mkdir()
    evaluator = formula(spec, witness=str(witness))
    first = paretune.run(spec, evaluator=evaluator)
    assert len(first.history.arrivals()) == 8
    assert first.report.is_file()
    assert first.mirror is None
    times = {record.job.id: result_path(first.folder, record.job.id).stat().st_mtime_ns for record in first.history.arrivals()}

    same = paretune.resume(first.folder, evaluator=evaluator)  # finished: nothing is run
    assert same.front == first.front
    assert sum(starts(witness).values()) == 8

    more = paretune.resume(first.folder, overrides={"budget.trials": 12}, evaluator=evaluator)
    assert len(more.history.arrivals()) == 12
    assert set(starts(witness).values()) == {1}
    assert {job: result_path(first.folder, job).stat().st_mtime_ns for job in times} == times
    for member in more.front:
        genotype = more.history.proposals()[member["candidate"]].job.genotype
        assert member["metrics"] == evaluator.truth(genotype)


def test_resume_refuses_what_changes_results_and_takes_what_does_not(
    spec: dict[str, Any], formula: Callable[..., Any], tmp_path: Path
) -> None:
    evaluator = formula(spec)
    folder = paretune.run(spec, evaluator=evaluator, overrides={"budget.trials": 4}).folder
    with pytest.raises(SpecChanged, match=r"objectives\[0\]\.reference .*not allowed"):
        paretune.resume(folder, overrides={"objectives[0].reference": 0.2}, evaluator=evaluator)
    edited = tmp_path / "edited.yaml"
    text = paretune.platform.study.study.read_history(folder).header.spec_text  # type: ignore[attr-defined]
    edited.write_text(text.replace("trials: 8", "trials: 6"))
    assert len(paretune.resume(folder, spec=edited, evaluator=evaluator).history.arrivals()) == 6


def test_mistakes_of_a_mapping_come_all_at_once_and_nothing_is_made(spec: dict[str, Any], tmp_path: Path) -> None:
    wrong = {**spec, "searcher": {"name": "nsga"}, "budget": {"trails": 8}}
    with pytest.raises(SpecError) as caught:
        paretune.run(wrong)
    assert {problem.path for problem in caught.value.problems} >= {"searcher.name", "budget.trails"}
    assert not (tmp_path / "runs").exists()


def test_second_study_of_a_name_is_refused(spec: dict[str, Any], formula: Callable[..., Any]) -> None:
    paretune.run(spec, evaluator=formula(spec), overrides={"budget.trials": 4})
    with pytest.raises(BadInput, match="small"):
        paretune.run(spec, evaluator=formula(spec))
