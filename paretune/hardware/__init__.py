"""What a network costs: devices that measure and models that compute."""

from paretune.core.registry import Registry

HARDWARE = Registry(
    kind="hardware",
    group="paretune.hardware",
    builtins={
        "codesign_fpga": "paretune.hardware.fpga.codesign:CodesignFpga",
        "fpga": "paretune.hardware.fpga.tiled_engine:TiledEngine",
        "fpga_pipeline": "paretune.hardware.fpga.pipeline:FpgaPipeline",
        "host": "paretune.hardware.host:Host",
    },
)
"""Factories `(*, ...)` of `core.protocols.Device` or `core.costs.CostModel`."""
