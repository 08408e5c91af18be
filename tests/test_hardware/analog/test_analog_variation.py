"""Networks trained with noise on their weights stand the variation of cells better than networks trained without."""

import copy
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from paretune.hardware.analog.conversion import after_each_step, calibrate, to_analog
from paretune.hardware.analog.evaluator import evaluate
from paretune.hardware.analog.presets import RRAM
from paretune.hardware.analog.training import HardwareAwareTraining

Data = tuple[Tensor, Tensor, Tensor, Tensor]


def trained_on(digital: nn.Module, digits: Data, *, weight_noise: float) -> nn.Module:
    """Ten more epochs on the tiles; without clipping, so that the noise is all that differs."""
    analog = to_analog(copy.deepcopy(digital), RRAM, seed=1, options=HardwareAwareTraining(weight_noise=weight_noise, clip="none"))
    calibrate(analog, digits[0])
    optimizer = torch.optim.SGD(analog.parameters(), lr=0.02, momentum=0.9)
    after_each_step(analog, optimizer)
    analog.train()
    for _ in range(10):
        for images, labels in zip(digits[0].split(64), digits[1].split(64), strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(analog(images), labels).backward()
            optimizer.step()
    return analog.eval()


def test_the_more_cells_vary_the_more_training_with_noise_saves(digital: nn.Module, digits: Data) -> None:
    # After NACIM (IEEE TC 70(4), 2021): noise of 0.1 of the largest weight in training. Cells vary more here, by up to one and a half of
    # their conductance: a weight is one cell of each sign, not a sum of sliced ones.
    noisy, quiet = (trained_on(digital, digits, weight_noise=noise) for noise in (0.1, 0.0))
    saved = []
    for variation in (0.0, 0.5, 1.5):
        target = replace(RRAM, device=replace(RRAM.device, variation=variation))
        means = [evaluate(network, target, digits[2], digits[3], (1.0,), 8).means_T[0] for network in (noisy, quiet)]
        saved.append(means[0] - means[1])
    assert abs(saved[0]) < 0.02
    assert saved[-1] > 0.03
    assert all(later > earlier for earlier, later in pairwise(saved))
