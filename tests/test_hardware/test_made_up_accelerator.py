"""The accelerator of the tests keeps the contract, so that what tests learn from it holds for real models."""

from paretune.testing.accelerator import MadeUpAccelerator
from paretune.testing.cost_model import check_cost_model


def test_made_up_accelerator_keeps_the_contract() -> None:
    check_cost_model(MadeUpAccelerator)
    check_cost_model(lambda: MadeUpAccelerator(search=("lanes", "depth", "memory"), multipliers=16))
