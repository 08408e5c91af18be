"""Training shared by the predictors that are neural networks: one thread, own seed, the global generators left as they were."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from paretune.predictors.prediction import FloatArray, IntArray

if TYPE_CHECKING:
    import torch
    from torch import nn

HINGE_MARGIN = 0.1
"""As published by GATES and taken over by AnalogNAS."""


@contextmanager
def torch_alone(seed: int) -> "Iterator[None]":
    """Seed torch and use one thread inside, so that equal seeds give equal networks; afterwards everything is as before."""
    import torch

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)


def trained(
    network: "nn.Module",
    loss: "Callable[[torch.Tensor], torch.Tensor]",
    num_examples: int,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    weight_decay: float,
) -> None:
    """Train in place with AdamW and a cosine schedule.

    Args:
        network: whose parameters are trained.
        loss: indices of a batch of examples -> loss.
        num_examples: how many there are.
        epochs: passes over the examples.
        batch: examples a step.
        learning_rate: at the start.
        weight_decay: of AdamW.
    """
    import torch

    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(num_examples)
        for first in range(0, num_examples, batch):
            rows = order[first : first + batch]
            if len(rows) < 2:
                continue  # nothing to compare with
            optimiser.zero_grad()
            loss(rows).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
    network.eval()


def pairwise_hinge(scores_K: "torch.Tensor", targets_K: "torch.Tensor") -> "torch.Tensor":
    """Mean over all pairs that differ of what their scores lack of being `HINGE_MARGIN` apart in the right order.

    Source: Ning et al., A generic graph-based neural architecture encoding scheme (GATES), ECCV 2020, equation 5.
    """
    import torch

    worse_KK = targets_K[:, None] > targets_K[None, :]
    lacking_KK = torch.relu(HINGE_MARGIN - (scores_K[:, None] - scores_K[None, :]))
    return lacking_KK[worse_KK].sum() / worse_KK.sum().clamp(min=1)


def folds(num_examples: int, num_folds: int, rng: np.random.Generator) -> IntArray:
    """`(N,)` the fold of each example, the folds as even as possible."""
    return np.asarray(rng.permutation(num_examples) % num_folds)


def standardised(targets_N: FloatArray) -> tuple[FloatArray, float, float]:
    """Targets with mean 0 and deviation 1, and the two that they had."""
    mean, scale = float(targets_N.mean()), float(targets_N.std()) or 1.0
    return (targets_N - mean) / scale, mean, scale
