"""Torch networks as tasks and hardware both need them: evaluation mode, counting, conversion to ONNX. Below both, above core."""
