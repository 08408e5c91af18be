"""An analog study from beginning to end on Ray: trained for tiles, judged on them in an actor, tested, exported, reported, resumed."""

import json
from pathlib import Path
from typing import Any

import pytest

import paretune
from paretune.core.errors import SpecChanged
from paretune.platform.execution.evaluator import evaluate_here
from paretune.platform.record.jobs import Evaluation, Job
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study.plan import build_plan

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def analog(spec: dict[str, Any]) -> dict[str, Any]:
    """Two networks of a few hundred weights; all weaker ones would be as good for what is tested here."""
    small = {"first_widths": [8], "main_blocks": [1], "residual_blocks": [1], "branches": [1], "block_types": ["basic"]}
    return {
        **spec,
        "space": {"name": "resnet_analog", **small, "widenings": [1.0, 2.0]},
        "hardware": {
            "chip": {"target": "hermes"},
            "analog": {"kind": "analog", "preset": "hermes", "times_s": ["1s", "1d"], "programmings": 3, "images": 100},
        },
        "objectives": [
            {"metric": "analog.accuracy_1d", "goal": "max", "reference": 0.01},
            {"metric": "chip.area_mm2", "goal": "min", "reference": 100},
        ],
        "searcher": {"name": "random"},
        "budget": {"trials": 1},
        "training": {"epochs": 1, "hardware_aware": "analog"},
        "final": {"epochs": 2, "seeds": 1},
        "run": {"workers": 1},  # a process that trains takes seconds to start, and the networks are trained in less
    }


def test_analog_study_trains_judges_tests_exports_and_goes_on(analog: dict[str, Any], tmp_path: Path) -> None:
    result = paretune.run(analog)
    history = result.history
    (record,) = history.arrivals()
    assert {"analog.accuracy_1s", "analog.accuracy_1d", "analog.deviation_1d", "analog.avm", "chip.area_mm2"} <= record.metrics.keys()
    ((final,),) = history.finals().values()
    assert final.evaluation is not None
    assert {"test.accuracy", "test.analog.accuracy_1d", "test.analog.deviation_1d"} <= final.metrics.keys()
    assert "test.chip.area_mm2" not in final.metrics
    baseline = final.evaluation.details["baseline"]
    assert baseline["outcome"] == "ok"
    assert baseline["measurements"]["analog"]["drift"].keys() == {"1s", "1d"}
    assert baseline["measurements"] != {"analog": final.evaluation.details["measurements"]["analog"]}
    page = result.report.read_text()
    assert "Accuracy over time on analog" in page
    assert "simulated: hermes tiles, 3 programmings, engine paretune" in page

    facts = json.loads((result.networks[0] / "network.json").read_text())["metadata"]["hardware"]["analog"]
    assert facts["preset"]["name"] == "hermes"
    assert len(facts["layers"][0]["programmed"]) == 2

    with pytest.raises(SpecChanged, match=r"training\.hardware_aware"):
        paretune.resume(result.folder, overrides={"training.hardware_aware": None})
    here = in_this_process(analog, final.job, tmp_path / "work" / final.job.id)
    assert here.metrics == final.metrics  # without Ray and actors, the same bits
    assert here.details["baseline"] == baseline


def in_this_process(spec: dict[str, Any], job: Job, workspace: Path) -> Evaluation:
    """What a candidate of a study comes to without Ray."""
    plan = build_plan(spec_from_mapping(spec))
    return evaluate_here(plan.make_evaluator(tuple(plan.devices)), job, workspace, plan.devices)
