"""Zero-cost proxies: scores of an untrained network on one minibatch that foretell something of its accuracy, in tens of milliseconds.

None of them beats the number of parameters or MACs everywhere, so these are the baseline to hold them against; both are free costs.

Sources: Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS 2020 (synflow);
Mellor et al., Neural Architecture Search without Training, ICML 2021 (naswot; arXiv 2006.04647v1 for jacob_cov); Abdelfattah et al.,
Zero-Cost Proxies for Lightweight NAS, ICLR 2021 (synflow as a score).

Legend: B images of the batch.
"""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TypeAlias

import torch
from torch import Tensor, nn

from paretune.core.errors import BadInput
from paretune.tasks.determinism import deterministic_torch

Proxy: TypeAlias = Callable[[nn.Module, Tensor], float]

RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU)
"""Activations whose units are on or off."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
STABILITY = 1e-5
"""Added to eigenvalues, as the paper does."""


def synflow(network: nn.Module, batch: Tensor) -> float:
    """Logarithm of the synaptic flow: the sum over all paths from input to output of the product of their absolute weights, by weight.

    Of each weight it is |w| times the gradient of the summed output to an input of ones, with every parameter replaced by its absolute
    value; summed over all weights. In a chain of L layers without biases that is L times the sum over all paths. Batch norm is left out
    (it passes its input on), as is usual; the images do not matter, only their shape. Computed in double precision.

    Returns:
        The natural logarithm of the sum, since sums of deep networks differ by many powers of ten; -inf is told as the logarithm of
        the smallest float, where no path leads from the input to the output.
    """
    copy = _copied(network).double()
    for module in copy.modules():
        if isinstance(module, NORMS):
            module.forward = _identity  # type: ignore[assignment,method-assign]
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.abs_()
    with deterministic_torch(), torch.enable_grad():
        copy(torch.ones((1, *batch.shape[1:]), dtype=torch.float64)).sum().backward()
    flow = sum(float((parameter.detach() * parameter.grad).sum()) for parameter in copy.parameters() if parameter.grad is not None)
    return math.log(max(flow, torch.finfo(torch.float64).tiny))


def naswot(network: nn.Module, batch: Tensor) -> float:
    """How differently the rectified units respond to the images of a batch: the log-determinant of the kernel of their patterns.

    Entry (i, j) of the kernel is the number of units that are both on or both off for images i and j, over all rectifiers.
    Departs: of a kernel without full rank the paper's score is minus infinity; here every eigenvalue is at least 1e-5, so that two equal
    images cost a finite amount and scores stay comparable. A network without rectifiers gets that floor everywhere.
    """
    num_images = len(batch)
    kernel_BB = torch.zeros((num_images, num_images), dtype=torch.float64)

    def add(_module: nn.Module, _inputs: object, outputs: Tensor) -> None:
        on_BU = (outputs.detach() > 0).reshape(num_images, -1).double()
        kernel_BB.add_(on_BU @ on_BU.T + (1.0 - on_BU) @ (1.0 - on_BU).T)

    copy = _copied(network)
    for module in copy.modules():
        if isinstance(module, RECTIFIERS):
            module.register_forward_hook(add)
    with deterministic_torch(), torch.no_grad():
        copy(batch)
    eigenvalues_B = torch.linalg.eigvalsh(kernel_BB).clamp(min=STABILITY)
    return float(eigenvalues_B.log().sum())


def jacob_cov(network: nn.Module, batch: Tensor) -> float:
    """How independent the network's gradients to the images of a batch are, from the eigenvalues v of their correlation matrix.

    The score is `-sum(log(v + k) + 1 / (v + k))` with k = 1e-5: highest (-B, about) where the gradients to any two images are
    uncorrelated. A gradient that is constant correlates with nothing but itself.
    """
    images = batch.detach().clone().requires_grad_(True)
    with deterministic_torch(), torch.enable_grad():
        outputs = _copied(network)(images)
        (jacobian,) = torch.autograd.grad(outputs.sum(), images)
    jacobian_BP = jacobian.reshape(len(batch), -1).double()
    centred_BP = jacobian_BP - jacobian_BP.mean(dim=1, keepdim=True)
    norms_B = centred_BP.norm(dim=1, keepdim=True)
    directions_BP = torch.where(norms_B > 0, centred_BP / norms_B.clamp(min=torch.finfo(torch.float64).tiny), torch.zeros_like(centred_BP))
    correlation_BB = directions_BP @ directions_BP.T
    correlation_BB.fill_diagonal_(1.0)
    eigenvalues_B = torch.linalg.eigvalsh(correlation_BB).clamp(min=0.0) + STABILITY
    return -float((eigenvalues_B.log() + 1.0 / eigenvalues_B).sum())


PROXIES: Mapping[str, Proxy] = {"jacob_cov": jacob_cov, "naswot": naswot, "synflow": synflow}
"""All proxies by name; of each, more is better."""


def proxy_scores(network: nn.Module, batch: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    """Scores of a network with fresh weights; it comes back as it was.

    Args:
        network: in any mode; normalisation uses the statistics of the batch, as in the first step of a training.
        batch: `(B, ...)` images as the network takes them, at least two.
        names: of `PROXIES`.

    Raises:
        BadInput: the batch has one image.
    """
    if len(batch) < 2:
        raise BadInput(f"proxies compare the images of a batch; got {len(batch)}")
    return {name: PROXIES[name](network, batch) for name in names}


def _copied(network: nn.Module) -> nn.Module:
    """A copy to do with as one likes, in training mode and the usual memory layout, without gradients."""
    copy = deepcopy(network).train().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, unused-ignore]
    copy.zero_grad(set_to_none=True)
    found: nn.Module = copy
    return found


def _identity(inputs: Tensor) -> Tensor:
    return inputs
