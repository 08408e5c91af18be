"""Studies over public data sets that ship with paretune plan where the data is."""

from pathlib import Path

import pytest

from paretune.platform.spec.load import load_spec
from paretune.platform.study.plan import build_plan

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.mark.parametrize(("name", "shape"), [("mnist", (1, 28, 28)), ("spoken-digits", (1, 16, 16))])
def test_shipped_studies_over_data_sets_plan(name: str, shape: tuple[int, ...], data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_DATA", str(data_folder))
    plan = build_plan(load_spec(STUDIES / f"{name}.yaml"))
    assert tuple(plan.task.input_shape) == shape
    assert {"accuracy", "hermes.energy_j", "parameters"} <= set(plan.metrics)
    assert plan.space.valid(plan.make_searcher().ask(20)).all()
