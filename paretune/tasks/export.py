"""A trained network as files that other programs read: safetensors, ONNX, and JSON that says what they are."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import load_from_string
from onnx.checker import ValidationError, check_model
from onnxruntime import InferenceSession, SessionOptions
from safetensors.torch import save
from torch import Tensor, nn

from paretune.core.errors import BadInput, StorageError
from paretune.core.files import write_durably
from paretune.networks.evaluation import evaluating
from paretune.networks.onnx_conversion import INPUT_NAME, to_onnx

WEIGHTS_FILE, ONNX_FILE, DESCRIPTION_FILE = "network.safetensors", "network.onnx", "network.json"
BATCHES = (1, 3)
"""Batch sizes that the ONNX model is checked with: a batch frozen into the graph shows with the second."""
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-3, 1e-4
"""Of the outputs: ONNX Runtime folds and fuses, which changes float32 rounding and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFiles:
    """Where an exported network lies."""

    weights: Path
    """Safetensors of the state dict."""
    onnx: Path
    """ONNX model with its weights inside and a free batch size."""
    description: Path
    """JSON: metadata, input shape, versions, SHA-256 of the other two."""
    largest_difference: float
    """Between the outputs of torch and ONNX Runtime, absolute."""


def export_network(network: nn.Module, example_shape: tuple[int, ...], folder: Path, metadata: Mapping[str, Any]) -> ExportedFiles:
    """Write a network's files, after ONNX Runtime has given what torch gives.

    Args:
        network: a trained network; left as it is.
        example_shape: shape of an input, batch first.
        folder: made where it is missing; files of an earlier export are replaced.
        metadata: JSON values (decisions, metrics, preprocessing), kept under `metadata` in `network.json`.

    Raises:
        BadInput: the network cannot be converted, or the converted one computes something else.
        StorageError: the storage refuses.
    """
    model = to_onnx(network, example_shape)
    largest_difference = _check(model, network, example_shape)
    weights = save({name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in network.state_dict().items()})
    description = {
        "format": "paretune-network-1",
        "input_shape": ["batch", *example_shape[1:]],
        "files": {name: {"sha256": hashlib.sha256(data).hexdigest()} for name, data in ((WEIGHTS_FILE, weights), (ONNX_FILE, model))},
        "onnx_check": {"largest_difference": largest_difference, "batches": list(BATCHES)},
        "metadata": dict(metadata),
    }
    text = json.dumps(description, indent=2, sort_keys=True, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder}: {error.strerror}") from error
    write_durably(folder / WEIGHTS_FILE, weights)
    write_durably(folder / ONNX_FILE, model)
    write_durably(folder / DESCRIPTION_FILE, text.encode())
    return ExportedFiles(
        weights=folder / WEIGHTS_FILE,
        onnx=folder / ONNX_FILE,
        description=folder / DESCRIPTION_FILE,
        largest_difference=largest_difference,
    )


def _check(model: bytes, network: nn.Module, example_shape: tuple[int, ...]) -> float:
    """The largest difference between ONNX Runtime's outputs and torch's.

    Raises:
        BadInput: the model is invalid or the outputs differ by more than rounding.
    """
    try:
        check_model(load_from_string(model), full_check=True)
    except ValidationError as error:
        raise BadInput(f"the ONNX model of {type(network).__name__} is invalid: {error}") from error
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch in BATCHES:
        inputs = torch.randn((batch, *example_shape[1:]), generator=torch.Generator().manual_seed(batch))
        with evaluating(network):
            expected: Tensor = network(inputs)
        (found,) = session.run(None, {INPUT_NAME: inputs.numpy()})
        if found.shape != tuple(expected.shape) or not np.allclose(
            found, expected.numpy(), rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE
        ):
            raise BadInput(
                f"the ONNX model of {type(network).__name__} computes something else than the network (batch {batch}). "
                "Does its forward depend on values or on the batch size? Such steps are frozen by the conversion"
            )
        largest = max(largest, float(np.max(np.abs(found - expected.numpy()))))
    return largest
