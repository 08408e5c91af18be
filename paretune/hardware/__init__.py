"""What a network costs: devices that measure and models that compute."""

from paretune.core.registry import Registry

HARDWARE = Registry(
    kind="hardware",
    group="paretune.hardware",
    builtins={
        "host": "paretune.hardware.host:Host",
        "slot_table": "paretune.hardware.slot_table:SlotTable",
        "table": "paretune.hardware.layer_table:LayerTable",
    },
)
"""Factories `(*, ...)` of `core.protocols.Device` or `core.costs.CostModel`."""
