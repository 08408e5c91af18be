"""The contract check finds cost models that break it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from paretune.core.costs import Designs, Estimates
from paretune.core.workload import WorkloadBatch
from paretune.hardware.free import FreeCosts
from paretune.testing.cost_model import check_cost_model


class Prefixed(FreeCosts):
    metrics = (replace(FreeCosts.metrics[0], name="host.parameters"), *FreeCosts.metrics[1:])


class DependsOnTheOthers(FreeCosts):
    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        found = super().estimate(workloads, designs)
        return {name: replace(estimates, values=estimates.values / estimates.values.max()) for name, estimates in found.items()}


class Unsourced(FreeCosts):
    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        return {name: replace(found, source="guessed") for name, found in super().estimate(workloads, designs).items()}


class NotANumber(FreeCosts):
    def estimate(self, workloads: WorkloadBatch, designs: Designs) -> Mapping[str, Estimates]:
        return {name: replace(found, values=found.values * np.nan) for name, found in super().estimate(workloads, designs).items()}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Prefixed, "metrics carry a target's prefix"),
        (DependsOnTheOthers, "depends on the others"),
        (Unsourced, "source 'guessed' is none of"),
        (NotANumber, "is not finite"),
    ],
)
def test_contract_check_finds_the_fault(model: type[FreeCosts], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_cost_model(model)
