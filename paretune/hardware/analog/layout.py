"""How the values of a network lie in memory while the CPU runs it: channels last, and few images at once.

Convolutions take half the time on channels last, and what is done to each of their outputs takes half where these fit the cache. Neither
changes what is computed, but for the order of sums.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from paretune.hardware.analog.noise import IMAGE_DIMS
from paretune.networks.evaluation import evaluating

LARGEST_OUTPUT = 1 << 20
"""Values of the largest output of a layer, for all images at once: 4 MB, which caches hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Of one network."""

    channels_last: bool
    """Whether images, weights and outputs of convolutions over images lie so."""
    images: int
    """At once, at most."""

    def parts(self, images: Tensor) -> tuple[Tensor, ...]:
        """A batch as it is to be run."""
        return torch.split(laid(images, channels_last=self.channels_last), self.images)


def laid(values: Tensor, *, channels_last: bool) -> Tensor:
    """Images, or weights of a convolution over images, as they shall lie; all else as it is."""
    # Not `contiguous`, which leaves a single channel as it lies, and then what a convolution makes of it.
    return values.to(memory_format=torch.channels_last) if channels_last and values.dim() == IMAGE_DIMS else values


def layout_of(digital: nn.Module, images: Tensor, logits: Tensor) -> Layout:
    """The faster layout, where the network gives the same outputs with it: some view their values as lying in order, which raises.

    Args:
        digital: the network without a target; its weights are laid anew.
        images: a batch.
        logits: what it gives for them.
    """
    as_they_are = Layout(channels_last=False, images=len(images))
    some = images[:2]
    try:
        with evaluating(digital), _largest_output(digital) as largest:
            found = digital.to(memory_format=torch.channels_last)(laid(some, channels_last=True))  # type: ignore[call-overload, unused-ignore]
    except RuntimeError:
        return as_they_are
    scale = float(logits.abs().max())
    if found.shape != logits[: len(some)].shape or not torch.allclose(found, logits[: len(some)], rtol=0, atol=1e-3 * scale):
        return as_they_are  # what an image gives depends on those beside it
    return Layout(channels_last=True, images=max(1, LARGEST_OUTPUT * len(some) // max(largest, default=1)))


@contextmanager
def _largest_output(network: nn.Module) -> Iterator[list[int]]:
    """Values of each output of a layer with weights, filled while the network runs."""
    counts: list[int] = []

    def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        counts.append(output.numel())

    handles = [module.register_forward_hook(note) for module in network.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear)]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()
