"""Torch networks as ONNX models, fast enough to do it for every candidate whose latency is measured."""

import warnings
from io import BytesIO

import torch
from torch import nn

from paretune.core.errors import BadInput
from paretune.networks.folding import fold_batch_norm

INPUT_NAME = "input"
OUTPUT_NAME = "output"
OPSET = 20
"""Newest operator set that the TorchScript exporter writes; ONNX Runtime reads it since 1.17."""


def to_onnx(network: nn.Module, example_shape: tuple[int, ...]) -> bytes:
    """One ONNX model with its weights inside, in evaluation mode, with a free batch size.

    Args:
        network: takes one tensor and gives one tensor, batch first.
        example_shape: shape of an input, batch first.

    Raises:
        BadInput: the network has an operation that ONNX has no form for, or fails on such an input.
    """
    buffer = BytesIO()
    # The TorchScript exporter takes 2 to 4 ms a convolution, twice that where batch norm is not folded first; the newer one
    # (dynamo=True) takes seconds and needs another package (onnxscript). It is deprecated, and we know, hence the two filters.
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You are using the legacy TorchScript-based ONNX export", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message="The feature will be removed", category=DeprecationWarning)
            torch.onnx.export(
                fold_batch_norm(network),
                (torch.zeros(example_shape),),
                buffer,  # type: ignore[arg-type]  # the TorchScript exporter also writes to a buffer
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
            )
    except Exception as error:  # the exporter has no common class of errors, and user networks raise what they like
        raise BadInput(f"{type(network).__name__} cannot be converted to ONNX for an input of shape {example_shape}: {error}") from error
    return buffer.getvalue()
