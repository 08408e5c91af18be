"""Small studies through the Python API on a local Ray that all tests of this folder share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paretune.platform.execution.cluster import prepare_environment, ray_cluster
from paretune.platform.spec.load import spec_from_mapping
from paretune.platform.study.plan import build_plan
from paretune.testing.evaluators import FormulaEvaluator

prepare_environment()


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray with two processors."""
    with ray_cluster(address=None, num_cpus=2):
        yield


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    """A study of eight candidates without tracking, as a mapping."""
    return {
        "version": 1,
        "name": "small",
        "seed": 3,
        "task": {"name": "digits"},
        "space": {"name": "digits_conv"},
        "hardware": {"host": {"kind": "host"}},
        "objectives": [
            {"metric": "accuracy", "goal": "max", "reference": 0.5},
            {"metric": "host.latency_ms", "goal": "min", "reference": 0.1},
        ],
        "searcher": {"name": "nsga2", "population": 4},
        "budget": {"trials": 8},
        "training": {"epochs": 1},
        "run": {"workers": 2},
        "tracking": {"uri": "none"},
        "storage": str(tmp_path / "runs"),
    }


@pytest.fixture
def formula() -> Callable[..., FormulaEvaluator]:
    """Makes the evaluator whose results are known without training."""

    def make(spec: dict[str, Any], **options: Any) -> FormulaEvaluator:
        plan = build_plan(spec_from_mapping(spec))
        return FormulaEvaluator(space=plan.space, produced=plan.metrics, **options)

    return make
