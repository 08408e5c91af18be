"""Cost models of FPGA accelerators: one tiled engine (HotNAS), a pipeline of engines (FNAS), an accelerator space (Codesign-NAS)."""
