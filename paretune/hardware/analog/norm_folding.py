"""Which batch norms directly follow an analog layer, and only it: they are a scale and a shift of its converted outputs."""

from typing import Any

import torch
from torch import fx, nn

from paretune.hardware.analog.layers import AnalogLayer
from paretune.hardware.analog.programming import Fold


class _Tracer(fx.Tracer):
    """Analog layers are leaves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, AnalogLayer) or super().is_leaf_module(m, module_qualified_name)


def fold_norms(network: nn.Module) -> dict[str, Fold]:
    """Replace each batch norm of an evaluated network that only follows one analog layer by nothing; fold it into that layer's outputs.

    Networks whose `forward` cannot be traced (it branches on its data, say) keep their batch norms, which costs time and changes nothing.

    Returns:
        Folds by the name of the layer that carries them.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception:  # whatever a forward raises on placeholders: without folds everything still works
        return {}
    modules, folds = dict(network.named_modules()), dict[str, Fold]()
    calls = [node for node in graph.nodes if node.op == "call_module"]
    counts: dict[str, int] = {}
    for node in calls:
        counts[str(node.target)] = counts.get(str(node.target), 0) + 1
    for node in calls:
        norm, before = modules[str(node.target)], node.args[0] if node.args else None
        if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d) or not _follows_alone(before, modules) or counts[str(node.target)] > 1:
            continue
        assert isinstance(before, fx.Node)
        if counts[str(before.target)] > 1 or not norm.track_running_stats or modules[str(before.target)].weight.dim() != _kernel_dims(norm):
            continue
        folds[str(before.target)] = _fold(norm)
        owner, _, attribute = str(node.target).rpartition(".")
        setattr(network.get_submodule(owner), attribute, nn.Identity())
    return folds


def _kernel_dims(norm: nn.Module) -> int:
    """Dimensions of the weights before it: of a convolution over images, or over sequences.

    Not of a linear layer: over sequences its columns come last, and a batch norm takes the second dimension for channels.
    """
    return 4 if isinstance(norm, nn.BatchNorm2d) else 3


def _follows_alone(before: object, modules: dict[str, Any]) -> bool:
    """Whether a node is an analog layer whose outputs go to one place."""
    return (
        isinstance(before, fx.Node)
        and before.op == "call_module"
        and isinstance(modules.get(str(before.target)), AnalogLayer)
        and len(before.users) == 1
    )


def _fold(norm: Any) -> Fold:
    """Scale and shift of a batch norm in evaluation mode."""
    scale_N = torch.rsqrt(norm.running_var + norm.eps)
    if norm.affine:
        scale_N = scale_N * norm.weight.detach()
    shift_N = -norm.running_mean * scale_N
    return Fold(scale=scale_N, shift=shift_N if not norm.affine else shift_N + norm.bias.detach())
