"""What may be built: search spaces with their builders, encodings and workloads."""

from paretune.core.registry import Registry

SPACES = Registry(
    kind="space",
    all_named=True,
    group="paretune.spaces",
    builtins={
        "digits_conv": "paretune.spaces.digits_conv:DigitsConv",
        "fbnet": "paretune.spaces.fbnet:FBNet",
        "mnasnet": "paretune.spaces.mnasnet:MnasNet",
        "nasbench201": "paretune.spaces.nasbench201:NasBench201",
        "nasbench_macro": "paretune.spaces.nasbench_macro:NasBenchMacro",
        "mobile": "paretune.spaces.mobile:Mobile",
        "resnet_analog": "paretune.spaces.resnet_analog:ResnetAnalog",
        "speech": "paretune.spaces.speech:Speech",
        "transformer": "paretune.spaces.transformer:Transformer",
    },
    supplied=("input_shape", "num_classes"),
)
"""Factories `(*, input_shape, num_classes, ...)` of `core.protocols.SearchSpace`; the task supplies both."""
