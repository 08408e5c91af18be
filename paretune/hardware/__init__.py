"""What a network costs: devices that measure and models that compute."""

from paretune.core.registry import Registry

HARDWARE = Registry(
    kind="hardware",
    group="paretune.hardware",
    builtins={"host": "paretune.hardware.host:Host", "remote": "paretune.hardware.remote.device:Remote"},
)
"""Factories `(*, ...)` of `core.protocols.Device` or `core.costs.CostModel`."""
