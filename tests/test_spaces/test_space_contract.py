"""The contract check finds spaces that break it: a check that cannot fail proves nothing."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from paretune.core.genotype import Genotypes
from paretune.core.workload import WorkloadBatch
from paretune.spaces.digits_conv import DigitsConv
from paretune.testing.space import check_space


class WrongSize(DigitsConv):
    @property
    def size(self) -> int:
        return super().size + 1


class NothingCollapses(DigitsConv):
    def canonical(self, genotypes_ND: Genotypes) -> Genotypes:
        return genotypes_ND.copy()


class ForgetsBatchNorm(DigitsConv):
    def workloads(self, genotypes_ND: Genotypes) -> WorkloadBatch:
        batch = super().workloads(genotypes_ND)
        return replace(batch, per_channel=np.zeros_like(batch.per_channel))


class AcceptsAnything(DigitsConv):
    def valid(self, genotypes_ND: Genotypes) -> NDArray[np.bool_]:
        return np.ones(len(genotypes_ND), dtype=np.bool_)


class BlindToKernels(DigitsConv):
    def encode(self, genotypes_ND: Genotypes) -> NDArray[np.float64]:
        kernels = [index for index, decision in enumerate(self.decisions) if decision.name.endswith("kernel")]
        return np.delete(super().encode(genotypes_ND), kernels, axis=1)


class ScalesItsWeights(DigitsConv):
    calls = 0

    def build(self, genotype: Sequence[int]) -> nn.Module:
        network = super().build(genotype)
        self.calls += 1
        for parameter in network.parameters():
            parameter.data *= self.calls
        return network


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (WrongSize, "size is 145, but there are 144 canonical genotypes"),
        (NothingCollapses, "size is 144, but there are 256 canonical genotypes"),
        (ForgetsBatchNorm, "its workload says"),
        (AcceptsAnything, "valid accepts index"),
        (BlindToKernels, "different networks have"),
        (ScalesItsWeights, "do not come from torch's global generator"),
    ],
)
def test_contract_check_finds_the_fault(space: type[DigitsConv], message: str) -> None:
    def make() -> DigitsConv:
        # (2 widths * (2 + 4)) ** 2
        return space(
            input_shape=(1, 8, 8), num_classes=10, stages=2, stem_widths=(4,), widths=(4, 8), depths=(1, 2), strides=(1,), expansions=(1,)
        )

    with pytest.raises(AssertionError, match=re.escape(message)):
        check_space(make, input_shape=(1, 8, 8), num_classes=10, num_built=5)
