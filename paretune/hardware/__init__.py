"""What a network costs: devices that measure and models that compute."""

from paretune.core.registry import Registry

HARDWARE = Registry(
    kind="hardware",
    group="paretune.hardware",
    builtins={
        "host": "paretune.hardware.host:Host",
        "layer_regression": "paretune.hardware.layer_regression:LayerPolynomials",
        "predictor": "paretune.hardware.architecture_predictor:ArchitecturePredictor",
    },
)
"""Factories `(*, ...)` of `core.protocols.Device`, `core.costs.CostModel` or `core.costs.ArchitectureCostModel`."""
