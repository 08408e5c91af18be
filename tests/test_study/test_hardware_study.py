"""Studies on computed hardware from beginning to end on Ray: designs on the front, what the report says, changed target files."""

from pathlib import Path
from typing import Any

import pytest

import paretune
from paretune.core.errors import SpecChanged
from paretune.hardware import HARDWARE
from paretune.platform.study.export import export_candidate

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

TOY = """\
kind: made_up
description: a toy for tests
options:
  clock_hz: {value: 200e6, source: "the toy's data sheet"}
  multipliers: {value: 32, source: "the toy's data sheet"}
  search: [lanes, memory]
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(HARDWARE._builtins, "made_up", "paretune.testing.accelerator:MadeUpAccelerator")
    path = tmp_path / "toy.yaml"
    path.write_text(TOY)
    return path


@pytest.fixture
def computed(spec: dict[str, Any], toy: Path) -> dict[str, Any]:
    """Networks and designs for an accelerator, limited by another one."""
    return {
        **spec,
        "hardware": {"toy": {"target": str(toy)}, "small": {"kind": "made_up", "lanes": 4}},
        "objectives": [
            {"metric": "accuracy", "goal": "max", "reference": 0.1},
            {"metric": "toy.latency_us", "goal": "min", "reference": 1000},
        ],
        "constraints": [{"metric": "small.energy_uj", "max": 1}],
        "space": {"name": "digits_conv", "stages": 1},
        "searcher": {"name": "random"},
        "budget": {"trials": 3},
        "final": {"epochs": 1, "seeds": 1},
        "run": {"workers": 1},  # a process that trains takes seconds to start, and the networks are trained in less
    }


def test_study_searches_networks_and_designs_and_reports_both(computed: dict[str, Any], toy: Path, tmp_path: Path) -> None:
    result = paretune.run(computed)
    history = result.history
    assert len(history.arrivals()) == 3
    for record in history.arrivals():
        assert record.choices["toy.lanes"] in (4, 8, 16)  # 32 lanes do not fit 32 multipliers
        assert record.metrics["small.energy_j"] <= 1e-6
        details = record.evaluation.details["computed"] if record.evaluation else {}
        assert details["toy"]["design"] == {"lanes": record.choices["toy.lanes"], "memory": record.choices["toy.memory"]}
        assert details["toy"]["energy_j"]["deviation"] == pytest.approx(0.1 * record.metrics["toy.energy_j"])
        assert sum(details["toy"]["latency_s"]["bottlenecks"].values()) == pytest.approx(1, abs=1e-3)
    page = result.report.read_text()
    for words in ("the toy's data sheet", "a toy for tests", "median share on the front", "computed from the layers before training"):
        assert words.replace("'", "&#x27;") in page
    assert len(result.networks) == len(history.front())
    first = history.front()[0]
    exported = export_candidate(result.folder, first.job.ask_index, tmp_path / "network")
    assert '"toy.lanes"' in (exported / "network.json").read_text()

    toy.write_text(TOY.replace("200e6", "100e6"))
    with pytest.raises(
        SpecChanged, match=r"hardware\.toy\.clock_hz +was 200000000\.0 +now 100000000\.0 +not allowed: changes what is measured"
    ):
        paretune.resume(result.folder, overrides={"budget.trials": 4})
    toy.unlink()
    more = paretune.resume(result.folder, overrides={"budget.trials": 4})
    assert len(more.history.arrivals()) == 4
