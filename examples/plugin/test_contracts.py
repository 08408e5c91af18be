"""The contracts that paretune relies on, checked for each part of this package."""

from pathlib import Path

from paretune_example.board import Board
from paretune_example.breast_cancer import BreastCancer
from paretune_example.local_search import LocalSearch
from paretune_example.perceptron import Perceptron
from paretune_example.systolic import SystolicArray

from paretune.testing.cost_model import check_cost_model
from paretune.testing.device import check_device
from paretune.testing.searcher import check_searcher
from paretune.testing.space import check_space
from paretune.testing.task import check_task


def test_board_keeps_the_contract() -> None:
    check_device(lambda: Board(max_relative_iqr=50.0))  # tests run on busy machines


def test_perceptron_keeps_the_contract() -> None:
    check_space(lambda: Perceptron(input_shape=(30, 1, 1), num_classes=2), input_shape=(30, 1, 1), num_classes=2)


def test_breast_cancer_keeps_the_contract(tmp_path: Path) -> None:
    check_task(BreastCancer, tmp_path)


def test_local_search_keeps_the_contract() -> None:
    check_searcher(lambda space, problem, seed: LocalSearch(space, problem, seed=seed))


def test_systolic_keeps_the_contract() -> None:
    check_cost_model(lambda: SystolicArray(clock_hz=1e8, bandwidth_bytes_per_s=1e9))
    check_cost_model(lambda: SystolicArray(clock_hz=1e8, bandwidth_bytes_per_s=1e9, search=("rows", "columns")))
