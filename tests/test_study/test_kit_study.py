"""Candidates of studies through aihwkit: on its tiles, and trained in memory on its devices; a search candidate and a final one of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from paretune.core.trial import Outcome
from paretune.hardware.analog.kit_config import kit_problem
from paretune.platform.execution.evaluator import evaluate_here
from paretune.platform.record.jobs import Evaluation, JobFactory
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study.plan import build_plan

pytestmark = pytest.mark.skipif(kit_problem() is not None, reason=str(kit_problem()))


def evaluations(spec: Mapping[str, Any], folder: Path, *, training: Mapping[str, Any], **options: Any) -> list[Evaluation]:
    """A search candidate, the same again from the start, and a final one, of a study on analog tiles with options."""
    small = {"first_widths": [8], "main_blocks": [1], "residual_blocks": [1], "branches": [1], "block_types": ["basic"]}
    plan = build_plan(
        spec_from_mapping(
            {
                **spec,
                "space": {"name": "resnet_analog", **small, "widenings": [1.0]},
                "hardware": {
                    "analog": {"kind": "analog", "preset": "pcm", "times_s": ["1s", "1d"], "programmings": 2, "images": 60, **options}
                },
                "objectives": [
                    {"metric": "analog.accuracy_1d", "goal": "max", "reference": 0.01},
                    {"metric": "parameters", "goal": "min", "reference": 1e5},
                ],
                "searcher": {"name": "random"},
                "budget": {"trials": 1},
                "training": {"epochs": 1, **training, "hardware_aware": "analog"},
            }
        )
    )
    genotype = (0,) * len(plan.space.decisions)
    factory, evaluator = JobFactory(study_seed=1, protocol="p", search_epochs=1, final_epochs=1), plan.make_evaluator(tuple(plan.devices))
    search = factory.search(ask_index=0, genotype=genotype, choices={})
    final = factory.final(ask_index=0, genotype=genotype, choices={}, seed_index=0)
    jobs = {"search": search, "again": search, "final": final}
    found = [evaluate_here(evaluator, job, folder / name / job.id, plan.devices) for name, job in jobs.items()]
    assert [item.outcome for item in found] == [Outcome.OK] * 3
    assert found[0].metrics.keys() >= {"accuracy", "analog.accuracy_1d", "analog.avm"}
    assert found[2].metrics.keys() >= {"test.accuracy", "test.analog.accuracy_1d"}
    assert found[2].details["export"]["largest_difference"] < 1e-3
    assert found[2].details["baseline"]["outcome"] == "ok"
    return found


def test_candidates_are_trained_and_judged_on_the_kits_tiles(spec: dict[str, Any], tmp_path: Path) -> None:
    search, again, final = evaluations(spec, tmp_path, training={}, engine="aihwkit", rows=64)
    assert search.metrics == again.metrics
    baseline = final.details["baseline"]
    for details in (search.details, final.details, baseline):
        assert details["measurements"]["analog"]["engine"] == "aihwkit"
    assert baseline["measurements"] != {"analog": final.details["measurements"]["analog"]}


def test_candidates_are_trained_in_memory_and_judged_on_our_tiles(spec: dict[str, Any], tmp_path: Path) -> None:
    search, again, _ = evaluations(spec, tmp_path, training={"analog_update": True}, deterministic=False, update_device="ecram")
    # Devices draw from the clock: equal losses would mean that none was trained on.
    assert search.details["curve"] != again.details["curve"]
    assert search.details["measurements"]["analog"]["engine"] == "paretune"
