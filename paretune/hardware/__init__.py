"""What a network costs: devices that measure and models that compute."""

from paretune.core.registry import Registry

HARDWARE = Registry(
    kind="hardware",
    all_named=True,
    group="paretune.hardware",
    builtins={
        "analog": "paretune.hardware.analog.target:Analog",
        "asic": "paretune.hardware.analytic.asic:Asic",
        "butterfly": "paretune.hardware.analytic.butterfly:Butterfly",
        "codesign_fpga": "paretune.hardware.analytic.fpga.codesign:CodesignFpga",
        "crossbar": "paretune.hardware.analytic.crossbar:Crossbar",
        "crossbar_parts": "paretune.hardware.analytic.crossbar_composed:ComposedCrossbar",
        "fpga": "paretune.hardware.analytic.fpga.tiled_engine:TiledEngine",
        "fpga_pipeline": "paretune.hardware.analytic.fpga.pipeline:FpgaPipeline",
        "host": "paretune.hardware.measured.host:Host",
        "layer_regression": "paretune.hardware.learned.layer_regression:FittedLayers",
        "paleo": "paretune.hardware.analytic.paleo:Paleo",
        "predictor": "paretune.hardware.learned.architecture_predictor:ArchitecturePredictor",
        "remote": "paretune.hardware.measured.remote.device:Remote",
        "roofline": "paretune.hardware.analytic.roofline:Roofline",
        "secure": "paretune.hardware.analytic.secure:Secure",
        "slot_table": "paretune.hardware.tables.slot_table:SlotTable",
        "table": "paretune.hardware.tables.layer_table:LayerTable",
    },
)
"""Factories `(*, ...)` of `core.protocols.Device`, `core.accuracy_devices.AccuracyDevice`, `core.costs.CostModel` or
`core.costs.ArchitectureCostModel`."""
