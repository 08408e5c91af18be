"""Batch norm folded into the convolution before it, as every inference engine does."""

from copy import deepcopy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose `nn.Sequential`s hold one convolution for each convolution that batch norm follows.

    Batch norm elsewhere (called by a `forward` of its own) stays: what follows it cannot be seen without running the network.
    """
    folded = deepcopy(network).eval()
    for sequence in [module for module in folded.modules() if type(module) is nn.Sequential]:
        names = list(sequence._modules)
        for name, following in pairwise(names):
            convolution, norm = sequence.get_submodule(name), sequence.get_submodule(following)
            if isinstance(convolution, nn.Conv2d) and type(norm) is nn.BatchNorm2d and norm.track_running_stats:
                setattr(sequence, name, fuse_conv_bn_eval(convolution, norm))
                setattr(sequence, following, nn.Identity())
    return folded
