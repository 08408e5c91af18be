"""What may be built: search spaces with their builders, encodings and workloads."""

from paretune.core.registry import Registry

SPACES = Registry(
    kind="space",
    group="paretune.spaces",
    builtins={"digits_conv": "paretune.spaces.digits_conv:DigitsConv"},
    supplied=("input_shape", "num_classes"),
)
"""Factories `(*, input_shape, num_classes, ...)` of `core.protocols.SearchSpace`; the task supplies both."""
