"""What a network costs: devices that measure and models that compute."""

from paretune.core.registry import Registry

HARDWARE = Registry(
    kind="hardware",
    group="paretune.hardware",
    builtins={
        "asic": "paretune.hardware.asic:Asic",
        "butterfly": "paretune.hardware.butterfly:Butterfly",
        "codesign_fpga": "paretune.hardware.fpga.codesign:CodesignFpga",
        "crossbar": "paretune.hardware.crossbar:Crossbar",
        "fpga": "paretune.hardware.fpga.tiled_engine:TiledEngine",
        "fpga_pipeline": "paretune.hardware.fpga.pipeline:FpgaPipeline",
        "host": "paretune.hardware.host:Host",
        "paleo": "paretune.hardware.paleo:Paleo",
        "remote": "paretune.hardware.remote.device:Remote",
        "roofline": "paretune.hardware.roofline:Roofline",
        "secure": "paretune.hardware.secure:Secure",
        "slot_table": "paretune.hardware.slot_table:SlotTable",
        "table": "paretune.hardware.layer_table:LayerTable",
    },
)
"""Factories `(*, ...)` of `core.protocols.Device` or `core.costs.CostModel`."""
