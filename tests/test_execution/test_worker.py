"""What a worker makes of what an evaluator returns or raises."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.errors import CheckpointDamaged, DeviceError, StorageError
from paretune.core.metrics import Direction, Metric
from paretune.core.trial import Outcome
from paretune.platform.execution.worker import Worker, WorkerLimits, recall
from paretune.platform.record.jobs import MESSAGE_BYTES, Evaluation, Job, JobFactory
from paretune.testing.evaluators import FunctionEvaluator

JOB = JobFactory(study_seed=1, protocol="p", search_epochs=1, final_epochs=1).search(ask_index=0, genotype=(0,), choices={"width": 8})
ACCURACY = {"accuracy": Metric(name="accuracy", unit="", direction=Direction.MAX, lower=0.0, upper=1.0)}


def evaluate(folder: Path, returned: object = None, *, raised: BaseException | None = None) -> Evaluation:
    def behave(job: Job, workspace: Path) -> Any:
        if raised is not None:
            raise raised
        return returned

    return Worker(FunctionEvaluator(behave, ACCURACY), folder, WorkerLimits()).run(JOB)


@pytest.mark.parametrize(
    ("metrics", "named"),
    [
        ({}, "'accuracy' is missing"),
        ({"acuracy": 0.5}, "'accuracy' is missing. Did you mean 'acuracy'?"),
        ({"accuracy": "0.5"}, "'accuracy' is str '0.5'"),
        ({"accuracy": 0.5 + 0j}, "'accuracy' is complex (0.5+0j)"),
        ({"accuracy": np.array([0.5, 0.6])}, "'accuracy' is ndarray"),
        ({"accuracy": torch.tensor([0.5])}, "'accuracy' is Tensor"),
        ({"accuracy": True}, "'accuracy' is bool True"),
        ({"accuracy": [0.5]}, "'accuracy' is list [0.5]"),
        ({"accuracy": None}, "'accuracy' is NoneType None"),
        ({"accuracy": math.nan}, "'accuracy' is nan; expected a finite number"),
        ({"accuracy": math.inf}, "'accuracy' is inf; expected a finite number"),
        ({"accuracy": 1.5}, "'accuracy' is 1.5; expected 0.0 to 1.0"),
        ({"accuracy": 0.5, "loss": "low"}, "'loss' is str 'low'"),
    ],
)
def test_what_is_no_metric_is_a_users_error_that_names_it(metrics: Mapping[str, object], named: str, tmp_path: Path) -> None:
    evaluation = evaluate(tmp_path, metrics)
    assert evaluation.outcome is Outcome.USER_ERROR
    assert "evaluator FunctionEvaluator returned unusable metrics" in evaluation.message
    assert named in evaluation.message
    assert evaluation.metrics == {}


@pytest.mark.parametrize(
    "value", [np.float32(0.5), np.array(0.5), torch.tensor(0.5), np.float64(0.5)], ids=lambda value: type(value).__name__
)
def test_one_real_number_counts_whatever_library_it_is_from(value: object, tmp_path: Path) -> None:
    evaluation = evaluate(tmp_path, {"accuracy": value})
    assert evaluation.outcome is Outcome.OK
    assert evaluation.metrics == {"accuracy": 0.5}
    assert type(evaluation.metrics["accuracy"]) is float


@pytest.mark.parametrize("returned", [None, 0.5, [1]], ids=str)
def test_what_is_no_evaluation_is_a_users_error(returned: object, tmp_path: Path) -> None:
    class Odd(FunctionEvaluator):
        def evaluate(self, job: Job, workspace: Path) -> Any:
            return returned

    evaluation = Worker(Odd(lambda job, workspace: {}, ACCURACY), tmp_path, WorkerLimits()).run(JOB)
    assert evaluation.outcome is Outcome.USER_ERROR
    assert f"returned {type(returned).__name__}; expected an Evaluation" in evaluation.message


def test_what_diverged_keeps_its_finite_costs_only(tmp_path: Path) -> None:
    metrics = {"accuracy": math.nan, "loss": math.inf, "parameters": 120.0}
    evaluation = evaluate(tmp_path, Evaluation(outcome=Outcome.DIVERGED, metrics=metrics, details={"loss": [1.0, math.nan]}))
    assert evaluation.outcome is Outcome.DIVERGED
    assert evaluation.metrics == {"parameters": 120.0}
    assert recall(tmp_path, JOB.id) == evaluation


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def recursive() -> Exception:
    error, other = ValueError("first"), ValueError("second")
    error.__cause__, other.__cause__ = other, error
    return error


def grouped() -> Exception:
    return ExceptionGroup("many", [ExceptionGroup("more", [ValueError("x" * 10_000) for _ in range(100)]) for _ in range(20)])


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("x" * 5_000_000), "ValueError: xxx"),
        (ValueError("ü" * 5_000_000), "ValueError: üüü"),
        (ValueError("\ud800 \x1b[31m\n" * 10), "ValueError: "),
        (Unprintable(), "Unprintable: <message could not be printed: RuntimeError>"),
        (recursive(), "ValueError: first"),
        (grouped(), "ExceptionGroup: many"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
    ids=["5 MB", "wide 5 MB", "surrogate", "unprintable", "recursive", "groups", "recursion"],
)
def test_any_exception_is_a_short_message_and_a_traceback_file(raised: Exception, said: str, tmp_path: Path) -> None:
    evaluation = evaluate(tmp_path, raised=raised)
    assert evaluation.outcome is Outcome.USER_ERROR
    assert len(evaluation.message.encode("utf-8", "surrogatepass")) <= MESSAGE_BYTES
    assert said in evaluation.message
    traceback = tmp_path / "errors" / f"{JOB.id}.txt"
    assert f"traceback in errors/{JOB.id}.txt" in evaluation.message
    assert traceback.stat().st_size <= 300_000
    assert "behave" in traceback.read_text()
    assert recall(tmp_path, JOB.id) == evaluation


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (MemoryError("4 GiB"), Outcome.OOM),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"), Outcome.OOM),
        (torch.OutOfMemoryError("CUDA out of memory"), Outcome.OOM),
        (OSError(12, "Cannot allocate memory"), Outcome.OOM),
        (CheckpointDamaged("of another network"), Outcome.USER_ERROR),
        (KeyError("x"), Outcome.USER_ERROR),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failures_of_the_architecture_are_classed_and_durable(raised: Exception, outcome: Outcome, tmp_path: Path) -> None:
    evaluation = evaluate(tmp_path, raised=raised)
    assert evaluation.outcome is outcome
    assert recall(tmp_path, JOB.id) == evaluation


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (DeviceError("the phone does not answer"), Outcome.DEVICE_ERROR),
        (StorageError("disk full"), Outcome.STORAGE_ERROR),
        (SystemExit(0), Outcome.CRASHED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_go_away_is_classed_and_leaves_no_result(raised: BaseException, outcome: Outcome, tmp_path: Path) -> None:
    assert evaluate(tmp_path, raised=raised).outcome is outcome
    assert recall(tmp_path, JOB.id) is None


def test_a_job_with_a_result_is_not_evaluated_again(tmp_path: Path) -> None:
    first = evaluate(tmp_path, {"accuracy": 0.25})
    assert evaluate(tmp_path, {"accuracy": 0.75}) == first


def test_a_worker_makes_no_study_where_the_storage_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    with pytest.raises(StorageError, match="gone"):
        evaluate(folder, {"accuracy": 0.5})
    assert not folder.exists()


def test_storage_that_refuses_the_result_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="results"):
        evaluate(tmp_path, {"accuracy": 0.5})
