"""What of the cluster the actors of measuring devices need."""

from collections.abc import Mapping
from dataclasses import dataclass

from paretune.platform.spec.plugins import TargetSpec

REMOTE = "remote"
"""Kind of hardware whose measuring happens in a process elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceResources:
    """Of one device actor."""

    processors: int
    """Of the node that it runs on."""
    gpus: float = 0.0
    """Share of a GPU."""


def device_resources(chosen: Mapping[str, TargetSpec]) -> dict[str, DeviceResources]:
    """Target -> what its actor needs: a processor, and a GPU where it measures one.

    A remote device waits for replies and needs nothing here; its GPU is elsewhere. Several targets that measure the GPU (one with ONNX
    Runtime, one with torch) share it, since a device that waits for a GPU of its own would wait for ever where there is but one.
    """
    on_gpu = [name for name, item in chosen.items() if item.kind != REMOTE and item.options.get("processor") == "cuda"]
    return {
        name: DeviceResources(processors=int(item.kind != REMOTE), gpus=1 / len(on_gpu) if name in on_gpu else 0.0)
        for name, item in chosen.items()
    }
