"""What of the cluster the stages of a candidate need: training a share of a node, measuring a device by its tag."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paretune.platform.spec.plugins import TargetSpec

REMOTE = "remote"
"""Kind of hardware whose measuring happens in a process elsewhere."""
ADDRESSES = "addresses"
"""Its option with the ways to several devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceResources:
    """Of one device actor."""

    processors: int
    """Of the node that it runs on."""
    gpus: float = 0.0
    """Share of a GPU."""
    tag: str = ""
    """Custom resource of the nodes that have such a device, one for each device; empty for any node."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that the node must carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChoice:
    """The devices of one target."""

    kind: str
    options: Mapping[str, Any]
    resources: DeviceResources
    """Of each of them."""
    count: int = 1

    def options_of(self, index: int) -> dict[str, Any]:
        """Options of device number `index`: of as many addresses as there are devices each has its own."""
        options = dict(self.options)
        addresses = options.get(ADDRESSES, ())
        if self.kind == REMOTE and self.count > 1 and len(addresses) == self.count:
            options[ADDRESSES] = (addresses[index],)
        return options


def device_resources(chosen: Mapping[str, TargetSpec]) -> dict[str, DeviceResources]:
    """Target -> what its actor needs: its tag, or a processor, and a GPU where it measures one.

    A remote device waits for replies and needs nothing here; its GPU is elsewhere. A tag stands for the whole device, so a host with a
    tag needs no processor besides: device hosts offer none, lest somebody trains there. Several targets that measure the GPU (one with
    ONNX Runtime, one with torch) share it, since a device that waits for a GPU of its own would wait for ever where there is but one.
    """
    on_gpu = [name for name, item in chosen.items() if item.kind != REMOTE and not item.tag and item.options.get("processor") == "cuda"]
    return {
        name: DeviceResources(
            processors=int(item.kind != REMOTE and not item.tag),
            gpus=1 / len(on_gpu) if name in on_gpu else 0.0,
            tag=item.tag or "",
            labels=dict(item.labels),
        )
        for name, item in chosen.items()
    }
